# Two fifths of the tenants come back from an archive, against COPY of their rows.
template saas fill "$TOP/doc/saas.sql"
[ -e "$WORK/saas.dump" ] || pg_dump -Fc -f "$WORK/saas.dump" saas
chmod 644 "$WORK/saas.dump"
for table in site app_user project issue comment; do
	key=site_id
	[ $table != site ] || key=id
	PGDATABASE=saas sql -c "COPY (SELECT * FROM $table WHERE $key % 5 < 2) TO '$WORK/bench/$table.copy'"
done
make_gone()
{
	fill "$TOP/doc/saas.sql"
	sql -c 'DELETE FROM site WHERE id % 5 < 2'
}
template saas_gone make_gone

run_copy()
{
	fresh saas_gone
	seconds_of "DO \$\$ BEGIN $(for table in site app_user project issue comment; do
		echo "COPY $table FROM '$WORK/bench/$table.copy';"
	done) END \$\$"
}

run_rehydrate()
{
	fresh saas_gone
	guard_saas
	seconds_of "SELECT * FROM deletion_guard.rehydrate((SELECT array_agg(i::text) FROM generate_series(1, $TENANTS) i WHERE i % 5 < 2), '$WORK/saas.dump')"
	[ "$(sql -c 'SELECT count(*) FROM comment')" = "$((TENANTS * ISSUES * 3))" ]
}

rounds copy rehydrate
report "rehydrate of $((TENANTS * 2 / 5)) tenants of $TENANTS" "COPY of the same rows" "$(median copy)" "$(median rehydrate)" "<= 0.75"
