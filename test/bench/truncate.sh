# TRUNCATE of a table whose rows are kept, against copying them into a table without an index.
template items fill "$HERE/items.sql"

run_insert()
{
	fresh items
	sql -c 'CREATE TABLE copy (LIKE item)'
	cpu_of '' 'INSERT INTO copy SELECT * FROM item;'
}

run_guarded()
{
	fresh items
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	cpu_of '' 'TRUNCATE item;'
}

rounds insert guarded
report "TRUNCATE, $ROWS rows kept, CPU" "INSERT ... SELECT" "$(least insert)" "$(least guarded)" "<= 1.0" ms
