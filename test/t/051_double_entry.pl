# What the server counts as deleted is what was kept, or the transaction fails: rows
# that a library deletes without triggers, alone and mixed with everything else; and
# what the server counts although nothing was deleted never fails a transaction.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\nautovacuum = off\n");
$node->start;

my ($cc, $flags, $include) = map { my $is = `pg_config --$_`; chomp $is; $is } qw(cc cflags includedir-server);
my $library = PostgreSQL::Test::Utils::tempdir() . '/heap_delete.so';
is(system("$cc $flags -fPIC -shared -I$include test/t/heap_delete.c -o $library"), 0, 'compiled');

$node->safe_psql('postgres', <<"SQL");
CREATE FUNCTION heap_delete_rows(regclass, int) RETURNS int LANGUAGE c STRICT AS '$library';
CREATE FUNCTION heap_empty(regclass) RETURNS void LANGUAGE c STRICT AS '$library';
CREATE EXTENSION deletion_guard;
CREATE TABLE plain (id int PRIMARY KEY, note text);
CREATE TABLE other (id int PRIMARY KEY, plain int REFERENCES plain ON DELETE CASCADE);
CREATE TABLE tree (id int, place int, PRIMARY KEY (id, place)) PARTITION BY LIST (place);
CREATE TABLE tree_1 PARTITION OF tree FOR VALUES IN (1);
CREATE TABLE tree_2 PARTITION OF tree FOR VALUES IN (2);
CREATE TABLE tree_3 (id int NOT NULL, place int NOT NULL);
CREATE TABLE free (id int PRIMARY KEY);
SELECT deletion_guard.guard_table(t) FROM unnest('{plain,other,tree}'::regclass[]) t;
CREATE FUNCTION deleting() RETURNS trigger LANGUAGE plpgsql AS
	\$\$ BEGIN PERFORM heap_delete_rows('plain', 1); RETURN new; END \$\$;
INSERT INTO plain SELECT i, 'note' FROM generate_series(1, 1000) i;
INSERT INTO other SELECT i, i FROM generate_series(1, 100) i;
INSERT INTO tree SELECT i, 1 + i % 2 FROM generate_series(1, 100) i;
INSERT INTO tree_3 SELECT i, 3 FROM generate_series(1, 10) i;
INSERT INTO free SELECT generate_series(1, 100);
CREATE VIEW live AS SELECT (SELECT count(*) FROM plain) || ' ' || (SELECT count(*) FROM other) || ' ' ||
	(SELECT count(*) FROM tree) AS rows;
SQL

my $live = $node->safe_psql('postgres', 'TABLE live');
my $preload = '';

