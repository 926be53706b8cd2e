#!/bin/bash
# A bare Debian gets the packages by apt, and the extension works there at once.
# This Debian's own are those that deb.sh has made, if it has; those of others are
# made in a bare system, too. DG_SUITES="bookworm trixie forky" names some.
. "$(dirname "$0")/../run/root.sh"
TOP=$(cd "$(dirname "$0")/../.." && pwd)
n=0
result()
{
	n=$((n + 1))
	echo "$1ok $n - $2"
}

skip=$(root_impossible)
if [ "$skip" ]; then
	echo "1..0 # SKIP no bare Debian: $skip"
	exit
fi
work=$(mktemp -d "${DG_TMPDIR:-/var/tmp}/deletion_guard-root.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

install='apt-get -qq update && apt-get -qq -y --no-install-recommends install'
here=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

# make_packages SUITE: into $work/dist.
make_packages()
{
	mkdir "$work/$1/tree"
	tar -C "$TOP" --exclude=./.git --exclude=./log --exclude=./dist -cf - . | tar -C "$work/$1/tree" -xf -
	root_run "$work/$1" sh -c "$install make && make -C /tree deb" || return
	mv "$work/$1/tree/dist" "$work/dist"
	rm -rf "${work:?}/$1"
	root_make "$1" "$work/$1"
}

# What somebody types who has installed them.
cat >"$work/first_steps" <<'END'
set -e
cluster=$(pg_lsclusters -h | awk '{ print $1 }')
pg_ctlcluster "$cluster" main start 2>/dev/null || true
psql="runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1"
$psql <<SQL
SET client_min_messages = warning;
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY, name text, contact text);
INSERT INTO site VALUES (7, 'seven', 'ops@seven.example'), (8, 'eight', 'ops@eight.example');
SELECT deletion_guard.set_tenant_table('public.site', 'id', 'name', 'contact');
SELECT * FROM deletion_guard.guard_schema('public', 'id');
DELETE FROM site WHERE id = 7;
SELECT relation, tenant, restored FROM deletion_guard.undelete(1);
SQL
[ "$($psql -c 'SELECT count(*) FROM site')" = 2 ]
cd /tmp
deletion_guard_sign keygen legal
pg_ctlcluster "$cluster" main stop
END

for suite in ${DG_SUITES:-bookworm}; do
	if ! skip=$(root_make "$suite" "$work/$suite"); then
		result "" "$suite # SKIP $skip"
		continue
	fi
	rm -rf "$work/dist"
	if [ "$suite" = "$here" ] && [ -d "$TOP/log/package/dist" ]; then
		cp -r "$TOP/log/package/dist" "$work/dist"
	elif make_packages "$suite" >"$work/log" 2>&1; then
		result "" "$suite: make deb"
	else
		result "not " "$suite: make deb"
		tail -40 "$work/log" | sed 's/^/# /'
		continue
	fi
	mv "$work/dist" "$work/$suite/dist"
	cp "$work/first_steps" "$work/$suite/"
	if root_run "$work/$suite" sh -c "$install /dist/postgresql-[0-9]*-deletion-guard_*.deb /dist/deletion-guard-sign_*.deb && sh /first_steps" \
		>"$work/log" 2>&1; then
		result "" "$suite: apt install, and the first steps"
	else
		result "not " "$suite: apt install, and the first steps"
		tail -40 "$work/log" | sed 's/^/# /'
	fi
	rm -rf "${work:?}/$suite"
done
echo "1..$n"
