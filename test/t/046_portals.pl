# Rows of a DELETE ... RETURNING fetched a few at a time, as JDBC and other drivers
# do it with the extended protocol: a portal that is suspended and taken up again
# is one deletion, whatever else runs in between.
use strict;
use warnings FATAL => 'all';

use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE issue (id int PRIMARY KEY, tenant_id int);
CREATE TABLE remark (id int PRIMARY KEY, issue_id int REFERENCES issue ON DELETE CASCADE);
SELECT deletion_guard.guard_table('issue', 'tenant_id');
SELECT deletion_guard.guard_table('remark', tenant_path => '{remark_issue_id_fkey}');
INSERT INTO issue SELECT i, 1 + i % 2 FROM generate_series(1, 20) i;
INSERT INTO remark SELECT i, i FROM generate_series(1, 20) i;
SQL

# --- as little of the protocol as it takes ----------------------------------

my $socket;

sub message { my ($type, $body) = @_; return $type . pack('N', 4 + length($body)) . $body }

sub get
{
	my ($n) = @_;
	my $bytes = '';

	while (length($bytes) < $n)
	{
		sysread($socket, $bytes, $n - length($bytes), length($bytes)) or die 'the server has hung up';
	}
	return $bytes;
}

# Sends messages; returns the types of what comes back, up to ReadyForQuery.
sub talk
{
	my $types = '';

	syswrite($socket, join('', @_));
	while ($types !~ /Z/)
	{
		my ($type, $length) = unpack('aN', get(5));
		my $body = get($length - 4);

		diag($body) if $type eq 'E';
		$types .= $type if $type =~ /[DsCZE]/;
	}
	return $types;
}

sub start
{
	my $user = $node->safe_psql('postgres', 'SELECT current_user');
	my $body = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";

	$socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die "cannot connect: $!";
	return talk(pack('N', 4 + length($body)) . $body);
}

sub query { return talk(message('Q', "$_[0]\0")) }

sub parse { my ($name, $sql) = @_; return message('P', "$name\0$sql\0" . pack('n', 0)) }

sub bind_portal { my ($portal, $name) = @_; return message('B', "$portal\0$name\0" . pack('nnn', 0, 0, 0)) }

sub execute { my ($portal, $rows) = @_; return message('E', "$portal\0" . pack('N', $rows)) }

my $sync = message('S', '');
my $deletions = 'SELECT rows, tenants, statement FROM deletion_guard.deletion ORDER BY id';

# --- the library is loaded by the portal itself, then is there -----------------

for my $round (1, 2)
{
	start() if $round == 1;
	my $first = $round == 1 ? 1 : 11;
	my $sql = "DELETE FROM issue WHERE id BETWEEN $first AND $first + 4 RETURNING id";

	query('BEGIN');
	is(talk(parse("d$round", $sql), bind_portal('p', "d$round"), execute('p', 2), $sync), 'DDsZ', "round $round: two rows, suspended");
	is(query("DELETE FROM issue WHERE id = $first + 5"), 'CZ', "round $round: another statement in between");
	is(talk(execute('p', 2), $sync), 'DDsZ', "round $round: two more");
	is(talk(execute('p', 2), $sync), 'DCZ', "round $round: the last");
	is(query('COMMIT'), 'CZ', "round $round: committed");
	is($node->safe_psql('postgres', "SELECT rows FROM deletion_guard.deletion ORDER BY id DESC LIMIT 2"), "2\n10",
		"round $round: one deletion each, cascades included");
}

# --- one that is never taken up again, and one that is rolled back ---------------

query('BEGIN');
is(talk(parse('d3', 'DELETE FROM issue WHERE id > 16 RETURNING id'), bind_portal('p', 'd3'), execute('p', 1), $sync), 'DsZ', 'suspended');
query('COMMIT');
is($node->safe_psql('postgres', 'SELECT rows FROM deletion_guard.deletion ORDER BY id DESC LIMIT 1'), '8', 'and left so: all of it is deleted, and kept');
query('BEGIN');
talk(bind_portal('q', 'd1'), execute('q', 1), $sync);
query('ROLLBACK');
is($node->safe_psql('postgres', 'SELECT count(*) FROM deletion_guard.deletion'), '5', 'rolled back: nothing is recorded');
# several times with one prepared statement
$node->safe_psql('postgres', 'SELECT deletion_guard.undelete(id) FROM deletion_guard.deletion ORDER BY id DESC');
is(talk(map({ (bind_portal('', 'd1'), execute('', 0)) } 1 .. 3), $sync), 'DDDDDCCCZ', 'a pipeline');
is($node->safe_psql('postgres', "SELECT rows FROM deletion_guard.deletion WHERE id > 5"), '10', 'of which one deleted');
close($socket);
$node->stop;
done_testing();
