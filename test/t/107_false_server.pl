# A server that a foreign server leads to and that is none: it answers with other columns
# than were asked for, with nulls, with what is no text, with a copy in place of rows and
# rows in place of a copy. The call fails, and the session goes on.
use strict;
use warnings;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding', 'UTF8', '--locale', 'C' ]);
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION deletion_guard;
	CREATE EXTENSION postgres_fdw;
	CREATE TABLE site (id integer PRIMARY KEY, name text);
	INSERT INTO site VALUES (1, 'one');
	SELECT deletion_guard.set_tenant_table('site', 'id', 'name');
	SELECT deletion_guard.guard_table('site', 'id')});

# --- messages of the protocol ------------------------------------------------------

sub message
{
	my ($type, $body) = @_;

	return $type . pack('N', 4 + length $body) . $body;
}

# The answer to a query: rows of so many columns, undef for null.
sub rows
{
	my ($n, @rows) = @_;
	my $answer = message('T', pack('n', $n) . join('', map { "c$_\0" . pack('NnNnNn', 0, 0, 25, 65535, 4294967295, 0) } 1 .. $n));

	$answer .= message('D', pack('n', scalar @$_) . join('', map { defined $_ ? pack('N', length $_) . $_ : pack('N', 4294967295) } @$_))
	  foreach @rows;
	return $answer . message('C', 'SELECT ' . @rows . "\0");
}

# A table's rows as COPY sends them, in this many columns and this format.
sub copy
{
	my ($n, $format, @lines) = @_;

	return message('H', pack('Cn', $format, $n) . pack('n', $format) x $n) . join('', map { message('d', $_) } @lines);
}

my $copied = message('c', '') . message('C', "COPY 1\0");
my @table = ('77', 'public', 'site', undef, undef, 'f', undef, undef, undef, undef, undef, 'f');
my @id = ('77', 'id', 'integer', 'pg_catalog', 'int4', 'OPERATOR(pg_catalog.=)', '');
my @name = ('77', 'name', 'text', 'pg_catalog', 'text', 'OPERATOR(pg_catalog.=)', '');

# What a true one would say to each query, by what is in it.
my %true = (
	largeobject => rows(0), pg_partition_root => rows(12, \@table), 'WITH RECURSIVE base' => rows(7, \@id, \@name),
	pg_sequence_last_value => rows(3), pg_locks => rows(0), 'COPY' => copy(2, 0, "2\ttwo\n") . $copied . rows(1, ['77']));

# The others differ in one answer each.
my %false = (
	honest => {},
	tables_narrow => { pg_partition_root => rows(1, ['77']) },
	tables_wide => { pg_partition_root => rows(13, [ @table, 'more' ]) },
	tables_null => { pg_partition_root => rows(12, [ '77', 'public', undef, @table[ 3 .. 11 ] ]) },
	tables_bytes => { pg_partition_root => rows(12, [ '77', 'public', "si\xff", @table[ 3 .. 11 ] ]) },
	columns_narrow => { 'WITH RECURSIVE base' => rows(2, [ '77', 'id' ]) },
	columns_null => { 'WITH RECURSIVE base' => rows(7, [ undef, @id[ 1 .. 6 ] ]) },
	columns_alien => { 'WITH RECURSIVE base' => rows(7, [ '78', @id[ 1 .. 6 ] ]) },
	sequences_null => { pg_sequence_last_value => rows(3, [ undef, undef, undef ]) },
	copy_for_query => { pg_partition_root => copy(12, 0) },
	copy_in => { pg_partition_root => message('G', pack('Cn', 0, 0)) },
	copy_in_for_set => { client_connection => message('G', pack('Cn', 0, 0)) },
	rows_for_set => { client_connection => rows(1, ['x']) },
	rows_for_copy => { COPY => rows(2, [ '2', 'two' ]) },
	copy_wide => { COPY => copy(3, 0, "2\ttwo\t3\n") . $copied . rows(1, ['77']) },
	copy_binary => { COPY => copy(2, 1, "PGCOPY\n") . $copied . rows(1, ['77']) },
	row_wide => { COPY => copy(2, 0, "2\ttwo\t3\n") . $copied . rows(1, ['77']) },
	row_narrow => { COPY => copy(2, 0, "2\n") . $copied . rows(1, ['77']) },
	row_open => { COPY => copy(2, 0, "2\ttwo") . $copied . rows(1, ['77']) },
	row_bytes => { COPY => copy(2, 0, "2\ttw\xff\n") . $copied . rows(1, ['77']) },
	rows_fewer => { COPY => copy(2, 0) . $copied . rows(1, ['77']) },
	name_null => { COPY => copy(2, 0, "2\ttwo\n") . $copied . rows(1, [undef]) },
	name_absent => { COPY => copy(2, 0, "2\ttwo\n") . $copied },
	closes => { COPY => copy(2, 0, "2\ttwo\n") . 'close' });

