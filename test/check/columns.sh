#!/bin/bash
# src/common/tables.h numbers the columns of our tables as the install script makes them, and no
# other file numbers them again. They are heaps, whatever tables are by default.
perl -0777 -e '
	my (%tables, @wrong);
	for my $file (grep { !m{^src/upgrade/} } glob("src/*/*.sql"))
	{
		open(my $fh, "<", $file) or die "$file: $!";
		my $sql = <$fh>;
		while ($sql =~ /CREATE TABLE deletion_guard\.(\w+)\n\(\n(.*?)\n\) USING heap;/sg)
		{
			my ($table, $body) = ($1, $2);
			$tables{$table} = [ $body =~ /^\t([a-z_]+) /mg ];
		}
	}
	open(my $fh, "<", "src/common/tables.h") or die "src/common/tables.h: $!";
	my $header = <$fh>;
	my $found = 0;
	while ($header =~ m{/\* deletion_guard\.(\w+) \*/\n((?:#define .*\n)+)}g)
	{
		my ($table, $defines) = ($1, $2);
		my @columns = @{ $tables{$table} // [] };
		my $prefix = $table eq "bin" ? "registry" : $table;
		my $n = 0;
		my $expected = join("", map { $n++; "#define Anum_${prefix}_$_ $n\n" } @columns) . "#define Natts_$prefix $n\n";
		$found++;
		push @wrong, $table if $defines =~ s/\t+/ /gr ne $expected;
	}
	print @wrong || !$found ? "not ok" : "ok", " 1 - src/common/tables.h has the columns of the install script\n";
	print "# not those of deletion_guard.$_\n" for @wrong;
'
again=$(grep -nE '^#define (Anum|Natts)_' src/*/*.[ch] | grep -vE '^src/(common/tables\.h:|bin/bin\.h:.*Anum_bin_|compare/compare_rowsort\.c:)')
if [ -z "$again" ]; then
	echo "ok 2 - columns are numbered in src/common/tables.h"
else
	echo "not ok 2 - columns are numbered in src/common/tables.h"
	sed 's/^/# /' <<<"$again"
fi
default=$(awk '/^CREATE TABLE/ { table = $NF }
	table != "" && /^\)/ { if (!/USING heap/) print FILENAME ": " table; table = "" }' src/*/*.sql)
if [ -z "$default" ]; then
	echo "ok 3 - they are made USING heap"
else
	echo "not ok 3 - they are made USING heap"
	sed 's/^/# /' <<<"$default"
fi
echo "1..3"
