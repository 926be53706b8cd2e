#!/bin/bash
# indent.sh [-n] [file ...]: brings the sources into PostgreSQL's dialect, with
# the server's own indenter (pg_bsd_indent; Debian: pg-bsd-indent) and its usual
# options. With -n, prints what would change, and changes nothing.
#
# test/run/typedefs.list has the types that the sources use, for the indenter
# cannot tell them from variables. "make typedefs" writes it, from the debugging
# information of what was compiled.
set -uo pipefail
cd "$(dirname "$0")/../.."
options="-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79 -lp -lpl -nip -npro -sac -tpg -ts4"
only_show=
[ "${1:-}" != -n ] || { only_show=1; shift; }
command -v pg_bsd_indent >/dev/null || { echo "pg_bsd_indent is not installed" >&2; exit 2; }
[ $# -gt 0 ] || set -- src/*/*.[ch]
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
changed=0
for file; do
	# it writes a backup into the current directory
	(cd "$work" && pg_bsd_indent "$OLDPWD/$file" out $options -U"$OLDPWD/test/run/typedefs.list" 2>err >/dev/null)
	# a function's return type, on its line alone, is no declaration
	[ ! -e "$work/out" ] || perl -pi -e 's/^((?:static |const |pg_noreturn )*\w+)\s+(\*+)$/$1 $2/' "$work/out"
	if [ -s "$work/err" ]; then
		sed "s|^|$file: |" "$work/err"
		changed=1
	elif ! cmp -s "$file" "$work/out"; then
		changed=1
		if [ "$only_show" ]; then
			diff -u "$file" "$work/out"
		else
			cat "$work/out" >"$file"
		fi
	fi
done
exit $changed
