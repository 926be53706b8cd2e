# TimescaleDB: hypertables are guarded with their chunks, those to come among them; what cannot be kept is refused in words.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'timescaledb is not installed' if !has_extension('timescaledb');
my $node = neighbour('timescaledb,deletion_guard', "timescaledb.telemetry_level = off\n");
my $dir = PostgreSQL::Test::Utils::tempdir;

sub sql
{
	return $node->safe_psql($_[1] // 'postgres', $_[0]);
}

sub readings
{
	return sql('SELECT count(*), sum(v), md5(string_agg(r::text, chr(10) ORDER BY at, v)) FROM reading r', $_[0]);
}

# Kept rows of the last deletion, by table.
sub kept
{
	return sql('SELECT relation_name || sum(rows) FROM deletion_guard.deletion_detail WHERE deletion_id = (SELECT max(id) FROM deletion_guard.deletion) GROUP BY relation_name ORDER BY 1');
}

sub undelete_last
{
	return sql('SELECT sum(restored) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))');
}

sub all_is_well
{
	is(sql(q{SELECT string_agg(check_name || ' ' || object, ', ') FROM deletion_guard.verify() WHERE NOT ok}, $_[1]), '', "verify() finds nothing wrong $_[0]");
}

# The hypertable and its chunks have the guard's triggers, and they fire always.
sub guarded
{
	my ($name, $table, $db) = @_;
	my $triggers = sql("SELECT string_agg(DISTINCT t, '; ') FROM (
		SELECT string_agg(substr(tgname, 16) || tgenabled::text, ' ' ORDER BY tgname) AS t
		FROM (SELECT '$table'::regclass AS oid UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = '$table'::regclass) c
		LEFT JOIN pg_trigger g ON g.tgrelid = c.oid AND tgname ~ '^deletion_guard' GROUP BY c.oid) x", $db);

	is($triggers =~ s/ linkA//r, 'capture_rowA truncateA', $name);
}

my $refused = qr/cannot drop table "(reading|.*chunk)": it is guarded against deletion/;

sql(<<'SQL');
CREATE EXTENSION timescaledb;
CREATE TABLE org (id int PRIMARY KEY, name text);
CREATE TABLE sensor (id int PRIMARY KEY, org_id int NOT NULL REFERENCES org ON DELETE CASCADE);
CREATE TABLE reading (junk int, at timestamptz NOT NULL, sensor_id int REFERENCES sensor ON DELETE CASCADE, near int REFERENCES sensor ON DELETE SET NULL,
	v float CHECK (v < 5000), note text, UNIQUE (at, v));
ALTER TABLE reading DROP COLUMN junk;
SELECT create_hypertable('reading', 'at', chunk_time_interval => interval '1 day');
INSERT INTO org SELECT i, 'org ' || i FROM generate_series(0, 3) i;
INSERT INTO sensor SELECT i, i % 3 FROM generate_series(1, 9) i;
INSERT INTO reading SELECT '2024-01-01 UTC'::timestamptz + i * interval '1 hour', 1 + i % 9, 1 + i % 7, i, repeat('x', i * 60) FROM generate_series(1, 60) i;
CREATE TABLE still_empty (at timestamptz NOT NULL, org_id int);
SELECT create_hypertable('still_empty', 'at');
SELECT deletion_guard.set_tenant_table('org', 'id', 'name');
SQL
is(sql(q{SELECT relation, tenant_source, problem FROM deletion_guard.guard_schema('public', 'org_id') ORDER BY relation::text}) =~ s/\|near.*/|?/r =~ s/\breading\|.*/reading|?/r,
	"org|column id|\nreading|?\nsensor|column org_id|\nstill_empty|column org_id|", 'a schema is enrolled with its hypertables');
sql(q{SELECT deletion_guard.guard_table('reading', tenant_path => '{reading_sensor_id_fkey,sensor_org_id_fkey}')});
guarded('a hypertable and its chunks are guarded', 'reading');
guarded('an empty one, too', 'still_empty');
refused($node, 'a chunk by itself', "SELECT deletion_guard.guard_table(c) FROM show_chunks('reading') c", qr/it is a chunk of a hypertable/);
refused($node, 'a chunk is not unguarded', "SELECT deletion_guard.unguard_table(c) FROM show_chunks('reading') c", qr/is guarded as a part of "reading"/);
refused($node, 'nor the tenant table', "SELECT deletion_guard.set_tenant_table('still_empty', 'org_id')", qr/a hypertable cannot be the tenant table/);
all_is_well('with hypertables');

# --- rows go, and come back ------------------------------------------------------------------

my $before = readings();
sub goes_and_comes
{
	my ($name, $statement, $expected) = @_;

	sql($statement);
	is(kept(), $expected, "$name: kept");
	isnt(readings(), $before, "$name: gone");
	undelete_last();
	is(readings(), $before, "$name: back");
}

goes_and_comes('DELETE', 'DELETE FROM reading WHERE v BETWEEN 10 AND 40', 'public.reading31');
goes_and_comes('DELETE that returns', 'WITH gone AS (DELETE FROM reading WHERE v > 50 RETURNING *) SELECT count(*) FROM gone', 'public.reading10');
goes_and_comes('DELETE from a chunk', "DO \$\$ BEGIN EXECUTE (SELECT format('DELETE FROM %s', c) FROM show_chunks('reading') c LIMIT 1); END \$\$", 'public.reading23');
goes_and_comes('MERGE', 'MERGE INTO reading r USING (VALUES (6), (30)) s (v) ON r.v = s.v WHEN MATCHED THEN DELETE', 'public.reading2');
goes_and_comes('a cascade, with links', 'DELETE FROM org WHERE id = 1', "public.org1\npublic.reading20\npublic.sensor3");
goes_and_comes('TRUNCATE', 'TRUNCATE reading', 'public.reading60');
goes_and_comes('TRUNCATE of a chunk', "DO \$\$ BEGIN EXECUTE (SELECT format('TRUNCATE %s', c) FROM show_chunks('reading') c ORDER BY c LIMIT 1); END \$\$", 'public.reading23');
goes_and_comes('in a session without triggers', 'SET session_replication_role = replica; DELETE FROM reading WHERE v = 5', 'public.reading1');
guarded('chunks that were made anew are guarded', 'reading');
is(sql(q{SELECT rows FROM deletion_guard.preview('DELETE FROM reading WHERE v < 10')}) =~ s/\n/+/gr, '3+3+3', 'preview() counts');
refused($node, 'a ceiling', 'SET deletion_guard.max_rows = 5; DELETE FROM reading', qr/deletion refused: \d+ rows/);
refused($node, 'the wrong tenant', "SET deletion_guard.expect_tenants = '2'; DELETE FROM reading WHERE sensor_id = 1", qr/tenant/);
refused($node, 'a row in another chunk is for TimescaleDB to refuse', "UPDATE reading SET at = '2020-01-01' WHERE v = 1", qr/violates check constraint/);
is(readings(), $before, 'nothing of that is done');

# --- chunks go, and tables ----------------------------------------------------------------------

my $drop = "SELECT drop_chunks('reading', '2024-01-03 UTC'::timestamptz)";
refused($node, 'drop_chunks()', $drop, $refused);
refused($node, 'with the way out', $drop, qr/With deletion_guard.ddl = keep/);
sql('DELETE FROM reading WHERE v < 24');
is(sql("SELECT count(*) FROM drop_chunks('reading', '2024-01-02 UTC'::timestamptz)"), '1', 'an empty chunk may go');
undelete_last();
goes_and_comes('drop_chunks()', "SET deletion_guard.ddl = keep; $drop", 'public.reading47');
goes_and_comes('DROP TABLE of a chunk', "SET deletion_guard.ddl = keep; DO \$\$ BEGIN EXECUTE (SELECT format('DROP TABLE %s', c) FROM show_chunks('reading') c ORDER BY c LIMIT 1); END \$\$", 'public.reading13');
refused($node, "DROP TRIGGER on $_", "DO \$\$ BEGIN EXECUTE (SELECT format('DROP TRIGGER $_ ON %s', c) FROM show_chunks('reading') c LIMIT 1); END \$\$", qr/cannot drop trigger/)
	for qw(deletion_guard_capture_row deletion_guard_truncate);
refused($node, 'DROP TRIGGER', 'DROP TRIGGER deletion_guard_capture_row ON reading', qr/cannot drop trigger/);
refused($node, 'DROP TABLE', 'DROP TABLE reading', $refused);
sql('CREATE TABLE log (at timestamptz NOT NULL, org_id int)');
sql("SELECT create_hypertable('log', 'at', chunk_time_interval => interval '1 day')");
sql("INSERT INTO log SELECT '2024-01-01 UTC'::timestamptz + i * interval '5 hours', i % 3 FROM generate_series(1, 30) i");
guarded('a table that became a hypertable in an enrolled schema is guarded', 'log');
sql('SELECT 1; BEGIN; DELETE FROM log WHERE org_id = 2; SET LOCAL deletion_guard.ddl = keep; DROP TABLE log; COMMIT');
is(sql("SELECT string_agg(n::text, ' ') FROM (SELECT sum(rows) AS n FROM deletion_guard.deletion_detail WHERE relation_name = 'public.log' GROUP BY deletion_id ORDER BY deletion_id) x"),
	'10 20', 'DROP TABLE keeps what is there, as one deletion');
sql(sql("SELECT definition FROM deletion_guard.dropped_table WHERE relation_name = 'public.log'") . "; SELECT create_hypertable('log', 'at', create_default_indexes => false)");
sql("SELECT deletion_guard.adopt_bin(bin_table, 'log') FROM deletion_guard.bin WHERE relation_name = 'public.log'");
sql('SELECT deletion_guard.undelete_transaction(max(id)) FROM deletion_guard.deletion');
is(sql('SELECT count(*), sum(org_id) FROM log'), '30|30', 'and a table made again gets it back');
all_is_well('with chunks that went and came');

# --- chunks to come ----------------------------------------------------------------------------

is(sql(<<'SQL'), "0\n2", 'a chunk that a statement makes, fills and empties');
DO $$ BEGIN
	INSERT INTO log VALUES ('2030-01-01', 1), ('2031-01-01', 1), ('2031-01-01', 2);
	DELETE FROM log WHERE org_id = 1 AND at = '2031-01-01';
	TRUNCATE log;
END $$;
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::log) WHERE at > '2031-01-01';
SELECT count(*) FROM deletion_guard.deleted_rows(NULL::log) WHERE at = '2031-01-01';
SQL
sql(q{BEGIN; SAVEPOINT a; INSERT INTO log VALUES ('2032-01-01', 1); ROLLBACK TO a; INSERT INTO log VALUES ('2033-01-01', 1); COMMIT});
sql(q{COPY log FROM PROGRAM 'echo "2034-01-01\\t1"'});
guarded('chunks of savepoints and COPY are guarded', 'log');
refused($node, 'rows are not moved into chunks behind the guard', "CREATE TABLE late (at timestamptz NOT NULL, org_id int); INSERT INTO late VALUES (now(), 1); SELECT create_hypertable('late', 'at', migrate_data => true)",
	qr/cannot make table "late" a hypertable of TimescaleDB/);
sql('DROP TABLE still_empty; CREATE TABLE hashed (at timestamptz NOT NULL, org_id int, n int)');
sql("SELECT create_hypertable('hashed', 'at', chunk_time_interval => interval '1 day'); SELECT add_dimension('hashed', by_hash('org_id', 3))");
sql("INSERT INTO hashed SELECT '2024-01-01 UTC'::timestamptz + i * interval '1 hour', nullif(i % 7, 6), i FROM generate_series(1, 70) i");
sql('SET deletion_guard.ddl = keep; SELECT drop_chunks(\'hashed\', now())');
is(undelete_last() . sql(' SELECT count(*), sum(n), sum(org_id) FROM hashed'), '7070|2485|150', 'two dimensions: each row finds its chunk, or one is made');

# --- others ----------------------------------------------------------------------------------------

sql(<<'SQL');
CREATE ROLE keeper LOGIN;
ALTER TABLE log OWNER TO keeper;
GRANT EXECUTE ON FUNCTION deletion_guard.undelete TO keeper;
GRANT SELECT ON org TO keeper;
GRANT SET ON PARAMETER deletion_guard.ddl TO keeper;
SELECT deletion_guard.undelete_tenants('{0,1,2}', on_conflict => 'skip');
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trigger of the application has fired'; END $$;
SQL
my $log = sql('SELECT count(*), sum(org_id) FROM log');
sql("SET SESSION AUTHORIZATION keeper; SET deletion_guard.ddl = keep; SELECT drop_chunks('log', now())");
sql('CREATE TRIGGER shout BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION shout()');
my $last = sql('SELECT max(id) FROM deletion_guard.deletion');
sql("SET SESSION AUTHORIZATION keeper; SELECT deletion_guard.undelete($last)");
is(sql('SELECT count(*), sum(org_id) FROM log'), $log, 'the owner drops chunks, and brings them back, without the triggers of the table');
is(sql("SELECT string_agg(DISTINCT tgname, ' ' ORDER BY tgname) FROM pg_trigger t WHERE tgrelid IN (SELECT c FROM show_chunks('log') c)"),
	'deletion_guard_capture_row deletion_guard_truncate shout', 'which the new chunks have');
sql('ALTER TABLE log ENABLE ROW LEVEL SECURITY; ALTER TABLE log FORCE ROW LEVEL SECURITY; CREATE POLICY p ON log USING (true); DELETE FROM log WHERE org_id = 1');
$last = sql('SELECT max(id) FROM deletion_guard.deletion');
refused($node, 'row security', "SET SESSION AUTHORIZATION keeper; SELECT deletion_guard.undelete($last)", qr/cannot restore rows of hypertable "log": row security applies to you/);
sql("SELECT deletion_guard.undelete($last); ALTER TABLE log DISABLE ROW LEVEL SECURITY");

# --- archives -----------------------------------------------------------------------------------------

my $archive = "$dir/archive";
$before = readings();
command_ok([ 'pg_dump', '-Fc', '-f', $archive, '-d', $node->connstr('postgres') ], 'pg_dump');
sql("SET deletion_guard.ddl = keep; $drop; DELETE FROM org WHERE id = 1");
is(sql("SELECT relation, live_relation FROM deletion_guard.archive_contents('$archive') WHERE relation LIKE '%_hyper_1_%' AND live_relation <> 'reading'::regclass"), '', 'rows of chunks belong to the hypertable');
is(sql("SELECT only_in_archive, different FROM deletion_guard.compare_tenant('1', '$archive') WHERE relation = 'reading'::regclass"), '20|0', 'compare_tenant()');
sql("SELECT deletion_guard.rehydrate('{0,1,2}'::text[], '$archive')");
is(readings(), $before, 'rehydrate() brings all rows back, into chunks that are there and new ones');
is(sql("SELECT DISTINCT only_in_archive, only_live, different FROM deletion_guard.compare_tenant('1', '$archive') WHERE problem IS NULL"), '0|0|0', 'compare_tenant() sees no difference');
is(sql("SELECT DISTINCT matches, problem FROM deletion_guard.drill('$archive', '{1,2}')"), 't|', 'drill()');
is(sql("SELECT restored > 0, sum(restored) FROM deletion_guard.rehydrate('1', '$archive', into_schema => 'apart') WHERE relation::text ~ 'reading' GROUP BY 1"), 't|20', 'rehydrate() into a schema of its own');

# restored as TimescaleDB's manual says
sql('CREATE DATABASE restored');
sql('CREATE EXTENSION timescaledb; SELECT timescaledb_pre_restore()', 'restored');
{
	local $ENV{PGOPTIONS} = '-c deletion_guard.restoring=on';
	command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $archive ], 'pg_restore');
}
sql('SELECT timescaledb_post_restore()', 'restored');
is(readings('restored'), $before, 'the rows are there');
guarded('and the guard', 'reading', 'restored');
all_is_well('in a restored database', 'restored');
sql('TRUNCATE reading', 'restored');
sql('SELECT deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))', 'restored');
is(readings('restored'), $before, 'which works');

