#!/bin/bash
# The sources are in PostgreSQL's dialect: make indent changes nothing. Other
# versions of the indenter differ in small things; this is Debian 12's.
if ! pg_bsd_indent --version 2>/dev/null | grep -q ' 2\.1\.1 '; then
	echo "ok 1 # skip pg_bsd_indent 2.1.1 is not installed"
else
	found=$(bash test/run/indent.sh -n 2>&1)
	if [ -z "$found" ]; then
		echo "ok 1 - make indent changes nothing"
	else
		echo "not ok 1 - make indent changes nothing"
		head -60 <<<"$found" | sed 's/^/# /'
	fi
fi
echo 1..1
