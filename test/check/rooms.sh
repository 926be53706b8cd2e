#!/bin/bash
# The rooms of src/README.md: which room may know which, by the headers that its
# files include.
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

# The room of a file, or of a header as it is included: what is before the first
# underscore. deletion_guard.h, own_tables.h, tables.h, compat.h, errors.h and varint.h are
# everybody's.
declare -A may_know=(
	[archive]='archive'
	[token]='token'
	[rows]='rows'
	[guard]='guard bin ledger limit'
	[bin]='bin guard limit ledger rows'
	[limit]='limit bin guard ledger'
	[ledger]='ledger'
	[purge]='purge bin guard ledger token'
	[rehydrate]='rehydrate archive bin guard ledger purge rows'
	[module]='bin guard ledger limit purge'
	[settings]='guard limit token'
	[autonomous]='ledger purge'
	[lock]='guard'
	[textset]='guard'
)
everybodys=' deletion_guard.h own_tables.h tables.h compat.h errors.h varint.h '

# Headers of ours that a file includes.
our_headers()
{
	sed -n 's/^#include "\([^"]*\)".*/\1/p' "$1" | while read -r header; do
		[ ! -e "src/$header" ] || echo "$header"
	done
}

room()
{
	local name=${1##*/}

	name=${name%.*}
	echo "${name%%_*}"
}

result "rooms include the headers of those they may know" "$(
	for file in src/*.[ch]; do
		for header in $(our_headers "$file"); do
			[[ $everybodys == *" $header "* ]] || [[ " ${may_know[$(room "$file")]} " == *" $(room "$header") "* ]] ||
				echo "$file includes $header"
		done
	done)"
result "archive_ and token_ include no header of the server, nor ours" "$(
	for file in src/archive*.[ch] src/token*.[ch]; do
		sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file" | grep -vE '^(archive|token)(_internal)?\.h$' |
			sed "s|^|$file includes |"
	done)"
result "nobody includes another room's internal header" "$(
	grep -n '^#include "[a-z]*_internal\.h"' src/*.[ch] | grep -vE '^src/([a-z]+)_[a-z0-9_]*\.c:.*"\1_internal\.h"|^src/archive\.c:.*"archive_internal\.h"')"
result "every room is in the table of src/README.md" "$(
	for file in src/*.c; do
		name=$(basename "$file" .c)
		grep -qE "^\| \`$(room "$file")_?\` |\`$name\.c\`" src/README.md || echo "$file"
	done)"
result "every file begins with its own name" "$(
	for file in src/*.[ch]; do
		head -4 "$file" | grep -qxE " \* $(basename "$file" | sed 's/\./\\./')" || echo "$file"
	done)"
long=$(wc -l src/*.[ch] | awk '$2 != "total" && $1 > 600 { print $2 " (" $1 ")" }' | paste -sd ' ' | sed 's/ src/, src/g')
[ -z "$long" ] || echo "# note: files of more than 600 lines: $long"
echo "1..$n"
