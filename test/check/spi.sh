#!/bin/bash
# Queries run through src/common/query.c, where each says as whom it runs and what
# it sees. Only role.c changes the role, and only what query.c runs as the extension
# passes for it.
elsewhere()
{
	grep -nE "\b($1)\b" src/*/*.c | grep -vE "^src/common/($2)\.c:"
}

# Decisions are not queries: what purge_ and ledger_ decide by is read and written by
# src/common/own_tables.c. The exceptions:
#
#	purge_tenant.c		asks the application's own table of tenants
#	purge_scrub*.c		cleans files, decides about no row
queries='\b(dg_query[a-z_]*|SPI_(exec|prepare|cursor)[a-z_]*) *\('
deciding_exceptions='^src/purge/purge_(tenant|scrub[a-z_]*)\.c:'

. "$(dirname "$0")/../run/result.sh"

result "queries run as whom they should" \
	"$(elsewhere 'SPI_(exec|prepare|cursor|plan|register)[a-z_]*' query)"
result "there is one role switch" \
	"$(elsewhere 'SetUserId[A-Za-z]*|GetUserIdAndSecContext' role)"
result "statements of ours are those that query.c runs" \
	"$(elsewhere 'dg_acting_set|DG_ACTING_N(EXT|OW)' 'query|frame' | grep -v 'dg_acting_set(DG_ACTING_NOT)')"
result "decisions are not queries" \
	"$(grep -nE "$queries" src/purge/*.c src/ledger/*.c src/common/ledger_digest.c src/common/own_tables.c | grep -vE "$deciding_exceptions")"
# Parts may wait to be written (capture_open.c). capture_part.c adds those that do itself.
result "what waits to be written to deletion_part is written before it is read" \
	"$(grep -n 'table_open(dg_objects()->deletion_part\b' src/*/*.c | grep -v '^src/capture/capture_part\.c:')"
echo 1..5
