# What a DBA may hand over at three in the morning: not an archive, not this
# one, not of this database, or dumped with whatever options. Each is refused in
# words that help and changes nothing, or does the right thing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nstatement_timeout = '60s'");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $dir;

$node->safe_psql('postgres', 'CREATE DATABASE tracker');
$node->safe_psql('tracker', 'CREATE EXTENSION deletion_guard');
$node->safe_psql('tracker', slurp_file('test/sql/tracker.sql'));
$node->safe_psql('tracker', 'CREATE TABLE before AS SELECT * FROM everything');
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere TEMPLATE tracker');
$node->safe_psql('postgres', 'CREATE DATABASE stranger');
$node->safe_psql('stranger', 'CREATE TABLE unrelated AS SELECT 1 AS id');

# A shell command in the directory of the archives.
sub run_in_dir
{
	my ($command) = @_;

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	system_or_bail('sh', '-c', "cd '$dir' && exec 2>>stderr; $command");
	return;
}

sub differences
{
	return $node->safe_psql('tracker', '(TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)');
}

# Is refused with these words, and changes nothing.
sub refused
{
	my ($name, $expected, $tenant) = @_;
	my ($ret, $out, $err) = $node->psql('tracker', "SELECT deletion_guard.rehydrate('" . ($tenant // 2) . "', '$dir/$name')");

	isnt($ret, 0, "$name: refused");
	like($err, $expected, "$name: what it says");
	like($err, qr/HINT: |CONTEXT: /, "$name: and what to do");
	is($node->safe_psql('tracker', 'SELECT count(*) FROM everything WHERE site = 2'), '0', "$name: nothing has changed");
	return;
}

# Restores the site completely.
sub restores
{
	my ($name) = @_;

	$node->safe_psql('tracker', 'SELECT lose(2)');
	is($node->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', '$dir/$name')"), '47', "$name: restored");
	is(differences(), '', "$name: as it was");
	$node->safe_psql('tracker', 'SELECT lose(2)');
	return;
}

run_in_dir('pg_dump -Fc -n public -f good.dump tracker; pg_dump -Fp -n public -f good.sql tracker; pg_dump -Fd -n public -f good.dir tracker; pg_dump -Ft -n public -f good.tar tracker');
run_in_dir('pg_dump -Fc -s -f schema.dump tracker; pg_dump -Fp -s -f schema.sql tracker; pg_dump -Fc -f stranger.dump stranger; pg_dump -Fc -t label -f label.dump tracker; '
	  . 'pg_dumpall --exclude-database=elsewhere --exclude-database=stranger -f one.sql');
run_in_dir('pg_dump -Fc -n public -f elsewhere.dump elsewhere');
$node->safe_psql('elsewhere', "UPDATE comment SET body = 'of another database'");
run_in_dir('pg_dumpall -f all.sql');
$node->safe_psql('tracker', 'SELECT lose(2)');

# --- not an archive, or packed --------------------------------------------------

run_in_dir('gzip -k good.dump; gzip -k good.tar; gzip -k good.sql; tar cf dir.tar good.dir; tar czf dir.tgz good.dir; (cd good.dir && tar cf ../members.tar *)');
restores($_) foreach ('good.dump.gz', 'good.sql.gz', 'good.tar.gz', 'members.tar');
refused('dir.tar', qr/the archive is the directory in this tar, which has to be unpacked.*tar -xf/s);
refused('dir.tgz', qr/has to be unpacked.*tar -xf/s);
refused('good.dir/toc.dat', qr/table of contents only; the archive is the directory that it lies in/);
run_in_dir('cp -r good.dir notoc; rm notoc/toc.dat; mkdir nothing; cp -r good.dir lost; rm lost/*.dat.gz');
refused('notoc', qr/directory has no toc\.dat/);
refused('nothing', qr/directory has no toc\.dat/);
refused('lost', qr/data file is missing.*Nothing was changed/s);
foreach my $stranger (
	[ 'xz', "\xfd7zXZ\0\0\4\xe6", qr/compressed with xz/ ],
	[ 'bz2', 'BZh91AY&SY', qr/compressed with bzip2/ ],
	[ 'zip', "PK\3\4\x14\0", qr/a zip file/ ],
	[ 'openssl', "Salted__\1\2\3\4\5\6\7\10", qr/encrypted, by openssl/ ],
	[ 'age', "age-encryption.org/v1\n-> X25519", qr/encrypted, by age/ ],
	[ 'pgp', "-----BEGIN PGP MESSAGE-----\n", qr/encrypted, by PGP/ ],
	[ 'noise', join('', map { chr(($_ * 7919) % 256) } 1 .. 4000), qr/not an archive of pg_dump/ ],
	[ 'csv', "id,name\n1,one\n", qr/not an archive of pg_dump/ ])
{
	my ($name, $content, $expected) = @$stranger;

	append_to_file("$dir/$name", $content);
	refused($name, $expected);
}
run_in_dir('pg_basebackup -D base -Ft -X none -c fast');
refused('base/base.tar', qr/tar is of a base backup/);
refused('base', qr/directory has no toc\.dat/);
$node->backup('files', backup_options => [ '-X', 'none' ]);
my ($ret, $out, $err) = $node->psql('tracker', "SELECT deletion_guard.rehydrate('2', '" . $node->backup_dir . "/files')");
like($err, qr/directory has no toc\.dat/, 'a base backup');
system_or_bail('mkfifo', "$dir/fifo");
refused('fifo', qr/it is a named pipe.*cat PIPE > FILE/s);
symlink('/dev/zero', "$dir/zero");
refused('zero', qr/it is neither a file nor a directory/);
refused('missing', qr/could not open file: No such file/);

# --- an archive, but not the one ------------------------------------------------

refused('schema.dump', qr/archive ".*" has no rows.*schema-only/s);
refused('schema.sql', qr/archive ".*" has no rows.*schema-only/s);
refused('stranger.dump', qr/archive ".*" has no table that holds tenants' rows.*of database "stranger"/s);
refused('label.dump', qr/has no table that holds tenants' rows/);
refused('good.dump', qr/1 tenant is not in archive.*no row of "77"/s, 77);
($ret, $out, $err) = $node->psql('tracker', "SELECT deletion_guard.rehydrate('2', '$dir/elsewhere.dump')");
is($ret, 0, 'a copy of the database does');
like($err, qr/NOTICE:  archive ".*" is of database "elsewhere"/, 'and is named');
is(differences(), '', 'all came back');
$node->safe_psql('tracker', 'SELECT lose(2)');

# Everything of a server: rows of another database's tables of the same names
# must not slip in.
restores('all.sql');
run_in_dir('pg_dumpall --exclude-database=tracker -f others.sql');
refused('others.sql', qr/dump contains more than one database, but not "tracker"/);
restores('one.sql');

# --- with whatever options ------------------------------------------------------

my @options = (
	'--clean', '--create', '--clean --create --if-exists', '--rows-per-insert=7', '--data-only --disable-triggers',
	'--quote-all-identifiers', '--quote-all-identifiers --inserts', '--inserts --on-conflict-do-nothing',
	'--column-inserts --on-conflict-do-nothing --rows-per-insert=3', '--no-owner --no-acl --no-comments',
	'--use-set-session-authorization', '--serializable-deferrable', '--enable-row-security', '--load-via-partition-root',
	'--section=data', '--section=pre-data --section=data', '--extra-float-digits=0', '--disable-dollar-quoting', '--strict-names --table=public.*');
$node->safe_psql('tracker', "SELECT deletion_guard.rehydrate('2', '$dir/good.dump')");
foreach my $i (0 .. $#options)
{
	foreach my $format ('p', 'c')
	{
		next if $options[$i] =~ /disable-triggers/ && $format eq 'c';
		run_in_dir("rm -f option$i.$format; pg_dump -F$format -n public $options[$i] -f option$i.$format tracker");
		$node->safe_psql('tracker', 'SELECT lose(2)');
		is($node->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', '$dir/option$i.$format')"),
			'47', "$options[$i] -F$format: restored");
		is(differences(), '', "$options[$i] -F$format: as it was");
	}
}

# --- the file changes while it is read ------------------------------------------

$node->safe_psql('tracker', q{
	CREATE TABLE bulk (id integer PRIMARY KEY, site_id integer, filler text);
	INSERT INTO bulk SELECT n, 1 + n % 3, string_agg(md5(n + k / 31.0 || ''), '') FROM generate_series(1, 8000) n, generate_series(1, 30) k GROUP BY n;
	CREATE TABLE bulk_before AS TABLE bulk;
	SELECT deletion_guard.guard_table('bulk', 'site_id')});
sub cut_off
{
	truncate($_[0], int((-s $_[0]) / 20));
	return;
}

# The same bytes again: nobody can know that.
sub write_over
{
	my $content = slurp_file($_[0]);

	open(my $fh, '+<', $_[0]) or die;
	binmode $fh;
	print $fh $content;
	close $fh;
	return;
}

foreach my $case ([ '-Fc -Z0', \&cut_off ], [ '-Fc', \&cut_off ], [ '-Fp', \&cut_off ], [ '-Fc', \&write_over ], [ '-Fp', \&write_over ])
{
	my ($format, $happens) = @$case;
	my $how = $happens == \&cut_off ? 'cut off' : 'written over';

	run_in_dir("pg_dump $format -t bulk -f bulk.dump tracker");
	$node->safe_psql('tracker', 'SET session_replication_role = replica; DELETE FROM bulk');
	my ($blocker_in, $blocker_out, $victim_err) = ("BEGIN; INSERT INTO bulk VALUES (12, 1);\n\\echo ready\n", '', '');
	my $blocker = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('tracker') ], '<', \$blocker_in, '>', \$blocker_out, IPC::Run::timeout(120));
	$blocker->pump until $blocker_out =~ /ready/;
	my $victim = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('tracker'), '-c',
			"SELECT deletion_guard.rehydrate('1', '$dir/bulk.dump')" ], '<', '/dev/null', '>', '/dev/null', '2>', \$victim_err, IPC::Run::timeout(120));
	$node->poll_query_until('tracker', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%bulk.dump%' AND wait_event_type = 'Lock'");
	$happens->("$dir/bulk.dump");
	$blocker_in .= "ROLLBACK;\n\\q\n";
	$blocker->finish;
	$victim->finish;
	like($victim_err, qr/cannot read archive.*(DETAIL:.* end|file was changed while it was read)/s, "$format: $how while it is read");
	is($node->safe_psql('tracker', 'SELECT count(*) FROM bulk'), '0', "$format: nothing has changed");
	unlink "$dir/bulk.dump";
	$node->safe_psql('tracker', 'INSERT INTO bulk TABLE bulk_before');
}

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'the server has not crashed');
$node->stop;
done_testing();
