# To be sourced after setup.sh: a throwaway server on a unix socket.

# server_start NAME [setting = value]...
# Makes and starts a server in $WORK/NAME and points the PG* variables at it.
server_start()
{
	local dir="$WORK/$1"
	shift

	mkdir "$dir"
	[ "$(id -u)" -ne 0 ] || chown postgres "$dir"
	as_server "$BIN/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale -N >"$WORK/initdb.log" 2>&1 ||
		{ cat "$WORK/initdb.log" >&2; die "initdb failed"; }
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$dir'"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} | as_server tee -a "$dir/data/postgresql.conf" >/dev/null
	as_server "$BIN/pg_ctl" -s -w -D "$dir/data" -l "$dir/log" start >/dev/null ||
		{ cat "$dir/log" >&2; die "the server did not start"; }
	export PGHOST="$dir" PGUSER=postgres PGPORT=5432 PGDATABASE=postgres
}

server_restart()
{
	as_server "$BIN/pg_ctl" -s -w -m fast -D "$PGHOST/data" -l "$PGHOST/log" restart >/dev/null
}

server_stop()
{
	as_server "$BIN/pg_ctl" -s -w -m fast -D "$PGHOST/data" stop
}

# psql that stops at the first error, values only.
sql()
{
	psql -XqAt -v ON_ERROR_STOP=1 "$@"
}
