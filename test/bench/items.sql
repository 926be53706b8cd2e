-- One table of :rows rows with a primary key and two more indexes.
CREATE TABLE item (
	id bigint PRIMARY KEY, tenant int NOT NULL, code text, title text, amount numeric, created_at timestamptz);
INSERT INTO item
	SELECT i, 1 + i % 1000, md5(i::text), 'Title of item ' || i, i % 10000 / 100.0, timestamptz '2022-01-01' + i * interval '1 second'
	FROM generate_series(1, :rows) i;
CREATE INDEX ON item (tenant);
CREATE INDEX ON item (code);
