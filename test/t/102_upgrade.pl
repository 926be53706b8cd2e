# An earlier release, with rows in its bins, becomes what a new installation is:
# the catalogs of both are compared. Every release is tried that the tree has the
# frozen install script of (src/upgrade).
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;

# All that belongs to the extension, one line for each thing, in a form that does
# not depend on OIDs. Columns have their numbers: C code knows them by these.
# Bin tables come and go; what else there is in their schema is a member.
my $catalogs = <<'SQL';
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname IN ('deletion_guard', 'deletion_guard_bin')
		UNION SELECT objid FROM pg_depend WHERE classid = 'pg_namespace'::regclass AND deptype = 'e'
			AND refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'deletion_guard')),
	member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'deletion_guard')),
	relation AS (SELECT * FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours) AND relnamespace <> 'deletion_guard_bin'::regnamespace),
	function AS (SELECT * FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
		OR oid IN (SELECT objid FROM member WHERE classid = 'pg_proc'::regclass))
SELECT 'member', pg_describe_object(classid, objid, 0), NULL FROM member
UNION ALL SELECT 'comment', pg_describe_object(classoid, objoid, objsubid), description FROM pg_description d
	WHERE (classoid, objoid) IN (SELECT classid, objid FROM member) OR objoid IN (SELECT oid FROM relation)
UNION ALL SELECT 'function', oid::regprocedure::text,
	concat_ws(' | ', CASE WHEN prokind IN ('f', 'p') THEN pg_get_functiondef(oid) ELSE prosrc END,
		(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(proacl) a)) FROM function
UNION ALL SELECT 'schema', nspname, (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(nspacl) a)
	FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
UNION ALL SELECT 'relation', oid::regclass::text,
	concat_ws(' | ', relkind, relpersistence, relreplident, relrowsecurity, reloptions::text, (SELECT amname FROM pg_am WHERE oid = relam),
		CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) WHEN relkind IN ('i', 'I') THEN pg_get_indexdef(oid) END,
		(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(relacl) a)) FROM relation WHERE relkind <> 't'
UNION ALL SELECT 'sequence', seqrelid::regclass::text, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)
	FROM pg_sequence WHERE seqrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'column', attrelid::regclass || '.' || attname,
	concat_ws(' | ', attnum, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attcollation::regcollation,
		attstorage, attcompression, pg_get_expr(adbin, adrelid),
		(SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(attacl) a))
	FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
	WHERE attrelid IN (SELECT oid FROM relation WHERE relkind <> 't') AND attnum > 0
UNION ALL SELECT 'constraint', concat(conrelid::regclass, ' ', contypid::regtype, ' ', conname), concat_ws(' | ', pg_get_constraintdef(oid), convalidated)
	FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours) AND connamespace <> 'deletion_guard_bin'::regnamespace
UNION ALL SELECT 'trigger', tgrelid::regclass || ' ' || tgname, concat_ws(' | ', tgenabled, pg_get_triggerdef(oid))
	FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relation)
UNION ALL SELECT 'rule', ev_class::regclass || ' ' || rulename, concat_ws(' | ', ev_enabled, pg_get_ruledef(oid))
	FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM relation)
UNION ALL SELECT 'event trigger', evtname, concat_ws(' | ', evtevent, evtfoid::regprocedure, evtenabled, evttags::text) FROM pg_event_trigger
UNION ALL SELECT 'type', oid::regtype::text, concat_ws(' | ', typtype, typinput, typnotnull, typdefault, typbasetype::regtype,
		(SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
	FROM pg_type t WHERE typnamespace IN (SELECT oid FROM ours) AND typnamespace <> 'deletion_guard_bin'::regnamespace
UNION ALL SELECT 'dumped', table_of::regclass::text, condition FROM pg_extension, unnest(extconfig, extcondition) AS u (table_of, condition)
	WHERE extname = 'deletion_guard'
UNION ALL SELECT 'extension', extname, concat_ws(' | ', extversion, extnamespace::regnamespace, extrelocatable) FROM pg_extension WHERE extname = 'deletion_guard'
ORDER BY 1, 2, 3
SQL

# The lines of one list that are not in the other, and the other way round.
sub differences
{
	my ($left, $right) = map { [ split /\n(?=[a-z][a-z ]*\|)/, $_ ] } @_;
	my (%left, %right);

	@left{@$left} = ();
	@right{@$right} = ();
	return join("\n", (map { "- $_" } grep { !exists $right{$_} } @$left), map { "+ $_" } grep { !exists $left{$_} } @$right);
}

my $version = $node->safe_psql('postgres', q(SELECT default_version FROM pg_available_extensions WHERE name = 'deletion_guard'));
my @earlier = map { /deletion_guard--([^-]+)\.sql$/ ? $1 : () } glob('src/upgrade/*.sql');
plan skip_all => "nothing was released before $version" if !@earlier;

$node->safe_psql('postgres', 'CREATE DATABASE new');
$node->safe_psql('new', 'CREATE EXTENSION deletion_guard');
my $new = $node->safe_psql('new', $catalogs);
cmp_ok(scalar(split /\n/, $new), '>', 500, 'the catalogs say much about it');

for my $from (@earlier)
{
	my $database = "from_$from" =~ s/\W/_/gr;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<"SQL");
CREATE EXTENSION deletion_guard VERSION '$from';
CREATE TABLE site (id int PRIMARY KEY, name text);
CREATE TABLE issue (id int PRIMARY KEY, site_id int REFERENCES site ON DELETE CASCADE);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
SELECT FROM deletion_guard.guard_schema('public', 'site_id');
INSERT INTO site VALUES (7, 'seven'), (8, 'eight');
INSERT INTO issue SELECT i, 7 FROM generate_series(1, 100) i;
DELETE FROM site WHERE id = 7;
SQL
	is($node->safe_psql($database, 'DELETE FROM issue; SELECT sum(restored) FROM deletion_guard.undelete(1); DELETE FROM site WHERE id = 7; SELECT max(id) FROM deletion_guard.deletion'),
		"101\n2", "$from works with this library");
	$node->safe_psql($database, 'ALTER EXTENSION deletion_guard UPDATE');
	is(differences($node->safe_psql($database, $catalogs), $new), '', "$from, updated, is what a new installation is");
	is($node->safe_psql($database, 'SELECT sum(restored) FROM deletion_guard.undelete(2); SELECT count(*) FROM issue'), "101\n100",
		"what was in the bin of $from comes back");
	is($node->safe_psql($database, "SELECT string_agg(check_name || ': ' || detail, '; ') FROM deletion_guard.verify() WHERE NOT ok AND check_name NOT LIKE '%preload%'"),
		'', "verify() has nothing to say of it");
}

# That a difference would be seen.
for my $change (
	'GRANT SELECT ON deletion_guard.deletion TO pg_monitor',
	'GRANT SELECT (tenant) ON deletion_guard.deletion_detail TO pg_monitor',
	'GRANT EXECUTE ON FUNCTION deletion_guard.purge TO pg_monitor',
	'GRANT CREATE ON SCHEMA deletion_guard TO pg_monitor',
	'COMMENT ON FUNCTION deletion_guard.ledger_head IS $$x$$',
	'COMMENT ON COLUMN deletion_guard.status.guarded_tables IS $$x$$')
{
	is(differences($node->safe_psql('new', "BEGIN; $change; $catalogs; ROLLBACK"), $new) ne '', 1, "seen: $change");
}
$node->stop;
done_testing();
