# pg_upgrade: what is guarded, what is in the bin and what is on record go along
# with the files, whether these are copied or linked, and the protection with
# them. The new server is another database to tokens, as its system identifier
# is another one.
#
# Old and new are of the same version here, which runs the same machinery. Set
# DG_OLD_BINDIR to the programs of an older server that has the extension to
# upgrade from that one.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $signing = slurp_file('test/sql/signing.sql');
my $shop = slurp_file('test/sql/shop.sql');
my $new_bindir = `pg_config --bindir`;
chomp $new_bindir;

# Everything that a person would look at. Locations of rows are among it: files
# keep their numbers.
my $look = q(
SELECT 'deletion', deletion_id, deleted_at, session_role, statement, purge_not_before, xid FROM deletion_guard.deletion_record ORDER BY 2;
SELECT 'part', p.deletion_id, b.relation_name, b.bin_table, p.tenant, p.tenant_name, p.rows, p.restored, p.purged,
	p.filenode = c.relfilenode, p.blocks
	FROM deletion_guard.deletion_part p JOIN deletion_guard.bin b USING (bin_id) JOIN pg_class c ON c.oid = b.bin_table ORDER BY 2, p.part;
SELECT 'link', deletion_id, relation, before, after FROM deletion_guard.deletion_link ORDER BY 2, 3, 4;
SELECT 'guard', relation, tenant_source FROM deletion_guard.guarded_table ORDER BY relation::text;
SELECT 'schema', * FROM deletion_guard.guarded_schema;
SELECT 'authority', * FROM deletion_guard.authority;
SELECT 'hold', * FROM deletion_guard.hold;
SELECT 'purge', purge_id, state, certificate FROM deletion_guard.purge_record;
SELECT 'used', count(*) FROM deletion_guard.used_token;
SELECT 'installation', * FROM deletion_guard.installation;
SELECT 'ledger', ok, entries, problem FROM deletion_guard.verify_ledger();
SELECT 'head', * FROM deletion_guard.ledger_head();
SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled, tgqual IS NULL FROM pg_trigger WHERE tgname LIKE 'deletion_guard%' ORDER BY 2, 3;
SELECT 'event trigger', evtname, evtenabled, evttags, d.deptype
	FROM pg_event_trigger t LEFT JOIN pg_depend d ON d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e'
	WHERE evtname LIKE 'deletion_guard%' ORDER BY 2;
SELECT 'verify', * FROM deletion_guard.verify() WHERE check_name NOT IN ('lock', 'server version');
);

# Every live row.
my $live = join ' UNION ALL ',
  (map { "SELECT '$_', t::text FROM ONLY $_ t" } qw(tenant project issue bookmark base derived event_2024 event_2025)),
  q(SELECT 'Quoted', concat_ws(',', "Id", tenant_id, md5(big)) FROM "Quoted Name" ORDER BY 1, 2);

