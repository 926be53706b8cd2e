#!/bin/bash
# The rooms of src/README.md: a folder each, complete, and arrows between them
# that go one way. What calls what is read from the object files, so that an
# include nobody needs does not count, and a call that no header mentions does.
. "$(dirname "$0")/../run/result.sh"

# The rooms in their order, lowest first, as the table of src/README.md has them.
rooms=$(sed -n 's,^| \[`\([a-z]*\)`\](\1/README\.md) |.*,\1,p' src/README.md | paste -sd ' ')

result "src/ holds folders, and each is a room of src/README.md" "$(
	ls src/*.[ch] src/*.sql 2>/dev/null
	for folder in $(ls src/*/*.[ch] src/*/*.md | xargs -n 1 dirname | sort -u); do
		[[ " $rooms " == *" ${folder#src/} "* ]] || echo "$folder"
	done)"
result "each room has a page of 60 lines at most, which names every C file" "$(
	for room in $rooms; do
		page=src/$room/README.md
		[ -e "$page" ] || { echo "$page"; continue; }
		[ "$(wc -l <"$page")" -le 60 ] || echo "$page: $(wc -l <"$page") lines"
		for file in $(ls src/$room/*.c 2>/dev/null); do
			grep -qF "\`$(basename "$file")\`" "$page" || echo "$page does not name $(basename "$file")"
		done
	done)"
# `name()` is a function of ours, in C or SQL; `name.c` a file of ours; and in a
# picture, "name.c  function" says that the file defines the function.
result "the pages name functions and files that exist" "$(perl -e '
	my (%function, %file, %defines);
	for my $path (glob("src/*/*.[ch] src/*/*.sql"))
	{
		my $name = $path =~ s{.*/}{}r;
		$file{$name} = 1;
		open my $fh, "<", $path or die;
		while (<$fh>)
		{
			next unless m{^(?:\#define )?(\w+)\(} || m{^CREATE (?:FUNCTION|PROCEDURE) deletion_guard(?:_internal)?\.(\w+)};
			$function{$1} = 1;
			$defines{"$name $1"} = 1;
		}
	}
	for my $page ("src/README.md", glob("src/*/README.md"))
	{
		open my $fh, "<", $page or die;
		my $picture = 0;
		while (<$fh>)
		{
			$picture = !$picture if /^```/;
			while (/`(\w+)\(/g) { print "$page:$.: $1()\n" if !$function{$1} && $1 !~ /^[A-Z]/; }
			while (/\b([a-z_0-9]+\.[ch])\b/g) { print "$page:$.: $1\n" if !$file{$1}; }
			next unless $picture && /^ +(\w+\.c) +(\w+)(?:, (\w+))? /;
			for my $name (grep { defined } $2, $3) { print "$page:$.: $1 has no $name()\n" if !$defines{"$1 $name"}; }
		}
	}')"
result "no room has more than 25 C files" "$(
	for room in $rooms; do
		files=$(find "src/$room" -name '*.c' | wc -l)
		[ "$files" -le 25 ] || echo "src/$room has $files"
	done)"
result "every room but the last three has a header that other rooms include" "$(
	for room in ${rooms% * * *}; do
		grep -l "^#include \"$room/" src/*/*.[ch] | grep -qv "^src/$room/" || echo "$room"
	done)"
result "nobody includes another room's internal header" "$(
	for room in $rooms; do
		grep -n "^#include \"$room/${room}_internal\.h\"" src/*/*.[ch] | grep -v "^src/$room/"
	done)"
result "archive and token include no header of the server, nor of another room" "$(
	for room in archive token; do
		grep -n '^#include "' src/$room/*.[ch] | grep -v "#include \"$room/"
	done)"
result "all else begins with postgres.h" "$(
	for file in $(ls src/*/*.c | grep -vE '^src/(archive|token)/'); do
		[ "$(grep -m 1 '^#include' "$file")" = '#include "postgres.h"' ] || echo "$file"
	done)"
result "every file begins with its own name" "$(
	for file in src/*/*.[ch]; do
		head -4 "$file" | grep -qxE " \* $(basename "$file" | sed 's/\./\\./')" || echo "$file"
	done)"

# Calls between files, from the symbols that they define and need.
arrows=$(ROOMS=$rooms perl -e '
	my (%defines, %needs, %order);
	my $i = 0;
	$order{$_} = $i++ for split / /, $ENV{ROOMS};
	for my $object (map { s/\.c$/.o/r } glob("src/*/*.c"))
	{
		for (`nm $object`)
		{
			$defines{$2} = $object if /\b([TBDR]) (dg_\w+)$/;
			push @{ $needs{$object} }, $1 if /\bU (dg_\w+)$/;
		}
	}
	my %calls;
	my $source = sub { $_[0] =~ s{^src/}{}r =~ s/\.o$/.c/r };
	for my $file (sort keys %needs)
	{
		for my $symbol (@{ $needs{$file} })
		{
			my $other = $defines{$symbol} // next;
			$calls{$file}{$other} = $symbol;
			my ($from, $to) = map { m{^src/(\w+)/} } $file, $other;
			print "up ", $source->($file), " calls $symbol of ", $source->($other), "\n"
				if $from ne $to && $order{$to} >= $order{$from};
		}
	}
	# A file that can be reached from itself is on a circle.
	for my $file (sort keys %calls)
	{
		my (%seen, @todo);
		@todo = map { [$_, $source->($_)] } sort keys %{ $calls{$file} };
		while (my $next = shift @todo)
		{
			my ($at, $way) = @$next;
			if ($at eq $file)
			{
				print "circle $way\n" if $file eq (sort split / > /, $way =~ s{([^ >]+)\.c}{src/$1.o}gr)[0];
				last;
			}
			next if $seen{$at}++;
			push @todo, map { [$_, "$way > " . $source->($_)] } sort keys %{ $calls{$at} };
		}
	}
	print "up there are no object files\n" if !%calls;
')
result "rooms call only those below them" "$(grep '^up ' <<<"$arrows" | cut -c4-)"
result "no files call each other in a circle" "$(grep '^circle ' <<<"$arrows" | cut -c8-)"

long=$(wc -l src/*/*.[ch] | awk '$2 != "total" && $1 > 600 { print $2 " (" $1 ")" }' | paste -sd ' ' | sed 's/ src/, src/g')
[ -z "$long" ] || echo "# note: files of more than 600 lines: $long"
echo "1..$n"
