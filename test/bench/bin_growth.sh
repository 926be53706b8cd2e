# Undeleting and purging one tenant as the bin grows ten times.
template saas fill "$TOP/doc/saas.sql"

# bin_of N: a guarded database with N tenants in the bin, one by one.
bin_of()
{
	fresh saas
	guard_saas
	sql -c "DELETE FROM site WHERE id = 1"
	sql <<-END
		DO \$\$ BEGIN FOR i IN 2..$1 LOOP DELETE FROM public.site WHERE id = i; COMMIT; END LOOP; END \$\$
	END
	sql -c ANALYZE
}

run_undelete_small() { bin_of $((TENANTS / 50)); seconds_of "SELECT * FROM deletion_guard.undelete_tenant('2')"; }
run_undelete_large() { bin_of $((TENANTS / 5)); seconds_of "SELECT * FROM deletion_guard.undelete_tenant('2')"; }

purge_seconds()
{
	local token

	"$SIGN" keygen "$WORK/growth.$1" >/dev/null
	sql -v key="$(cat "$WORK/growth.$1.pub")" >/dev/null <<<"SELECT deletion_guard.add_authority('growth', :'key')"
	token=$(sql -c "SELECT deletion_guard.request_purge('3', 'benchmark')" |
		"$SIGN" sign --yes --key "$WORK/growth.$1.key" --kid growth)
	rm "$WORK/growth.$1".*
	seconds_of "SELECT deletion_guard.purge('$token')"
}

run_purge_small() { bin_of $((TENANTS / 50)); purge_seconds small; }
run_purge_large() { bin_of $((TENANTS / 5)); purge_seconds large; }

rounds undelete_small undelete_large
report "undelete of a tenant, bin x10" "bin of $((TENANTS / 50)) tenants" "$(median undelete_small)" "$(median undelete_large)" "<= 1.5"
rounds purge_small purge_large
report "purge of a tenant, bin x10" "bin of $((TENANTS / 50)) tenants" "$(median purge_small)" "$(median purge_large)" "<= 1.5"