sub fill
{
	my ($node) = @_;

	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	$node->safe_psql('shop', "CREATE EXTENSION deletion_guard;\n$signing");
	$node->safe_psql('shop', q(
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE event (id integer, tenant_id integer, at date, m mood, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE event_2025 (gone int, m mood, at date NOT NULL, tenant_id integer, id integer NOT NULL);
ALTER TABLE event_2025 DROP COLUMN gone;
ALTER TABLE event ATTACH PARTITION event_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE base (id int, tenant_id int);
CREATE TABLE derived (extra text) INHERITS (base);
));
	# guards these, and what is made after it
	$node->safe_psql('shop', $shop);
	$node->safe_psql('shop', q(
CREATE TABLE bookmark (id int PRIMARY KEY, tenant_id int, issue_id int REFERENCES issue ON DELETE SET NULL);
CREATE TABLE "Quoted Name" ("Id" integer PRIMARY KEY, tenant_id integer, big text);
CREATE SCHEMA future;
SELECT FROM deletion_guard.guard_schema('future', 'tenant_id');
INSERT INTO event SELECT n, n % 3 + 1, '2024-06-01'::date + n * 30, 'ok' FROM generate_series(1, 12) n;
INSERT INTO base SELECT n, n FROM generate_series(1, 3) n;
INSERT INTO derived SELECT n, n, 'extra' FROM generate_series(1, 3) n;
INSERT INTO bookmark SELECT id, tenant_id, id FROM issue WHERE id % 2 = 0;
INSERT INTO "Quoted Name" SELECT n, n, (SELECT string_agg(md5((n * j)::text), '') FROM generate_series(1, 1000) j) FROM generate_series(1, 3) n;
SELECT deletion_guard.add_authority('legal', signing.make_key('legal'));
));
	my $before = $node->safe_psql('shop', $live);
	$node->safe_psql('shop', $_)
	  for 'DELETE FROM tenant WHERE id = 1', 'DELETE FROM event WHERE tenant_id = 1', 'DELETE FROM base WHERE tenant_id = 1',
	  'TRUNCATE "Quoted Name"', 'DELETE FROM issue WHERE id = 2011',
	  # rows of these have moved, and are looked for again
	  q(SELECT format('VACUUM FULL %s', bin_table) FROM deletion_guard.bin WHERE relation_name = 'public.issue' \gexec),
	  'ALTER TABLE "Quoted Name" ADD COLUMN later int', 'DELETE FROM project WHERE id = 32';
	$node->safe_psql('shop', "SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('3', 'an old project')))");
	$node->safe_psql('shop', "SELECT deletion_guard.hold_tenant('1', 'litigation')");
	return $before;
}

sub upgraded
{
	my ($how, $conf, @options) = @_;
	my $tag = $how =~ tr/a-z//cdr;
	my $old = PostgreSQL::Test::Cluster->new("old_$tag", $ENV{DG_OLD_BINDIR} ? (install_path => "$ENV{DG_OLD_BINDIR}/..") : ());
	my $new = PostgreSQL::Test::Cluster->new("new_$tag");
	my $dir = PostgreSQL::Test::Utils::tempdir();

	# 18 has made them the default
	$old->init(extra => ['--data-checksums']);
	$old->append_conf('postgresql.conf', "fsync = off\ndeletion_guard.retention = 0\n$conf");
	$old->start;
	my $before = fill($old);
	$old->safe_psql('shop', 'DELETE FROM bookmark WHERE id = 2012');
	my $token = $old->safe_psql('shop', "SELECT signing.sign(deletion_guard.request_purge('2', 'for the old server'))");
	my $state = $old->safe_psql('shop', $look);
	$old->stop;

	$new->init(extra => ['--data-checksums']);
	$new->append_conf('postgresql.conf', "fsync = off\ndeletion_guard.retention = 0\n$conf");
	chdir $dir;
	my ($out, $err) = run_command([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $ENV{DG_OLD_BINDIR} // $new_bindir, '-B', $new_bindir, '-s', $new->host, '-p', $old->port, '-P', $new->port, '-U', 'postgres', @options ]);
	like($out, qr/Upgrade Complete/, "$how: pg_upgrade") or diag($out, $err, map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/*'));
	$new->start;
	is($new->safe_psql('shop', $look), $state, "$how: everything is as it was");
	like($state, qr/ledger\|t\|/, "$how: the ledger's chain holds");
	like($state, qr/part\|.*\|t\|\\x/, "$how: and most rows are where they were");
	is($new->safe_psql('shop', 'SELECT check_name FROM deletion_guard.verify() WHERE NOT ok'),
		join("\n", $conf ? () : 'preload', 'retention'), "$how: verify() finds nothing wrong that was not");

	# what protects
	for ([ 'DROP TABLE issue', qr/guarded/ ], [ 'DELETE FROM deletion_guard.hold', qr/is written by deletion_guard only/ ],
		[ 'ALTER TABLE event DETACH PARTITION event_2024', qr/guarded/ ], [ 'DROP EXTENSION deletion_guard', qr/cannot drop extension/ ],
		[ "SELECT deletion_guard.purge('$token')", qr/token is for another database/ ],
		[ q(SET deletion_guard.restoring = on; INSERT INTO deletion_guard.ledger SELECT * FROM deletion_guard.ledger), qr/is written by deletion_guard only/ ])
	{
		my ($ret, $stdout, $stderr) = $new->psql('shop', $_->[0]);
		like($stderr, $_->[1], "$how: refused: " . substr($_->[0], 0, 50));
	}
	$new->safe_psql('shop', 'CREATE TABLE future.thing (tenant_id int)');
	is($new->safe_psql('shop', "SELECT tenant_source FROM deletion_guard.guarded_table WHERE relation = 'future.thing'::regclass"),
		'column tenant_id', "$how: new tables are guarded as they were");

	# what was deleted
	is($new->safe_psql('shop', "SELECT sum(restored) FROM deletion_guard.undelete_tenant('1')"), '20', "$how: undelete of a tenant");
	$new->safe_psql('shop', "SELECT * FROM deletion_guard.undelete_tenants('{2,3}')");
	is($new->safe_psql('shop', $live), join("\n", grep { !/^project\|\(32,|^issue\|\(32..,|^Quoted\|3,/ } split(/\n/, $before =~ s/,(32..)\)$/,)/mgr)), "$how: all rows are back, but those purged");
	is($new->safe_psql('shop', "DELETE FROM tenant WHERE id = 2; SELECT max(id) FROM deletion_guard.deletion"),
		$new->safe_psql('shop', 'SELECT max(deletion_id) + 1 FROM deletion_guard.deletion_part WHERE deletion_id < (SELECT max(id) FROM deletion_guard.deletion)'),
		"$how: deletions are numbered on");
	cmp_ok($new->safe_psql('shop', "SELECT deletion_guard.purge(signing.sign(deletion_guard.request_purge('2', 'in the new server')))->'rows'"),
		'>', 0, "$how: purge with a token for the new server");
	is($new->safe_psql('shop', 'SELECT ok, problem FROM deletion_guard.verify_ledger()'), 't|', "$how: the ledger goes on");
	$new->stop;
	return;
}

upgraded('copied', '');
upgraded('linked, preloaded', "shared_preload_libraries = 'deletion_guard'\ndeletion_guard.locked = on\n", '--link');
upgraded('session preloaded', "session_preload_libraries = 'deletion_guard'\n");

done_testing();
