#!/bin/bash
# Links between pages lead to files and headings that are there, the index of doc/ has every page, and README.md is short.
perl -e '
	my ($n, $bad) = (0, 0);
	sub result
	{
		my ($name, @wrong) = @_;
		$n++;
		print @wrong ? "not ok" : "ok", " $n - $name\n", map { "# $_\n" } @wrong;
	}
	sub text { open(my $fh, "<", $_[0]) or die "$_[0]: $!"; local $/; return scalar <$fh> }
	# A heading as it is addressed: small letters, no punctuation, "-" for blanks.
	sub anchors
	{
		my $page = text($_[0]) =~ s/^```.*?^```$//gmsr;
		return { map { (lc =~ s/[`*]//gr =~ s/[^\w\- ]//gr =~ s/ /-/gr) => 1 } $page =~ /^#+ (.*?)\s*$/mg };
	}
	my (@dangling, %anchors);
	my @pages = (glob("*.md"), glob("doc/*.md"), glob("src/README.md src/*/README.md"), glob("test/*.md"));
	for my $page (@pages)
	{
		my ($dir) = $page =~ m{^(.*/)} ? $1 : "";
		my $prose = text($page) =~ s/^```.*?^```$//gmsr =~ s/`[^`\n]*`//gr;
		while ($prose =~ /\]\(([^)\s#]*)(?:#([^)\s]*))?\)/g)
		{
			my ($file, $anchor) = ($1, $2);
			next if $file =~ /^\w+:/;
			my $path = $file eq "" ? $page : "$dir$file";
			1 while $path =~ s{(^|/)(?!\.\./)[^/]+/\.\./}{$1};
			if (!-e $path) { push @dangling, "$page: $file is not there"; }
			elsif (defined $anchor && $path =~ /\.md$/)
			{
				$anchors{$path} //= anchors($path);
				push @dangling, "$page: $path has no heading #$anchor" unless $anchors{$path}{$anchor};
			}
		}
	}
	result("links between pages lead somewhere", @dangling);
	my $index = text("doc/README.md");
	result("doc/README.md has every page", grep { my $name = s{^doc/}{}r; $name ne "README.md" && index($index, "($name)") < 0 } glob("doc/*.md"));
	result("README.md is under 12 KB", -s "README.md" < 12288 ? () : -s "README.md");
	print "1..$n\n";
'
