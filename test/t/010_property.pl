# Delete and undelete, and every table is what it was, to the byte.
#
# Each round makes a random schema (foreign keys of every action, cycles,
# partitions, inheritance, columns of every kind; tenants by a column, by steps
# without a foreign key, with types or not, or of a table as a whole), gives it a random history,
# takes a snapshot, deletes at random, some of it undone in between, undeletes
# everything, by deletion or by tenant, and compares. A round is one SQL script
# that depends on nothing but its seed.
#
#   DG_SEED=17 DG_ROUNDS=1    that round only; its script is kept when it fails
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $first_seed = $ENV{DG_SEED} // int(rand(1_000_000)) + 1;
my $rounds = $ENV{DG_ROUNDS} // 25;

# --- random numbers, the same everywhere -----------------------------------

my $state;

sub seed { $state = ($_[0] * 2654435761) % 4294967296; pick(2) for 1 .. 5; return }

# An integer from 0 to n - 1.
sub pick
{
	my $n = shift;

	$state = ($state * 1103515245 + 12345) % 2147483648;
	return int(($state >> 8) % $n);
}

sub chance { return pick(100) < $_[0] }
sub one_of { return @_ ? $_[ pick(scalar @_) ] : undef }
sub some { my $percent = shift; return grep { chance($percent) } @_ }

# --- values ----------------------------------------------------------------