# the transaction fails, and nothing has changed
sub refused
{
	my ($name, $sql, $expected) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', "$preload BEGIN; $sql; COMMIT");

	like($err, $expected // qr/cannot commit: \d+ rows of "\w+" were deleted, -?\d+ of them were kept/, "refused: $name");
	is($node->safe_psql('postgres', 'TABLE live'), $live, "nothing is lost: $name");
}

# it succeeds, and as many rows are in the bin
sub kept
{
	my ($name, $rows, $sql) = @_;
	my $count = 'SELECT coalesce(sum(rows), 0) FROM deletion_guard.deletion_part';
	my $before = $node->safe_psql('postgres', $count);
	my ($ret, $out, $err) = $node->psql('postgres', "$preload BEGIN; $sql; COMMIT");

	is($err, '', "no error: $name");
	is($node->safe_psql('postgres', $count) - $before, $rows, "kept: $name");
	$live = $node->safe_psql('postgres', 'TABLE live');
}

for ('', "LOAD 'deletion_guard';")
{
	$preload = $_;
	my $twice = $preload eq '' ? 'DELETE FROM plain WHERE id = -1;' : '';

	refused('alone', "$twice SELECT heap_delete_rows('plain', 20)");
	refused('in a savepoint', "SAVEPOINT a; $twice SELECT heap_delete_rows('plain', 20); RELEASE a");
	refused('mixed with others', "DELETE FROM plain WHERE id > 900; SELECT heap_delete_rows('plain', 1); DELETE FROM other");
	refused('of a partition', "$twice SELECT heap_delete_rows('tree_1', 3); UPDATE tree SET place = 1");
	refused('before a table is unguarded', "$twice SELECT heap_delete_rows('plain', 3); SELECT deletion_guard.unguard_table('plain')");
	refused('while it is', "SELECT deletion_guard.unguard_table('other'); SELECT heap_delete_rows('other', 3); SELECT deletion_guard.guard_table('other')");
	refused('then rewritten', "$twice SELECT heap_delete_rows('other', 3); ALTER TABLE other ALTER plain TYPE bigint");
	refused('prepared', "$twice SELECT heap_delete_rows('plain', 1); PREPARE TRANSACTION 'p'");
	refused('in a trigger', "$twice CREATE TRIGGER t BEFORE INSERT ON free FOR EACH ROW EXECUTE FUNCTION deleting(); INSERT INTO free VALUES (-1)");
	refused('in the trigger of an INSERT ... ON CONFLICT',
		"$twice CREATE TRIGGER t BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION deleting(); INSERT INTO plain VALUES (-1), (-2) ON CONFLICT DO NOTHING");
	refused('in an INSERT ... ON CONFLICT',
		"$twice INSERT INTO plain SELECT -heap_delete_rows('plain', 1) ON CONFLICT DO NOTHING");
	refused('emptied', "$twice SELECT pg_current_xact_id(), heap_empty('other')", qr/cannot commit: "other" was emptied, and its rows were not kept/);

	kept('undone by a savepoint', 0, "$twice SAVEPOINT a; SELECT heap_delete_rows('plain', 20); ROLLBACK TO a");
	kept('a savepoint, then others', 2, "SAVEPOINT a; DELETE FROM plain WHERE id > 900; ROLLBACK TO a; SAVEPOINT b; DELETE FROM tree WHERE id < 3; RELEASE b; INSERT INTO tree VALUES (1, 2), (2, 1)");
	kept('of a table before it is guarded', 1,
		"DELETE FROM free WHERE id = 1; SELECT deletion_guard.guard_table('free'); DELETE FROM free WHERE id = 2; SELECT deletion_guard.unguard_table('free'); INSERT INTO free VALUES (1), (2)");
	kept('of a table before it is attached', 1,
		"DELETE FROM tree_3 WHERE id = 1; ALTER TABLE tree ATTACH PARTITION tree_3 FOR VALUES IN (3); DELETE FROM tree WHERE id = 4 AND place = 1; INSERT INTO tree VALUES (4, 1); INSERT INTO tree_3 VALUES (1, 3);
		 SET LOCAL deletion_guard.ddl = allow; ALTER TABLE tree DETACH PARTITION tree_3; SELECT deletion_guard.unguard_table('tree_3')");
	kept('of a partition that is dropped', 1,
		"SET LOCAL deletion_guard.ddl = allow; CREATE TABLE tree_4 PARTITION OF tree FOR VALUES IN (4); INSERT INTO tree VALUES (1, 4);
		 DELETE FROM tree WHERE place = 4; DROP TABLE tree_4");
	kept('moved in the first statement', 1, "UPDATE tree SET place = 3 - place WHERE id > 90; DELETE FROM tree WHERE id = @{[ $preload eq '' ? 5 : 6 ]}");
	kept('uncounted', 1, "SET LOCAL track_counts = off; DELETE FROM plain WHERE id = @{[ $preload eq '' ? 501 : 502 ]}");
}

my ($ret, $out, $err) = $node->psql('postgres', 'SET track_counts = off; TRUNCATE tree');
like($err, qr/cannot empty "tree_1" while track_counts is off/, 'TRUNCATE while nothing is counted');

# a session's first statement, in which session_replication_role changes
my $first = 'DELETE FROM plain WHERE id IN (510, 511) RETURNING set_config($$session_replication_role$$, $$ROLE$$, false)';
($ret, $out, $err) = $node->psql('postgres', $first =~ s/ROLE/replica/r);
like($err, qr/cannot tell which rows of "plain" this statement deletes/, 'the first half of the rows as origin');
for my $role (qw(replica origin))
{
	local $ENV{PGOPTIONS} = "-c session_replication_role=$role";
	kept("a first statement as $role", 2, "DELETE FROM plain WHERE id IN (510, 511)");
	$node->safe_psql('postgres', "INSERT INTO plain VALUES (510), (511)");
}

# where another library may keep calls from us, a row that a trigger keeps away from its partition cannot be kept
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER away BEFORE INSERT ON tree_2 FOR EACH ROW EXECUTE FUNCTION away();
SQL
$live = $node->safe_psql('postgres', 'TABLE live');
$preload = "LOAD 'deletion_guard'; LOAD 'auto_explain';";
refused('moved to nowhere', 'UPDATE tree SET place = 2 WHERE id = 12 AND place = 1',
	qr/cannot keep a row that was to be moved out of partition "tree_1"/);
kept('moved', 0, 'UPDATE tree SET place = 1 WHERE id = 7');
$node->safe_psql('postgres', 'DROP TRIGGER away ON tree_2');

# many sessions insert the same keys: who loses a race takes his row back, which counts as a deletion
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
CREATE TABLE counters (id int, place int, n int NOT NULL, PRIMARY KEY (id, place)) PARTITION BY HASH (place);
CREATE TABLE counters_0 PARTITION OF counters FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE counters_1 PARTITION OF counters FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER t BEFORE INSERT ON counters_1 FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT deletion_guard.guard_table(t) FROM unnest('{counter,counters}'::regclass[]) t;
SQL
my $script = $node->basedir . '/upsert.sql';
append_to_file($script, <<'SQL');
\set id random(1, 3)
INSERT INTO counter VALUES (:id, 1) ON CONFLICT (id) DO UPDATE SET n = counter.n + 1;
WITH c AS (INSERT INTO counter VALUES (:id, 1) ON CONFLICT DO NOTHING RETURNING n) SELECT n FROM c;
INSERT INTO counters SELECT i, i, 1 FROM generate_series(:id, 4) i ON CONFLICT (id, place) DO UPDATE SET n = counters.n + 1;
DELETE FROM counter WHERE id = :id;
DELETE FROM counters WHERE id = :id;
SQL
for ('', "session_preload_libraries=deletion_guard")
{
	local $ENV{PGOPTIONS} = $_ eq '' ? '' : "-c $_";
	$node->command_checks_all([ 'pgbench', '-n', '-f', $script, '-c', 8, '-t', 400, 'postgres' ], 0,
		[qr/processed: 3200\/3200/], [qr/^((?!cannot commit).)*$/s], 'upserts of the same keys by many sessions');
}

done_testing();
