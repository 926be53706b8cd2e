# Copies that are not quite like this database: another encoding, types that have changed,
# partitions that came and went, keys of every kind. The condition on the tenant is asked
# there only where both sides compare alike; no row is lost either way.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding', 'UTF8', '--locale', 'C' ]);
$node->append_conf('postgresql.conf', "fsync = off\nlog_statement = all");
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE here TEMPLATE template0 ENCODING UTF8 LOCALE 'C'");
$node->safe_psql('here', 'CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw');

my $schema = q{
	CREATE TABLE org (id integer PRIMARY KEY, name text);
	CREATE TYPE mood AS ENUM ('sad', 'glad');
	CREATE TYPE place AS (street text, no integer);
	CREATE DOMAIN short AS varchar(20);
	CREATE TABLE thing (id bigint PRIMARY KEY, org_id integer REFERENCES org, at timestamptz, f float8, m mood, p place, s short, r int4range, j jsonb, x xml, b bit(5), c char(7), n numeric, a text[], q tsvector, h inet, u uuid, iv interval, t time with time zone, o oid);
	CREATE TABLE part (org_id integer, day date, note text, PRIMARY KEY (org_id, day)) PARTITION BY RANGE (day);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
	CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (org_id);
	CREATE TABLE part_2_odd PARTITION OF part_2 FOR VALUES IN (1, 3);
	CREATE TABLE part_2_even PARTITION OF part_2 FOR VALUES IN (2, 4);
	CREATE TABLE leg (id integer PRIMARY KEY, part_org integer, part_day date, CONSTRAINT leg_fkey FOREIGN KEY (part_org, part_day) REFERENCES part);
	CREATE TABLE base (id integer PRIMARY KEY, org_id integer);
	CREATE TABLE derived (more text, PRIMARY KEY (id)) INHERITS (base);
	CREATE TABLE "Odd ""name""" ("the key" integer PRIMARY KEY, "select" text);
	CREATE TABLE empty_row ();
	INSERT INTO org SELECT n, 'org ' || n FROM generate_series(1, 4) n;
	INSERT INTO thing SELECT n, 1 + n % 4, timestamptz '1999-12-31 23:59:59.999999+05:30' + n * interval '1 day', 1e-300 / 3 * n, 'glad', ('a "b", c\d', n)::place, E'tab\t\\\n',
		int4range(n, n + 5), '{"a": [1, null]}', '<a/>', B'10101', 'pad', n / 7.0, ARRAY['x', NULL, '{}'], 'a:1A cat', '10.0.0.1/8', md5(n::text)::uuid, '-1 day 02:03', '12:00+02', 1 FROM generate_series(1, 40) n;
	INSERT INTO part SELECT n, d, 'note' FROM generate_series(1, 4) n, generate_series(date '2026-01-05', '2026-02-20', '9 days') d;
	INSERT INTO leg SELECT row_number() OVER (ORDER BY org_id, day), org_id, day FROM part;
	INSERT INTO base SELECT n, 1 + n % 4 FROM generate_series(1, 8) n;
	INSERT INTO derived SELECT n, 1 + n % 4, 'more' FROM generate_series(11, 18) n;
	INSERT INTO "Odd ""name""" SELECT n, 'it''s \ ' || n FROM generate_series(1, 4) n;
};
my $guards = q{
	SELECT deletion_guard.set_tenant_table('org', 'id', 'name');
	SELECT deletion_guard.guard_table('org', 'id'), deletion_guard.guard_table('thing', 'org_id'), deletion_guard.guard_table('part', 'org_id'), deletion_guard.guard_table('leg', tenant_path => '{leg_fkey}'),
		deletion_guard.guard_table('base', 'org_id'), deletion_guard.guard_table('derived', 'org_id'), deletion_guard.guard_table('"Odd ""name"""', 'the key')};
my $lose = q{SET session_replication_role = replica; DELETE FROM leg WHERE part_org = 2; DELETE FROM part WHERE org_id = 2; DELETE FROM thing WHERE org_id = 2; DELETE FROM base WHERE org_id = 2;
	DELETE FROM "Odd ""name""" WHERE "the key" = 2; DELETE FROM org WHERE id = 2};
