# Sessions that delete, update and move the same rows at once: what is deleted is
# in the bin once, as it was last, whichever version of a row the deletion found.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ndeadlock_timeout = 10ms\nsession_preload_libraries = deletion_guard\n");
$node->start;

# "version" keeps the last version of every row there ever was.
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE SEQUENCE ids;
CREATE UNLOGGED TABLE version (relation text, id int, v int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO version VALUES (TG_ARGV[0], NEW.id, NEW.v); RETURN NULL; END $$;
CREATE TABLE plain (id int PRIMARY KEY, k int, tenant_id int, v int DEFAULT 0, pad text);
CREATE TABLE parted (id int, k int, tenant_id int, v int DEFAULT 0, pad text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted_1 (pad text, gone int, v int DEFAULT 0, tenant_id int, k int NOT NULL, id int NOT NULL);
ALTER TABLE parted_1 DROP gone;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2) PARTITION BY HASH (id);
CREATE TABLE parted_2_0 PARTITION OF parted_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_2_1 PARTITION OF parted_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TRIGGER note AFTER INSERT OR UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION note('plain');
CREATE TRIGGER note AFTER INSERT OR UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION note('parted');
SELECT deletion_guard.guard_table('plain', 'tenant_id'), deletion_guard.guard_table('parted', 'tenant_id');
SQL

my @scripts = map { my $table = $_; map { s/TABLE/$table/gr } (
	'INSERT INTO TABLE SELECT nextval($$ids$$), n % 3, n % 2 FROM generate_series(1, 12) n;',
	'UPDATE TABLE SET v = v + 1, k = (k + 1) % 3, pad = repeat($$x$$, 300) WHERE id IN (SELECT id FROM TABLE ORDER BY random() LIMIT 3);',
	'BEGIN; UPDATE TABLE SET v = v + 1 WHERE id % 5 = (random() * 4)::int; SELECT pg_sleep(0.005); COMMIT;',
	'DELETE FROM TABLE WHERE id % 7 = (random() * 6)::int AND v > 0;',
	'DELETE FROM TABLE WHERE id = (SELECT id FROM TABLE ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1);',
	'DELETE FROM TABLE USING (SELECT id FROM TABLE ORDER BY random() LIMIT 2) chosen WHERE chosen.id = TABLE.id;',
	'MERGE INTO TABLE t USING generate_series(0, 3) r ON t.id % 9 = r WHEN MATCHED AND v > 1 THEN DELETE WHEN MATCHED THEN UPDATE SET v = v + 1, k = (k + 1) % 3;',
	'BEGIN; SELECT FROM TABLE ORDER BY id LIMIT 2 FOR KEY SHARE; SAVEPOINT a; DELETE FROM TABLE WHERE id % 4 = 0; ROLLBACK TO a; DELETE FROM TABLE WHERE k = 1 AND id % 3 = 0; COMMIT;') } qw(plain parted);
my $dir = PostgreSQL::Test::Utils::tempdir();
my @files;
for my $i (0 .. $#scripts)
{
	append_to_file("$dir/$i.sql", "$scripts[$i]\n");
	push @files, '-f', "$dir/$i.sql";
}

for my $isolation ('read committed', 'repeatable read')
{
	local $ENV{PGOPTIONS} = "-c default_transaction_isolation=" . ($isolation =~ s/ /\\ /r);
	my ($out, $err) = run_command([ 'pgbench', '-n', '-c', 6, '-T', 2, '--max-tries', 100, @files, $node->connstr('postgres') ]);
	unlike($err, qr/ERROR/, "$isolation: no error");
	for my $table (qw(plain parted))
	{
		my $rows = "SELECT id, v FROM $table UNION ALL SELECT id, v FROM deletion_guard.deleted_rows(NULL::$table)";
		is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM deletion_guard.deleted_rows(NULL::$table)"), 't',
			"$isolation, $table: rows were deleted");
		is($node->safe_psql('postgres', "SELECT count(*) - count(DISTINCT id) FROM ($rows) r"), 0,
			"$isolation, $table: each row is there once");
		is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT id, max(v) AS v FROM version WHERE relation = '$table' GROUP BY id) last" .
				" LEFT JOIN ($rows) r USING (id) WHERE r.v IS DISTINCT FROM last.v"), 0,
			"$isolation, $table: as it was last");
	}
}
done_testing();
