# Tenants out of a running copy, against COPY of just their rows by hand: out of it into
# files, with the condition on the tenant, and from there into the live tables, with the
# keys checked. One tenant; the same out of a copy that is ten times as large; two fifths
# of the tenants, where the reference is the same call with an archive.
template saas fill "$TOP/test/run/saas.sql"
[ -e "$WORK/saas.dump" ] || pg_dump -Fc -f "$WORK/saas.dump" saas
chmod 644 "$WORK/saas.dump"
# derived NAME STATEMENT...: a template that is made of saas.
derived()
{
	local name=$1 statement

	shift
	[ ! -e "$WORK/template.$name" ] || return 0
	fresh saas "$name"
	for statement; do
		sql -c "$statement"
	done
	sql -c 'VACUUM (FREEZE, ANALYZE)'
	touch "$WORK/template.$name"
}
derived saas_small "DELETE FROM site WHERE id > $((TENANTS / 10))" 'VACUUM FULL'
derived saas_one_gone 'DELETE FROM site WHERE id = 7'
derived saas_gone 'DELETE FROM site WHERE id % 5 < 2'
TABLES="site app_user project issue comment"

# all_in_cache DATABASE
all_in_cache()
{
	PGDATABASE=$1 sql -c "SELECT sum(pg_prewarm(oid)) FROM pg_class WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace" >/dev/null
}

# copied_by_hand DATABASE: both ways, as a script would do it.
copied_by_hand()
{
	local table key began

	settle
	all_in_cache "$1"
	began=$(date +%s.%N)
	for table in $TABLES; do
		key=site_id
		[ $table != site ] || key=id
		echo "COPY (SELECT * FROM $table WHERE $key = 7) TO '$WORK/bench/one.$table.copy';"
	done | PGDATABASE=$1 sql
	{
		echo 'BEGIN;'
		for table in $TABLES; do
			echo "COPY $table FROM '$WORK/bench/one.$table.copy';"
		done
		echo 'COMMIT;'
	} | sql
	awk -v began="$began" -v ended="$(date +%s.%N)" 'BEGIN { printf "%.4f\n", ended - began }'
}

# behind_server DATABASE: it is a copy of the current one.
behind_server()
{
	guard_saas
	sql -c 'CREATE EXTENSION postgres_fdw' -c "CREATE SERVER copy FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$PGHOST', port '$PGPORT', dbname '$1')" \
		-c "CREATE USER MAPPING FOR CURRENT_USER SERVER copy"
	all_in_cache "$1"
}

run_hand()
{
	fresh saas_one_gone
	copied_by_hand saas
}

run_one()
{
	fresh saas_one_gone
	behind_server saas
	seconds_of "SELECT * FROM deletion_guard.rehydrate('7', 'server:copy')"
}

run_one_of_small()
{
	fresh saas_one_gone
	behind_server saas_small
	seconds_of "SELECT * FROM deletion_guard.rehydrate('7', 'server:copy')"
}

some="(SELECT array_agg(i::text) FROM generate_series(1, $TENANTS) i WHERE i % 5 < 2)"
run_many()
{
	fresh saas_gone
	behind_server saas
	seconds_of "SELECT * FROM deletion_guard.rehydrate($some, 'server:copy')"
	[ "$(sql -c 'SELECT count(*) FROM comment')" = "$((TENANTS * ISSUES * 3))" ]
}

run_archive()
{
	fresh saas_gone
	guard_saas
	seconds_of "SELECT * FROM deletion_guard.rehydrate($some, '$WORK/saas.dump')"
}

rounds hand one one_of_small many archive
report "one tenant of $TENANTS, running copy" "COPY TO, COPY FROM by hand" "$(median hand)" "$(median one)" "<= 1.5"
report "same, of a copy ten times as large" "of a tenth" "$(median one_of_small)" "$(median one)" "<= 1.3"
report "$((TENANTS * 2 / 5)) tenants of $TENANTS, running copy" "out of an archive" "$(median archive)" "$(median many)" "<= 1.0"
