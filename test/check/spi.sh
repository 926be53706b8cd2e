#!/bin/bash
# Queries run through src/common/query.c: on our own tables as the extension's owner,
# on others' as theirs. The exceptions, each with its reason:
#
#	capture_limit_preview.c		the statement that the caller wants previewed
#	rehydrate_schema.c	DDL, as the caller or as the owner of what is copied
exceptions='^src/(common/query|capture/capture_limit_preview|rehydrate/rehydrate_schema)\.c:'

# Decisions are not queries: what purge_ and ledger_ decide by is read and written by
# src/common/own_tables.c. The exceptions:
#
#	purge_tenant.c		asks the application's own table of tenants
#	purge_scrub*.c		cleans files, decides about no row
queries='\b(dg_spi_[a-z_]+|SPI_(exec|prepare|cursor)[a-z_]*) *\('
deciding_exceptions='^src/purge/purge_(tenant|scrub[a-z_]*)\.c:'

n=0
result()
{
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		sed 's/^/# /' <<<"$2"
	fi
}

result "queries run as whom they should" \
	"$(grep -nE '\bSPI_(exec|prepare|cursor_open|cursor_parse)' src/*/*.c | grep -vE "$exceptions")"
result "decisions are not queries" \
	"$(grep -nE "$queries" src/purge/*.c src/ledger/*.c src/common/ledger_digest.c src/common/own_tables.c | grep -vE "$deciding_exceptions")"
echo 1..2
