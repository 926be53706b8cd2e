#!/bin/bash
# The figures of deletion_guard, each beside its reference, in one run on one
# server: the median of ROUNDS (3) rounds that take turns, every one on a fresh
# copy of the same database, in cache, after a checkpoint.
#
#   ONLY="bulk_delete cascade"  some rows of the table
#   ROWS=1000000                of the one-table benchmarks
#   TENANTS=1000 ISSUES=1000    of the multi-tenant ones
#   SECONDS_EACH=1              of each turn of the pgbench ones
. "$(dirname "$0")/../run/setup.sh"
. "$TOP/test/run/server.sh"

ROWS=${ROWS:-1000000}
TENANTS=${TENANTS:-1000}
ISSUES=${ISSUES:-1000}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-1}
ALL="bulk_delete delete_using truncate cascade one_row_delete one_row_cost session untouched undelete bin_growth purge_small token archive_read rehydrate running_copy memory traffic"
HERE=$TOP/test/bench
SIGN=$TOP/script/deletion_guard_sign

# --- measuring -------------------------------------------------------------

# template NAME COMMAND...: makes a database once; the command fills it.
template()
{
	local name=$1

	shift
	[ ! -e "$WORK/template.$name" ] || return 0
	createdb "$name"
	PGDATABASE=$name sql -c 'CREATE EXTENSION pg_prewarm' >/dev/null
	PGDATABASE=$name "$@" >/dev/null
	PGDATABASE=$name sql -c 'VACUUM (FREEZE, ANALYZE)'
	touch "$WORK/template.$name"
}

fill()
{
	sql -v rows="$ROWS" -v tenants="${SIZE:-$TENANTS}" -v issues="$ISSUES" -f "$1"
}

# fresh TEMPLATE [NAME]: database NAME becomes a new copy of it, and the current one.
fresh()
{
	local name=${2:-bench}

	PGDATABASE=postgres sql -c "DROP DATABASE IF EXISTS $name WITH (FORCE)" 2>/dev/null \
		-c "CREATE DATABASE $name TEMPLATE $1 STRATEGY file_copy"
	export PGDATABASE=$name
}

# guard: the current database comes under guard.
guard()
{
	sql -c 'CREATE EXTENSION deletion_guard' -c "$1" >/dev/null
}

guard_saas()
{
	guard "SELECT deletion_guard.set_tenant_table('public.site', 'id', 'name', 'contact'); SELECT * FROM deletion_guard.guard_schema('public', 'site_id')"
}

# settle: every table and index in cache, nothing left to be written.
settle()
{
	sql -c "SELECT sum(pg_prewarm(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'i') AND n.nspname IN ('public', 'deletion_guard', 'deletion_guard_bin')" \
		-c CHECKPOINT >/dev/null
}

# seconds_of STATEMENT: how long it takes.
seconds_of()
{
	settle
	psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c '\timing on' -c "$1" |
		awk '/^Time:/ { s = $2 / 1000 } END { printf "%.4f\n", s }'
}

# measured PROGRAM BEFORE STATEMENTS: runs BEFORE, then STATEMENTS, in one session;
# psql's commands in PROGRAM come before and after STATEMENTS.
measured()
{
	settle
	printf '%s\n' 'SET synchronous_commit = off;' 'SET jit = off;' 'SELECT pg_backend_pid() AS pid \gset' \
		'\setenv BACKEND :pid' "$2" "$1" "$3" "$1" | psql -XqAt -v ON_ERROR_STOP=1 -o /dev/null >"$WORK/measured"
}

# cpu_of BEFORE STATEMENTS: milliseconds of the backend's CPU.
cpu_of()
{
	measured '\! cat /proc/$BACKEND/schedstat' "$@"
	awk '{ t[NR] = $1 } END { printf "%.4f\n", (t[2] - t[1]) / 1e6 }' "$WORK/measured"
}

# wal_of BEFORE STATEMENTS: bytes of WAL, without images of pages.
wal_of()
{
	sql -c 'ALTER SYSTEM SET full_page_writes = off' -c 'SELECT pg_reload_conf()' >/dev/null
	measured "SELECT pg_current_wal_insert_lsn() - '0/0' \g $WORK/lsn
\\! cat $WORK/lsn" "$@"
	awk '{ t[NR] = $1 } END { printf "%d\n", t[2] - t[1] }' "$WORK/measured"
}