my $all = q{SELECT md5(string_agg(r, chr(10) ORDER BY r)) FROM (SELECT o::text AS r FROM org o UNION ALL SELECT t::text FROM thing t UNION ALL SELECT p::text FROM part p UNION ALL SELECT l::text FROM leg l
	UNION ALL SELECT tableoid::regclass || b::text FROM base b UNION ALL SELECT d::text FROM derived d UNION ALL SELECT o::text FROM "Odd ""name""" o) x};

# A database on this server, as a copy of another.
sub copy_named
{
	my ($name) = @_;

	$node->safe_psql('here', sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname '%s'); CREATE USER MAPPING FOR CURRENT_USER SERVER %s", $name, $node->host, $node->port, $name, $name));
}

# What of a table was asked for, of the last call.
sub asked
{
	my ($table) = @_;
	my @found = slurp_file($node->logfile) =~ /statement: COPY \(SELECT [^\n]* FROM ONLY "public"\."$table" t0([^\n]*)\) TO STDOUT/g;

	return $found[-1] // 'not asked';
}

$node->safe_psql('here', $schema . $guards);
my $before = $node->safe_psql('here', $all);
$node->safe_psql('postgres', 'CREATE DATABASE same TEMPLATE here');
copy_named('same');

# --- every kind of value, and of table ---------------------------------------------

