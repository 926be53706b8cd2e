# UPDATEs that a subscriber applies, and that move rows between its partitions there:
# those that arrive are no deletions, those that a trigger keeps away are.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($publisher, $subscriber) = map { PostgreSQL::Test::Cluster->new($_) } qw(publisher subscriber);
for my $node ($publisher, $subscriber)
{
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
	$node->start;
}
$publisher->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id int PRIMARY KEY, k int, note text);
ALTER TABLE item REPLICA IDENTITY FULL;
INSERT INTO item SELECT i, 1, repeat('x', 500) FROM generate_series(1, 100) i;
CREATE PUBLICATION item FOR TABLE item;
SQL
$subscriber->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id int, k int, note text) PARTITION BY LIST (k);
CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
CREATE TABLE item_2 PARTITION OF item FOR VALUES IN (2);
CREATE TABLE item_3 PARTITION OF item FOR VALUES IN (3);
ALTER TABLE item REPLICA IDENTITY FULL;
ALTER TABLE item_1 REPLICA IDENTITY FULL;
ALTER TABLE item_2 REPLICA IDENTITY FULL;
ALTER TABLE item_3 REPLICA IDENTITY FULL;
CREATE TABLE seen (id int);
CREATE FUNCTION keeps_away() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO public.seen VALUES (new.id); IF new.id % 2 = 1 THEN RETURN NULL; END IF; RETURN new; END';
CREATE EXTENSION deletion_guard;
SELECT deletion_guard.guard_table('item');
SQL
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION item CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION item");
$subscriber->wait_for_subscription_sync($publisher, 'item');

sub leaves
{
	my ($name, $statement, $expected) = @_;

	$publisher->safe_psql('postgres', $statement);
	$publisher->wait_for_catchup('item');
	is($subscriber->safe_psql('postgres', q(SELECT (SELECT count(*) FROM item) || ' ' || (SELECT count(*) FROM deletion_guard.deleted_rows(NULL::item)))),
		$expected, $name);
}

leaves('moved', 'UPDATE item SET k = 2 WHERE id <= 40', '100 0');
leaves('moved, with others', 'BEGIN; INSERT INTO item VALUES (101, 2); UPDATE item SET k = 3 WHERE id <= 20; DELETE FROM item WHERE id = 100; COMMIT', '100 1');
$subscriber->safe_psql('postgres', <<'SQL');
CREATE TRIGGER t BEFORE INSERT ON item_3 FOR EACH ROW EXECUTE FUNCTION keeps_away();
ALTER TABLE item_3 ENABLE ALWAYS TRIGGER t;
SQL
leaves('kept away', 'UPDATE item SET k = 3 WHERE id BETWEEN 21 AND 30', '95 6');
leaves('kept away, among others', 'BEGIN; INSERT INTO item VALUES (102, 3), (104, 3); UPDATE item SET k = 3 WHERE id = 31; INSERT INTO item VALUES (106, 1); COMMIT', '97 7');

# A tenant whose key is changed, and its row moved, is the same; one that is deleted before another is inserted is not.
$publisher->safe_psql('postgres', <<'SQL');
CREATE TABLE org (slug text PRIMARY KEY, name text);
INSERT INTO org VALUES ('acme', 'Acme'), ('globex', 'Globex'), ('hooli', 'Hooli');
CREATE PUBLICATION org FOR TABLE org;
SQL
$subscriber->safe_psql('postgres', <<'SQL');
CREATE TABLE org (slug text PRIMARY KEY, name text) PARTITION BY LIST (slug);
CREATE TABLE org_1 PARTITION OF org FOR VALUES IN ('acme', 'globex', 'hooli');
CREATE TABLE org_rest PARTITION OF org DEFAULT;
CREATE TABLE doc (id int PRIMARY KEY, org text);
SELECT deletion_guard.guard_table('org', 'slug'), deletion_guard.guard_table('doc', 'org');
SELECT deletion_guard.set_tenant_table('org', 'slug', 'name');
INSERT INTO doc VALUES (1, 'acme');
DELETE FROM doc;
SQL
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION org CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION org");
$subscriber->wait_for_subscription_sync($publisher, 'org');
$publisher->safe_psql('postgres', q(UPDATE org SET slug = 'apex' WHERE slug = 'acme';
	BEGIN; DELETE FROM org WHERE slug = 'globex'; INSERT INTO org VALUES ('other', 'Other'); DELETE FROM org WHERE slug = 'hooli'; COMMIT;
	INSERT INTO org VALUES ('next', 'Next')));
$publisher->wait_for_catchup('org');
is($subscriber->safe_psql('postgres', q(SELECT string_agg(old_key || ' ' || new_key, ', ') FROM deletion_guard.tenant_rename)),
	'acme apex', 'a tenant whose row is moved by replication is followed');
is($subscriber->safe_psql('postgres', q(SELECT tenant || ' ' || restored FROM deletion_guard.undelete_tenant('acme'))),
	'apex 1', 'and its rows come back with its key');
done_testing();
