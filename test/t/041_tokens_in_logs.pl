# Tokens are in no log, no statistics and no list of sessions, however the
# server is told to log.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q(
fsync = off
shared_preload_libraries = 'deletion_guard'
deletion_guard.retention = 0
));
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', "CREATE EXTENSION deletion_guard;\n" . slurp_file('test/sql/signing.sql'));
$node->safe_psql('shop', slurp_file('test/sql/shop.sql'));
$node->safe_psql('shop', "SELECT deletion_guard.add_authority('legal', signing.make_key('legal'))");
$node->safe_psql('shop', 'DELETE FROM tenant WHERE id IN (1, 2)');
my $token = $node->safe_psql('shop', "SELECT signing.sign(deletion_guard.request_purge('1', 'contract ended'))");
my $token2 = $node->safe_psql('shop', "SELECT signing.sign(deletion_guard.request_purge('2', 'contract ended'))");
my ($header, $payload, $signature) = split /\./, $token;

my $extras = -e "$ENV{PG_REGRESS}/../../../../lib/auto_explain.so"
  || system("ls \$(pg_config --pkglibdir)/auto_explain.so >/dev/null 2>&1") == 0;
my $more = $extras ? 'auto_explain, pg_stat_statements, ' : '';
$node->append_conf('postgresql.conf', qq(
shared_preload_libraries = '${more}deletion_guard'
log_statement = all
log_duration = on
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_min_error_statement = debug5
log_min_messages = debug1
log_error_verbosity = verbose
debug_print_parse = on
log_destination = 'stderr,csvlog'
logging_collector = on
log_directory = 'log'
));
$node->append_conf('postgresql.conf', q(
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_verbose = on
pg_stat_statements.track = all
)) if $extras;
$node->restart;
$node->safe_psql('shop', 'CREATE EXTENSION pg_stat_statements') if $extras;

# As a literal, refused, in DO, as a parameter, prepared, with a syntax error.
my $bad = "$header.$payload." . ('A' x 86);
$node->psql('shop', "SELECT deletion_guard.purge('$bad')");
$node->psql('shop', "SELECT ok FROM deletion_guard.check_token('$token')");
$node->psql('shop', "DO \$\$ BEGIN PERFORM deletion_guard.purge('$bad'); END \$\$");
$node->psql('shop', "SELEC deletion_guard.purge('$token')");
$node->psql('shop', "SELECT deletion_guard.purge('$token'::integer::text)");
$node->psql('shop', "PREPARE p(text) AS SELECT deletion_guard.purge(\$1); EXECUTE p('$bad')");
$node->psql('shop', "PREPARE p AS SELECT deletion_guard.purge('$bad'); SELECT statement FROM pg_prepared_statements; EXECUTE p");
$node->psql('shop', "CREATE PROCEDURE called(text) LANGUAGE plpgsql AS 'BEGIN PERFORM deletion_guard.purge(\$1); END'; CALL called('$bad')");
$node->psql('shop', "DO \$\$ BEGIN PERFORM deletion_guard.check_token('$bad'); END \$\$");
$node->psql('shop', "CREATE PROCEDURE checked(text) LANGUAGE plpgsql AS 'BEGIN PERFORM deletion_guard.check_token(\$1); END'; CALL checked('$bad')");
$node->psql('shop', "CREATE TABLE kept AS SELECT deletion_guard.purge('$bad')");
my $script = PostgreSQL::Test::Utils::tempdir . '/script';
append_to_file($script, "\\set token '''$bad'''\nSELECT deletion_guard.purge(:token);\n");
$node->run_log([ 'pgbench', '-n', '-t', '1', '-M', 'extended', '-f', $script, 'shop' ]);
is($node->safe_psql('shop',
		"SELECT query FROM pg_stat_activity, deletion_guard.check_token('$token') WHERE pid = pg_backend_pid() AND query LIKE '%<token>%'") ne '',
	1, 'pg_stat_activity shows the statement without the token');
is($node->safe_psql('shop', "SELECT deletion_guard.purge('$token')->'rows'"), '13', 'purged with a literal');
is($node->safe_psql('shop', "PREPARE p(text) AS SELECT deletion_guard.purge(\$1)->'rows'; EXECUTE p('$token2')"), '13', 'purged with a parameter');

if ($extras)
{
	is($node->safe_psql('shop', "SELECT count(*) FROM pg_stat_statements WHERE query ~ 'eyJ[A-Za-z0-9_-]{20}'"),
		'0', 'pg_stat_statements has no token');
	# Since version 17 what CALL is given is a constant of which nothing is kept.
	is($node->safe_psql('shop', "SELECT string_agg(DISTINCT c, ' ' ORDER BY c) FROM pg_stat_statements, substring(query FROM '^(DO|CALL)') c WHERE query ~ 'xxxxxxxxxx|^CALL checked.[\$]1'"),
		'CALL DO', 'but the utility statements that had one');
}
$node->stop;
my $logs = '';
$logs .= slurp_file($_) for glob($node->data_dir . '/log/*');
like($logs, qr/<token>/, 'tokens were replaced');
like($logs, qr/deletion_guard refused purge: bad_signature/, 'refusals are in the log');
like($logs, qr/deletion_guard begins purge 1 of 13 rows for request 1/, 'so is that a purge begins');
like($logs, qr/deletion_guard ends purge 1: 13 rows are gone if this transaction commits/, 'and that it ends');
unlike($logs, qr/\Q$header\E/, 'no header of a token');
unlike($logs, qr/\Q$payload\E/, 'no payload');
unlike($logs, qr/\Q$signature\E/, 'no signature');
unlike($logs, qr/eyJ[A-Za-z0-9_-]{20}/, 'nothing that looks like a token');
$logs =~ s/\n\s*//g;
unlike($logs, qr/eyJ[A-Za-z0-9_-]{20}/, 'nor in lines that were broken');
done_testing();
