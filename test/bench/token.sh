# Checking a token, in microseconds, against the signature check alone.
template empty true
fresh empty
guard "SELECT 1"
"$SIGN" keygen "$WORK/bench" >/dev/null
sql -v key="$(cat "$WORK/bench.pub")" >/dev/null <<<"SELECT deletion_guard.add_authority('bench', :'key')"
audience=$(sql -c 'SELECT deletion_guard.audience()')
token=$("$SIGN" sign --yes --key "$WORK/bench.key" --kid bench <<<"{\"act\": \"annul_purge\", \"aud\": \"$audience\", \"purge\": 1, \"reason\": \"benchmark\"}")
[ "$(sql -c "SELECT ok FROM deletion_guard.check_token('$token')")" = t ]

run_check()
{
	seconds_of "DO \$\$ BEGIN FOR i IN 1..1000 LOOP PERFORM deletion_guard.check_token('$token'); END LOOP; END \$\$" |
		awk '{ print $1 * 1000 }'
}

run_openssl()
{
	openssl speed -seconds 1 ed25519 2>/dev/null | awk '/Ed25519/ { print 1000000 / $NF }'
}

rounds openssl check
report "check_token(), Ed25519" "openssl verify alone" "$(median openssl)" "$(median check)" "" us
