# Transactions that delete one row each.
template items fill "$HERE/items.sql"
cat > "$WORK/one_row_delete.sql" <<'END'
\set n :n + 1
\set id :client_id * :share + :n
DELETE FROM item WHERE id = :id;
END
options=(-D n=0 -D share=$((ROWS / 2)))

run_native_off()
{
	fresh items
	PGOPTIONS='-c synchronous_commit=off' tps "$WORK/one_row_delete.sql" "${options[@]}"
}

run_guarded_off()
{
	fresh items
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	PGOPTIONS='-c synchronous_commit=off' tps "$WORK/one_row_delete.sql" "${options[@]}"
}

run_native_on()
{
	fresh items
	tps "$WORK/one_row_delete.sql" "${options[@]}"
}

run_guarded_on()
{
	fresh items
	guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	tps "$WORK/one_row_delete.sql" "${options[@]}"
}

rounds native_off guarded_off native_on guarded_on
report "one-row DELETE, commit async" "native" "$(median native_off)" "$(median guarded_off)" ">= 0.80" tps
report "one-row DELETE, commit sync" "native" "$(median native_on)" "$(median guarded_on)" ">= 0.95" tps
