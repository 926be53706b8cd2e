# One tenant out of an archive of all, against pg_restore reading through it.
template saas fill "$TOP/doc/saas.sql"
[ -e "$WORK/saas.dump" ] || pg_dump -Fc -f "$WORK/saas.dump" saas
chmod 644 "$WORK/saas.dump"
fresh saas
sql -c 'DELETE FROM site WHERE id = 3'
guard_saas

run_pg_restore()
{
	local began=$EPOCHREALTIME

	pg_restore -a -f /dev/null "$WORK/saas.dump"
	awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}

run_rehydrate()
{
	seconds_of "SELECT * FROM deletion_guard.rehydrate('3', '$WORK/saas.dump', dry_run => true)"
}

rounds pg_restore rehydrate
report "one tenant of $TENANTS from -Fc, $(($(stat -c %s "$WORK/saas.dump") / 1000000)) MB" "pg_restore -a -f /dev/null" \
	"$(median pg_restore)" "$(median rehydrate)" "<= 0.6"
