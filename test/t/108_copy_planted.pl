# What an owner has put into an index of her table runs where a query for the table is
# planned. In a copy that is read as a superuser, nothing is planned for such tables.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlog_statement = all");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE planter');
$node->safe_psql('postgres', q{
	CREATE EXTENSION deletion_guard;
	CREATE EXTENSION postgres_fdw;
	CREATE TABLE site (id integer PRIMARY KEY);
	CREATE SCHEMA hers AUTHORIZATION planter;
	GRANT USAGE ON SCHEMA hers TO PUBLIC;
	SET ROLE planter;
	CREATE FUNCTION hers.note(v integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND current_setting('application_name') = 'deletion_guard' THEN
			RAISE EXCEPTION 'planted code runs as a superuser';
		END IF;
		RETURN v;
	END $$;
	CREATE FUNCTION hers.sum(a integer, b integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT hers.note(a) + b';
	CREATE OPERATOR hers.+! (LEFTARG = integer, RIGHTARG = integer, FUNCTION = hers.sum);
	CREATE TABLE hers.key (id integer PRIMARY KEY, site_id integer, "of" text, double integer GENERATED ALWAYS AS (id * 2) STORED);
	CREATE TABLE hers.lock (id integer PRIMARY KEY, site_id integer) PARTITION BY RANGE (id);
	CREATE TABLE hers.lock_1 PARTITION OF hers.lock FOR VALUES FROM (0) TO (10);
	CREATE TABLE hers.lock_2 PARTITION OF hers.lock FOR VALUES FROM (10) TO (20);
	CREATE TABLE hers.ward (id integer PRIMARY KEY, lock integer CONSTRAINT ward_lock REFERENCES hers.lock);
	RESET ROLE;
	SELECT deletion_guard.set_tenant_table('site', 'id');
	SELECT deletion_guard.guard_table('site', 'id'), deletion_guard.guard_table('hers.key', 'site_id'), deletion_guard.guard_table('hers.lock', 'site_id'),
		deletion_guard.guard_table('hers.ward', tenant_path => '{ward_lock}');
	INSERT INTO site VALUES (1), (2);
	INSERT INTO hers.key (id, site_id, "of") SELECT n, 1 + n % 2, E'a\tb' FROM generate_series(1, 10) n;
	INSERT INTO hers.lock SELECT n, 1 + n % 2 FROM generate_series(1, 19) n;
	INSERT INTO hers.ward SELECT n, n FROM generate_series(1, 19) n;
	CREATE TABLE hers.spare AS SELECT 1 AS id;
	ALTER TABLE hers.spare OWNER TO planter;
	SET ROLE planter;
	CREATE INDEX ON hers.key ((hers.note(1)));
	CREATE INDEX ON hers.key (site_id) WHERE 1 OPERATOR(hers.+!) 2 > 0;
	CREATE STATISTICS hers.spare_s ON (hers.note(2)), (id * 2) FROM hers.spare;
	CREATE INDEX ON hers.lock_2 ((hers.note(3)));
	RESET ROLE});
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres');
$node->safe_psql('postgres', "SELECT pg_catalog.set_config('session_replication_role', 'replica', false); DELETE FROM hers.ward; DELETE FROM hers.lock; DELETE FROM hers.key; DELETE FROM site");
$node->safe_psql('postgres', sprintf("CREATE SERVER copy FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'copy'); CREATE USER MAPPING FOR CURRENT_USER SERVER copy", $node->host, $node->port));

is($node->safe_psql('postgres', q{SELECT relation, restored FROM deletion_guard.rehydrate('1', 'server:copy') ORDER BY relation::text}),
	"hers.key|5\nhers.lock|9\nhers.spare|\nhers.ward|9\nsite|1", 'all of it comes back, and nothing planted has run');
is($node->safe_psql('postgres', q{SELECT count(*), sum(double), min("of") FROM hers.key}), "5|60|a\tb", 'with the values that it had');
is($node->safe_psql('postgres', q{SELECT sum(only_in_archive), sum(different) FROM deletion_guard.compare_tenant('1', 'server:copy')}), '0|0', 'compared, too');
like(slurp_file($node->logfile), qr/statement: COPY "hers"\."key" \("id", "site_id", "of"\) TO STDOUT/, 'the table itself is copied');
like(slurp_file($node->logfile), qr/statement: COPY \(SELECT t0\."id" FROM ONLY "public"\."site" t0 WHERE /, 'of the others, the rows that are wanted');

done_testing();
