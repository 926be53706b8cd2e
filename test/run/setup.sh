# To be sourced: everything between a clone and a place to run in.
#
#   TOP   the clone
#   WORK  a temporary directory that the server's user can read and write
#   BIN   the programs of a private copy of the server, with the extension
#   LIB   its libraries
#
# The copy is what keeps the machine's own PostgreSQL untouched, lets several
# clones be tested at once, and needs no root: PostgreSQL finds its files
# relative to its programs, so these are copied and all the rest is linked.
set -euo pipefail

# What root makes here, the server's user must be able to read.
umask 022

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
MAKE=${MAKE:-make}
unset PGHOST PGPORT PGUSER PGDATABASE PGOPTIONS PGSERVICE PGPASSFILE PGDATA PGTZ PGCLIENTENCODING

die()
{
	echo "$*" >&2
	exit 1
}

# Prefix of a command that runs as the server's user: initdb and postgres refuse
# root.
AS_SERVER=()
if [ "$(id -u)" -eq 0 ]; then
	AS_SERVER=(setpriv --reuid=postgres --regid=postgres --init-groups --)
fi

as_server()
{
	"${AS_SERVER[@]}" "$@"
}

# Whatever still runs below WORK is stopped by its own pid file.
clean_up()
{
	local pidfile status=$?

	trap - EXIT
	trap '' INT TERM
	cd /
	while read -r pidfile; do
		as_server "$BIN/pg_ctl" -s -m immediate -D "$(dirname "$pidfile")" stop >/dev/null 2>&1 || true
	done < <(find "$WORK" -name postmaster.pid 2>/dev/null)
	rm -rf "$WORK"
	exit "$status"
}

build()
{
	local log="$WORK/build.log"

	# Objects of another server version are of no use.
	if [ "$(cat "$TOP/log/built-for" 2>/dev/null)" != "$(realpath "$PG_CONFIG") $("$PG_CONFIG" --version)" ]; then
		"$MAKE" -s -C "$TOP" PG_CONFIG="$PG_CONFIG" clean >/dev/null
	fi
	"$MAKE" -q -C "$TOP" PG_CONFIG="$PG_CONFIG" all >/dev/null 2>&1 ||
		echo "building for $("$PG_CONFIG" --version), half a minute or so" >&2
	if ! "$MAKE" -s -C "$TOP" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all >"$log" 2>&1; then
		cat "$log" >&2
		die "the build failed"
	fi
	cat "$log"
	mkdir -p "$TOP/log"
	echo "$(realpath "$PG_CONFIG") $("$PG_CONFIG" --version)" > "$TOP/log/built-for"
}

# Links every entry of directory $1 into directory $2.
link_all()
{
	mkdir -p "$2"
	find "$1" -mindepth 1 -maxdepth 1 -exec ln -sfn -t "$2" {} +
}

private_server()
{
	local root="$WORK/server" bindir libdir sharedir includedir

	bindir=$("$PG_CONFIG" --bindir)
	libdir=$("$PG_CONFIG" --pkglibdir)
	sharedir=$("$PG_CONFIG" --sharedir)
	includedir=$("$PG_CONFIG" --includedir)
	BIN=$root$bindir
	mkdir -p "$BIN"
	PGXSDIR=$(dirname "$("$PG_CONFIG" --pgxs)")
	LIB=$root$libdir
	cp -L "$bindir"/* "$BIN"
	link_all "$libdir" "$root$libdir"
	link_all "$sharedir" "$root$sharedir"
	link_all "$includedir" "$root$includedir"
	rm "$root$sharedir/extension"
	link_all "$sharedir/extension" "$root$sharedir/extension"
	rm -f "$root$libdir/deletion_guard.so" "$root$sharedir/extension/deletion_guard"[.-]*
	"$MAKE" -s -C "$TOP" PG_CONFIG="$PG_CONFIG" DESTDIR="$root" install >/dev/null
}

PG_CONFIG=$("$TOP/test/run/packages.sh")
MAKEFLAGS=
WORK=$(mktemp -d "${DG_TMPDIR:-/var/tmp}/deletion_guard.XXXXXX")
BIN=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# A TMPDIR of root's own would be of no use to the server.
export TMPDIR=$WORK/tmp
mkdir -m 1777 "$TMPDIR"
build
private_server
PATH=$BIN:$PATH
# PostgreSQL's own test modules drop LC_ALL; what a login brought along may not
# exist here.
export PATH LANG=C.UTF-8 LC_ALL=C.UTF-8 HOME=$WORK
unset LANGUAGE LC_CTYPE LC_NUMERIC LC_TIME LC_COLLATE LC_MONETARY LC_MESSAGES
if [ "$(id -u)" -eq 0 ]; then
	chown postgres "$WORK"
fi
chmod 755 "$WORK"
cd "$WORK"
