# Rows out of a running copy of the database: who may, how it is reached, what comes
# back, and every mistake in naming it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $live = PostgreSQL::Test::Cluster->new('live');
$live->init(allows_streaming => 1);
$live->append_conf('postgresql.conf', "fsync = off\ntimezone = 'Asia/Kolkata'\ndatestyle = 'SQL, DMY'\nintervalstyle = 'iso_8601'");
$live->start;
$live->safe_psql('postgres', 'CREATE DATABASE tracker');
$live->safe_psql('tracker', 'CREATE EXTENSION deletion_guard');
$live->safe_psql('tracker', slurp_file('test/sql/tracker.sql'));
$live->safe_psql('tracker', "CREATE ROLE clerk LOGIN PASSWORD 'of the live one'; CREATE ROLE reader LOGIN PASSWORD 'sesame'; GRANT pg_read_all_data TO reader");
$live->backup('clone');
$live->safe_psql('tracker', 'CREATE TABLE before AS SELECT * FROM everything');

# A clone of the files: the same system identifier, and the same OIDs.
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($live, 'clone');
$copy->append_conf('postgresql.conf', "datestyle = 'German'\nbytea_output = escape\nextra_float_digits = -5\ntimezone = 'America/New_York'\nlog_statement = all");
$copy->append_conf('postgresql.conf', 'standard_conforming_strings = off') if $copy->pg_version < '19devel';
unlink $copy->data_dir . '/pg_hba.conf';
append_to_file($copy->data_dir . '/pg_hba.conf', "local all reader scram-sha-256\nlocal all all trust\n");
$copy->start;
my $there = $copy->safe_psql('tracker', 'SELECT md5(string_agg(e::text, chr(10) ORDER BY e::text)) FROM everything e');
my $reach = sprintf("host '%s', port '%s', dbname 'tracker'", $copy->host, $copy->port);
$live->safe_psql('tracker', "CREATE EXTENSION postgres_fdw; CREATE SERVER copy FOREIGN DATA WRAPPER postgres_fdw OPTIONS ($reach, fetch_size '7');");

sub differences
{
	return $live->safe_psql('tracker', '(TABLE everything EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE everything)');
}

my $call = "SELECT relation, found, restored FROM deletion_guard.rehydrate('2', 'server:%s') WHERE found > 0 ORDER BY relation::text";

# Is refused with this SQLSTATE and these words, says what to do, and changes nothing.
sub refused
{
	my ($name, $sql, $sqlstate, $expected, $as) = @_;
	my ($ret, $out, $err) = $live->psql('tracker', "\\set VERBOSITY verbose\n$sql", ($as ? (extra_params => [ '-U', $as ]) : ()));

	isnt($ret, 0, "$name: refused");
	like($err, qr/ERROR:  $sqlstate: /, "$name: SQLSTATE");
	like($err, $expected, "$name: what it says");
	like($err, qr/HINT: /, "$name: and what to do");
	is($live->safe_psql('tracker', 'SELECT count(*) FROM everything WHERE site = 2'), '0', "$name: nothing has changed");
	return;
}

# --- naming it ------------------------------------------------------------------

$live->safe_psql('tracker', 'SELECT lose(2)');
my $sql = sprintf($call, 'copy');
refused('no such server', sprintf($call, 'nowhere'), '42704', qr/server "nowhere" does not exist.*CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw/s);
refused('no mapping', $sql, '42704', qr/server "copy" has no user mapping for "\w+".*CREATE USER MAPPING FOR \w+ SERVER copy/s);
$live->safe_psql('tracker', "CREATE FOREIGN DATA WRAPPER postgres_fwd; CREATE SERVER other FOREIGN DATA WRAPPER postgres_fwd OPTIONS ($reach)");
refused('another wrapper', sprintf($call, 'other'), '42809', qr/server "other" is not one of postgres_fdw.*postgres_fwd/s);
refused('no name', sprintf($call, ''), '42704', qr/server "" does not exist/);

# --- what comes back -------------------------------------------------------------

$live->safe_psql('tracker', 'CREATE USER MAPPING FOR CURRENT_USER SERVER copy');
is($live->safe_psql('tracker', "SELECT relation, columns, format, compression, data_bytes > 0, live_relation, tenant_source FROM deletion_guard.archive_contents('server:copy')"),
	join("\n", 'public.comment|{id,issue_id,body,data,written,took}|server|none|t|comment|path comment_issue_id_fkey',
		'public.file|{comment_id,name,tags}|server|none|t|file|path file_comment_id_fkey > comment_issue_id_fkey',
		'public.issue|{id,site_id,project_id,parent_id,label_id,title}|server|none|t|issue|column site_id',
		'public.label|{id,name}|server|none|t|label|',
		'public.project|{id,site_id,title}|server|none|t|project|column site_id',
		'public.site|{id,name,contact}|server|none|t|site|column id'), 'contents');
is($live->safe_psql('tracker', "SELECT relation, archive_rows, live_rows, only_in_archive FROM deletion_guard.compare_tenant('2', 'server:copy') WHERE archive_rows > 0 ORDER BY relation::text"),
	"comment|20|0|20\nfile|14|0|14\nissue|10|0|10\nproject|2|0|2\nsite|1|0|1", 'compared');
