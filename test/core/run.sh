#!/bin/bash
# PostgreSQL's own regression suite in a database where every table is guarded
# as it is created: nothing may tell a soft delete from a native one.
#
# The suite of the installed major version is fetched (fetch.sh), never kept
# here. Differences that are right are patches/MAJOR/TEST.diff, each with its
# reason in the first line; they are applied to the expected output before it is
# compared. accept.sh makes them. Protection from DDL is off for the run
# (deletion_guard.ddl, deletion_guard.publication = allow): the suite drops what it
# has created, and publishes all tables.
#
#   ONLY="merge triggers"  runs these tests, after those that make their tables
#   BASELINE=yes           runs without the extension
#
# Where the source package is of another minor release than the server, some
# tests differ without the extension too. Such a test is compared with what it
# prints without the extension; the suite runs once more for that, the first
# time.
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

# copy_suite DIR: a copy of the suite that the server's user may write to.
copy_suite()
{
	mkdir -p "$1"
	cp -r "$source/src/test/regress"/{sql,expected,data,resultmap,parallel_schedule} "$1"
	[ "$(id -u)" -ne 0 ] || chown -R postgres "$1"
}

# run_suite DIR ARGUMENT...: the arguments say which tests. The output is kept
# in DIR/output.
run_suite()
{
	local dir=$1

	shift
	as_server "$PGXSDIR/../test/regress/pg_regress" \
		--inputdir="$dir" --outputdir="$dir" --bindir="$BIN" --dlpath="$LIB" \
		--max-concurrent-tests=20 --host="$PGHOST" --port="$PGPORT" --user=postgres \
		"$@" >"$dir/output" 2>&1 </dev/null || true
}

# results DIR: by test, a line "ok NAME" or "failed NAME". Version 15 prints
# "test name ... ok", later ones TAP.
results()
{
	sed -nE -e 's/^(test)? +([a-z0-9_.]+) +\.\.\. (ok|FAILED|failed).*/\3 \2/p' \
		-e 's/^(not )?ok [0-9]+ +[-+] ([a-z0-9_.]+) .*/\1ok \2/p' "$1/output" |
		sed -e 's/^\(FAILED\|not ok\) /failed /' | grep -vx 'ok deletion_guard' || true
}

core_server()
{
	server_start "$1" 'fsync = off' 'full_page_writes = off' 'max_prepared_transactions = 2' \
		"deletion_guard.ddl = 'allow'" "deletion_guard.publication = 'allow'"
}

# What this server prints without the extension, of the tests that differ from
# the source package's expected output; kept with the source.
without_extension()
{
	local status name

	baseline=$source/expected-$version
	[ ! -d "$baseline" ] || return 0
	copy_suite "$WORK/without"
	core_server without-server
	run_suite "$WORK/without" --schedule="$WORK/without/parallel_schedule"
	server_stop
	mkdir -p "$WORK/baseline"
	while read -r status name; do
		[ "$status" = ok ] || cp "$WORK/without/results/$name.out" "$WORK/baseline"
	done < <(results "$WORK/without")
	mv "$WORK/baseline" "$baseline"
}

# Patches the expected output and makes our set-up the first test.
prepare_suite()
{
	local file

	copy_suite "$suite"
	[ -z "$BASELINE" ] || return 0
	if [ "$(cat "$source/version")" != "$version" ]; then
		without_extension
		find "$baseline" -name '*.out' -exec cp -t "$suite/expected" {} +
		echo "source package $(cat "$source/version"), server $version:" \
			"$(ls "$baseline" | wc -l) tests are compared with their output without the extension"
	fi
	cp -r "$suite/expected" "$suite/pristine"
	for file in "$patches"/*.diff; do
		[ ! -e "$file" ] || patch -s -d "$suite" -p1 < "$file" || die "$file does not apply"
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
		[ -n "$BASELINE" ] || what=(deletion_guard)
		for name in $FIRST; do
			[[ " $ONLY " == *" $name "* ]] || what+=("$name")
		done
		what+=($ONLY)
	fi
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
	done < <(results "$suite")
	if grep -qE 'terminated by signal|PANIC:|TRAP:' "$PGHOST/log"; then
		failing=$((failing + 1))
		echo "    the server crashed, see log/core/server.log"
	fi
	if [ -s "$suite/after" ]; then
		failing=$((failing + 1))
		echo "    after the suite (log/core/after):"
		head -20 "$suite/after" | sed 's/^/    /'
	fi
	passed=$((identical + patched))
	if [ "$passed" -eq 0 ]; then
		failing=$((failing + 1))
		tail -20 "$suite/output"
	fi
	echo "core suite of PostgreSQL $version: $identical identical, $patched patched, $failing failing ($SECONDS s)"
	echo "$passed passed, $failing failed"
}

if ! source=$("$CORE/fetch.sh" "$major" 2>"$WORK/fetch.log"); then
	echo "core suite skipped: $(tail -1 "$WORK/fetch.log")"
	exit 0
fi
cc $("$PG_CONFIG" --cflags) $("$PG_CONFIG" --cflags_sl) -w -I"$("$PG_CONFIG" --includedir-server)" \
	-shared -o "$LIB/regress.so" "$source/src/test/regress/regress.c"

suite=$WORK/suite
prepare_suite
choose_tests
core_server core
run_suite "$suite" "${what[@]}"
[ -n "$BASELINE" ] || psql -XqAt -d regression -f "$CORE/after.sql" > "$suite/after" 2>&1
rm -rf "$LOG"
mkdir -p "$LOG"
cp -r "$suite"/{results,pristine,expected,output,regression.diffs,after} "$LOG" 2>/dev/null || true
cp "$PGHOST/log" "$LOG/server.log"
echo "$major" > "$LOG/major"
report
[ "$failing" -eq 0 ]
