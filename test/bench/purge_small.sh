# Purging a tenant with a few rows in the bin: CPU of the backend.
template saas fill "$TOP/doc/saas.sql"

run_native()
{
	fresh saas
	cpu_of '' "DELETE FROM site WHERE id = 3;"
}

run_purge()
{
	local token

	fresh saas
	guard_saas
	sql -c 'DELETE FROM app_user WHERE site_id IN (2, 3)'
	"$SIGN" keygen "$WORK/purging" >/dev/null
	sql -v key="$(cat "$WORK/purging.pub")" >/dev/null <<<"SELECT deletion_guard.add_authority('bench', :'key')"
	for tenant in 2 3; do
		sql -c "SELECT deletion_guard.request_purge('$tenant', 'benchmark')" |
			"$SIGN" sign --yes --key "$WORK/purging.key" --kid bench > "$WORK/token.$tenant"
	done
	rm "$WORK"/purging.*
	# the second of a session
	cpu_of "SELECT deletion_guard.purge('$(cat "$WORK/token.2")');" "SELECT deletion_guard.purge('$(cat "$WORK/token.3")');"
}

rounds native purge
report "purge of a small tenant, CPU" "native DELETE of a tenant" "$(least native)" "$(least purge)" "" ms
