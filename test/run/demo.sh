#!/bin/bash
# The incident that deletion_guard is for, and three ways out of it, on a
# throwaway server. TENANTS=1000 makes it larger, ISSUES=1000 each tenant.
#
# Every figure printed is measured here; the exit status is 0 only if every
# step held.
DG_PACKAGES=needed
export DG_PACKAGES
. "$(dirname "$0")/setup.sh"
. "$TOP/test/run/server.sh"

TENANTS=${TENANTS:-200}
ISSUES=${ISSUES:-500}
SIGN=$TOP/script/deletion_guard_sign
ARCHIVE=$WORK/before.dump
TABLES="site app_user project issue comment"

[ "$TENANTS" -ge 10 ] || die "TENANTS must be 10 or more"

# --- telling ---------------------------------------------------------------

heading()
{
	printf '\n%s\n' "$*"
}

# say FORMAT VALUE...: a line of the story; whole numbers get their thousands.
say()
{
	local format=$1 value values=()

	shift
	for value; do
		if [[ $value =~ ^[0-9]{4,}$ ]]; then
			value=$(sed -E ':a; s/([0-9])([0-9]{3})(,|$)/\1,\2\3/; ta' <<<"$value")
		fi
		values+=("$value")
	done
	printf "   $format\n" "${values[@]}"
}

failed()
{
	echo
	echo "FAILED: $*"
	exit 1
}

# must_equal WHAT EXPECTED ACTUAL
must_equal()
{
	[ "$2" = "$3" ] || failed "$1: expected
$2
but found
$3"
}

# timed COMMAND...: runs it, keeps its output in "output" and its duration in "seconds".
timed()
{
	local began=$EPOCHREALTIME status=0

	output=$("$@" 2>&1) || status=$?
	seconds=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
	[ "$status" -eq 0 ] || failed "$* says: $output"
}

# --- the database ----------------------------------------------------------

make_database()
{
	createdb saas
	sql -v tenants="$TENANTS" -v issues="$ISSUES" -f "$TOP/doc/saas.sql"
}

# fingerprint WHICH: rows and an order-independent digest of each table, for the
# "wrong" tenants or the "other" ones; what was written meanwhile is left out.
fingerprint()
{
	local table key condition

	for table in $TABLES; do
		key=site_id
		[ "$table" != site ] || key=id
		condition="$key % 5 = 3"
		[ "$1" = wrong ] || condition="$key % 5 <> 3"
		case $table in
			issue) condition+=" AND title <> 'written meanwhile'" ;;
			comment) condition+=" AND body <> 'written meanwhile'" ;;
		esac
		sql -c "SELECT '$table', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM $table t WHERE $condition"
	done
}

rows_of()
{
	awk -F'|' '{ n += $2 } END { print n }' <<<"$1"
}

# --- refusals --------------------------------------------------------------

# refused ROLE WHAT STATEMENT: must fail.
refused()
{
	local message

	if message=$(sql -U "$1" -v VERBOSITY=verbose -c "$3" 2>&1); then
		failed "was not refused: $2"
	fi
	message=$(grep -m1 '^ERROR:\|: ERROR:' <<<"$message" | sed 's/.*ERROR: *//')
	# For want of a privilege, or by the guard; not by mistake.
	case $message in
		42501:* | TG*) ;;
		*) failed "$2: $message" ;;
	esac
	say '%-40s refused: %s' "$2" "${message#*: }"
}

# --- other tenants' traffic ------------------------------------------------

writer_start()
{
	cat > "$WORK/writer.sql" <<-END
		\set tenant 5 * random(1, $TENANTS / 5)
		BEGIN;
		INSERT INTO issue (site_id, project_id, title, status, created_at)
		SELECT site_id, min(id), 'written meanwhile', 0, now() FROM project WHERE site_id = :tenant GROUP BY 1 RETURNING id \gset
		INSERT INTO comment (site_id, issue_id, body, created_at) VALUES (:tenant, :id, 'written meanwhile', now());
		UPDATE issue SET status = 1 WHERE site_id = :tenant AND id = :id;
		COMMIT;
	END
	mkdir "$WORK/traffic"
	touch "$WORK/writing"
	(
		cd "$WORK/traffic"
		while [ -e "$WORK/writing" ]; do
			pgbench -n -c 2 -t 50 -R 200 -l -f "$WORK/writer.sql" saas >> out 2>&1
		done
	) &
	writer=$!
}