is($live->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:copy', dry_run => true)"), 47, 'dry run');
is($live->safe_psql('tracker', 'SELECT count(*) FROM everything WHERE site = 2'), 0, 'which changes nothing');
is($live->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:copy', into_schema => 'seen')"), 47, 'into a schema');
is($live->safe_psql('tracker', $sql), "comment|20|20\nfile|14|14\nissue|10|10\nproject|2|2\nsite|1|1", 'restored');
is(differences(), '', 'as it was, whatever either side writes values like');
my $log = slurp_file($copy->logfile);
like($log, qr/COPY \(SELECT .* FROM ONLY "public"\."file" t0 WHERE .*EXISTS .*"public"\."comment" t1 .*EXISTS .*"public"\."issue" t2 .*"site_id" OPERATOR\(pg_catalog\.=\) ANY/, 'the path was evaluated there');
unlike($log, qr/COPY \(SELECT[^\n]* FROM ONLY "public"\."\w+" t0\)/, 'and no table read as a whole');
unlike($log, qr/FROM ONLY "public"\."label" t0/, 'nor those that hold no rows of tenants');
is($live->safe_psql('tracker', "SELECT bool_and(matches), count(*) FROM deletion_guard.drill('server:copy')"), 't|3', 'drill');
$live->safe_psql('tracker', 'SELECT lose(n) FROM generate_series(1, 3) n');
is($live->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate(ARRAY['1', '2', '3'], 'server:copy')"), 139, 'three at once');
is(differences(), '', 'as they were');
$live->safe_psql('tracker', 'SELECT lose(n) FROM generate_series(1, 3) n');
$live->safe_psql('tracker', "CALL deletion_guard.rehydrate_each(ARRAY['1', '2', '3'], 'server:copy', 'night')");
is(differences(), '', 'each by itself');
$live->safe_psql('tracker', "SET session_replication_role = replica; DELETE FROM label; SELECT lose(2)");
refused('what they refer to is gone', $sql, '23503', qr/label/);
is($live->safe_psql('tracker', "SELECT sum(restored) FROM deletion_guard.rehydrate('2', 'server:copy', with_referenced => true)"), 49, 'with it');
is($live->safe_psql('tracker', 'SELECT count(*) FROM label'), 2, 'which is there');
is(differences(), '', 'as it was');

# --- not this one ----------------------------------------------------------------

$live->safe_psql('tracker', 'SELECT lose(2)');
my $itself = sprintf("host '%s', port '%s', dbname 'tracker'", $live->host, $live->port);
$live->safe_psql('tracker', "CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS ($itself); CREATE USER MAPPING FOR CURRENT_USER SERVER itself");
refused('itself', sprintf($call, 'itself'), '22023', qr/server "itself" is this very database/);
$live->safe_psql('postgres', 'CREATE DATABASE other');
$live->safe_psql('other', 'CREATE TABLE unrelated AS SELECT 1 AS id');
$live->safe_psql('tracker', "ALTER SERVER itself OPTIONS (SET dbname 'other')");
refused('without such tables', sprintf($call, 'itself'), 'TG044', qr/archive "server:itself" has no table that holds tenants' rows.*it is of database "other"/s);
$live->safe_psql('tracker', "ALTER SERVER itself OPTIONS (SET dbname 'nowhere')");
refused('no such database', sprintf($call, 'itself'), '08001', qr/could not connect to server "itself".*database "nowhere" does not exist/s);
$live->safe_psql('tracker', "ALTER SERVER itself OPTIONS (SET port '1')");
refused('nobody there', sprintf($call, 'itself'), '08001', qr/could not connect to server "itself".*No such file or directory/s);
refused('no such tenant', "SELECT deletion_guard.rehydrate('99', 'server:copy')", 'TG044', qr/1 tenant is not in archive "server:copy"/);

# Somebody who takes a connection and says nothing.
use IO::Socket::INET;
my $mute = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die;
$live->safe_psql('tracker', "CREATE SERVER mute FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '" . $mute->sockport . "', connect_timeout '2'); CREATE USER MAPPING FOR CURRENT_USER SERVER mute");
refused('mute', sprintf($call, 'mute'), '08001', qr/could not connect to server "mute".*timeout expired/s);
$live->safe_psql('tracker', 'ALTER SERVER mute OPTIONS (DROP connect_timeout)');
my $began = time;
like(($live->psql('tracker', "SET statement_timeout = '1s';" . sprintf($call, 'mute')))[2], qr/canceling statement/, 'mute, and cancelled');
cmp_ok(time - $began, '<', 30, 'at once');

# --- who may ---------------------------------------------------------------------

$live->safe_psql('tracker', q{
	GRANT USAGE ON SCHEMA deletion_guard TO clerk; GRANT SELECT, INSERT ON site, project, issue, comment, file TO clerk; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO clerk;
	GRANT EXECUTE ON FUNCTION deletion_guard.rehydrate(text, text, regclass[], text, name, boolean, boolean, jsonb, boolean, text, text, jsonb, text, boolean) TO clerk});
my $as_clerk = "SET SESSION AUTHORIZATION clerk; $sql";
refused('no usage', $as_clerk, '42501', qr/permission denied for foreign server copy.*GRANT USAGE ON FOREIGN SERVER copy TO clerk/s);
$live->safe_psql('tracker', 'GRANT USAGE ON FOREIGN SERVER copy TO clerk');
refused('no mapping of his', $as_clerk, '42704', qr/server "copy" has no user mapping for "clerk"/);
$live->safe_psql('tracker', "CREATE USER MAPPING FOR clerk SERVER copy OPTIONS (user 'postgres_of_copy')");
refused('no password', $as_clerk, '2F003', qr/password is required to read server "copy".*ALTER USER MAPPING FOR clerk SERVER copy/s);
my $superuser = $live->safe_psql('postgres', 'SELECT current_user');
$live->safe_psql('tracker', "ALTER USER MAPPING FOR clerk SERVER copy OPTIONS (SET user '$superuser', ADD password 'sesame')");
refused('a password that nobody asks for', $as_clerk, '2F003', qr/server "copy" did not ask for the password of the user mapping.*scram-sha-256/s);
$live->safe_psql('tracker', "ALTER USER MAPPING FOR clerk SERVER copy OPTIONS (SET user 'reader', SET password 'wrong')");
refused('a wrong password', $as_clerk, '08001', qr/could not connect to server "copy".*password authentication failed for user "reader"/s);
$live->safe_psql('tracker', "ALTER USER MAPPING FOR clerk SERVER copy OPTIONS (SET password 'sesame')");
is($live->safe_psql('tracker', $as_clerk), "comment|20|20\nfile|14|14\nissue|10|10\nproject|2|2\nsite|1|1", 'a clerk, with the right one, who may read no file of the server');
is(differences(), '', 'as it was');
$live->safe_psql('tracker', 'SELECT lose(2)');
refused('a file', "SET SESSION AUTHORIZATION clerk; SELECT deletion_guard.rehydrate('2', '/nowhere')", '42501', qr/permission denied to read archives on the server/);
$live->safe_psql('tracker', "ALTER USER MAPPING FOR clerk SERVER copy OPTIONS (DROP password, SET user '$superuser', ADD password_required 'false')");
is($live->safe_psql('tracker', $as_clerk), "comment|20|20\nfile|14|14\nissue|10|10\nproject|2|2\nsite|1|1", 'without, where a superuser has said so');
refused('who says so himself', "SELECT lose(2); SET SESSION AUTHORIZATION clerk; ALTER USER MAPPING FOR clerk SERVER copy OPTIONS (SET password_required 'false')", '42501', qr/password_required/);

# --- what the mapping's role may not read ------------------------------------------

$live->safe_psql('tracker', "SELECT lose(2); ALTER USER MAPPING FOR CURRENT_USER SERVER copy OPTIONS (ADD user 'reader', ADD password 'sesame')");
$copy->safe_psql('tracker', 'REVOKE pg_read_all_data FROM reader; GRANT SELECT ON site, project, issue, comment TO reader');
refused('a table of tenants', $sql, '42501', qr/cannot read archive "server:copy".*table public\.file cannot be read there: role reader has no SELECT on it.*pg_read_all_data/s);
like($live->safe_psql('tracker', "SELECT problem FROM deletion_guard.compare_tenant('2', 'server:copy') WHERE problem LIKE '%SELECT%'"), qr/has no SELECT on it; left out/, 'compare_tenant() says it');
$copy->safe_psql('tracker', 'REVOKE ALL ON issue FROM reader; GRANT SELECT ON file TO reader');
refused('a parent', "SELECT deletion_guard.rehydrate('2', 'server:copy', ARRAY['file'::regclass])", '42501', qr/cannot read (archive|server) "(server:)?copy".*(permission denied for table issue|table public\.issue cannot be read there)/s);
$copy->safe_psql('tracker', 'GRANT SELECT ON issue TO reader; ALTER TABLE comment ENABLE ROW LEVEL SECURITY; CREATE POLICY even ON comment USING (id % 2 = 0)');
refused('row security', $sql, '42501', qr/table public\.comment cannot be read there: row security would hide rows from role reader.*BYPASSRLS/s);
refused('row security of a parent', "SELECT deletion_guard.rehydrate('2', 'server:copy', ARRAY['file'::regclass])", '42501', qr/row(-level)? security/);
$copy->safe_psql('tracker', 'ALTER ROLE reader BYPASSRLS');
is($live->safe_psql('tracker', $sql), "comment|20|20\nfile|14|14\nissue|10|10\nproject|2|2\nsite|1|1", 'who may read all of it');
is(differences(), '', 'as it was');

is($copy->safe_psql('tracker', 'SELECT md5(string_agg(e::text, chr(10) ORDER BY e::text)) FROM everything e'), $there, 'nothing was written there');
is($copy->safe_psql('tracker', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deletion_guard'"), 0, 'nobody is connected there any more');

$copy->stop;
$live->stop;
done_testing();