sub quoted { my $s = shift; $s =~ s/'/''/g; return "'$s'" }
sub word { return join '', map { chr(97 + pick(26)) } 1 .. 1 + pick(shift // 8) }

# Text that is short, long enough to be compressed, or to be stored out of line.
sub long_text
{
	my $size = pick(10);

	return "repeat('" . word() . "', " . (1000 + pick(2000)) . ')' if $size == 0;
	return "(SELECT string_agg(md5((i * " . (1 + pick(1000)) . ")::text), '') FROM generate_series(1, "
	  . (20 + pick(150)) . ") i)" if $size == 1;
	return "''" if $size == 2;
	return quoted(word(40));
}

# Column kinds: type, and the literal of a random value.
my @kinds = (
	[ 'int2' => sub { pick(60000) - 30000 } ],
	[ 'int4' => sub { pick(2000000) - 1000000 } ],
	[ 'int8' => sub { one_of('-9223372036854775808', '9223372036854775807', pick(1000)) } ],
	[ 'float4' => sub { quoted(one_of(qw(NaN -0 Infinity -Infinity 1e-37 0.1), pick(1000) / 7)) } ],
	[ 'float8' => sub { quoted(one_of(qw(NaN -0 Infinity -Infinity 1e-300 0.1), pick(1000) / 7)) } ],
	[ 'numeric' => sub { quoted(one_of(qw(NaN Infinity -Infinity 1.10 1.1000 0 0.000 1e400), pick(1000) / 7)) } ],
	[ 'numeric(12,3)' => sub { quoted(one_of('NaN', pick(100000) / 7)) } ],
	[ 'text' => \&long_text ],
	[ 'text' => \&long_text ],
	[ 'text COLLATE "C"' => \&long_text ],
	[ 'varchar(50)' => sub { quoted(word(50)) } ],
	[ 'char(9)' => sub { quoted(word(9)) } ],
	[ '"char"' => sub { quoted(word(1)) } ],
	[ 'name' => sub { quoted(word(60)) } ],
	[ 'bytea' => sub { long_text() . "::text::bytea" } ],
	[ 'bool' => sub { one_of('true', 'false') } ],
	[ 'bit(5)' => sub { one_of("B'10101'", "B'00000'") } ],
	[ 'varbit' => sub { one_of("B''", "B'1'", "B'110010101'") } ],
	[ 'uuid' => sub { "md5('" . pick(1000) . "')::uuid" } ],
	[ 'inet' => sub { quoted('10.0.' . pick(9) . '.1' . one_of('', '/24', '/32')) } ],
	[ 'cidr' => sub { quoted('10.' . pick(9) . '.0.0/16') } ],
	[ 'macaddr' => sub { quoted('08:00:2b:01:02:0' . pick(9)) } ],
	[ 'date' => sub { quoted(one_of('infinity', '-infinity', '0044-03-15 BC', '2022-04-0' . (1 + pick(9)))) } ],
	[ 'time' => sub { quoted(one_of('24:00', '00:00:00.000001', '12:3' . pick(9))) } ],
	[ 'timetz(3)' => sub { quoted('12:3' . pick(9) . '+0' . pick(9) . ':30') } ],
	[ 'timestamp' => sub { quoted(one_of('infinity', '2022-04-05 07:38:0' . pick(9) . '.123456')) } ],
	[ 'timestamptz' => sub { quoted(one_of('infinity', '-infinity', '2022-04-05 07:38:0' . pick(9) . '.5+10')) } ],
	[ 'interval' => sub { quoted(one_of('1 mon -1 day -00:00:01', '30 days', '1 mon', '-178000000 years', pick(99) . ' h')) } ],
	[ 'json' => sub { quoted(one_of('{"b": 1,  "a":2, "b" :3}', '[1.0, 1.00,  1e1]', ' "x" ', '{"k":"' . word(3000) . '"}')) } ],
	[ 'jsonb' => sub { quoted(one_of('{"b": 1.10, "a": [null]}', '1.000', '{"k": {"' . word() . '": true}}')) } ],
	[ 'int4[]' => sub { quoted(one_of('{}', '[2:4]={1,NULL,3}', '{{1,2},{3,4}}', '[-1:0][5:5]={{1},{2}}')) } ],
	[ 'text[]' => sub { quoted(one_of('{}', '{NULL,"NULL",""}', '{' . word() . ',' . word(2000) . '}')) } ],
	[ 'mood' => sub { quoted(one_of('sad', 'ok', 'happy')) } ],
	[ 'mood[]' => sub { quoted(one_of('{}', '{sad,happy,NULL}')) } ],
	[ 'pair' => sub { one_of("ROW(NULL, NULL)::pair", "ROW(1, " . long_text() . ")::pair") } ],
	[ 'pair[]' => sub { "ARRAY[ROW(1, " . long_text() . ")::pair, NULL]" } ],
	[ 'positive' => sub { 1 + pick(99) } ],
	[ 'label' => sub { long_text() } ],
	[ 'int4range' => sub { quoted(one_of('empty', '[1,5)', '(,)', '[3,3]')) } ],
	[ 'nummultirange' => sub { quoted(one_of('{}', '{[1.0,2.00),(5,)}')) } ],
	[ 'tsvector' => sub { "to_tsvector('simple', '" . word() . ' ' . word() . "')" } ],
	[ 'tsquery' => sub { quoted(word() . ' & !' . word()) } ],
	[ 'point' => sub { quoted('(-0,' . pick(9) . '.1)') } ],
	[ 'polygon' => sub { quoted('((0,0),(1,' . pick(9) . '),(2,0))') } ],
	[ 'path' => sub { quoted('[(0,0),(1,' . pick(9) . ')]') } ],
	[ 'pg_lsn' => sub { quoted('16/B374D84' . pick(9)) } ],
	[ 'oid' => sub { pick(100000) } ],
	[ 'money' => sub { quoted(pick(1000)) } ],
	[ 'xid8' => sub { quoted(pick(1000)) } ],
	[ 'jsonpath' => sub { quoted('$.a[*] ? (@ > ' . pick(9) . ')') } ]);

# --- schemas ---------------------------------------------------------------

my @tables;
my $sql;

sub out { $sql .= join("\n", @_) . "\n"; return }

# Adds columns of random kinds to a table's list of {name, kind}.
sub random_columns
{
	my ($t, $n, $prefix) = @_;

	return map { { name => "$prefix$_", kind => one_of(@kinds) } } 1 .. $n;
}

sub definition
{
	my $c = shift;
	my $text = "$c->{name} " . ($c->{decl} // $c->{kind}[0]);

	my $default = !$c->{decl} && chance(15) ? $c->{kind}[1]->() : undef;

	# A default holds no query.
	$text .= " DEFAULT $default" if defined $default && $default !~ /SELECT/;
	return $text;
}

sub make_partitions
{
	my $t = shift;
	my $n = $t->{name};
	my @bounds =
	    $t->{partitioned} eq 'list' ? ("IN ('a')", "IN ('b', 'c')", 'DEFAULT')
	  : $t->{partitioned} eq 'range' ? ('FROM (MINVALUE) TO (10)', 'FROM (10) TO (20)', 'DEFAULT')
	  : map { "WITH (MODULUS 3, REMAINDER $_)" } 0 .. 2;

	for my $i (0 .. 2)
	{
		my $for = $bounds[$i] eq 'DEFAULT' ? 'DEFAULT' : "FOR VALUES $bounds[$i]";

		if (chance(30))
		{
			# columns in another order, one of them dropped
			my @columns = reverse((map { definition({ %$_, decl => $_->{decl} // $_->{kind}[0] }) } @{ $t->{columns} }),
				map { "$_ int" } @{ $t->{droppable} });
			splice @columns, pick(scalar @columns), 0, 'gone text';
			out("CREATE TABLE ${n}_$i (" . join(', ', @columns) . ($t->{check} // '') . ');',
				"ALTER TABLE ${n}_$i DROP COLUMN gone;",
				(map { "ALTER TABLE ${n}_$i ALTER COLUMN $_->{name} SET NOT NULL;" }
					grep { ($_->{decl} // '') =~ /NOT NULL/ } @{ $t->{columns} }),
				"ALTER TABLE $n ATTACH PARTITION ${n}_$i $for;");
		}
		elsif ($i == 1 && $t->{partitioned} ne 'range' && chance(50))
		{
			out("CREATE TABLE ${n}_$i PARTITION OF $n $for PARTITION BY RANGE (id);",
				"CREATE TABLE ${n}_${i}_low PARTITION OF ${n}_$i FOR VALUES FROM (MINVALUE) TO (12);",
				"CREATE TABLE ${n}_${i}_high PARTITION OF ${n}_$i DEFAULT;");
		}
		else
		{
			out("CREATE TABLE ${n}_$i PARTITION OF $n $for;");
		}
	}
	return;
}

sub make_table
{
	my $i = shift;
	my $form = one_of(qw(plain plain plain partitioned inherited keyless deferred));
	my $t = { name => "t$i", form => $form, rows => 0, fkeys => [] };
	my @columns = random_columns($t, chance(25) ? pick(38) : pick(7), 'c');
	my $id_decl = $form eq 'plain'
	  ? one_of('int', 'int GENERATED ALWAYS AS IDENTITY', 'int GENERATED BY DEFAULT AS IDENTITY', 'serial')
	  : 'int NOT NULL';
	my $constraints = '';
	my $by = '';

	$t->{partitioned} = $form eq 'partitioned' ? one_of(qw(list range hash)) : '';
	splice @columns, pick(@columns + 1), 0, { name => 'id', decl => $id_decl, key => 1 };
	splice @columns, pick(@columns + 1), 0, { name => 'tenant', decl => 'int', tenant => 1 };
	splice @columns, pick(@columns + 1), 0, { name => 'k', decl => "text NOT NULL DEFAULT 'a'", k => 1 };
	splice @columns, pick(@columns + 1), 0,
	  { name => 'g', decl => "text GENERATED ALWAYS AS (k || coalesce(tenant, 0)) STORED", generated => 1 }
	  if chance(25);
	splice @columns, pick(@columns + 1), 0, { name => 'whose', decl => 'text', whose => 1 }, { name => 'whose_id', decl => 'int', whose_id => 1 }
	  if $t->{whose} = chance(50);
	$t->{columns} = \@columns;

	$t->{key} = $form eq 'keyless' ? '' : $t->{partitioned} eq 'list' ? 'id, k' : 'id';
	$constraints .= ", PRIMARY KEY ($t->{key})" . ($form eq 'deferred' ? ' DEFERRABLE INITIALLY DEFERRED' : '') if $t->{key};
	$constraints .= ', UNIQUE (id)' if $form eq 'deferred';
	$t->{check} = ", CONSTRAINT t${i}_k CHECK (k <> 'zz')" if chance(30);
	$constraints .= $t->{check} // '';
	$constraints .= ', UNIQUE (k, id, tenant)' if chance(20) && $form ne 'keyless';
	$t->{pair} = $form eq 'plain' && chance(40);
	$constraints .= ', UNIQUE (id, tenant)' if $t->{pair};
	$by = " PARTITION BY $t->{partitioned} (" . ($t->{partitioned} eq 'list' ? 'k' : 'id') . ')' if $t->{partitioned};

	my @dropped = map { "x$_" } 1 .. (chance(40) ? 1 + pick(3) : 0);
	my @definitions = map { definition($_) } @columns;
	splice @definitions, pick(@definitions + 1), 0, "$_ int DEFAULT 5" for @dropped;
	out("CREATE TABLE t$i (" . join(', ', @definitions) . "$constraints)$by;");
	$t->{droppable} = \@dropped;
	make_partitions($t) if $t->{partitioned};
	out("CREATE TABLE t${i}_child (e1 text, e2 int" . ($t->{key} ? ", PRIMARY KEY ($t->{key})" : '') . ") INHERITS (t$i);")
	  if $form eq 'inherited';
	for my $c (grep { $_->{kind} && $_->{kind}[0] =~ /^(text|bytea|jsonb)/ } @columns)
	{
		out("ALTER TABLE t$i ALTER COLUMN $c->{name} SET STORAGE " . one_of(qw(EXTERNAL MAIN EXTENDED)) . ';') if chance(20);
		out("ALTER TABLE t$i ALTER COLUMN $c->{name} SET COMPRESSION pglz;") if chance(10);
	}
	push @tables, $t;
	return;
}

# Tables that a foreign key can refer to by id.
sub referable { return grep { $_->{key} eq 'id' || $_->{form} eq 'deferred' } @tables }

sub make_fkeys
{
	for my $t (@tables)
	{
		for my $j (1 .. pick(4))
		{
			my $to = one_of(grep { $_->{form} ne 'deferred' } referable()) or next;
			my $action = one_of('NO ACTION', 'RESTRICT', ('CASCADE') x 4, ('SET NULL') x 2, 'SET DEFAULT');
			my $deferrable = one_of('', '', 'DEFERRABLE', 'DEFERRABLE INITIALLY DEFERRED');
			my $default = $action eq 'SET DEFAULT' && chance(50) ? ' DEFAULT ' . (1 + pick(5)) : '';
			my $name = "r$j";

			# a partitioned table cannot refer to itself by RESTRICT here, nor need it
			out("ALTER TABLE $t->{name} ADD COLUMN $name int$default;",
				"ALTER TABLE $t->{name} ADD CONSTRAINT $t->{name}_$name FOREIGN KEY ($name) REFERENCES $to->{name} (id)"
				  . " ON DELETE $action" . (chance(20) ? ' ON UPDATE CASCADE' : '') . " $deferrable;");
			push @{ $t->{columns} }, { name => $name, refers => $to };
		}
	}
	return;
}

# Foreign keys of two columns, which an INSERT is given as if they were one.
sub make_pair_fkeys
{
	for my $t (some(40, @tables))
	{
		my $to = one_of(grep { $_->{pair} } @tables) or next;
		my $full = chance(30) ? ' MATCH FULL' : '';
		my $action = one_of('CASCADE', 'SET NULL', $full ? 'NO ACTION' : 'SET NULL (p1)', 'SET DEFAULT');

		out("ALTER TABLE $t->{name} ADD COLUMN p1 int, ADD COLUMN p2 int;",
			"ALTER TABLE $t->{name} ADD CONSTRAINT $t->{name}_p FOREIGN KEY (p1, p2) REFERENCES $to->{name} (id, tenant)$full"
			  . " ON DELETE $action " . one_of('', '', 'DEFERRABLE', 'DEFERRABLE INITIALLY DEFERRED') . ';');
		push @{ $t->{columns} }, { name => 'p1, p2', pair => $to };
	}
	return;
}

# Tables of another owner, whose rights do for what the tables do.
sub give_away
{
	out("ALTER TABLE $_->{name} OWNER TO property_owner;") for some(50, @tables);
	return;
}

sub guard_tables
{
	my $tenants = one_of(grep { $_->{key} eq 'id' && $_->{form} eq 'plain' } @tables);

	out("SELECT deletion_guard.set_tenant_table('$tenants->{name}', 'id', 'k');",
		"SELECT deletion_guard.guard_table('$tenants->{name}', 'id');") if $tenants && chance(50);
	for my $t (@tables)
	{
		next if $tenants && $t == $tenants && $sql =~ /guard_table\('$t->{name}'/;
		$t->{told} = $t->{whose} && chance(70) ? one_of('step', 'type', 'type') : one_of(('column') x 6, 'whole', ('nothing') x 3);
	}
	out(map { "SELECT deletion_guard.guard_table('$_->{name}'" . source_of($_) . ');' }
		sort { ($a->{told} =~ /step|type/) <=> ($b->{told} =~ /step|type/) } grep { $_->{told} } @tables);
	return;
}

# What tells the tenant of a table's rows. Steps lead to tables that a column does it for.
sub source_of
{
	my $t = shift;
	my @to = grep { $_->{key} eq 'id' && ($_->{told} // '') eq 'column' && $_->{form} =~ /plain|partitioned/ } @tables;
	my ($a, $b) = map { one_of(@to) } 1 .. 2;

	return ", 'tenant'" if $t->{told} eq 'column';
	return ", tenant => '" . (1 + pick(4)) . "'" if $t->{told} eq 'whole';
	return '' if $t->{told} eq 'nothing' || !@to;
	return qq{, tenant_path => '[{"columns": ["whose_id"], "references": "$a->{name}"}]'} if $t->{told} eq 'step';
	return qq{, tenant_path => '[{"type": "whose", "id": "whose_id", "targets": {"a": "$a->{name}", "b": "$b->{name}", "c": null}}]'};
}

# --- histories -------------------------------------------------------------

# An existing row's id, not depending on the plan.
sub some_id
{
	my ($t, $word) = @_;

	return "(SELECT id FROM $t->{name} ORDER BY md5(id || '" . ($word // word()) . "') LIMIT 1)";
}

# An existing row's id and tenant.
sub some_pair
{
	my ($t, $word) = (shift, word());
	my $id = some_id($t, $word);

	return "$id, " . $id =~ s/SELECT id/SELECT tenant/r;
}

sub insert
{
	my $t = shift;
	my $name = $t->{form} eq 'inherited' && chance(40) ? "$t->{name}_child" : $t->{name};
	my $id = chance(90) ? ++$t->{rows} : 1 + pick(20);
	my @names;
	my @values;

	for my $c (@{ $t->{columns} })
	{
		next if $c->{generated} || (!$c->{key} && chance(20));
		push @names, $c->{name};
		push @values,
		    $c->{key} ? $id
		  : $c->{tenant} ? one_of('NULL', 1 + pick(4))
		  : $c->{whose} ? one_of('NULL', quoted(one_of(qw(a a b b c))))
		  : $c->{whose_id} ? one_of('NULL', 1 + pick(20), 1 + pick(20))
		  : $c->{k} ? quoted(one_of(qw(a b c d)))
		  : $c->{refers} ? one_of('NULL', some_id($c->{refers}))
		  : $c->{pair} ? one_of('NULL, NULL', (some_pair($c->{pair})) x 2)
		  : $c->{kind}[1]->();
	}
	if ($name ne $t->{name})
	{
		push @names, 'e1', 'e2';
		push @values, long_text(), pick(100);
	}
	out("INSERT INTO $name (" . join(', ', @names) . ') OVERRIDING SYSTEM VALUE VALUES (' . join(', ', @values) . ');');
	return;
}

sub update
{
	my $t = shift;
	my $c = one_of(grep { !$_->{generated} && !$_->{key} && !$_->{pair} } @{ $t->{columns} });
	my $value =
	    $c->{tenant} ? one_of('NULL', 1 + pick(4))
	  : $c->{whose} ? quoted(one_of(qw(a b c)))
	  : $c->{whose_id} ? 1 + pick(20)
	  : $c->{k} ? quoted(one_of(qw(a b c d)))
	  : $c->{refers} ? one_of('NULL', some_id($c->{refers}))
	  : $c->{kind}[1]->();

	out("UPDATE $t->{name} SET $c->{name} = $value WHERE id % " . (1 + pick(4)) . ' = 0;');
	return;
}

sub condition
{
	return one_of('id = ' . (1 + pick(25)), 'id % ' . (2 + pick(3)) . ' = 0', 'tenant = ' . (1 + pick(4)),
		"k = 'a'", 'true');
}

sub delete_statement
{
	my $t = shift;
	my $where = condition();
	my $name = $t->{name};
	my $way = pick(12);

	return "TRUNCATE $name CASCADE" if $way == 0 && chance(50);
	return "WITH d AS (DELETE FROM $name WHERE $where RETURNING *) SELECT count(*) FROM d" if $way == 1;
	return "MERGE INTO $name t USING generate_series(1, 9) v ON t.id = v WHEN MATCHED THEN DELETE" if $way == 2 && $t->{form} ne 'inherited';
	return "DO \$\$ BEGIN DELETE FROM $name WHERE $where; DELETE FROM $name WHERE " . condition() . '; END $$' if $way == 3;
	return "DELETE FROM ONLY $name WHERE $where" if $way == 4 && $t->{form} eq 'inherited';
	return "DELETE FROM ${name}_child WHERE $where" if $way == 5 && $t->{form} eq 'inherited';
	return "DELETE FROM ${name}_1 WHERE $where" if $way == 6 && $t->{partitioned};
	return "DELETE FROM $name WHERE $where RETURNING 'deleted'" if $way == 7;
	return "DELETE FROM $name WHERE $where";
}

sub again
{
	my $t = shift;
	my $id = 1 + pick(20);

	out('BEGIN;', "DELETE FROM $t->{name} WHERE id = $id;",
		"INSERT INTO $t->{name} (id) OVERRIDING SYSTEM VALUE VALUES ($id);",
		"DELETE FROM $t->{name} WHERE id = $id;", one_of('COMMIT', 'COMMIT', 'ROLLBACK') . ';');
	return;
}

sub late_column
{
	my $t = shift;
	my $c = { name => 'late' . ++$t->{late}, kind => one_of(@kinds) };

	return if $t->{late} > 3;
	out("ALTER TABLE $t->{name} ADD COLUMN $c->{name} $c->{kind}[0]"
		  . one_of('', ' DEFAULT ' . $c->{kind}[1]->(), ' NOT NULL DEFAULT ' . $c->{kind}[1]->()) . ';');
	push @{ $t->{columns} }, $c;
	return;
}

sub rolled_back
{
	out('BEGIN;', 'SAVEPOINT s;', delete_statement(one_of(@tables)) . ';', 'ROLLBACK TO s;',
		delete_statement(one_of(@tables)) . ';', one_of('COMMIT', 'ROLLBACK') . ';');
	return;
}

# A column gets another name, which no statement uses afterwards.
sub rename_column
{
	my $t = shift;
	my $c = one_of(grep { $_->{kind} } @{ $t->{columns} }) or return;

	out("ALTER TABLE $t->{name} RENAME COLUMN $c->{name} TO $c->{name}_;");
	$c->{name} .= '_';
	return;
}

# One of the deletions so far is undone, or nearly.
sub undo
{
	my $undo = "SELECT undelete_one((SELECT id FROM deletion_guard.deletion WHERE id > :since ORDER BY md5(id || '"
	  . word() . "') LIMIT 1), '" . one_of(qw(error skip replace)) . "');";

	out(one_of(($undo) x 3, "BEGIN;\n$undo\nROLLBACK;", "BEGIN;\nSAVEPOINT s;\n$undo\nROLLBACK TO s;\n$undo\nCOMMIT;"));
	return;
}

sub housekeeping
{
	out(one_of('VACUUM;', 'SELECT vacuum_bins();', 'ANALYZE;'), '\gexec');
	return;
}

sub history
{
	for (1 .. shift)
	{
		my $t = one_of(@tables);
		my $what = pick(20);

		if ($what < 10) { insert($t) }
		elsif ($what < 13) { update($t) }
		elsif ($what < 15) { out(delete_statement($t) . ';') }
		elsif ($what < 16) { again($t) }
		elsif ($what < 17) { rolled_back() }
		elsif ($what < 18) { late_column($t) }
		elsif ($what < 19) { out("SELECT undelete_one($_);") for 1 + pick(5) }
		else { housekeeping() }
	}
	return;
}

# --- a round ---------------------------------------------------------------

my $prelude = <<'SQL';
\set VERBOSITY sqlstate
SET client_min_messages = warning;
SET extra_float_digits = 3;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN label AS text;
CREATE TABLE snapshot (which text, leaf text, content text, image bytea);
CREATE FUNCTION vacuum_bins() RETURNS SETOF text LANGUAGE sql AS
	$$ SELECT format('VACUUM FULL %s', bin_table) FROM deletion_guard.bin $$;
-- What every table holds, by row: as text, and as the client's binary format.
CREATE FUNCTION take(which text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
	FOR t IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ '^t\d'
	LOOP
		EXECUTE format('INSERT INTO snapshot SELECT %L, %L, t::text, record_send(t) FROM ONLY %I t', which, t, t);
	END LOOP;
END $$;
-- Rows of a table that nothing guards would be lost rightly: that is no round.
CREATE FUNCTION all_guarded() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	ASSERT (SELECT count(*) >= 2 AND bool_and(EXISTS (SELECT FROM deletion_guard.guarded_table g WHERE g.relation = c.oid))
		FROM pg_class c WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace AND relname ~ '^t\d+$');
END $$;
-- One deletion, or none where that cannot be (now).
CREATE FUNCTION undelete_one(id bigint, on_conflict text = 'skip') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM * FROM deletion_guard.undelete(id, on_conflict);
	RETURN 'done';
EXCEPTION WHEN foreign_key_violation OR unique_violation OR not_null_violation OR SQLSTATE 'TG000' THEN
	RETURN SQLERRM;
END $$;
-- Everything since the snapshot, in an order that a word decides; a deletion
-- that needs another one first, or left rows behind that do, comes again later.
CREATE FUNCTION undelete_all(since bigint, word text, on_conflict text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE d bigint; problem text; progress boolean; problems text; n bigint;
BEGIN
	LOOP
		progress := false;
		problems := NULL;
		FOR d IN SELECT id FROM deletion_guard.deletion WHERE id > since AND state NOT LIKE 'restored%'
			ORDER BY CASE WHEN word <> '' THEN md5(id || word) END, id DESC
		LOOP
			BEGIN
				SELECT sum(restored) INTO n FROM deletion_guard.undelete(d, on_conflict);
				progress := progress OR n > 0;
			EXCEPTION WHEN foreign_key_violation THEN
				problems := concat_ws('; ', problems, format('deletion %s: %s', d, SQLERRM));
			END;
		END LOOP;
		EXIT WHEN NOT progress;
	END LOOP;
	RETURN problems;
END $$;
-- Every tenant's rows, together or one by one, as far as they do not need rows
-- of other tenants or of none.
CREATE FUNCTION undelete_tenants(since timestamptz, together boolean) RETURNS text LANGUAGE plpgsql
SET client_min_messages = error AS $$
DECLARE tenants text[]; t text;
BEGIN
	SELECT array_agg(DISTINCT tenant ORDER BY tenant) INTO tenants FROM deletion_guard.deletion_detail WHERE tenant IS NOT NULL;
	FOREACH t IN ARRAY CASE WHEN together THEN '{all}' ELSE coalesce(tenants, '{}') END
	LOOP
		BEGIN
			IF together THEN
				PERFORM * FROM deletion_guard.undelete_tenants(tenants, since);
			ELSE
				PERFORM * FROM deletion_guard.undelete_tenant(t, since);
			END IF;
		EXCEPTION WHEN foreign_key_violation OR SQLSTATE 'TG012' OR null_value_not_allowed THEN
			NULL;
		END;
	END LOOP;
	RETURN 'done';
END $$;
SQL

my $epilogue = <<'SQL';
SELECT take('after');
\echo differences:
(SELECT 'lost' AS what, leaf, left(content, 300) AS content FROM
	(SELECT leaf, content, image FROM snapshot WHERE which = 'before' EXCEPT ALL
	 SELECT leaf, content, image FROM snapshot WHERE which = 'after') x)
UNION ALL
(SELECT 'extra', leaf, left(content, 300) FROM
	(SELECT leaf, content, image FROM snapshot WHERE which = 'after' EXCEPT ALL
	 SELECT leaf, content, image FROM snapshot WHERE which = 'before') x)
ORDER BY 2, 1 DESC;
SQL

sub script
{
	seed(shift);
	@tables = ();
	$sql = '';
	out($prelude);
	make_table($_) for 1 .. 2 + pick(4);
	out('BEGIN;') if chance(20);
	my $in_transaction = $sql =~ /BEGIN;\n$/;
	make_fkeys();
	make_pair_fkeys();
	out('COMMIT;') if $in_transaction;
	give_away() if chance(30);
	guard_tables() if my $early = chance(50);
	history(10) if !$early;
	if (!$early)
	{
		out("ALTER TABLE $_->{name} DROP COLUMN " . shift(@{ $_->{droppable} }) . ';')
		  for grep { @{ $_->{droppable} } } @tables;
		late_column($_) for some(40, @tables);
		guard_tables();
	}
	insert(one_of(@tables)) for 1 .. 40;
	history(50);
	insert(one_of(@tables)) for 1 .. 20 + pick(40);

	out("SELECT all_guarded();", "SELECT take('before');", "SELECT count(*) AS rows, count(DISTINCT leaf) AS leaves FROM snapshot;",
		"SELECT coalesce(max(id), 0) AS since, clock_timestamp() AS at FROM deletion_guard.deletion \\gset", '\echo deleting:');
	for (1 .. 1 + pick(8))
	{
		if (chance(10)) { rolled_back() }
		elsif (chance(20)) { undo() }
		elsif (chance(10)) { rename_column(one_of(@tables)) }
		elsif (chance(10)) { housekeeping() }
		elsif (chance(8)) { out('BEGIN;', map({ delete_statement($_) . ';' } some(50, @tables)), 'COMMIT;') }
		else { out(delete_statement(one_of(@tables)) . ';') }
	}
	out('\echo undeleting:', "SELECT take('deleted');",
		"SELECT count(*) AS deletions, sum(rows) AS rows FROM deletion_guard.deletion WHERE id > :since;",
		(chance(40) ? "SELECT undelete_tenants(:'at', " . one_of('true', 'false') . ') AS by_tenant \gset' : ()),
		"SELECT coalesce(undelete_all(:since, '" . (chance(50) ? word() : '') . "', '"
		  . one_of(qw(error error skip replace)) . "'), 't');", $epilogue);
	return $sql;
}

# --- running them ----------------------------------------------------------

# Refusals that random statements may well run into: constraints, and what
# PostgreSQL itself does not do. Anything else is a bug.
my $expected = qr/^(23\w{3}|42701|0A000|428C9|25P02|22003|42P16|42P17|42830|42703|42P01|54000|55006)$/;

my $node = PostgreSQL::Test::Cluster->new('property');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nfull_page_writes = off\nautovacuum = off\n"
	  . "max_prepared_transactions = 5\nwork_mem = 64kB\nlog_min_messages = panic\nlc_monetary = 'C'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('postgres', 'CREATE ROLE property_owner');
$node->safe_psql('fresh', 'CREATE EXTENSION deletion_guard; GRANT ALL ON SCHEMA public TO property_owner');
note("seeds $first_seed to " . ($first_seed + $rounds - 1));

for my $seed ($first_seed .. $first_seed + $rounds - 1)
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/round_$seed.sql";
	my ($stdout, $stderr);

	append_to_file($file, "-- DG_SEED=$seed, in a new database with deletion_guard\n" . script($seed));
	$node->safe_psql('postgres', "CREATE DATABASE round TEMPLATE fresh");
	$node->psql('round', undef, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0,
		extra_params => [ '-q', '-f', $file ]);
	my @unexpected = grep { /(ERROR|FATAL|PANIC):\s+(\w+)/ ? $2 !~ $expected : /connection|WARNING/ } split /\n/, $stderr;
	my ($rest) = $stdout =~ /undeleting:\n(.*)/s;
	my ($undone, $differences) = ($rest // '') =~ /\|\d*\n(.*?)\n\n?differences:\n?(.*)/s;
	my $ok = ok(!@unexpected && defined $undone && $undone eq 't' && $differences eq '', "seed $seed");

	if (!$ok)
	{
		diag("DG_SEED=$seed DG_ROUNDS=1 repeats it; its script: $file");
		diag(join "\n", @unexpected, $rest // $stdout);
	}
	note("$stdout\n$stderr") if $ENV{DG_KEEP};
	unlink $file if $ok && !$ENV{DG_KEEP};
	$node->safe_psql('postgres', "DROP DATABASE round");
}

done_testing();
