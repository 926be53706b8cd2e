#!/bin/bash
# Error messages that no test produces. A note, not a failure: some cannot be
# produced from outside.
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
	for my $file (glob("src/*.c"))
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
	printf "# note: %d of %d error messages are tested; the others are in log/check/messages.log\n", $all - @untested, $all if @untested;
	print "# note:     $_\n" for @untested;
	print "ok 1 - error messages compared with the tests\n1..1\n";
'
