# The incident report as a page, in a browser: 883 tenants, names in other scripts and
# with markup in them. Needs Debian's chromium, 460 MB that nobody is made to install.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($browser) = grep { -x } map { "/usr/bin/$_" } 'chromium', 'chromium-browser', 'google-chrome';
plan skip_all => 'chromium is not installed' if !defined $browser;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION deletion_guard;
CREATE TABLE site (id int PRIMARY KEY, name text, contact text);
CREATE TABLE doc (id int PRIMARY KEY, site int REFERENCES site ON DELETE CASCADE);
SELECT deletion_guard.set_tenant_table('site', 'id', 'name', 'contact');
SELECT FROM deletion_guard.guard_schema('public', 'site');
INSERT INTO site SELECT n, CASE n % 6 WHEN 0 THEN '<script>document.title = "caught"</script><img src=x onerror="document.title=1">'
	WHEN 1 THEN U&'\0634\0631\0643\0629 \0627\0644\0627\062E\062A\0628\0627\0631 (' || n || ')' WHEN 2 THEN '"Quoted" & O''Brien </td></table>'
	WHEN 3 THEN repeat('Averylongnamewithoutanyspace', 8) WHEN 4 THEN U&'\682A\5F0F\4F1A\793E' || n ELSE U&'\202Egnp.' || n END,
	CASE WHEN n % 7 > 0 THEN 'a-mailbox-with-a-long-name-' || n || '@a-domain-that-is-long.example' END
FROM generate_series(1, 1000) n;
INSERT INTO doc SELECT n, 1 + n % 1000 FROM generate_series(1, 5000) n;
SET deletion_guard.actor = '<b>actor</b>';
DELETE FROM site WHERE id <= 883 /* </pre><script>document.title = "caught"</script> */;
SELECT FROM deletion_guard.undelete_tenants(ARRAY(SELECT n::text FROM generate_series(1, 300) n));
SQL

my $began = time;
my $page = $node->safe_psql('postgres', "SELECT deletion_guard.incident_report(format => 'html')");
note(time - $began, ' s, ', length($page), ' characters');
my $dir = PostgreSQL::Test::Utils::tempdir;
my @browse = ($browser, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', "--user-data-dir=$dir/profile");

# The document as the browser has it after it ran.
sub dom
{
	my ($html, $size) = @_;
	my ($out, $err) = ('', '');

	open my $fh, '>', "$dir/page.html" or die;
	print $fh $html;
	close $fh;
	IPC::Run::run([ @browse, "--window-size=$size", '--dump-dom', "file://$dir/page.html" ], '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	return $out;
}

my $dom = dom($page, '1200,900');
like($dom, qr{<title>883 tenants lost 5,298 rows</title>}, 'the title is ours');
is(() = $dom =~ /<tr class="(?:waiting|back)">/g, 883, 'a line for each tenant');
is(() = $dom =~ /<tr\b/g, 883 + 2 + 2, 'and no other, but those of tables and headings');
is(() = $dom =~ /<(?:script|img|b)\b/g, 0, 'no value became a tag');
is(() = $dom =~ /<pre\b/g, 1, 'nor ended one');
is(() = $dom =~ /&lt;script&gt;document\.title/g, 148, 'they are there to be read');
unlike($dom, qr/\xE2\x80\xAE/, 'and turn no direction');

# Whether it fits is asked by a script, in a copy that lets it run.
(my $copy = $page) =~ s/<meta http-equiv[^>]*>//;
$copy =~ s{</main>}{</main><script>document.title = 'width ' + document.documentElement.scrollWidth</script>};
for my $width (500, 800, 1400)
{
	like(dom($copy, "$width,900"), qr{<title>width $width</title>}, "it fits into $width pixels");
}
like(dom($page =~ s{</main>}{</main><script>document.title = 'ran'</script>}r, '800,900'), qr{<title>883 tenants}, 'the page lets no script run');

system(@browse, '--no-pdf-header-footer', "--print-to-pdf=$dir/page.pdf", "file://$dir/page.html") == 0 or diag('printing failed');
ok(-s "$dir/page.pdf", 'it prints');
$node->stop;
done_testing();
