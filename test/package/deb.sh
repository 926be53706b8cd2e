#!/bin/bash
# The Debian packages: built, clean, complete; and what they put on a server
# works. They are laid over a private copy of the server, so nothing is
# installed. What an installation of its own does: clean_root.sh.
. "$(dirname "$0")/../run/setup.sh"
. "$TOP/test/run/server.sh"
. "$TOP/test/run/result.sh"

if ! command -v dpkg-deb >/dev/null; then
	echo "1..0 # SKIP not a Debian system"
	exit
fi
major=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]\+\).*/\1/')
# for the server under test, which need not be this Debian's own
export PG_SUPPORTED_VERSIONS=$major
# kept for clean_root.sh
rm -rf "$TOP/log/package/dist"
if ! "$TOP/test/run/deb.sh" "$TOP/log/package/dist" >"$WORK/deb.log" 2>&1 && grep -q 'packages are missing' "$WORK/deb.log"; then
	echo "1..0 # SKIP $(grep 'packages are missing' "$WORK/deb.log")"
	exit
fi
server=$(echo "$TOP"/log/package/dist/postgresql-"$major"-deletion-guard_*.deb)
sign=$(echo "$TOP"/log/package/dist/deletion-guard-sign_*_all.deb)
result "they are built without warnings" "$(grep -v '^building\|^installing\|^/' "$WORK/deb.log")"
[ -e "$server" ] || { result "there is one for PostgreSQL $major" "$server"; echo "1..$n"; exit; }

if command -v lintian >/dev/null; then
	result "lintian finds nothing" "$(lintian --allow-root "$TOP"/log/package/dist/*.changes 2>&1)"
else
	n=$((n + 1))
	echo "ok $n - lintian finds nothing # SKIP lintian is not installed"
fi
result "the server's package has what make install installs, and the pages" "$(
	cd "$TOP"
	{
		find "$WORK/server" -name 'deletion_guard[.-]*' -printf '/%P\n'
		printf "/usr/share/doc/postgresql-$major-deletion-guard/%s\n" README.md SECURITY.md doc/*
	} | sort >"$WORK/expected"
	dpkg-deb -c "$server" | awk '$1 ~ /^-/ { print substr($6, 2) }' | sed 's/\.gz$//' | sort >"$WORK/found"
	comm -23 "$WORK/expected" "$WORK/found"
	comm -13 "$WORK/expected" "$WORK/found" | grep -v "/changelog\|/copyright\|/monitoring/")"
result "the signing tool's package depends on openssl alone" "$(dpkg-deb -f "$sign" Depends | grep -v '^openssl ([^)]*)$')"

# In place of what was installed from the tree.
rm -f "$LIB/deletion_guard.so" "$WORK/server$("$PG_CONFIG" --sharedir)/extension/deletion_guard"[.-]*
dpkg-deb -x "$server" "$WORK/server"
dpkg-deb -x "$sign" "$WORK/signer"
rm "$BIN/deletion_guard_sign"
export PATH="$WORK/signer/usr/bin:$PATH"
mkdir -p "$WORK/source/test"
cp -r "$TOP"/{sql,expected} "$WORK/source"
cp -r "$TOP"/test/{sql,archives} "$WORK/source/test"
[ "$(id -u)" -ne 0 ] || chown -R postgres "$WORK/source"
server_start package 'fsync = off' 'wal_level = logical' 'max_prepared_transactions = 10'
as_server mkdir "$WORK/out"
result "what it installs passes pg_regress" "$(
	"${AS_SERVER[@]}" "$PGXSDIR/../test/regress/pg_regress" --inputdir="$WORK/source" --outputdir="$WORK/out" --bindir="$BIN" \
		--dlpath="$LIB" --host="$PGHOST" --user=postgres delete undelete purge rehydrate verify 2>&1 | grep -i 'not ok\|failed'
	[ ! -s "$WORK/out/regression.diffs" ] || head -60 "$WORK/out/regression.diffs")"

cd "$WORK"
sql -c 'CREATE DATABASE signed'
export PGDATABASE=signed
sql -c 'SET client_min_messages = warning; CREATE EXTENSION deletion_guard; CREATE TABLE site (id int PRIMARY KEY, name text);
	SELECT deletion_guard.set_tenant_table($$site$$, $$id$$, $$name$$); SELECT deletion_guard.guard_table($$site$$, $$id$$);
	INSERT INTO site VALUES (1, $$one$$); SET deletion_guard.retention = 0; DELETE FROM site' >/dev/null
result "a key and a token made with the tool's package purge" "$(
	{
		deletion_guard_sign keygen legal
		sql -v key="$(cat legal.pub)" <<<"SELECT deletion_guard.add_authority('legal', :'key')"
		sql -c "SELECT deletion_guard.request_purge('1', 'contract ended')" | deletion_guard_sign sign --key legal.key --kid legal >token
		sql -c "SELECT 'purged ' || (deletion_guard.purge('$(cat token)') ->> 'rows')"
	} >said 2>&1
	grep -q '^purged 1$' said || cat said)"
echo "1..$n"
