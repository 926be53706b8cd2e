#!/bin/bash
# Modules are loaded with RTLD_GLOBAL: every symbol we export carries our prefix.
so=deletion_guard.so
bad=$(nm -D --defined-only "$so" | awk '{ print $3 }' |
	grep -vE '^(dg_|pg_finfo_dg_|_PG_init$|_PG_fini$|Pg_magic_func$)' | sed 's/^/# /')
if [ -z "$bad" ] && [ -e "$so" ]; then
	echo "ok 1 - exported symbols carry the prefix"
else
	echo "not ok 1 - exported symbols carry the prefix"
	echo "$bad"
fi
# A shared library links without them, and fails in the first session.
bad=$(nm -D --undefined-only "$so" | awk '$2 ~ /^dg_/ { print "# " $2 }')
if [ -z "$bad" ]; then
	echo "ok 2 - every function of ours is defined"
else
	echo "not ok 2 - every function of ours is defined"
	echo "$bad"
fi
# In a backtrace, in a profile and in an index of tags there is only the name.
bad=$(perl -0777 -ne '
	my $file = $ARGV;
	while (/^static [^\n;(){}=]*\n(\w+)\(/gm) { push @{ $files{$1} }, $file; }
	END
	{
		for (sort keys %files)
		{
			print "# $_: @{ $files{$_} }\n" if @{ $files{$_} } > 1;
			print "# $_: one word, in $files{$_}[0]\n" if !/_/;
		}
	}' src/*/*.c)
if [ -z "$bad" ]; then
	echo "ok 3 - static functions have names of their own, of more than one word"
else
	echo "not ok 3 - static functions have names of their own, of more than one word"
	echo "$bad"
fi
# Functions that SQL calls are named as SQL names them; of common, dg_ alone is the
# prefix.
bad=$(for object in src/*/*.o; do
	[ -e "${object%.o}.c" ] || continue
	room=$(basename "$(dirname "$object")")
	[ "$room" != common ] || continue
	nm "$object" | awk -v room="$room" '
		$2 == "T" && $3 ~ /^dg_/ { exported[$3] = 1 }
		$2 == "T" && $3 ~ /^pg_finfo_/ { sql[substr($3, 10)] = 1 }
		END { for (f in exported) if (!(f in sql) && f !~ "^dg_" room "(_|$)") print "# " room ": " f }'
done)
if [ -z "$bad" ]; then
	echo "ok 4 - exported functions carry the prefix of their room"
else
	echo "not ok 4 - exported functions carry the prefix of their room"
	echo "$bad"
fi
# What goes in and comes out, which locks are held: above the definition.
bad=$(perl -0777 -ne '
	while (/^(?!static\b)[A-Za-z_][^\n;(){}=#]*\n(dg_\w+)\(/gm)
	{
		print "# $ARGV: $1()\n" if substr($_, 0, $-[0]) !~ m{\*/\n$};
	}' src/*/*.c)
if [ -z "$bad" ]; then
	echo "ok 5 - exported functions have a comment"
else
	echo "not ok 5 - exported functions have a comment"
	echo "$bad"
fi
# What no other file calls is static. Tests may call; workers are found by name.
bad=$(nm -A $(ls src/*/*.c | sed 's/c$/o/') | awk '
	{ sub(/:.*/, "", $1) }
	$NF ~ /^pg_finfo_/ { called[substr($NF, 10)] = 1 }
	$(NF - 1) == "T" && $NF ~ /^dg_/ { exported[$NF] = $1 }
	$(NF - 1) == "U" { called[$NF] = 1 }
	END { for (f in exported) if (!(f in called)) print f }' | LC_ALL=C sort | while read -r function; do
	grep -qrwE "$function" test/unit test/fuzz || grep -qE "\"$function\"" src/*/*.c || echo "# $function"
done)
if [ -z "$bad" ]; then
	echo "ok 6 - exported functions are called by other files"
else
	echo "not ok 6 - exported functions are called by other files"
	echo "$bad"
fi
echo 1..6