# Sets "written" and "longest", the longest transaction in milliseconds.
writer_stop()
{
	rm "$WORK/writing"
	wait "$writer" || failed "other tenants could not write: $(tail -3 "$WORK/traffic/out")"
	written=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$WORK/traffic/out" |
		awk '{ n += $1 } END { print n + 0 }')
	# Columns 3 and 7: duration and, with -R, the part of it spent waiting for its turn.
	longest=$(cat "$WORK"/traffic/pgbench_log.* | awk '{ t = $3 - $7; if (t > max) max = t } END { printf "%.0f", max / 1000 }')
}

# The signing tool tells people what it does on standard error.
keygen()
{
	"$SIGN" keygen "$WORK/$1" 2>"$WORK/sign.log" || failed "keygen: $(cat "$WORK/sign.log")"
}

# sign KEY [OPTION]: signs the claims on standard input in the name of "security".
sign()
{
	"$SIGN" sign --yes --key "$WORK/$1.key" --kid security "${@:2}" 2>"$WORK/sign.log" || failed "sign: $(cat "$WORK/sign.log")"
}

# sign_all FILE: signs the claims of each line, all in one go.
sign_all()
{
	sign security --lines < "$1"
}

# --- the story -------------------------------------------------------------

server_start demo 'shared_buffers = 256MB' 'max_wal_size = 4GB' 'deletion_guard.retention = 0'
export PGOPTIONS='-c client_min_messages=warning'
began=$SECONDS
heading "A multi-tenant database: $TENANTS customers in five shared tables"
PGDATABASE=saas
timed make_database
wrong=$(sql -c "SELECT string_agg(id::text, ',' ORDER BY id) FROM site WHERE id % 5 = 3")
wrong_count=$(sql -c "SELECT count(*) FROM site WHERE id % 5 = 3")
wrong_before=$(fingerprint wrong)
other_before=$(fingerprint other)
say '%s rows, made in %s s' "$(rows_of "$wrong_before
$other_before")" "$seconds"
timed sql -c "CREATE EXTENSION deletion_guard" \
	-c "SELECT deletion_guard.set_tenant_table('public.site', 'id', 'name', 'contact')" \
	-c "SELECT relation || ': ' || problem FROM deletion_guard.guard_schema('public', 'site_id') WHERE problem IS NOT NULL"
must_equal "problems of guard_schema" "" "$(grep . <<<"$output" || true)"
keygen security
sql -v key="$(cat "$WORK/security.pub")" >/dev/null <<<"SELECT deletion_guard.add_authority('security', :'key')"
say 'guarded in %s s, no restart; the key that signs purges is kept elsewhere' "$seconds"

heading "1. A maintenance script is handed the wrong ids"
timed sql -U app -c "SET application_name = 'cleanup.sh'" -c "DELETE FROM site WHERE id = ANY ('{$wrong}')"
say '%s tenants deleted, with all their rows, in %s s; these remain of them:' "$wrong_count" "$seconds"
fingerprint wrong | awk -F'|' '{ printf "      %-10s %8d rows\n", $1, $2 }'
must_equal "rows left" 0 "$(rows_of "$(fingerprint wrong)")"
deletion=$(sql -c "SELECT max(id) FROM deletion_guard.deletion")
say 'what happened, and to whom:'
sql -F ' ' -c "SELECT '     ', 'deletion ' || id || ' by ' || session_role || ', ' || application_name || ': ' || tenants || ' tenants, ' || rows || ' rows'
	FROM deletion_guard.deletion WHERE id = $deletion"
victims=$(sql -F '  ' -c "SELECT DISTINCT tenant::int, tenant_name, contact FROM deletion_guard.deletion_detail WHERE deletion_id = $deletion ORDER BY 1")
must_equal "victims listed" "$wrong_count" "$(grep -c '@' <<<"$victims")"
head -3 <<<"$victims" | sed 's/^/      /'
say '   ... and %s more, with names and contacts' $((wrong_count - 3))
timed sql -c "SELECT sum(restored) FROM deletion_guard.undelete($deletion)"
say 'undelete(%s): %s rows back in %s s' "$deletion" "$output" "$seconds"
must_equal "rows undeleted" "$(rows_of "$wrong_before")" "$output"
must_equal "the wrong tenants' rows" "$wrong_before" "$(fingerprint wrong)"
must_equal "the other tenants' rows" "$other_before" "$(fingerprint other)"
say 'every table is identical to before, row by row'

heading "2. The script deletes again, and tries to destroy for good"
timed pg_dump -Fc -f "$ARCHIVE" saas
archive_seconds=$seconds
chmod 644 "$ARCHIVE"
sql -U app -c "SET application_name = 'cleanup.sh'" -c "DELETE FROM site WHERE id = ANY ('{$wrong}')"
bin=$(sql -c "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'deletion_guard_bin'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1 LIMIT 1")
keygen own
forged=$(sql -c "SELECT deletion_guard.request_purge('3', 'cleanup')" |
	sign own)