$node->safe_psql('here', $lose);
is($node->safe_psql('here', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:same')"), 28, 'restored');
is($node->safe_psql('here', $all), $before, 'every value as it was');
like(asked('part_2_even'), qr/WHERE \(t0\."org_id"/, 'of each partition the tenant\'s rows');
like(asked('leg'), qr/EXISTS \(SELECT FROM "public"\."part" t1 WHERE .* AND .* AND \(t1\."org_id"/, 'of a key of two columns, through the root of the partitions');
is($node->safe_psql('here', "SELECT sum(restored), sum(identical) FROM deletion_guard.rehydrate('2', 'server:same')"), '0|28', 'again: identical');

# --- partitions that came and went ------------------------------------------------------

$node->safe_psql('here', "CREATE TABLE part_3 PARTITION OF part FOR VALUES FROM ('2026-03-01') TO ('2026-04-01'); $lose");
is($node->safe_psql('here', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:same')"), 28, 'a partition that the copy has not');
is($node->safe_psql('here', $all), $before, 'as it was');
like(asked('leg'), qr/EXISTS/, 'and children are still told there');
$node->safe_psql('here', "$lose; ALTER TABLE part_1 RENAME TO january");
is($node->safe_psql('here', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:same')"), 28, 'a partition that has another name');
is($node->safe_psql('here', $all), $before, 'as it was');

# --- types that have changed -------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE same');
copy_named('other');
$node->safe_psql('other', 'ALTER TABLE thing DROP CONSTRAINT thing_org_id_fkey; ALTER TABLE thing ALTER org_id TYPE text; ALTER TABLE base ALTER org_id TYPE bigint');
$node->safe_psql('here', $lose);
is($node->safe_psql('here', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:other')"), 28, 'a tenant column that was a text there');
is($node->safe_psql('here', $all), $before, 'as it was');
is(asked('thing'), '', 'its table was read as a whole, and told here');
like(asked('base'), qr/"org_id" OPERATOR\(pg_catalog\.=\) ANY \('\{"2"\}'::"pg_catalog"\."int8"\[\]/, 'integers compare with each other');

# --- encodings ---------------------------------------------------------------------------

$node->safe_psql('postgres', "CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'");
$node->safe_psql('latin', $schema);
copy_named('latin');
$node->safe_psql('latin', "UPDATE org SET name = chr(252) || chr(223) WHERE id = 2");
$node->safe_psql('here', $lose);
is($node->safe_psql('here', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:latin')"), 28, 'out of another encoding');
is($node->safe_psql('here', 'SELECT ascii(name), ascii(substr(name, 2)), length(name) FROM org WHERE id = 2'), '252|223|2', 'characters, not bytes');
$node->safe_psql('postgres', "CREATE DATABASE there TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'");
$node->safe_psql('there', "CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw; CREATE TABLE org (id integer PRIMARY KEY, name text); SELECT deletion_guard.set_tenant_table('org', 'id', 'name'), deletion_guard.guard_table('org', 'id')");
$node->safe_psql('there', sprintf("CREATE SERVER same FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'same'); CREATE USER MAPPING FOR CURRENT_USER SERVER same", $node->host, $node->port));
$node->safe_psql('same', 'UPDATE org SET name = chr(8364) WHERE id = 2');
my ($ret, $out, $err) = $node->psql('there', "\\set VERBOSITY verbose\nSELECT deletion_guard.rehydrate('2', 'server:same', '{org}', left_out => 'report')");
like($err, qr/ERROR:  22P05: cannot read server "same".*has no equivalent in encoding "LATIN1".*HINT:  Nothing was changed\. The text cannot be stored/s, 'a character that is not in ours');
is($node->safe_psql('there', 'SELECT count(*) FROM org'), 0, 'nothing has changed');

# --- keys of other types, and tenants in other numbers -------------------------------------

$node->safe_psql('postgres', "CREATE DATABASE keys TEMPLATE template0 ENCODING UTF8 LOCALE 'C'");
$node->safe_psql('keys', 'CREATE EXTENSION deletion_guard; CREATE EXTENSION postgres_fdw; CREATE EXTENSION IF NOT EXISTS citext SCHEMA public');
for my $type ('uuid', 'numeric', 'varchar(40)', 'text COLLATE folded', 'char(40)', 'citext', 'date', 'name')
{
	my $key = $type =~ /uuid|char|text|name/ ? 'md5(n::text)' . ($type eq 'uuid' ? '::uuid' : '') : $type eq 'date' ? "date '2026-01-01' + n" : 'n + 0.50';

	$node->safe_psql('postgres', "DROP DATABASE IF EXISTS k; DROP DATABASE IF EXISTS l; CREATE DATABASE k TEMPLATE keys");
	my ($ret, $out, $err) = $node->psql('k', "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE owner (id $type PRIMARY KEY); CREATE TABLE item (id integer PRIMARY KEY, owner $type REFERENCES owner);
		INSERT INTO owner SELECT $key FROM generate_series(1, 20) n; INSERT INTO item SELECT m, (SELECT $key) FROM generate_series(1, 100) m, LATERAL (SELECT 1 + m % 20) k (n);
		SELECT deletion_guard.set_tenant_table('owner', 'id'), deletion_guard.guard_table('owner', 'id'), deletion_guard.guard_table('item', 'owner')");
	is($err, '', "tables with a key of type $type");
	$node->safe_psql('postgres', "CREATE DATABASE l TEMPLATE k");
	$node->safe_psql('k', sprintf("CREATE SERVER l FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'l'); CREATE USER MAPPING FOR CURRENT_USER SERVER l", $node->host, $node->port));
	my $tenant = $node->safe_psql('k', 'SELECT id FROM owner ORDER BY id LIMIT 1 OFFSET 3');
	$node->safe_psql('k', "SET session_replication_role = replica; DELETE FROM item WHERE owner = '$tenant'; DELETE FROM owner WHERE id = '$tenant'");
	$tenant = uc $tenant if $type =~ /folded|uuid|citext/;
	$tenant .= '00' if $type eq 'numeric';
	is($node->safe_psql('k', "SELECT sum(restored) FROM deletion_guard.rehydrate('$tenant', 'server:l')"), 6, "a key of type $type");
	is($node->safe_psql('k', 'TABLE owner UNION ALL SELECT owner FROM item ORDER BY 1'), $node->safe_psql('l', 'TABLE owner UNION ALL SELECT owner FROM item ORDER BY 1'), 'all are there');
	$type eq 'date' ? is(asked('item'), '', 'dates are told here, as sessions write them') : like(asked('item'), qr/WHERE \(t0\."owner" OPERATOR/, 'asked there');
}

is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deletion_guard'"), 0, 'nobody is connected any more');
$node->stop;
done_testing();
