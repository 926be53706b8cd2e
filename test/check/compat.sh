#!/bin/bash
# What compiles on one server compiles on the others.
check()
{
	local found

	found=$(grep -nE "$3" src/*/*.[ch] | grep -v '^src/common/compat\.h:')
	if [ -z "$found" ]; then
		echo "ok $1 - $2"
	else
		echo "not ok $1 - $2"
		sed 's/^/# /' <<<"$found"
	fi
}
check 1 "only compat.h asks for the server's version" 'PG_VERSION_NUM|PG_MAJORVERSION'
check 2 "functions that do not return begin with pg_noreturn" 'pg_attribute_noreturn'
# In version 17 these headers include ICU's, which are not ours to ask for.
check 3 "no headers that want ICU" 'utils/(pg_locale|formatting)\.h'
echo 1..3
