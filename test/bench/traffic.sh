# The 99th percentile of other tenants' transactions while tenants are rehydrated, beside
# none of it, and COPY of the same rows; and with a restore_rate.
template saas fill "$TOP/doc/saas.sql"
[ -e "$WORK/saas.dump" ] || pg_dump -Fc -f "$WORK/saas.dump" saas
chmod 644 "$WORK/saas.dump"
cat > "$WORK/traffic.sql" <<END
\set tenant 5 * random(1, $TENANTS / 5)
\set status random(0, 9)
UPDATE project SET name = 'Project ' || :status WHERE site_id = :tenant AND id = :tenant - 1 + $TENANTS;
INSERT INTO comment (site_id, issue_id, body, created_at)
	SELECT site_id, id, 'traffic', now() FROM issue WHERE site_id = :tenant LIMIT 1;
END
for table in site app_user project issue comment; do
	key=site_id
	[ $table != site ] || key=id
	PGDATABASE=saas sql -c "COPY (SELECT * FROM $table WHERE $key % 5 IN (1, 2)) TO '$WORK/bench/traffic_$table.copy'"
done
fresh saas
sql -c 'DELETE FROM site WHERE id % 5 IN (1, 2)' -c 'VACUUM ANALYZE'
guard_saas

# percentile NAME: of the transactions logged, in milliseconds; their turn waited for does not count.
# The longest of each NAME goes to a file.
percentile()
{
	cat "$WORK"/traffic_log.* | awk '{ print ($3 - $7) / 1000 }' | sort -g > "$WORK/latencies"
	rm "$WORK"/traffic_log.*
	awk '{ v[NR] = $1 } END { print v[int((NR * 99 + 99) / 100)] }' "$WORK/latencies"
	tail -1 "$WORK/latencies" >> "$WORK/longest.$1"
}

load()
{
	pgbench -n -M prepared -c 2 -R 100 -l --log-prefix="$WORK/traffic_log" -T "$1" -f "$WORK/traffic.sql" > "$WORK/traffic.out" 2>&1
	! grep -q 'aborted\|ERROR' "$WORK/traffic.out"
}

run_alone()
{
	load 10
	percentile alone
}

# beside NAME STATEMENT: the load while the statement runs, whose rows are deleted again.
beside()
{
	sql -c "$2" >/dev/null &
	local worker=$!
	while kill -0 $worker 2>/dev/null; do
		load 2
	done
	wait $worker
	percentile "$1"
	sql -c 'DELETE FROM site WHERE id % 5 IN (1, 2)' -c 'VACUUM ANALYZE'
}

run_copy()
{
	beside copy "DO \$\$ BEGIN $(for table in site app_user project issue comment; do
		echo "COPY $table FROM '$WORK/bench/traffic_$table.copy';"
	done) END \$\$"
}

run_during() { beside during "$rescue"; }
run_calm() { beside calm "SET deletion_guard.restore_rate = $((TENANTS * ISSUES / 20)); $rescue"; }

rescue="SELECT sum(restored) FROM deletion_guard.rehydrate((SELECT array_agg(i::text) FROM generate_series(1, $TENANTS) i WHERE i % 5 IN (1, 2)), '$WORK/saas.dump')"
rounds alone copy during calm
report "other tenants' p99 in a rehydrate" "without it" "$(median alone)" "$(median during)" "<= 2.0" ms
report "the same" "COPY of the rows" "$(median copy)" "$(median during)" "<= 1.0" ms
report "the same, with a restore_rate" "without it" "$(median alone)" "$(median calm)" "<= 1.5" ms
report "their longest wait" "1 s" 1000 "$(sort -g "$WORK/longest.during" | tail -1)" "<= 1.0" ms
