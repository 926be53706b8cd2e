# PL/Python can stop a DELETE at a number of rows, or fetch what it returns from a cursor.
use strict;
use warnings FATAL => 'all';

use Neighbour;
use Test::More;

plan skip_all => 'plpython3u is not installed' if !has_extension('plpython3u');
my $node = neighbour('deletion_guard');

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION plpython3u;
CREATE TABLE doc (id int PRIMARY KEY, org_id int);
SELECT deletion_guard.guard_table('doc', 'org_id');
INSERT INTO doc SELECT i, i % 3 FROM generate_series(1, 30) i;
CREATE FUNCTION run(statement text, wanted int) RETURNS int LANGUAGE plpython3u AS 'return plpy.execute(statement, wanted).nrows()';
CREATE FUNCTION take(statement text, wanted int) RETURNS int LANGUAGE plpython3u AS 'return len(plpy.cursor(statement).fetch(wanted))';
CREATE FUNCTION attempt(statement text) RETURNS int LANGUAGE plpython3u AS $$
try:
	with plpy.subtransaction():
		plpy.execute(statement)
		plpy.execute("SELECT 1 / 0")
except plpy.SPIError:
	return plpy.execute("SELECT count(*) AS n FROM doc")[0]["n"]
$$;
SQL

sub rows
{
	return $node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM doc), (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::doc))');
}

is($node->safe_psql('postgres', "SELECT run('DELETE FROM doc WHERE id > 20 RETURNING id', 4)"), '4', 'a DELETE that is stopped');
is(rows(), '26|4', 'has its rows kept');
is($node->safe_psql('postgres', "SELECT take('DELETE FROM doc WHERE id <= 5 RETURNING id', 2)"), '2', 'a cursor of which two rows are fetched');
is(rows(), '21|9', 'has deleted five, and all are kept');
is($node->safe_psql('postgres', "SELECT take('WITH gone AS (DELETE FROM doc WHERE id <= 10 RETURNING id) SELECT * FROM gone', 2)"), '2', 'one with a DELETE in it');
is(rows(), '16|14', 'too');
is($node->safe_psql('postgres', "SELECT attempt('DELETE FROM doc')"), '16', 'a subtransaction undoes a deletion');
is(rows(), '16|14', 'and what was kept of it');

guard_works($node, 'beside PL/Python');
$node->stop;
done_testing();
