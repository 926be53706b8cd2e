#!/bin/bash
# make matrix: both commands of the README, and the packages, in bare systems of
# the Debian releases that have the versions of PostgreSQL we promise. ONLY goes
# to make test; DG_SUITES="trixie forky" names some. What each printed is in
# log/matrix/SUITE. Ends with a table.
cd "$(dirname "$0")/../.." || exit
. test/run/root.sh

declare -A server=([bookworm]=15 [trixie]=17 [forky]=18 [experimental]=19)
table=$(printf '%-14s %-11s %-10s %-9s %s' system PostgreSQL 'make demo' 'make deb' 'make test')
bad=0
skip=$(root_impossible)
[ -z "$skip" ] || { echo "skipped: $skip"; exit; }
work=$(mktemp -d "${DG_TMPDIR:-/var/tmp}/deletion_guard-matrix.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
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

# run SUITE TARGET: sets "answer" to "ok" or "failed".
run()
{
	echo "$1: make $2" >&2
	if root_run "$work/$1" env ONLY="${ONLY:-}" TEST_TIMEOUT="${TEST_TIMEOUT:-3600}" make --no-print-directory -C /tree "$2" >"$log/$2" 2>&1; then
		answer=ok
	else
		answer=failed
		bad=1
	fi
}

for suite in ${DG_SUITES:-bookworm trixie forky experimental}; do
	log=log/matrix/$suite
	mkdir -p "$log"
	echo "$suite: a bare system" >&2
	if ! why=$(prepare "$suite"); then
		table+=$(printf '\n%-14s %-11s skipped: %s' "$suite" "${server[$suite]}" "$why")
		rm -rf "${work:?}/$suite"
		continue
	fi
	run "$suite" demo; demo=$answer
	run "$suite" deb; deb=$answer
	run "$suite" test
	table+=$(printf '\n%-14s %-11s %-10s %-9s %s, %s' "$suite" "${server[$suite]}" "$demo" "$deb" "$answer" "$(grep " passed, .* failed$" "$log/test" | tail -1)")
	rm -rf "${work:?}/$suite"
done
echo "$table"
exit $bad