# --- what cannot be kept ---------------------------------------------------------------------------------

# TimescaleDB's catalog says so; Debian's build has neither compression nor continuous aggregates
sql('CREATE TABLE plain (at timestamptz NOT NULL, org_id int)');
sql("SELECT create_hypertable('plain', 'at'); SELECT deletion_guard.unguard_table('plain'); INSERT INTO plain VALUES (now(), 1)");
sql("UPDATE _timescaledb_catalog.hypertable SET compression_state = 1 WHERE table_name = 'plain'");
refused($node, 'a hypertable with compression', "SELECT deletion_guard.guard_table('plain', 'org_id')", qr/cannot guard "plain": it is a hypertable of TimescaleDB whose chunks may be compressed/);
is(sql("SELECT count(*) FROM deletion_guard.unguarded_table WHERE relation = 'plain'::regclass AND why ~ 'may be compressed'"), '1', 'the view of unguarded tables says so');
is(sql("SELECT bool_or(effect ~ 'not counted: it is a hypertable') FROM deletion_guard.preview('DELETE FROM plain')"), 't', 'preview(), too');
sql("UPDATE _timescaledb_catalog.hypertable SET compression_state = 0 WHERE table_name = 'plain'");
sql("SELECT deletion_guard.guard_table('plain', 'org_id')");
refused($node, 'compression of a guarded one', "BEGIN; UPDATE _timescaledb_catalog.hypertable SET compression_state = 1 WHERE table_name = 'plain'; CREATE INDEX ON plain (org_id)",
	qr/cannot make table "plain" a hypertable of TimescaleDB whose chunks may be compressed/);
