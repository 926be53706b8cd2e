#!/bin/bash
# Every test there is, in groups; ends with "N passed, N failed".
#
# ONLY="unit regress/bin tap/043" runs some: groups, or single files of a group,
# those of tap by their number.
# Everything the tests print is kept in log/, which is one run's at a time.
mkdir -p "$(dirname "$0")/../../log"
exec {LOCK}>"$(dirname "$0")/../../log/.lock"
if ! flock -n "$LOCK"; then
	echo "another run of the tests is under way in this directory" >&2
	exit 1
fi
. "$(dirname "$0")/setup.sh"
. "$TOP/test/run/server.sh"

LOG=$TOP/log
TEST_TIMEOUT=${TEST_TIMEOUT:-900}
passed=0
failed=0

# --- which tests -----------------------------------------------------------

declare -A found=()				# words of ONLY that name some test

# Is NAME of GROUP asked for?
wanted()
{
	local word answer=1

	[ -n "${ONLY:-}" ] || return 0
	for word in $ONLY; do
		case $word in
			"$1" | "$1/$2" | "tap/${2%%_*}")
				found[$word]=1
				answer=0
				;;
		esac
	done
	return "$answer"
}

# choose GROUP NAME...: sets "chosen" to the names asked for.
choose()
{
	local group=$1 name

	shift
	chosen=()
	for name; do
		! wanted "$group" "$name" || chosen+=("$name")
	done
}

# Names of files of a pattern, without directory and suffix.
names()
{
	local file

	for file; do
		[ ! -e "$file" ] || basename "${file%.*}"
	done
}

# --- counting --------------------------------------------------------------

# A group: passed, failed and skipped tests, then one line about them.
group_start()
{
	group=$1
	group_passed=0
	group_failed=0
	group_skipped=0
	group_began=$SECONDS
	mkdir -p "$LOG/$group"
}

group_end()
{
	local skipped=

	[ "$group_skipped" -eq 0 ] || skipped=" ($group_skipped skipped)"
	printf '%-10s %4d passed, %d failed%s, %d s\n' "$group" "$group_passed" "$group_failed" \
		"$skipped" $((SECONDS - group_began))
	passed=$((passed + group_passed))
	failed=$((failed + group_failed))
}

fail()
{
	group_failed=$((group_failed + 1))
	printf '%s: %s\n' "$group" "$1"
}

# excerpt N: the first lines of the input, indented, none too long. Reads all of
# it, as the writer of a closed pipe would fail.
excerpt()
{
	sed -n "1,$1s/^\(.\{0,500\}\).*/    \1/p"
}

