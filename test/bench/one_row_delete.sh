# Transactions that delete one row each.
template items fill "$HERE/items.sql"

# Each turn has ids of its own.
cat > "$WORK/one_row_delete.sql" <<END
\set n :n + 1
\set id :turn * ($ROWS / :turns) + :n
DELETE FROM item WHERE id = :id;
END

export PGOPTIONS='-c synchronous_commit=off'
tps_pair async "$WORK/one_row_delete.sql"
export PGOPTIONS=
tps_pair sync "$WORK/one_row_delete.sql"
report "one-row DELETE, commit async" "native" "$(median async_native)" "$(median async_guarded)" ">= 0.80" tps
report "one-row DELETE, commit sync" "native" "$(median sync_native)" "$(median sync_guarded)" ">= 0.95" tps
