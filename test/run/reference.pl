# Prints doc/reference.md: what a database with the extension says of itself (comments, pg_settings), and src/common/errors.h.
# "make reference" runs this; test/t/097_reference.pl compares. Run in the top directory, with PG* set.
use strict;
use warnings;

sub rows
{
	my ($query) = @_;

	open(my $psql, '-|', 'psql', '-XqAt', '-F', "\x1f", '-R', "\x1e", '-v', 'ON_ERROR_STOP=1', '-c', $query) or die "psql: $!";
	local $/ = undef;
	my $output = <$psql>;
	close $psql or die "psql failed";
	$output =~ s/\n\z//;
	return map { [ split /\x1f/, $_, -1 ] } split /\x1e/, $output;
}

# A comment as a sentence: it begins with a capital letter unless with a name, and ends with a full stop.
sub sentence
{
	my ($text) = @_;

	$text = ucfirst $text unless $text =~ /^\w+[(_.]/;
	$text .= '.' unless $text =~ /[.?]$/;
	return $text =~ s/\b([a-z]\w*\(\))/`$1`/gr =~ s/(?<![`\w.])(deletion_guard\.\w+)(?![`\w(])/`$1`/gr =~ s/``/`/gr;
}

sub cell { return $_[0] =~ s/\|/\\|/gr; }

sub heading { return "\n## $_[0]\n\n"; }

my $page = <<'END';
# Reference

Each function, view, table, setting and error code. `make reference` writes this page, from what the extension says of itself; what is the same
everywhere is said once:

- All names are in schema `deletion_guard`. Arguments can be given by name (`dry_run => true`); those with `=` can be left out.
- Functions are for superusers and for roles that were granted EXECUTE, unless it says otherwise. `\df+` shows these comments, too.
- A call does all that was asked for, or nothing.
END

# --- functions -----------------------------------------------------------------------------------

$page .= heading('Functions');
for (rows(q{
	SELECT p.proname, CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE '' END, a.given,
		coalesce(a.got, pg_catalog.format_type(p.prorettype, NULL)), p.proretset,
		pg_catalog.obj_description(p.oid, 'pg_proc'), g.who, p.prokind
	FROM pg_catalog.pg_proc p
	CROSS JOIN LATERAL (
		SELECT string_agg(CASE u.mode WHEN 'v' THEN 'VARIADIC ' ELSE '' END || concat_ws(' ', u.name, pg_catalog.format_type(u.type, NULL)) ||
				coalesce(' = ' || regexp_replace(pg_catalog.pg_get_function_arg_default(p.oid, u.place::int), '::[a-z ]+(\[\])?$', ''), ''),
				', ' ORDER BY u.place) FILTER (WHERE u.mode IN ('i', 'b', 'v')) AS given,
			'(' || string_agg(concat_ws(' ', u.name, pg_catalog.format_type(u.type, NULL)), ', ' ORDER BY u.place) FILTER (WHERE u.mode IN ('o', 't', 'b')) || ')' AS got
		FROM (SELECT t.type, t.place, coalesce(p.proargmodes[t.place], 'i') AS mode, p.proargnames[t.place] AS name
			  FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY t (type, place)) u) a
	CROSS JOIN LATERAL (
		SELECT string_agg(CASE x.grantee WHEN 0 THEN 'everybody' ELSE 'members of ' || x.grantee::regrole::text END, ' and ' ORDER BY x.grantee) AS who
		FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) x WHERE x.grantee <> p.proowner) g
	WHERE p.pronamespace = 'deletion_guard'::regnamespace
		AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'table_am_handler'::regtype)
		AND pg_catalog.obj_description(p.oid, 'pg_proc') !~ '^(part of |what the view )'
	ORDER BY p.proname COLLATE "C", a.given COLLATE "C"}))
{
	my ($name, $call, $given, $got, $set, $comment, $who, $kind) = @$_;

	$page .= "### $name\n\n" unless $page =~ /\n### $name\n/;
	$page .= "```\n$call$name($given)" . ($got eq 'void' || $got eq '-' ? '' : "\n    -> " . ($set eq 't' && $got !~ /^\(/ ? "setof $got" : $got)) . "\n```\n"
		. sentence($comment) . ($who ne '' ? " For $who." : '') . "\n\n";
}

# --- views, and tables that people read -------------------------------------------------------------

for (['Views', q{c.relkind = 'v'}],
	['Tables', q{c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_description d WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid > 0)}])
{
	my ($title, $which) = @$_;

	$page .= heading($title);
	$page .= "Written by the extension only, and read by its owner and whom he lets.\n\n" if $title eq 'Tables';
	for my $relation (rows(qq{
		SELECT c.oid, c.relname, pg_catalog.obj_description(c.oid, 'pg_class'),
			(SELECT string_agg(CASE x.grantee WHEN 0 THEN 'everybody' ELSE 'members of ' || x.grantee::regrole::text END, ' and ' ORDER BY x.grantee)
			 FROM pg_catalog.aclexplode(c.relacl) x WHERE x.grantee <> c.relowner)
		FROM pg_catalog.pg_class c WHERE c.relnamespace = 'deletion_guard'::regnamespace AND $which ORDER BY c.relname COLLATE "C"}))
	{
		my ($oid, $name, $comment, $who) = @$relation;

		$page .= "### $name\n\n" . sentence($comment) . ($who ne '' ? " For $who." : '') . "\n\n| column | type | |\n|---|---|---|\n";
		for (rows(qq{
			SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.col_description(a.attrelid, a.attnum)
			FROM pg_catalog.pg_attribute a WHERE a.attrelid = $oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum}))
		{
			$page .= "| `$_->[0]` | $_->[1] | " . cell($_->[2]) . " |\n";
		}
		$page .= "\n";
	}
}

# --- settings ------------------------------------------------------------------------------------------

$page .= heading('Settings') . "| `deletion_guard.` | default | who may set it | |\n|---|---|---|---|\n";
my %who = (user => 'anyone', superuser => 'superusers, and who was granted SET', postmaster => '`postgresql.conf`, restart', sighup => '`postgresql.conf`; a restart, where it is preloaded');
for (rows(q{LOAD 'deletion_guard'; SELECT substr(name, 16), boot_val || coalesce(' ' || unit, ''), context, short_desc, extra_desc, min_val, max_val, vartype, array_to_string(enumvals, ', ')
	FROM pg_catalog.pg_settings WHERE name LIKE 'deletion\_guard.%' ORDER BY name COLLATE "C"}))
{
	my ($name, $default, $context, $short, $extra, $min, $max, $type, $values) = @$_;
	my $range = $type eq 'integer' ? $max == 2147483647 ? '' : " From $min to $max." : $type eq 'enum' ? " One of $values." : '';

	$page .= cell("| `$name`\x00" . ($default eq '' ? '' : "`$default`") . "\x00$who{$context}\x00" . join(' ', grep { $_ ne '' } $short, $extra) . $range)
		=~ s/\x00/ | /gr =~ s/^\\\|/|/r . " |\n";
}

# --- errors -----------------------------------------------------------------------------------------------

$page .= heading('Error codes') . "A code never changes its meaning; programs may branch on it. What PostgreSQL has a code for, such as a lack of privilege, has that.\n\n"
	. "| code | cause | what to do |\n|---|---|---|\n";
open(my $errors, '<', 'src/common/errors.h') or die "errors.h: $!";
my $text = do { local $/ = undef; <$errors> };
while ($text =~ m{/\*\n((?: \*[^\n]*\n)+?) \*/\n#define (DG_ERRCODE_\w+)\s+DG_ERRCODE\('(.)', '(.)', '(.)'\)}g)
{
	my ($said, $code) = ($1, "TG$3$4$5");
	my ($cause, $do) = $said =~ s/^ \* ?//gmr =~ /^(.*?)\nDo: (.*)$/s or die "errors.h: what to do about $2?";

	$page .= "| `$code` | " . join(' | ', map { cell(s/\n/ /gr =~ s/\s+$//r) } $cause, $do) . " |\n";
}
# each code has said what it is about
my @codes = $text =~ /#define DG_ERRCODE_\w+\s+DG_ERRCODE\(/g;
my @said = $page =~ /^\| `TG...` /mg;
die "errors.h: of " . @codes . " codes " . @said . " say what they are about" if @codes != @said;
print $page;
