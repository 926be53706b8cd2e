#!/bin/bash
# META.json is what PGXN accepts (its Meta Spec, 1.0.0), and what it names is in
# the tree. validate_pgxn_meta, where it is installed, is asked as well.
perl -MJSON::PP -e '
	use strict;
	my ($test, $meta) = (0, decode_json(do { local (@ARGV, $/) = "META.json"; <> }));
	sub result
	{
		my ($name, @bad) = @_;
		printf "%sok %d - %s\n", @bad ? "not " : "", ++$test, $name;
		print "# $_\n" for @bad;
	}
	# keys that a map lacks, and those that it may not have
	sub keys_of
	{
		my ($where, $map, $needed, $allowed) = @_;
		my %allowed = map { $_ => 1 } @$needed, @$allowed;
		return ((map { "$where lacks $_" } grep { !defined $map->{$_} } @$needed),
			map { "$where: $_" } grep { !$allowed{$_} && !/^x_/i } keys %$map);
	}
	my $version = qr/^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-[A-Za-z][-0-9A-Za-z]*)?$/;
	my $url = qr{^[a-z]+://[^/?#\s]+\S*$};
	my $provides = $meta->{provides};

	result("keys", keys_of("META.json", $meta, [qw(name version abstract maintainer license provides meta-spec)],
		[qw(description release_status prereqs resources generated_by tags no_index)]));
	result("name and abstract", grep { !length || /[[:cntrl:]]/ || length > 255 } $meta->{abstract}, $meta->{name} =~ m{^[^\s/\\[:cntrl:]]{2,}$} ? "x" : "");
	result("versions", grep { $_ !~ $version } $meta->{version}, $meta->{"meta-spec"}{version}, map { $_->{version} } values %$provides);
	result("licence", grep { !/^(agpl_3|apache_[12]_[01]|artistic_[12]|bsd|freebsd|gpl_[123]|lgpl_(2_1|3_0)|mit|mozilla_1_[01]|postgresql|zlib)$/ } $meta->{license});
	result("release status", grep { !/^(stable|testing|unstable)$/ } $meta->{release_status});
	result("provides", map { keys_of($_, $provides->{$_}, [qw(file version)], [qw(abstract docfile)]) } sort keys %$provides);
	result("files that are provided exist", grep { !-f } map { @$_{qw(file docfile)} } values %$provides);
	result("phases and relations of what is needed", map { my $phase = $_;
		($phase =~ /^(configure|build|test|runtime|develop)$/ ? () : $phase),
		map { my $map = $meta->{prereqs}{$phase}{$_};
			(/^(requires|recommends|suggests|conflicts)$/ ? () : "$phase, $_"), grep { $map->{$_} ne "0" && $map->{$_} !~ $version } keys %$map
		} keys %{ $meta->{prereqs}{$phase} } } keys %{ $meta->{prereqs} });
	my $resources = $meta->{resources};
	result("resources", keys_of("resources", $resources, [qw(homepage bugtracker repository)], ["license"]),
		keys_of("bugtracker", $resources->{bugtracker}, ["web"], ["mailto"]), keys_of("repository", $resources->{repository}, [qw(url web type)], []),
		grep { !/$url/ } $resources->{homepage}, $resources->{bugtracker}{web}, @{ $resources->{repository} }{qw(url web)});
	result("tags", grep { !m{^[^/\\[:cntrl:]]{1,255}$} } @{ $meta->{tags} });
	result("meta-spec", keys_of("meta-spec", $meta->{"meta-spec"}, ["version"], ["url"]));
'
if command -v validate_pgxn_meta >/dev/null; then
	validate_pgxn_meta META.json >/dev/null 2>&1 && echo "ok 12 - PGXN's own validator" || echo "not ok 12 - PGXN's own validator"
else
	echo "ok 12 - PGXN's own validator # SKIP validate_pgxn_meta is not installed"
fi
echo 1..12
