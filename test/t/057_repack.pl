# REPACK (19), also of a table that rows are deleted from meanwhile, and of a bin.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "wal_level = logical\nfsync = off\nsession_preload_libraries = deletion_guard");
$node->start;
plan skip_all => 'there is no REPACK' if $node->safe_psql('postgres', 'SHOW server_version_num') < 190000;

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sql(<<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY);
CREATE TABLE note (id int PRIMARY KEY, site_id int REFERENCES site ON DELETE CASCADE, body text);
SELECT deletion_guard.set_tenant_table('site', 'id'), deletion_guard.guard_table('site', 'id'), deletion_guard.guard_table('note', 'site_id');
INSERT INTO site SELECT n FROM generate_series(1, 10) n;
INSERT INTO note SELECT n, 1 + n % 10, repeat('x' || n, 100) FROM generate_series(1, 50000) n;
CREATE TABLE before AS TABLE note;
SQL
my $differences = '(TABLE note EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE note)';

# One transaction has deleted some, and keeps it waiting; others delete until it has ended.
my $waiting = $node->background_psql('postgres');
$waiting->query_safe('BEGIN; DELETE FROM note WHERE site_id = 1 AND id < 5000');
my $repack = $node->background_psql('postgres');
$repack->query_until(qr/begins/, "\\echo begins\nREPACK (CONCURRENTLY) note;\n\\echo it has ended\n");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^REPACK' AND state = 'active'") or die 'no REPACK';
my $deleted = 499;
for my $id (1 .. 20)
{
	sql("DELETE FROM note WHERE site_id = 2 AND id BETWEEN ${id}00 AND ${id}99");
	$deleted += 10;
}
$waiting->query_safe('COMMIT');
$waiting->quit;
while (sql("SELECT count(*) FROM pg_stat_activity WHERE query ~ '^REPACK' AND state = 'active'") > 0)
{
	sql("WITH gone AS (SELECT id FROM note WHERE site_id = 3 ORDER BY id LIMIT 5) DELETE FROM note USING gone WHERE note.id = gone.id");
	$deleted += 5;
}
is($repack->quit, 1, 'REPACK (CONCURRENTLY) has ended');
unlike(slurp_file($node->logfile), qr/ERROR/, 'without an error');
is(sql('SELECT sum(rows) FROM deletion_guard.deletion_detail'), $deleted, 'each row that was deleted meanwhile is in the bin once');
is(sql('SELECT 50000 - count(*) FROM note'), $deleted, 'and no other is gone');
is(sql('SELECT sum(restored) FROM deletion_guard.deletion d, deletion_guard.undelete(d.id)'), $deleted, 'they come back');
is(sql($differences), '', 'as they were');

# A table in which rows were deleted in the same transaction, and a bin.
sql('BEGIN; DELETE FROM site WHERE id = 4; REPACK note USING INDEX note_pkey; REPACK site; COMMIT');
is(sql("SELECT count(*) FROM deletion_guard.deletion_detail WHERE relation = 'note'::regclass AND rows = 5000"), 1, 'repacked in the transaction that deleted');
my ($ret, $out, $err) = $node->psql('postgres', "SELECT format('REPACK (CONCURRENTLY) %s', bin_table) FROM deletion_guard.bin WHERE relation_name = 'public.note' \\gexec");
like($err, qr/ERROR/, 'a bin cannot be repacked concurrently');
sql("SELECT format('REPACK %s', bin_table) FROM deletion_guard.bin \\gexec");
sql('REPACK');
is(sql('SELECT sum(restored) FROM deletion_guard.undelete((SELECT max(id) FROM deletion_guard.deletion))'), 5001, 'out of bins that were repacked');
is(sql($differences), '', 'as they were');
sql('DROP TABLE before');
is(sql("SELECT string_agg(check_name || ': ' || detail, '; ') FROM deletion_guard.verify() WHERE NOT ok"), '', 'verify() has nothing to say of it');
done_testing();
