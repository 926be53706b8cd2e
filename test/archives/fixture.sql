/*
 * Three tenants in tables that show what archives may hold: partitions, paths
 * of foreign keys, generated columns, odd names, and text with everything that
 * has to be escaped. All of it exists in UTF8, LATIN1, EUC_JP and SJIS, and in
 * PostgreSQL 12.
 */
CREATE TABLE tenant (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE event (id integer PRIMARY KEY, tenant_id integer NOT NULL REFERENCES tenant, at timestamptz,
					amount numeric(10,2), body text) PARTITION BY RANGE (id);
CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (7);
CREATE TABLE event_high PARTITION OF event FOR VALUES FROM (7) TO (1000);
CREATE TABLE detail (event_id integer REFERENCES event, line integer, tags text[], data bytea,
					 twice integer GENERATED ALWAYS AS (line * 2) STORED, PRIMARY KEY (event_id, line));
CREATE TABLE "§ ""select""" (id serial PRIMARY KEY, "tenant id" integer NOT NULL REFERENCES tenant, "order" boolean);

INSERT INTO tenant VALUES (1, 'one'), (2, 'two ×÷±§¶'), (3, 'th''ree');
INSERT INTO event
	SELECT n, 1 + n % 3, timestamptz '2024-05-06 07:08:09.1+02' + n * interval '1 day', n * 1.25,
		CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'\\.\n\\N\ttab\r\n''quote'' "double" \\'
			WHEN 3 THEN repeat('×÷±§¶;-- ', n) ELSE E'$$ ); INSERT INTO tenant VALUES (4);\n\\connect other\n' END
	FROM generate_series(1, 14) n;
INSERT INTO detail (event_id, line, tags, data)
	SELECT id, n, ARRAY['a', NULL, '"{b}"', '', E'\\'], decode('00ff5c0a27', 'hex') FROM event, generate_series(1, id % 3) n;
INSERT INTO "§ ""select""" ("tenant id", "order") SELECT 1 + n % 3, nullif(n % 4, 0) = 1 FROM generate_series(1, 8) n;
