# One statement deletes every row of a table with three indexes.
template items fill "$HERE/items.sql"

run_native()
{
	fresh items
	seconds_of 'DELETE FROM item'
}

run_guarded()
{
	fresh items
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	seconds_of 'DELETE FROM item'
}

run_statement_trigger()
{
	fresh items
	sql -f "$HERE/statement_trigger.sql"
	seconds_of 'DELETE FROM item'
}

run_row_trigger()
{
	fresh items
	sql -f "$HERE/row_trigger.sql"
	seconds_of 'DELETE FROM item'
}

run_in_place()
{
	fresh items
	sql -c 'ALTER TABLE item ADD deleted_at timestamptz'
	seconds_of 'UPDATE item SET deleted_at = now()'
}

rounds native guarded statement_trigger row_trigger in_place
ours=$(median guarded)
report "bulk DELETE, $ROWS rows" "native DELETE" "$(median native)" "$ours" "<= 2.2"
report "" "in-place UPDATE" "$(median in_place)" "$ours" "<= 0.25"
report "" "PL/pgSQL statement trigger" "$(median statement_trigger)" "$ours" ""
report "" "PL/pgSQL row trigger" "$(median row_trigger)" "$ours" ""
