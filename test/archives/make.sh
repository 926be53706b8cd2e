#!/bin/bash
# Makes the archives of one version of pg_dump, of fixture.sql in a server of
# that version:
#
#   test/archives/make.sh /usr/lib/postgresql/17/bin
#
# They go to pg17 beside this file. Not as root, which initdb refuses; the
# server is a throwaway one.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=${1:?the directory of pg_dump, initdb and postgres}
major=$("$bin/pg_dump" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
out=$here/pg$major
work=$(mktemp -d)
trap '"$bin/pg_ctl" -s -m immediate -D "$work/data" stop; rm -rf "$work"' EXIT

"$bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --no-locale -N >/dev/null
"$bin/pg_ctl" -s -w -D "$work/data" -l "$work/log" -o "-c listen_addresses= -c unix_socket_directories=$work -c timezone=UTC" start
export PGHOST=$work PGUSER=postgres PGCLIENTENCODING=UTF8
"$bin/createdb" fixture
"$bin/psql" -Xq -v ON_ERROR_STOP=1 -f "$here/fixture.sql" fixture

rm -rf "$out"
mkdir "$out"
# archive NAME OPTION...
archive()
{
	"$bin/pg_dump" -f "$out/$1" "${@:2}" fixture
}

archive custom -Fc
archive custom-root-latin1 -Fc --load-via-partition-root -E LATIN1
# a pipe cannot be written to out of order: no offsets
"$bin/pg_dump" -Fc -Z0 --inserts -E SJIS fixture | cat > "$out/custom-inserts-sjis-pipe"
archive directory -Fd
archive tar -Ft
gzip -n "$out/tar"
archive plain -Fp
archive plain-rows -Fp --column-inserts --rows-per-insert=3 --on-conflict-do-nothing
if [ "$major" -ge 16 ]; then
	for method in lz4 zstd; do
		archive custom-$method -Fc -Z $method
		archive directory-$method -Fd -Z $method
	done
fi
