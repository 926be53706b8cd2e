# doc/reference.md is what the extension says of itself, and that is something of everything.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION deletion_guard');
local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres');
my ($page, $errors);

ok(IPC::Run::run([ 'perl', 'test/run/reference.pl' ], '>', \$page, '2>', \$errors), 'the reference can be made') or diag($errors);
ok($page eq slurp_file('doc/reference.md'), 'doc/reference.md is current') or diag('Run "make reference" and commit what it has changed.');

# Comments say what they are for where a program or a person depends on it.
is($node->safe_psql('postgres', q{
	SELECT string_agg(c.relname || '.' || a.attname, ', ' ORDER BY c.relname, a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relnamespace = 'deletion_guard'::regnamespace AND pg_catalog.col_description(c.oid, a.attnum) IS NULL
		AND (c.relkind = 'v' OR c.relname IN ('authority', 'drill_result', 'dropped_table', 'hold', 'ledger', 'refusal', 'rehydration_record', 'scrub_progress'))}),
	'', 'every column that people read has a comment');
is($node->safe_psql('postgres', q{LOAD 'deletion_guard'; SELECT string_agg(name, ', ') FROM pg_settings
	WHERE name LIKE 'deletion\_guard.%' AND coalesce(short_desc, '') = ''}), '', 'every setting has a description');
$node->stop;
done_testing();
