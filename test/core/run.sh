#!/bin/bash
# PostgreSQL's own regression suite in a database where every table is guarded
# as it is created: nothing may tell a soft delete from a native one.
#
# The suite of the installed major version is fetched (fetch.sh), never kept
# here. Differences that are right are patches/MAJOR/TEST.diff, each with its
# reason in the first line; they are applied to the expected output before it is
# compared. accept.sh makes them. Protection from DDL is off for the run
# (deletion_guard.ddl = allow): the suite drops what it has created.
#
#   ONLY="merge triggers"  runs these tests, after those that make their tables
#   BASELINE=yes           runs without the extension: what fails here anyway
#
# What the tests print is kept in log/core; ends with "N passed, N failed".
. "$(dirname "$0")/../run/setup.sh"
. "$TOP/test/run/server.sh"

CORE=$TOP/test/core
LOG=$TOP/log/core
BASELINE=${BASELINE:-}
FIRST="test_setup copy create_misc create_function_c create_index create_aggregate"

version=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')
major=${version%%.*}
patches=$CORE/patches/$major
suite=$WORK/suite

if ! source=$("$CORE/fetch.sh" "$major" 2>"$WORK/fetch.log"); then
	echo "core suite skipped: $(tail -1 "$WORK/fetch.log")"
	exit 0
fi

# A copy of the suite, with the patches applied and our set-up as its first test.
prepare_suite()
{
	local file

	mkdir -p "$suite"
	cp -r "$source/src/test/regress"/{sql,expected,data,resultmap,parallel_schedule} "$suite"
	cc $("$PG_CONFIG" --cflags) $("$PG_CONFIG" --cflags_sl) -w -I"$("$PG_CONFIG" --includedir-server)" \
		-shared -o "$LIB/regress.so" "$source/src/test/regress/regress.c"
	cp -r "$suite/expected" "$suite/pristine"
	[ -z "$BASELINE" ] || return 0
	for file in "$patches"/*.diff; do
		[ ! -e "$file" ] || patch -s -d "$suite" -p1 < "$file" || die "$file does not apply to the suite of $version"
	done
	cp "$CORE/setup.sql" "$suite/sql/deletion_guard.sql"
	cp "$CORE/setup.sql" "$suite/expected/deletion_guard.out"
	sed -i '1i test: deletion_guard' "$suite/parallel_schedule"
}

# Sets "what" to pg_regress's arguments that say which tests to run.
choose_tests()
{
	local name

	what=(--schedule="$suite/parallel_schedule")
	if [ -n "${ONLY:-}" ]; then
		what=()
		for name in ${BASELINE:-deletion_guard} $FIRST; do
			[ "$name" = yes ] || [[ " $ONLY " == *" $name "* ]] || what+=("$name")
		done
		what+=($ONLY)
	fi
}

run_suite()
{
	as_server "$PGXSDIR/../test/regress/pg_regress" \
		--inputdir="$suite" --outputdir="$suite" --bindir="$BIN" --dlpath="$LIB" \
		--max-concurrent-tests=20 --host="$PGHOST" --port="$PGPORT" --user=postgres \
		"${what[@]}" >"$LOG/output" 2>&1 </dev/null || true
}

# Results by test: a line "ok NAME" or "failed NAME". Version 15 prints "test
# name ... ok", later ones TAP.
results()
{
	sed -nE -e 's/^(test|ignored)? +([a-z0-9_.]+) +\.\.\. (ok|FAILED).*/\3 \2/p' \
		-e 's/^(not )?ok [0-9]+ +[-+] ([a-z0-9_.]+) .*/\1ok \2/p' "$LOG/output" |
		sed -e 's/^\(FAILED\|not ok\) /failed /' | grep -vx 'ok deletion_guard' || true
}

report()
{
	local status name passed

	identical=0 patched=0 failing=0
	while read -r status name; do
		if [ "$status" = failed ]; then
			failing=$((failing + 1))
			echo "    failing: $name"
		elif [ -z "$BASELINE" ] && [ -e "$patches/$name.diff" ]; then
			patched=$((patched + 1))
		else
			identical=$((identical + 1))
		fi
	done < <(results)
	if grep -qE 'terminated by signal|PANIC:|TRAP:' "$PGHOST/log"; then
		failing=$((failing + 1))
		echo "    the server crashed, see log/core/server.log"
	fi
	passed=$((identical + patched))
	if [ "$passed" -eq 0 ]; then
		failing=$((failing + 1))
		tail -20 "$LOG/output"
	fi
	echo "core suite of PostgreSQL $version: $identical identical, $patched patched, $failing failing (${SECONDS} s)"
	echo "$passed passed, $failing failed"
}

rm -rf "$LOG"
mkdir -p "$LOG"
prepare_suite
choose_tests
[ "$(id -u)" -ne 0 ] || chown -R postgres "$suite"
server_start core 'fsync = off' 'full_page_writes = off' 'max_prepared_transactions = 2' \
	"deletion_guard.ddl = 'allow'" 'shared_buffers = 128MB' 'log_statement = none'
run_suite
cp -r "$suite"/{results,pristine,expected} "$LOG"
cp "$suite/regression.diffs" "$LOG" 2>/dev/null || true
cp "$PGHOST/log" "$LOG/server.log"
report
[ "$failing" -eq 0 ]
