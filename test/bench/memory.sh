# Private memory of the backend that rehydrates ten tenants, from an archive and
# from one ten times its size.
template saas fill "$TOP/doc/saas.sql"
SIZE=$((TENANTS / 10)) template saas_small fill "$TOP/doc/saas.sql"

# peak DATABASE: megabytes over those of the idle backend.
peak()
{
	[ -e "$WORK/$1.dump" ] || pg_dump -Fc -f "$WORK/$1.dump" "$1"
	chmod 644 "$WORK/$1.dump"
	fresh "$1"
	sql -c 'DELETE FROM site WHERE id <= 10'
	guard_saas
	mkfifo "$WORK/memory"
	sql < "$WORK/memory" > "$WORK/memory.out" 2>&1 &
	local client=$! pid anon before=0 peak=0
	exec 9> "$WORK/memory"
	echo "SELECT pg_backend_pid();" >&9
	until pid=$(grep -m1 . "$WORK/memory.out"); do sleep 0.1; done
	before=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status")
	echo "SELECT sum(restored) FROM deletion_guard.rehydrate((SELECT array_agg(i::text) FROM generate_series(1, 10) i), '$WORK/$1.dump');" >&9
	exec 9>&-
	while anon=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$anon" ]; do
		[ "$anon" -le "$peak" ] || peak=$anon
		sleep 0.02
	done
	wait "$client"
	rm "$WORK/memory"
	echo $(((peak - before) / 1024 + 1))
}

run_small() { peak saas_small; }
run_large() { peak saas; }

rounds small large
report "memory of a rehydrate, archive x10" "archive of $((TENANTS / 10)) tenants" "$(median small)" "$(median large)" "<= 1.2" MB
report "" "256 MB" 256 "$(median large)" "<= 1.0" MB
