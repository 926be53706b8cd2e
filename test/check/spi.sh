#!/bin/bash
# Queries on our own tables run through src/store.c and src/spi.c, as the extension's
# owner; those on others' through src/owner.c, as theirs. The exceptions, each with
# its reason:
#
#	limit_preview.c		the statement that the caller wants previewed
#	rehydrate_schema.c	DDL, as the caller or as the owner of what is copied
exceptions='^src/(store|spi|owner|limit_preview|rehydrate_schema)\.c:'
found=$(grep -nE '\bSPI_(exec|prepare|cursor_open|cursor_parse)' src/*.c | grep -vE "$exceptions")
if [ -z "$found" ]; then
	echo "ok 1 - queries run as whom they should"
else
	echo "not ok 1 - queries run as whom they should"
	sed 's/^/# /' <<<"$found"
fi
echo 1..1