# tps SCRIPT [OPTION]...: transactions per second of a pgbench script.
tps()
{
	local script=$1

	shift
	sql -c CHECKPOINT
	pgbench -n -M prepared -T "$SECONDS_EACH" "$@" -f "$script" 2>"$WORK/pgbench.err" |
		awk '/^tps/ { print $3 }'
	# A client that aborts does not make pgbench fail in every version.
	if grep -q 'aborted\|ERROR' "$WORK/pgbench.err"; then
		cat "$WORK/pgbench.err" >&2
		return 1
	fi
}

# tps_pair NAME SCRIPT: on a native and a guarded copy of the table, in short
# turns, native first and guarded first alternately, so that what else the
# machine does meets both. The script finds the turn in :turn.
tps_pair()
{
	local turn pair name
	local turns=$((ROUNDS * 4))

	fresh items native
	settle
	fresh items guarded
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	settle
	for ((turn = 0; turn < turns; turn++)); do
		pair="native guarded"
		[ $((turn % 2)) -eq 0 ] || pair="guarded native"
		for name in $pair; do
			PGDATABASE=$name tps "$2" -D n=0 -D turn=$turn -D turns=$turns > "$WORK/figure"
			echo "$row $1_$name $(cat "$WORK/figure")" >> "$WORK/figures"
		done
	done
	PGDATABASE=postgres sql -c 'DROP DATABASE native' -c 'DROP DATABASE guarded'
}

# rounds VARIANT...: runs the function run_VARIANT of each in turn, ROUNDS times.
rounds()
{
	local round variant

	for ((round = 1; round <= ROUNDS; round++)); do
		for variant; do
			"run_$variant" > "$WORK/figure"
			echo "$row $variant $(cat "$WORK/figure")" >> "$WORK/figures"
		done
	done
}

# The median of a variant of this row.
median()
{
	awk -v row="$row" -v variant="$1" '$1 == row && $2 == variant { print $3 }' "$WORK/figures" |
		sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# The least of a variant of this row: for CPU, to which others can only add.
least()
{
	awk -v row="$row" -v variant="$1" '$1 == row && $2 == variant { print $3 }' "$WORK/figures" | sort -g | head -1
}

# report WHAT REFERENCE_NAME REFERENCE OURS "<= LIMIT" UNIT: a line of the table.
# Without a limit it is a figure to know.
report()
{
	awk -v what="$1" -v name="$2" -v reference="$3" -v ours="$4" -v target="$5" -v unit="${6:-s}" 'BEGIN {
		ratio = reference > 0 ? ours / reference : 0
		split(target, t, " ")
		met = target == "" ? "" : (t[1] == "<=" ? ratio <= t[2] : ratio >= t[2]) ? "yes" : "NO"
		printf "%-36s %-28s %10s %10s %-4s %6.2f  %-8s %s\n", what, name, number(reference), number(ours), unit, ratio, target, met
	}
	function number(x) { return sprintf(x >= 100 ? "%.0f" : x >= 1 ? "%.2f" : "%.4f", x) }' | tee -a "$WORK/table"
}

# --- the run ---------------------------------------------------------------

server_start bench 'shared_buffers = 1GB' 'min_wal_size = 4GB' 'max_wal_size = 16GB' 'checkpoint_timeout = 1h' \
	'autovacuum = off' 'session_preload_libraries = deletion_guard' 'deletion_guard.retention = 0'
echo "PostgreSQL $(sql -c 'SHOW server_version'), $(nproc) cores, fsync and synchronous_commit on, shared_buffers 1GB, autovacuum off, library preloaded"
echo "ROWS=$ROWS TENANTS=$TENANTS ISSUES=$ISSUES, median of $ROUNDS"
echo
printf '%-36s %-28s %10s %10s %-4s %6s  %-8s %s\n' what reference reference ours unit ratio target met
status=0
for row in ${ONLY:-$ALL}; do
	[ -f "$HERE/$row.sh" ] || die "no benchmark \"$row\"; there are: $ALL"
	# In the background, where set -e holds.
	(. "$HERE/$row.sh") 2>"$WORK/errors" &
	if ! wait $!; then
		echo "$row did not run: $(grep -m1 -i error "$WORK/errors" || head -1 "$WORK/errors")"
		status=1
	fi
done
mkdir -p "$TOP/log"
cp "$WORK/figures" "$TOP/log/bench.figures" 2>/dev/null || true
exit $status
