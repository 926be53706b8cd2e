-- Scripts and directories that are not as pg_dump has left them, or not what they seem.
CREATE DATABASE regress_dg_rehydrate_scripts;
\set maintenance_db :DBNAME
\c regress_dg_rehydrate_scripts
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results/scripts'
\setenv DIR :dir
\setenv PGDATABASE :DBNAME
\! rm -rf $DIR; mkdir $DIR
SET client_min_messages = error;
CREATE EXTENSION deletion_guard;
CREATE FUNCTION try(file text, relations regclass[] = NULL) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
	name text := current_setting('my.dir');
BEGIN
	RETURN QUERY SELECT concat_ws(' ', r.relation, r.found, r.restored, r.problem)
		FROM deletion_guard.rehydrate('2', name || '/' || file, relations => try.relations) r ORDER BY r.relation::text;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN QUERY SELECT replace(regexp_replace(regexp_replace(v, ', byte \d+', ''), 'at byte \d+', 'at byte N'), name, '') FROM unnest(ARRAY[SQLSTATE || ' ' || SQLERRM, detail, hint]) v;
END $$;
SELECT set_config('my.dir', :'dir', false) IS NULL AS failed;

CREATE TABLE customers (id integer PRIMARY KEY, name text);
CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers);
CREATE TABLE weblog (n integer);
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 3) n;
INSERT INTO orders SELECT n, 1 + n % 3 FROM generate_series(1, 9) n;
INSERT INTO weblog SELECT generate_series(1, 100);
SELECT deletion_guard.set_tenant_table('customers', 'id', 'name'), deletion_guard.guard_table('customers', 'id'), deletion_guard.guard_table('orders', 'customer');
\! pg_dump -Fd -n public -f $DIR/whole; pg_dump -n public -f $DIR/whole.sql
\! pg_dump -a -t customers -t orders -t weblog --inserts -f $DIR/inserts.sql
DELETE FROM orders;
DELETE FROM customers;
\! pg_dump -a -t customers -t orders -t weblog --inserts -f $DIR/empty.sql

/*
 * Names without schemas: as search_path says, with the columns that the script's
 * definitions tell. A script without a last line does not tell whether it is whole.
 */
\! sed -n '/^INSERT/s/public\.//p' $DIR/inserts.sql > $DIR/bare.sql
SELECT try('bare.sql');
\! psql -XAtqc "SET my.dir = '$DIR'" -c "SELECT count(*) FROM deletion_guard.archive_contents('$DIR/bare.sql')" 2>&1 | sed "s,$DIR,,"
\! pg_dump -s -n public > $DIR/joined.sql; cat $DIR/inserts.sql >> $DIR/joined.sql
SELECT try('joined.sql');
DELETE FROM orders;
DELETE FROM customers;
\! (echo 'SET search_path = public, pg_catalog;'; echo 'CREATE TABLE customers (id integer, name text);'; echo 'CREATE TABLE orders (id integer, customer integer);'; cat $DIR/bare.sql; echo; echo '-- PostgreSQL database dump complete') > $DIR/defined.sql
SELECT try('defined.sql');
DELETE FROM orders;
DELETE FROM customers;
\! sed 's/^SET search.*/SET search_path = shop, public;/; /^CREATE TABLE/d' $DIR/defined.sql > $DIR/vague.sql
SELECT try('vague.sql');
\! (cat $DIR/defined.sql; echo 'ALTER TABLE orders RENAME TO purchases;') > $DIR/renamed.sql
SELECT try('renamed.sql');
\! (cat $DIR/defined.sql; printf '%s\n' '\i more.sql') > $DIR/includes.sql
SELECT try('includes.sql');

/*
 * Tables without a row and without columns are tables all the same.
 */
SELECT try('empty.sql');
SELECT relation, columns, live_relation, problem FROM deletion_guard.archive_contents(:'dir' || '/empty.sql') ORDER BY 1;
SELECT relation, archive_rows, live_rows FROM deletion_guard.compare_tenant('2', :'dir' || '/empty.sql') WHERE archive_rows IS NOT NULL ORDER BY relation::text;

/*
 * A script of several databases: the one of this name, or none; cut off, none.
 */
\! (echo '-- PostgreSQL database cluster dump'; for d in shop $PGDATABASE other; do echo "-- Database \"$d\" dump"; echo '-- PostgreSQL database dump'; printf '%s\n' "\connect $d"; sed '1,/^-- Dumped by/d' $DIR/whole.sql | sed "s/customer 2/customer 2 of $d/"; done; echo '-- PostgreSQL database cluster dump complete') > $DIR/all.sql
SELECT try('all.sql');
TABLE customers;
DELETE FROM orders;
DELETE FROM customers;
\! sed '/cluster dump complete/d' $DIR/all.sql > $DIR/all_cut.sql
\! sed '/^-- Database "regress/,/^-- Database "other/d' $DIR/all.sql > $DIR/all_others.sql
\! awk '/^-- Database "/ {p = /^-- Database "shop" dump/} p' $DIR/all.sql > $DIR/shop.sql
SELECT try('all_cut.sql');
SELECT try('all_others.sql');
SELECT try('shop.sql');
TABLE customers;
DELETE FROM orders;
DELETE FROM customers;
\! cat $DIR/whole.sql $DIR/whole.sql > $DIR/twice.sql
SELECT try('twice.sql');

/*
 * What is no file, or in another encoding.
 */
\! mkfifo $DIR/fifo; iconv -f UTF-8 -t UTF-16 $DIR/whole.sql > $DIR/utf16.sql
SELECT try('fifo');
\! printf 'COPY caf\351 (a) FROM stdin;\n1\n' > $DIR/latin1.sql
SELECT try('latin1.sql');
SELECT try('utf16.sql');

/*
 * A directory whose files are links, one that lacks a file, one with files of
 * two dumps.
 */
\! umask 022; mkdir $DIR/links $DIR/gap $DIR/mixed $DIR/shared; chmod 755 $DIR/links; chmod 775 $DIR/shared; ln -s $DIR/whole/* $DIR/links; ln -s $DIR/whole/* $DIR/shared
SELECT try('links');
SELECT try('shared');
\! cp $DIR/whole/* $DIR/gap; cp $DIR/whole/* $DIR/mixed; touch $DIR/mixed/1.dat; id=$(pg_restore -l $DIR/gap | sed -n 's/;.*TABLE DATA public weblog.*//p'); mv $DIR/gap/$id.dat.gz $DIR/gap/log.dat.gz
SELECT try('gap');
SELECT relation, data_bytes IS NULL AS unknown, regexp_replace(problem, '\d+', 'N') AS problem FROM deletion_guard.archive_contents(:'dir' || '/gap') ORDER BY 1;
SELECT deletion_guard.guard_table('weblog', 'n');
SELECT regexp_replace(t, '\d+\.', 'N.') FROM try('gap') t;
SELECT try('gap', '{orders,customers}');
SELECT try('mixed');

\! rm -rf $DIR
\c :maintenance_db
DROP DATABASE regress_dg_rehydrate_scripts;
