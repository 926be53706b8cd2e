# What is not a DELETE costs nothing.
template items fill "$HERE/items.sql"
cat > "$WORK/select.sql" <<END
\set id random(1, $ROWS)
SELECT * FROM item WHERE id = :id;
END
cat > "$WORK/insert.sql" <<END
\set n :n + 1
\set id $ROWS + :turn * 100000000 + :n
INSERT INTO item VALUES (:id, 1, 'code', 'title', 1.5, now());
END
cat > "$WORK/update.sql" <<END
\set id random(1, $ROWS)
UPDATE item SET amount = amount + 1 WHERE id = :id;
END

export PGOPTIONS='-c synchronous_commit=off'
for verb in select insert update; do
	tps_pair "$verb" "$WORK/$verb.sql"
	report "one-row ${verb^^}, guarded table" "native" "$(median "${verb}_native")" "$(median "${verb}_guarded")" ">= 0.98" tps
done