refused app "emptying the bin" "DELETE FROM $bin"
refused app "dropping a guarded table" "DROP TABLE comment"
refused app "switching the guard off" "ALTER TABLE site DISABLE TRIGGER USER"
refused app "a purge" "SELECT deletion_guard.purge('$forged')"
say 'and with all the rights there are:'
refused postgres "emptying the bin, as superuser" "DELETE FROM $bin"
refused postgres "dropping everything, as superuser" "DROP SCHEMA public CASCADE"
refused postgres "a purge without a token, as superuser" "SELECT deletion_guard.purge('please')"
refused postgres "a purge signed by itself, as superuser" "SELECT deletion_guard.purge('$forged')"

heading "3. The wrong tenants are really purged: a valid token for the wrong list"
say 'an ordinary pg_dump -Fc was taken before (%s MB, %s s); other tenants keep writing' \
	"$(($(stat -c %s "$ARCHIVE") / 1000000))" "$archive_seconds"
writer_start
sql > "$WORK/claims" <<<"SELECT deletion_guard.request_purge(id, 'contract ended') FROM unnest('{$wrong}'::text[]) id"
must_equal "requests" "$wrong_count" "$(wc -l < "$WORK/claims")"
timed sign_all "$WORK/claims"
say '%s requests reviewed and signed, in one go, in %s s' "$wrong_count" "$seconds"
sed "s/.*/SELECT deletion_guard.purge('&') ->> 'purge';/" <<<"$output" > "$WORK/purge.sql"
timed sql -f "$WORK/purge.sql"
purges=$output
must_equal "purges" "$wrong_count" "$(wc -l <<<"$purges")"
must_equal "rows left in the bin" 0 \
	"$(sql -c "SELECT coalesce(sum(rows - restored - purged), 0) FROM deletion_guard.deletion_detail")"
say '%s tenants purged in %s s; the bin is empty, undelete has nothing left' "$wrong_count" "$seconds"
aud=$(head -1 "$WORK/claims" | perl -MJSON::PP -ne 'print decode_json($_)->{aud}')
sed "s/.*/{\"act\": \"annul_purge\", \"aud\": \"$aud\", \"purge\": &, \"reason\": \"wrong list\"}/" <<<"$purges" > "$WORK/annulments"
timed sign_all "$WORK/annulments"
paste -d' ' <(echo "$purges") <(echo "$output") |
	sed "s/\(.*\) \(.*\)/SELECT deletion_guard.annul_purge(\1, '\2');/" > "$WORK/annul.sql"
timed sql -f "$WORK/annul.sql"
say 'the purges are annulled, under signatures too'
timed sql -c "SELECT sum(restored) FROM deletion_guard.rehydrate('{$wrong}'::text[], '$ARCHIVE')"
say 'rehydrate(%s tenants): %s rows back from the archive in %s s' "$wrong_count" "$output" "$seconds"
must_equal "rows rehydrated" "$(rows_of "$wrong_before")" "$output"
writer_stop
say 'archive against live tables, for the tenants of the list:'
sql -F ' ' > "$WORK/comparison" <<END
SELECT '     ', rpad(relation::text, 10), lpad(sum(archive_rows)::text, 8), 'in the archive', lpad(sum(live_rows)::text, 8), 'live',
	sum(only_in_archive), 'missing', sum(only_live), 'extra', sum(different), 'different'
FROM deletion_guard.compare_tenants('{$wrong}', '$ARCHIVE') WHERE archive_rows IS NOT NULL
GROUP BY relation ORDER BY relation::text
END
cat "$WORK/comparison"
must_equal "tables that compare equal" 5 "$(grep -c ' 0 missing 0 extra 0 different$' "$WORK/comparison")"
must_equal "the wrong tenants' rows" "$wrong_before" "$(fingerprint wrong)"
must_equal "the other tenants' rows" "$other_before" "$(fingerprint other)"
must_equal "what others wrote meanwhile" "$written" \
	"$(sql -c "SELECT count(*) FROM comment c JOIN issue i ON i.site_id = c.site_id AND i.id = c.issue_id
		WHERE c.body = 'written meanwhile' AND i.title = c.body AND i.status = 1")"
say 'meanwhile %s transactions of other tenants, no error, none over %s ms, all of it there' "$written" "$longest"
must_equal "the ledger" t "$(sql -c "SELECT ok FROM deletion_guard.verify_ledger()")"
say 'the ledger of all this verifies'

heading "Every step held, in $((SECONDS - began)) s"
