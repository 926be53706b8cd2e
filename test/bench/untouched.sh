# What is not a DELETE costs nothing.
template items fill "$HERE/items.sql"
cat > "$WORK/select.sql" <<END
\set id random(1, $ROWS)
SELECT * FROM item WHERE id = :id;
END
cat > "$WORK/insert.sql" <<END
\set n :n + 1
\set id $ROWS + :client_id * 100000000 + :n
INSERT INTO item VALUES (:id, 1, 'code', 'title', 1.5, now());
END
cat > "$WORK/update.sql" <<END
\set id random(1, $ROWS)
UPDATE item SET amount = amount + 1 WHERE id = :id;
END
export PGOPTIONS='-c synchronous_commit=off'

measure()
{
	[ "$1" = native ] || guard "SELECT deletion_guard.guard_table('item', 'tenant')"
	tps "$WORK/$2.sql" -D n=0
}

for verb in select insert update; do
	eval "run_native_$verb() { fresh items; measure native $verb; }"
	eval "run_guarded_$verb() { fresh items; measure guarded $verb; }"
	rounds "native_$verb" "guarded_$verb"
	report "one-row ${verb^^}, guarded table" "native" "$(median "native_$verb")" "$(median "guarded_$verb")" ">= 0.98" tps
done
