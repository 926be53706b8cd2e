# Archives in other encodings than the database's, and text that is equal
# without being the same.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $dir;

my $tables = q{
	CREATE TABLE "Kunde" (id text PRIMARY KEY, name text);
	CREATE TABLE "Bestellung" (nr integer PRIMARY KEY, "Kündin" text REFERENCES "Kunde", "Größe" text);
	CREATE TABLE posten (bestellung integer REFERENCES "Bestellung", text text);
};
my $rows = q{
	INSERT INTO "Kunde" VALUES ('Müller', U&'\00DF\\\\t'), ('Muller', 'u'), ('Zürich', NULL);
	INSERT INTO "Bestellung" SELECT n, CASE n % 3 WHEN 0 THEN 'Müller' WHEN 1 THEN 'Muller' ELSE 'Zürich' END,
		repeat(U&'gr\00F6\00DFer\00A7\000A', n) FROM generate_series(1, 30) n;
	INSERT INTO posten SELECT nr, "Größe" FROM "Bestellung";
};
my $guard = q{
	CREATE EXTENSION deletion_guard;
	SELECT deletion_guard.set_tenant_table('"Kunde"', 'id', 'name');
	SELECT deletion_guard.guard_table('"Kunde"', 'id');
	SELECT deletion_guard.guard_table('"Bestellung"', 'Kündin');
	SELECT deletion_guard.guard_table('posten', tenant_path => '{posten_bestellung_fkey}');
};
my $all = q{SELECT md5(string_agg(row, ' ' ORDER BY row)) FROM (
	SELECT "Kunde"::text AS row FROM "Kunde" UNION ALL SELECT "Bestellung"::text FROM "Bestellung" UNION ALL SELECT posten::text FROM posten) x};

# A database in UTF8, and the same in LATIN1.
foreach my $encoding (qw(UTF8 LATIN1))
{
	$node->safe_psql('postgres', "CREATE DATABASE " . lc($encoding) . " ENCODING '$encoding' TEMPLATE template0");
	$node->safe_psql(lc($encoding), "SET client_encoding = UTF8; $tables; $rows; $guard");
}
my $before = $node->safe_psql('utf8', $all);
my $before_latin1 = $node->safe_psql('latin1', $all);

sub rescue
{
	my ($database, $archive, $expected) = @_;

	$node->safe_psql($database, "SET client_encoding = UTF8; DELETE FROM posten; DELETE FROM \"Bestellung\"; DELETE FROM \"Kunde\"");
	is( $node->safe_psql($database,
			"SET client_encoding = UTF8; SELECT tenant, sum(restored) FROM deletion_guard.rehydrate('{Müller,Zürich}'::text[], '$archive')"
			  . " WHERE tenant IS NOT NULL GROUP BY 1 ORDER BY 1"),
		"Müller|21\nZürich|21", "$archive into $database: two customers");
	is( $node->safe_psql($database, "SELECT sum(restored) FROM deletion_guard.rehydrate('Muller', '$archive')"),
		'21', "$archive into $database: the third");
	is($node->safe_psql($database, $all), $expected, "$archive into $database: all as it was");
	return;
}

foreach my $form ([], ['--inserts'])
{
	foreach my $from ([ 'UTF8', 'UTF8' ], [ 'UTF8', 'LATIN1' ], [ 'LATIN1', 'LATIN1' ])
	{
		my ($database, $encoding) = @$from;
		my $archive = "$dir/" . lc("${database}_$encoding") . join('', @$form);

		system_or_bail('pg_dump', '-d', $node->connstr(lc($database)), '-n', 'public', '-Fc', '-E', $encoding, @$form, '-f', $archive);
		rescue('utf8', $archive, $before);
		rescue('latin1', $archive, $before_latin1);
	}
}