my $refused = 'server "\w+" gives another answer than was asked for';
my %error = (
	columns_alien => $refused, row_wide => 'cannot read archive', row_narrow => 'cannot read archive', row_bytes => 'invalid byte sequence',
	rows_fewer => 'has sent 1 rows of table .*, and 0 have come', name_null => 'was replaced while it was read', name_absent => 'was replaced while it was read',
	closes => 'cannot read server');

# --- the server ---------------------------------------------------------------------

sub serve
{
	my ($client) = @_;
	my ($head, $body);

	read($client, $head, 4) == 4 && read($client, $body, unpack('N', $head) - 4) or return;
	my ($case) = $body =~ /\0database\0([^\0]*)\0/;
	print $client message('R', pack('N', 0)), map({ message('S', $_) } "server_version\0" . "15.0\0", "client_encoding\0UTF8\0", "standard_conforming_strings\0on\0"),
	  message('K', pack('NN', 1, 1)), message('Z', 'I');
	while (read($client, $head, 5) == 5)
	{
		my ($type, $length) = unpack('aN', $head);
		my $answer = message('C', "SET\0");

		read($client, $body, $length - 4) if $length > 4;
		last if $type eq 'X';
		next if $type ne 'Q';
		foreach my $mark (keys %true, keys %{ $false{$case} })
		{
			$answer = $false{$case}{$mark} // $true{$mark} if index($body, $mark) >= 0 && ($mark ne 'COPY' || index($body, 'COPY') == 0);
		}
		my $closes = $answer =~ s/close$//;
		print $client $answer;
		last if $closes;
		print $client message('Z', 'T');
	}
}

my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5, ReuseAddr => 1) or die "cannot listen: $!";
my $port = $listener->sockport;
my $server = fork // die;
if ($server == 0)
{
	$SIG{PIPE} = 'IGNORE';
	while (my $client = $listener->accept)
	{
		$client->autoflush(0);
		select((select($client), $| = 1)[0]);
		serve($client);
		close $client;
	}
	POSIX::_exit(0);
}

# --- what becomes of it ---------------------------------------------------------------

foreach my $case (grep({ $_ ne 'honest' } sort keys %false), 'honest')
{
	$node->safe_psql('postgres', "CREATE SERVER $case FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '$port', dbname '$case', sslmode 'disable', gssencmode 'disable');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $case");
	my ($out, $err);
	my $rc = $node->psql('postgres', "SET statement_timeout = '20s'; SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:$case');", stdout => \$out, stderr => \$err);
	my $error = $error{$case} // $refused;
	if ($case eq 'honest')
	{
		is("$rc $out", '0 1', 'the honest one: restored');
	}
	else
	{
		like($err, qr/ERROR: .*$error/, $case);
	}
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM site'), '2', 'nothing else was written');
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'no crash');

done_testing();

END
{
	kill 'KILL', $server if $server;
}
