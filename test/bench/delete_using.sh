# One statement deletes every row of a table with three indexes, found by a join.
template items fill "$HERE/items.sql"

run_native()
{
	fresh items
	sql -c 'CREATE TABLE wanted AS SELECT id FROM item' -c 'ANALYZE wanted'
	cpu_of '' 'DELETE FROM item USING wanted WHERE wanted.id = item.id;'
}

run_guarded()
{
	fresh items
	sql -c 'CREATE TABLE wanted AS SELECT id FROM item' -c 'ANALYZE wanted'
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	cpu_of '' 'DELETE FROM item USING wanted WHERE wanted.id = item.id;'
}

rounds native guarded
report "DELETE ... USING, $ROWS rows, CPU" "native" "$(least native)" "$(least guarded)" "<= 2.0" ms
