#!/bin/bash
# Every error message is produced by some test, but for those that test/check/messages_untested
# lists, with the reason. Who makes one of these testable takes it off the list.
#
# Messages are compared by their fixed parts, between the format specifiers.
perl -0777 -e '
	my $tests = "";
	for my $file (glob("expected/*.out test/isolation/expected/*.out test/t/*.pl test/unit/*.c test/unit/*.sh"))
	{
		open(my $fh, "<", $file) or next;
		$tests .= <$fh>;
	}
	my ($all, @untested) = (0);
	for my $file (glob("src/*/*.c"))
	{
		open(my $fh, "<", $file) or next;
		my $code = <$fh>;
		while ($code =~ /\berrmsg(?:_plural)?\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)/g)
		{
			my $message = $1;
			$message =~ s/"\s+"//g;
			$message =~ s/^"|"\s*$//g;
			$message =~ s/\\"/"/g;
			$all++;
			my $pattern = join(".*?", map { quotemeta } split(/%(?:[-0-9.*]*(?:ll|l|z|h)?[a-zA-Z]|%)|" ?INT64_FORMAT ?"/, $message, -1));
			# TAP tests quote quotes their own way.
			push @untested, "$file: $message" unless $tests =~ /$pattern/;
		}
	}
	open(my $fh, "<", "test/check/messages_untested") or die "test/check/messages_untested: $!";
	my @listed = map { [ split /\t/ ] } grep { !/^#/ } split /\n/, <$fh>;
	my @new = grep { my $m = $_; !grep { index($m, $_->[0]) == 0 } @listed } @untested;
	my @stale = grep { my $l = $_; !grep { index($_, $l->[0]) == 0 } @untested } @listed;
	my @bare = grep { ($_->[1] // "") eq "" } @listed;
	my $n = 0;
	for (["error messages are tested, or listed as impossible to produce", \@new],
		["what is listed is there, and not tested", [ map { $_->[0] } @stale ]],
		["what is listed has a reason", [ map { $_->[0] } @bare ]])
	{
		my ($name, $wrong) = @$_;
		printf "%s %d - %s\n", @$wrong ? "not ok" : "ok", ++$n, $name;
		print "# $_\n" for @$wrong;
	}
	print "1..$n\n";
'
