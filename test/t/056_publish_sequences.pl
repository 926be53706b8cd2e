# FOR ALL SEQUENCES (19) has the extension's sequences, which a subscriber lacks or
# would be set back by.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->start;
plan skip_all => 'sequences are not published' if $node->safe_psql('postgres', 'SHOW server_version_num') < 190000;

my ($ret, $out, $err);
$node->safe_psql('postgres', 'CREATE PUBLICATION numbers FOR ALL SEQUENCES');
($ret, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION deletion_guard');
like($err, qr/publication "numbers" has the sequences of deletion_guard/, 'refused at CREATE EXTENSION');
$node->safe_psql('postgres', q(
SET deletion_guard.publication = allow;
CREATE EXTENSION deletion_guard;
CREATE TABLE doc (id int PRIMARY KEY);
SELECT deletion_guard.guard_table('doc');));
is($node->safe_psql('postgres', q(SELECT object FROM deletion_guard.verify() WHERE check_name = 'publications')), 'numbers: all sequences',
	'verify() says so where it was allowed');
$node->safe_psql('postgres', 'DROP PUBLICATION numbers');
($ret, $out, $err) = $node->psql('postgres', 'CREATE PUBLICATION numbers FOR ALL SEQUENCES');
like($err, qr/publication "numbers" would have the sequences of deletion_guard/, 'refused later');

# EXCEPT leaves out tables that are there, not bins to come.
($ret, $out, $err) = $node->psql('postgres', 'CREATE PUBLICATION most FOR ALL TABLES EXCEPT (TABLE deletion_guard.ledger)');
like($err, qr/publication "most" would have the tables of deletion_guard/, 'all tables but one');
$node->stop;
done_testing();
