# All rows of a table come back, against INSERT ... SELECT of the same rows.
template items fill "$HERE/items.sql"

run_insert()
{
	fresh items
	sql -c 'CREATE TABLE saved AS SELECT * FROM item' -c 'DELETE FROM item'
	seconds_of 'INSERT INTO item SELECT * FROM saved'
}

run_undelete()
{
	fresh items
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	sql -c 'DELETE FROM item'
	seconds_of 'SELECT * FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))'
	[ "$(sql -c 'SELECT count(*) FROM item')" = "$ROWS" ]
}

rounds insert undelete
report "undelete of $ROWS rows" "INSERT ... SELECT" "$(median insert)" "$(median undelete)" "<= 1.3"