# tap NAME COMMAND...: runs a program that prints TAP and counts its results.
# One that dies, ends early or tests nothing counts as a failure of its own.
tap()
{
	local name=$1 log="$LOG/$group/$1.log" status=0 ok bad skip planned

	shift
	timeout --foreground -k 10 "$TEST_TIMEOUT" "$@" >"$log" 2>&1 </dev/null || status=$?
	read -r ok bad skip planned < <(awk '
		/^ok( |$)/ && /# *[Ss][Kk][Ii][Pp]/ { skip++; next }
		/^ok( |$)/ { ok++ }
		/^not ok( |$)/ && /# *TODO/ { skip++; next }
		/^not ok( |$)/ { bad++ }
		/^1\.\.[0-9]+/ { plan = substr($1, 4); if (plan == 0) skip++ }
		END { print ok + 0, bad + 0, skip + 0, plan == "" ? -1 : plan }' "$log")
	group_passed=$((group_passed + ok))
	group_failed=$((group_failed + bad))
	group_skipped=$((group_skipped + skip))
	if [ "$bad" -gt 0 ]; then
		printf '%s: %s\n' "$group" "$name"
		awk '/^not ok/ { on = 1; print; next } /^ *#/ { if (on) print; next } { on = 0 }' "$log" |
			excerpt 60
	elif [ "$status" -ne 0 ]; then
		fail "$name: exit status $status"
		tail -40 "$log" | excerpt 40
	elif [ $((ok + skip)) -eq 0 ]; then
		fail "$name: tested nothing"
	fi
	if [ "$planned" -gt 0 ] && [ "$planned" -ne $((ok + bad + skip)) ]; then
		fail "$name: planned $planned tests, ran $((ok + bad + skip))"
	fi
}

# regress PROGRAM INPUTDIR NAME...: pg_regress or pg_isolation_regress. Version
# 15 prints "test name ... ok", later ones TAP.
regress()
{
	local program=$1 input=$2 out="$WORK/$group" status=0 ok bad

	shift 2
	as_server mkdir "$out"
	timeout --foreground -k 10 "$TEST_TIMEOUT" "${AS_SERVER[@]}" "$PGXSDIR/../test/$program" \
		--inputdir="$input" --outputdir="$out" --bindir="$BIN" --dlpath="$LIB" \
		--host="$PGHOST" --port="$PGPORT" --user=postgres --dbname=contrib_regression \
		"$@" >"$LOG/$group/output" 2>&1 </dev/null || status=$?
	read -r ok bad < <(awk '
		/^ok [0-9]+/ || /^test .*\.\.\. ok( |$)/ { ok++ }
		/^not ok [0-9]+/ || /^test .*\.\.\. FAILED( |$)/ { bad++ }
		END { print ok + 0, bad + 0 }' "$LOG/$group/output")
	group_passed=$((group_passed + ok))
	group_failed=$((group_failed + bad))
	cp -r "$out/." "$LOG/$group/"
	grep -E '^not ok|FAILED' "$LOG/$group/output" | sed 's/^/    /' || true
	if [ $((ok + bad)) -ne $# ]; then
		fail "ran $((ok + bad)) tests of $#, exit status $status"
		tail -20 "$LOG/$group/output" | sed 's/^/    /'
	fi
	if [ -s "$out/regression.diffs" ]; then
		echo "    the differences (all of them in log/$group/regression.diffs):"
		excerpt 200 < "$out/regression.diffs"
	fi
}

# --- the groups ------------------------------------------------------------

run_unit()
{
	local name

	choose unit $(names "$TOP"/test/unit/test_*.c "$TOP"/test/unit/*.sh)
	[ ${#chosen[@]} -gt 0 ] || return 0
	group_start unit
	[ ! -d "$TOP/../shared/data" ] || export DG_ARCHIVE_DATA="${DG_ARCHIVE_DATA:-$TOP/../shared/data}"
	cd "$TOP"
	for name in "${chosen[@]}"; do
		if [ -e "test/unit/$name.sh" ]; then
			tap "$name" bash "test/unit/$name.sh"
		elif "$MAKE" -s -j"$(nproc)" -C test/unit "build/$name" >"$LOG/unit/$name.build" 2>&1; then
			tap "$name" "test/unit/build/$name"
		else
			fail "$name: does not compile"
			excerpt 40 < "$LOG/unit/$name.build"
		fi
	done
	cd "$WORK"
	group_end
}

run_check()
{
	local name

	choose check $(names "$TOP"/test/check/*.sh)
	[ ${#chosen[@]} -gt 0 ] || return 0
	group_start check
	cd "$TOP"
	for name in "${chosen[@]}"; do
		tap "$name" bash "test/check/$name.sh"
		# What a check wants known, without failing.
		grep '^# note: [^ ]' "$LOG/check/$name.log" || true
	done
	cd "$WORK"
	group_end
}

run_regress()
{
	choose regress $("$MAKE" -s -C "$TOP" PG_CONFIG="$PG_CONFIG" show-REGRESS)
	[ ${#chosen[@]} -gt 0 ] || return 0
	group_start regress
	regress regress/pg_regress "$WORK/source" "${chosen[@]}"
	group_end
}

run_isolation()
{
	choose isolation $(names "$TOP"/test/isolation/specs/*.spec)
	[ ${#chosen[@]} -gt 0 ] || return 0
	group_start isolation
	regress isolation/pg_isolation_regress "$WORK/source/test/isolation" "${chosen[@]}"
	group_end
}

run_tap()
{
	local name

	choose tap $(names "$TOP"/test/t/*.pl)
	[ ${#chosen[@]} -gt 0 ] || return 0
	group_start tap
	cd "$WORK/source"
	for name in "${chosen[@]}"; do
		as_server mkdir -p "$WORK/tap/$name/tmp_check/log"
		tap "$name" "${AS_SERVER[@]}" env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE \
			TESTDIR="$WORK/tap/$name" TESTDATADIR="$WORK/tap/$name/tmp_check" \
			TESTLOGDIR="$WORK/tap/$name/tmp_check/log" PG_REGRESS="$PGXSDIR/../test/regress/pg_regress" \
			perl -I "$PGXSDIR/../test/perl" -I test/t "test/t/$name.pl"
		cp -r "$WORK/tap/$name/tmp_check/log" "$LOG/tap/$name" 2>/dev/null || true
	done
	cd "$WORK"
	group_end
}

# Packages: deb before clean_root, which installs what that has made.
run_package()
{
	local name

	choose package deb clean_root
	[ ${#chosen[@]} -gt 0 ] || return 0
	group_start package
	for name in "${chosen[@]}"; do
		tap "$name" env PG_CONFIG="$PG_CONFIG" bash "$TOP/test/package/$name.sh"
		grep -h 'SKIP' "$LOG/package/$name.log" | excerpt 5 || true
	done
	group_end
}

# A backend that crashed may not have failed any test.
run_server()
{
	local crash='terminated by signal|PANIC:|TRAP:|ERROR: AddressSanitizer'

	group_start server
	if grep -qE "$crash" "$PGHOST/log"; then
		fail "the server crashed"
		grep -E -A 5 "$crash" "$PGHOST/log" | excerpt 20
	else
		group_passed=1
	fi
	cp "$PGHOST/log" "$LOG/server/"
	group_end
}

# A directory of tests that the server's user can read.
rm -rf "$LOG"/{unit,check,regress,isolation,tap,package,server}
mkdir -p "$WORK/source/expected"
tar -C "$TOP" --exclude=./.git --exclude=./log --exclude=./test/unit/build --exclude=./test/fuzz/build -cf - . |
	tar -C "$WORK/source" -xf -
# One missing file would stop pg_regress altogether.
for name in $(names "$TOP"/sql/*.sql); do
	[ -e "$TOP/expected/$name.out" ] || touch "$WORK/source/expected/$name.out"
done
[ "$(id -u)" -ne 0 ] || chown -R postgres "$WORK/source"

run_unit
run_check
server_start main 'fsync = off' 'full_page_writes = off' 'max_prepared_transactions = 10' \
	'wal_level = logical' 'log_line_prefix = '"'%m [%p] %q%a '"
run_regress
run_isolation
run_server
run_tap
run_package
for word in ${ONLY:-}; do
	if [ -z "${found[$word]:-}" ]; then
		echo "ONLY: there is no test $word"
		failed=$((failed + 1))
	fi
done
[ "$passed" -gt 1 ] || [ -n "${ONLY:-}" ] || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
