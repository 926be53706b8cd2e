#!/bin/bash
# make matrix: both commands of the README, and the packages, in bare systems of
# the Debian releases that have the versions of PostgreSQL we promise. ONLY goes
# to make test; DG_SUITES="trixie forky" names some. As many run at a time as there
# are processors (DG_JOBS=1: one). What each printed is in log/matrix/SUITE. Ends
# with a table.
cd "$(dirname "$0")/../.." || exit
. test/run/root.sh

declare -A server=([bookworm]=15 [trixie]=17 [forky]=18 [experimental]=19)
suites=${DG_SUITES:-bookworm trixie forky experimental}
skip=$(root_impossible)
[ -z "$skip" ] || { echo "skipped: $skip"; exit; }
work=$(mktemp -d "${DG_TMPDIR:-/var/tmp}/deletion_guard-matrix.XXXXXX")
trap 'rm -rf "$work"' EXIT
# unshare takes no other signal while it waits
trap 'kill $(jobs -p) 2>/dev/null; pkill -KILL -g 0 unshare; exit 1' INT TERM
apt='apt-get -qq update && apt-get -qq -y --no-install-recommends'

# prepare SUITE: what a person has before he reads the README: a clone, and make.
# Experimental's packages are taken by name only; they bring the server.
prepare()
{
	root_make "$1" "$work/$1" || return
	mkdir "$work/$1/tree"
	tar --exclude=./.git --exclude=./log --exclude=./dist --exclude='*.o' --exclude='*.d' --exclude='*.so' \
		--exclude=./test/unit/build --exclude=./test/fuzz/build -cf - . | tar -C "$work/$1/tree" -xf -
	root_run "$work/$1" sh -c "$apt install make" >"$log/prepare" 2>&1 || { tail -1 "$log/prepare"; return 1; }
	[ "$1" = experimental ] || return 0
	root_run "$work/$1" sh -c "$apt install postgresql-common && echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf &&
		$apt install -t experimental postgresql-19 postgresql-server-dev-19" >>"$log/prepare" 2>&1 || { tail -1 "$log/prepare"; return 1; }
}

# run SUITE TARGET: says "ok" or "failed".
run()
{
	echo "$1: make $2" >&2
	if root_run "$work/$1" env ONLY="${ONLY:-}" DG_SUITES="$1" PG_SUPPORTED_VERSIONS="${server[$1]}" TEST_TIMEOUT="${TEST_TIMEOUT:-3600}" make --no-print-directory -C /tree "$2" >"$log/$2" 2>&1; then
		echo ok
	else
		echo failed
	fi
}

# suite SUITE: all of it, and the line of the table in log/matrix/SUITE/row.
suite()
{
	local log=log/matrix/$1 why demo deb test

	echo "$1: a bare system" >&2
	if ! why=$(prepare "$1"); then
		printf '%-14s %-11s skipped: %s\n' "$1" "${server[$1]}" "$why" >"$log/row"
	else
		demo=$(run "$1" demo)
		deb=$(run "$1" deb)
		test=$(run "$1" test)
		printf '%-14s %-11s %-10s %-9s %s, %s\n' "$1" "${server[$1]}" "$demo" "$deb" "$test" "$(grep " passed, .* failed$" "$log/test" | tail -1)" >"$log/row"
	fi
	rm -rf "${work:?}/$1"
}

for suite in $suites; do
	rm -rf "log/matrix/$suite"
	mkdir -p "log/matrix/$suite"
	[ "$(jobs -rp | wc -l)" -lt "${DG_JOBS:-$(nproc)}" ] || wait -n
	suite "$suite" &
done
wait
printf '%-14s %-11s %-10s %-9s %s\n' system PostgreSQL 'make demo' 'make deb' 'make test'
rows=$(for suite in $suites; do cat "log/matrix/$suite/row"; done)
echo "$rows"
! grep -qvE '^[^ ]+ +[0-9]+ +(skipped: |ok +ok +ok, )' <<<"$rows"
