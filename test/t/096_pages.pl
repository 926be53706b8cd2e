# What the pages of doc/ and README.md show runs as it is printed, and prints what is printed there (test/t/Pages.pm).
use strict;
use warnings;
use Test::More;
use lib 'test/t';
use Pages;

my @pages = grep { -e } ('README.md', sort glob('doc/*.md'));
@pages = grep { my $page = $_; grep { index($page, $_) >= 0 } split /,/, $ENV{PAGES} } @pages if $ENV{PAGES};
my $elsewhere = 0;

my $node = pages_server();
for my $page (@pages)
{
	$elsewhere += run_page($page);
}
# It is easily said of a block that it cannot run here.
cmp_ok($elsewhere, '<=', 16, "few blocks are left to other machines ($elsewhere)");
$node->stop;
done_testing();
