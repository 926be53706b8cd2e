# What the guard costs small DELETEs: CPU of the backend, and WAL. Unlike
# transactions per second it is the same whatever else the machine does.
N=5000

small_tables()
{
	sql <<-END
		CREATE TABLE item (id int PRIMARY KEY, tenant int NOT NULL, body text);
		INSERT INTO item SELECT i, i / 10 % 100, repeat(md5(i::text), 3) FROM generate_series(1, 400000) i;
		CREATE TABLE list (id int PRIMARY KEY, tenant int NOT NULL);
		CREATE TABLE task (id int PRIMARY KEY, list_id int NOT NULL REFERENCES list);
		CREATE TABLE step (id int PRIMARY KEY, task_id int NOT NULL REFERENCES task, body text);
		INSERT INTO list SELECT i, i % 100 FROM generate_series(1, 1000) i;
		INSERT INTO task SELECT i, 1 + i % 1000 FROM generate_series(1, 10000) i;
		INSERT INTO step SELECT i, 1 + i % 10000, repeat(md5(i::text), 3) FROM generate_series(1, 100000) i;
	END
}
template small small_tables

# Native and guarded by turns, which "variant" says.
database()
{
	fresh small
	[ "$variant" != guarded ] || guard "SELECT deletion_guard.guard_table(t, 'tenant') FROM unnest('{item,list}'::regclass[]) t;
		SELECT deletion_guard.guard_table('task', tenant_path => '{task_list_id_fkey}'), deletion_guard.guard_table('step', tenant_path => '{step_task_id_fkey,task_list_id_fkey}')"
}

# repeated FIRST LAST STATEMENT: the statement for each number, in place of #.
repeated()
{
	seq "$1" "$2" | awk -v statement="$3" '{ line = statement; gsub(/#/, $1, line); print line }'
}

BY_KEY='PREPARE d AS DELETE FROM item WHERE id = $1;'
TEN='PREPARE d AS DELETE FROM item WHERE id BETWEEN $1 * 10 AND $1 * 10 + 9;'
STEP='PREPARE d AS DELETE FROM step WHERE id = $1;'
each='EXECUTE d(#);'

run_one()	{ cpu_of "$BY_KEY $(repeated 1 50 "$each")" "$(repeated 100 $((N + 99)) "$each")"; }
run_wal()	{ wal_of "$BY_KEY $(repeated 1 50 "$each")" "$(repeated 100 $((N + 99)) "$each")"; }
run_ten()	{ cpu_of "$TEN $(repeated 1 50 "$each")" "$(repeated 100 1099 "$each")"; }
run_path()	{ cpu_of "$STEP $(repeated 1 50 "$each")" "$(repeated 100 $((N + 99)) "$each")"; }
run_loop()	{ cpu_of "DO \$\$ BEGIN FOR i IN 1..50 LOOP DELETE FROM item WHERE id = i; END LOOP; END \$\$;" \
	"DO \$\$ BEGIN FOR i IN 100..10099 LOOP DELETE FROM item WHERE id = i; END LOOP; END \$\$;"; }
run_together()	{ cpu_of "$BY_KEY $(repeated 1 50 "$each")" "BEGIN; $(repeated 100 10099 "$each") COMMIT;"; }
run_bulk()	{ wal_of 'DELETE FROM item WHERE id <= 50;' 'DELETE FROM item WHERE id > 200000;'; }

# compare WHAT FUNCTION UNIT DIVISOR LIMIT
compare()
{
	local round variant

	for ((round = 1; round <= ROUNDS; round++)); do
		for variant in native guarded; do
			database
			run_$2 > "$WORK/figure"
			awk -v what="$row $2_$variant" -v n="$4" '{ print what, $1 / n }' "$WORK/figure" >> "$WORK/figures"
		done
	done
	report "$1" "native" "$(least "$2_native")" "$(least "$2_guarded")" "$5" "$3"
}

compare "one-row DELETE, prepared, CPU" one us "$N.0e-3" "<= 1.35"
compare "one-row DELETE, WAL" wal byte "$N" ""
compare "ten rows of one tenant, CPU" ten us 1 "<= 1.15"
compare "one row, path of two keys, CPU" path us "$N.0e-3" "<= 1.35"
compare "one-row DELETE in a loop, CPU" loop us 10 "<= 2.0"
compare "10,000 DELETEs, one transaction, CPU" together us 10 "<= 1.25"
compare "bulk DELETE, WAL of a row" bulk byte 200000 ""
