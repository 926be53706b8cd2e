#!/bin/bash
# Modules are loaded with RTLD_GLOBAL: every symbol we export carries our prefix.
so=deletion_guard.so
bad=$(nm -D --defined-only "$so" | awk '{ print $3 }' |
	grep -vE '^(dg_|pg_finfo_dg_|_PG_init$|_PG_fini$|Pg_magic_func$)' | sed 's/^/# /')
if [ -z "$bad" ] && [ -e "$so" ]; then
	echo "ok 1 - exported symbols carry the prefix"
else
	echo "not ok 1 - exported symbols carry the prefix"
	echo "$bad"
fi
echo 1..1
