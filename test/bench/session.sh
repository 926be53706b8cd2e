# What the guard costs a session: connecting, its first DELETE, and the memory
# of one that deletes from many tables.
TABLES=${TABLES:-2000}

many_tables()
{
	sql <<-END
		CREATE TABLE item (id int PRIMARY KEY, tenant int NOT NULL, body text);
		INSERT INTO item SELECT i, i % 100, md5(i::text) FROM generate_series(1, 10000) i;
		SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, tenant int); INSERT INTO t%s VALUES (1, 1), (2, 1)', i, i) FROM generate_series(1, $TABLES) i \gexec
	END
}
template sessions many_tables

# read_backend FILE STATEMENTS: that file of /proc about a backend that has run the statements.
read_backend()
{
	printf '%s\n' 'SELECT pg_backend_pid() AS pid \gset' '\setenv BACKEND :pid' "$2" "\\! cat /proc/\$BACKEND/$1" |
		psql -XqAt -v ON_ERROR_STOP=1
}

# session_cpu STATEMENT: the CPU of a session that runs it, in milliseconds; # is a number.
session_cpu()
{
	local i

	for ((i = 1; i <= 100; i++)); do
		read_backend schedstat "${1//#/$i}"
	done | sort -g | awk '{ t[NR] = $1 } END { print t[int(NR / 2)] / 1e6 }'
}

delete_from_each()
{
	seq 1 "$TABLES" | sed "s/.*/DELETE FROM t& WHERE id = $1;/"
}

run_connect_native()	{ PGOPTIONS='-c session_preload_libraries=' session_cpu ''; }
run_connect_guarded()	{ session_cpu ''; }
run_first_native()	{ fresh sessions; session_cpu 'DELETE FROM item WHERE id = #;'; }
run_first_guarded()
{
	fresh sessions
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	sql -c 'DELETE FROM item WHERE id = 1000'
	session_cpu 'DELETE FROM item WHERE id = #;'
}
run_memory_native()	{ fresh sessions; read_backend status "$(delete_from_each 1)" | awk '/^RssAnon/ { print $2 / 1024 }'; }
run_memory_guarded()
{
	fresh sessions
	guard "SELECT count(*) FROM deletion_guard.guard_schema('public', 'tenant')"
	delete_from_each 1 | sql
	read_backend status "$(delete_from_each 2)" | awk '/^RssAnon/ { print $2 / 1024 }'
}

fresh sessions
rounds connect_native connect_guarded
report "connection, CPU" "not preloaded" "$(least connect_native)" "$(least connect_guarded)" "<= 1.05" ms
rounds first_native first_guarded
report "session with one DELETE, CPU" "native" "$(least first_native)" "$(least first_guarded)" "" ms
rounds memory_native memory_guarded
report "memory after $TABLES tables" "native" "$(least memory_native)" "$(median memory_guarded)" "" MB
