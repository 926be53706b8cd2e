#!/bin/bash
# Queries run through src/store.c, which decides as whom: our own tables as the
# extension's owner, others' as their owner. The exceptions, each with its reason:
#
#	limit_preview.c		the statement that the caller wants previewed
#	rehydrate_schema.c	DDL, as the caller or as the owner of what is copied
#	spi.c			our own tables, with the latest snapshot
exceptions='^src/(store|limit_preview|rehydrate_schema|spi)\.c:'
found=$(grep -nE '\bSPI_(exec|prepare|cursor_open|cursor_parse)' src/*.c | grep -vE "$exceptions")
if [ -z "$found" ]; then
	echo "ok 1 - queries run through store.c"
else
	echo "not ok 1 - queries run through store.c"
	sed 's/^/# /' <<<"$found"
fi
echo 1..1