sql("UPDATE _timescaledb_catalog.hypertable SET compression_state = 1 WHERE table_name = 'plain'");
refused($node, "unseen, then $_", $_, qr/it is a (chunk of a )?hypertable of TimescaleDB whose chunks may be compressed, and guarded/)
	for ('DELETE FROM plain', 'TRUNCATE plain', "SET deletion_guard.ddl = keep; SELECT drop_chunks('plain', now() + interval '1 year')");
refused($node, 'nor are chunks dropped', "SELECT drop_chunks('plain', now() + interval '1 year')", $refused);
is(sql("SELECT count(*) > 0 FROM deletion_guard.verify() WHERE check_name = 'storage' AND object = 'public.plain' AND NOT ok"), 't', 'verify() says so');
sql("UPDATE _timescaledb_catalog.hypertable SET compression_state = 0 WHERE table_name = 'plain'");

# without the library in all processes
sql("SELECT deletion_guard.unguard_table('plain')");
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'timescaledb'");
$node->restart;
refused($node, 'not preloaded: guard_table()', "SELECT deletion_guard.guard_table('plain', 'org_id')", qr/deletion_guard is not in shared_preload_libraries/);
refused($node, 'a hypertable that was guarded', 'DELETE FROM reading', qr/cannot delete from .* deletion_guard is not in shared_preload_libraries/);
is(sql("SELECT count(*) > 0 FROM deletion_guard.verify() WHERE check_name = 'storage' AND object = 'public.reading' AND NOT ok"), 't', 'verify() says so');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'timescaledb,deletion_guard'");
$node->restart;
sql("SELECT deletion_guard.unguard_table('reading')");
is(sql("SELECT count(*) FROM pg_trigger WHERE tgname ~ '^deletion_guard' AND (tgrelid = 'reading'::regclass OR tgrelid IN (SELECT c FROM show_chunks('reading') c))"), '0',
	'unguard_table() leaves nothing on a hypertable and its chunks');

guard_works($node, 'beside TimescaleDB');
$node->stop;
done_testing();
