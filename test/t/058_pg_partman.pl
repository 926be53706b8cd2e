# pg_partman's retention on guarded tables does as its manual says, run by a role that
# was granted deletion_guard.ddl and set it to "keep": what it drops is in the bin.
# Skipped where pg_partman is not installed. doc/retention.md is what this tries.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $extensions = `pg_config --sharedir`;
chomp $extensions;
plan skip_all => 'pg_partman is not installed' if !-e "$extensions/extension/pg_partman.control";

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub as_maintainer { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'maintainer' ]) }

my $old_names = sql(<<'SQL') < 5;
CREATE EXTENSION deletion_guard;
CREATE SCHEMA partman;
CREATE EXTENSION pg_partman SCHEMA partman;
CREATE ROLE maintainer LOGIN;
GRANT ALL ON SCHEMA partman TO maintainer;
GRANT ALL ON ALL TABLES IN SCHEMA partman TO maintainer;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA partman TO maintainer;
GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA partman TO maintainer;
CREATE SCHEMA app AUTHORIZATION maintainer;
CREATE SCHEMA old AUTHORIZATION maintainer;
SELECT split_part(extversion, '.', 1) FROM pg_extension WHERE extname = 'pg_partman';
SQL
my ($type, $daily) = $old_names ? ('native', 'daily') : ('range', '1 day');

as_maintainer(<<"SQL");
CREATE TABLE app.event (id bigint GENERATED ALWAYS AS IDENTITY, org_id int NOT NULL, at timestamptz NOT NULL)
	PARTITION BY RANGE (at);
CREATE TABLE app.other (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT partman.create_parent('app.event', 'at', p_type => '$type', p_interval => '$daily', p_start_partition => (now() - interval '8 days')::text, p_premake => 1);
SELECT partman.create_parent('app.other', 'at', p_type => '$type', p_interval => '$daily', p_premake => 1);
INSERT INTO app.event (org_id, at) SELECT i % 3, now() - i * interval '6 hours' FROM generate_series(0, 27) i;
INSERT INTO app.other VALUES (1, now());
UPDATE partman.part_config SET premake = 6 WHERE parent_table = 'app.other';
UPDATE partman.part_config SET retention = '5 days', retention_keep_table = false WHERE parent_table = 'app.event';
SQL
sql("SELECT deletion_guard.guard_table('app.event', 'org_id')");
my $rows = sql('SELECT count(*) FROM app.event');
my $others = sql("SELECT count(*) FROM partman.show_partitions('app.other')");

my ($ret, $out, $err) = $node->psql('postgres', 'SELECT partman.run_maintenance()', extra_params => [ '-U', 'maintainer' ]);
like($err, qr/cannot drop table .*: it is guarded against deletion/, 'refused before the setting is granted');
is(sql('SELECT count(*) FROM app.event'), $rows, 'and nothing is lost');

sql('GRANT SET ON PARAMETER deletion_guard.ddl TO maintainer; ALTER ROLE maintainer SET deletion_guard.ddl = keep');
as_maintainer('SELECT partman.run_maintenance()');
my $kept = $rows - sql('SELECT count(*) FROM app.event');
cmp_ok($kept, '>', 0, 'retention has dropped partitions with rows');
is(sql('SELECT sum(rows) FROM deletion_guard.deletion'), $kept, 'they are in the bin');
is(sql('SELECT DISTINCT relation FROM deletion_guard.deletion_detail'), 'app.event', 'as rows of the partitioned table');
is(sql('SELECT sum(rows) FROM deletion_guard.dropped_table WHERE partition_of = $$app.event$$'), $kept,
	'each partition is on record');
cmp_ok(sql("SELECT count(*) FROM partman.show_partitions('app.other')"), '>', $others, 'other sets got their new partitions');

# A partition that was dropped by mistake comes back, by its definition.
my $partition = sql('SELECT relation_name FROM deletion_guard.dropped_table WHERE rows > 0 ORDER BY dropped_id DESC LIMIT 1');
as_maintainer("SELECT 1");
sql("SELECT definition FROM deletion_guard.dropped_table WHERE relation_name = '$partition' \\gexec");
sql('SELECT FROM deletion_guard.deletion d CROSS JOIN LATERAL deletion_guard.undelete(d.id)');
is(sql('SELECT count(*) FROM app.event'), $rows, 'undelete');
cmp_ok(sql("SELECT count(*) FROM $partition"), '>', 0, 'into the partition that was made again');
# those whose partitions are not there are in the default partition; they are not part of what follows
sql('DELETE FROM app.event_default');

# Detached only, and moved to another schema: nothing leaves the guard.
sql("UPDATE partman.part_config SET retention_keep_table = true, retention = '3 days' WHERE parent_table = 'app.event'");
$rows = sql('SELECT count(*) FROM app.event');
my $deletions = sql('SELECT count(*) FROM deletion_guard.deletion');
as_maintainer('CALL partman.run_maintenance_proc()');
cmp_ok(sql('SELECT count(*) FROM app.event'), '<', $rows, 'partitions were detached');
is(sql('SELECT count(*) FROM deletion_guard.deletion'), $deletions, 'which deletes nothing');
cmp_ok(sql('SELECT count(*) FROM deletion_guard.guard WHERE detached_from = $$app.event$$::regclass'), '>', 0,
	'they stay guarded, and it is known where they come from');
sql("UPDATE partman.part_config SET retention_schema = 'old', retention = '2 days' WHERE parent_table = 'app.event'");
as_maintainer('SELECT partman.run_maintenance()');
cmp_ok(sql(q(SELECT count(*) FROM deletion_guard.guard WHERE relation::text LIKE 'old.%')), '>', 0, 'moved, and guarded');
as_maintainer('DROP SCHEMA old CASCADE');
is(sql("SELECT count(*) FROM deletion_guard.deletion_detail WHERE relation <> 'app.event'::regclass"), '0',
	'dropped later, their rows are those of the partitioned table');

# Without any other right.
sql(<<'SQL');
CREATE ROLE job LOGIN;
GRANT USAGE ON SCHEMA deletion_guard, app TO job;
GRANT TRUNCATE ON app.event TO job;
GRANT EXECUTE ON FUNCTION deletion_guard.retire_partition TO job;
SQL
$partition = sql("SELECT format('%I.%I', partition_schemaname, partition_tablename) FROM partman.show_partitions('app.event') LIMIT 1");
$rows = sql("SELECT count(*) FROM $partition");
my $deletion = $node->safe_psql('postgres', "SELECT deletion_guard.retire_partition('$partition')", extra_params => [ '-U', 'job' ]);
is(sql("SELECT rows FROM deletion_guard.deletion WHERE id = $deletion"), $rows, 'retire_partition()');
is(sql('SELECT ok FROM deletion_guard.verify_ledger()'), 't', 'the ledger is whole');

done_testing();