# An encoding with bytes of characters that look like backslashes: 表 and ソ end
# in one.
$node->safe_psql('postgres', "CREATE DATABASE sjis ENCODING 'UTF8' TEMPLATE template0");
$node->safe_psql('sjis', $tables . $guard);
$node->safe_psql('sjis', q{INSERT INTO "Kunde" VALUES ('表', 'ソ\\表'), ('表x', E'\t表\\\\\n')});
$before = $node->safe_psql('sjis', 'TABLE "Kunde" ORDER BY id');
foreach my $form ([], ['--inserts'])
{
	my $archive = "$dir/sjis" . join('', @$form);

	system_or_bail('pg_dump', '-d', $node->connstr('sjis'), '-t', '"Kunde"', '-Fc', '-E', 'SJIS', @$form, '-f', $archive);
	$node->safe_psql('sjis', 'DELETE FROM "Kunde"');
	$node->safe_psql('sjis', "SELECT deletion_guard.rehydrate(ARRAY['表', '表x'], '$archive')");
	is($node->safe_psql('sjis', 'TABLE "Kunde" ORDER BY id'), $before, "$archive: backslashes");
}

# Bytes that are not text in the database's encoding.
$node->safe_psql('postgres', "CREATE DATABASE raw ENCODING 'SQL_ASCII' TEMPLATE template0");
$node->safe_psql('raw', q{CREATE TABLE "Kunde" (id text PRIMARY KEY, name text);
	INSERT INTO "Kunde" VALUES ('a', E'\xfc'), ('b', 'plain')});
system_or_bail('pg_dump', '-d', $node->connstr('raw'), '-t', '"Kunde"', '-Fc', '-f', "$dir/raw");
my ($ret, $out, $err) = $node->psql('utf8', "SELECT deletion_guard.rehydrate('a', '$dir/raw')");
like($err, qr/invalid byte sequence for encoding "UTF8": 0xfc.*table public."Kunde", row 1/s, 'not text');
is($node->safe_psql('utf8', "SELECT found FROM deletion_guard.rehydrate('b', '$dir/raw') WHERE tenant IS NOT NULL"),
	'1', 'another tenant is');

# Collations under which different strings are equal.
SKIP:
{
	skip 'no ICU', 3
	  if $node->safe_psql('postgres', "SELECT count(*) FROM pg_collation WHERE collprovider = 'i'") eq '0';
	$node->safe_psql('postgres', "CREATE DATABASE icu ENCODING 'UTF8' TEMPLATE template0");
	$node->safe_psql('icu', q{
		CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE club (name text COLLATE nocase PRIMARY KEY);
		CREATE TABLE member (id integer PRIMARY KEY, club text COLLATE nocase REFERENCES club);
		CREATE TABLE fee (member integer REFERENCES member, amount money);
		INSERT INTO club VALUES ('Chess'), ('Go');
		INSERT INTO member VALUES (1, 'chess'), (2, 'CHESS'), (3, 'go'), (4, 'Chess');
		INSERT INTO fee VALUES (1, 10), (2, 20), (3, 30), (4, -1234.5);
		CREATE EXTENSION deletion_guard;
		SELECT deletion_guard.set_tenant_table('club', 'name');
		SELECT deletion_guard.guard_table('club', 'name');
		SELECT deletion_guard.guard_table('member', 'club');
		SELECT deletion_guard.guard_table('fee', tenant_path => '{fee_member_fkey}')});
	$before = $node->safe_psql('icu', 'SELECT * FROM member JOIN fee ON member = id ORDER BY id');
	system_or_bail('pg_dump', '-d', $node->connstr('icu'), '-n', 'public', '-Fc', '-f', "$dir/icu");
	$node->safe_psql('icu', 'DELETE FROM fee; DELETE FROM member; DELETE FROM club');
	is( $node->safe_psql('icu',
			"SELECT relation, found FROM deletion_guard.rehydrate('{chess,Chess}'::text[], '$dir/icu') WHERE tenant IS NOT NULL ORDER BY 1"),
		"club|1\nmember|3\nfee|3", 'one club in two spellings');
	$node->safe_psql('icu', "SELECT deletion_guard.rehydrate('GO', '$dir/icu')");
	is($node->safe_psql('icu', 'SELECT * FROM member JOIN fee ON member = id ORDER BY id'), $before, 'all spellings are as they were');
	is( $node->safe_psql('icu',
			"SELECT sum(archive_rows), sum(only_in_archive + only_live + different) FROM deletion_guard.compare_tenants('{gO,chesS}', '$dir/icu')"),
		'10|0', 'and compare equal');
}

$node->stop;
done_testing();
