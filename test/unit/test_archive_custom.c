/*
 * test_archive_custom.c
 *		Custom archives, made here: every version, compression and kind of
 *		damage.
 */
#include "archive_writer.h"

static const Data two_tables[] = {
	{11, "public", "item", "CREATE TABLE public.item (\n    id integer NOT NULL,\n"
		"    name character varying(20) DEFAULT 'a,b)'::character varying,\n"
	"    at timestamp(3) with time zone\n);\n", "",
		"COPY public.item (id, name, at) FROM stdin;\n",
	"1\tone\t2024-01-01\n2\ttab\\there\t\\N\n3\t\t\\\\N\n\\.\n\n\n", 0},
	{12, "other", "Empty one", NULL, "",
	"COPY other.\"Empty one\" (\"a \"\"b\") FROM stdin;\n", "\\.\n\n\n", 0},
	{13, "other", "last", NULL, "", "COPY other.last (x) FROM stdin;\n",
	"\n\\N\nx\n\\.\n\n\n", 0}
};

static const char expected[] = "1|one|2024-01-01;2|tab\there|<null>;3||\\N;;<null>;x;";

static bool
is_error(DgArchiveStatus status)
{
	return status != DG_ARCHIVE_OK;
}

UNIT_TEST(every_version_and_compression)
{
	int			minor;
	int			compression;
	int			offsets;

	for (minor = 12; minor <= 16; minor++)
	{
		for (compression = 0; compression <= (minor >= 15 ? 3 : 1); compression++)
		{
			for (offsets = 0; offsets < 2; offsets++)
			{
				Recipe		r = {minor, compression, offsets == 1, 7, NULL, false};
				Bytes		b = make_custom(&r, two_tables, 3, NULL);
				Result		got = read_all(b.data, b.len, NULL);

				CHECK_INT_EQ(got.status, DG_ARCHIVE_OK);
				CHECK_STR_EQ(got.text, expected);
				free(b.data);
			}
		}
	}
}

UNIT_TEST(facts)
{
	Recipe		r = {16, 1, true, 0, "LATIN1", true};
	Bytes		b = make_custom(&r, two_tables, 3, NULL);
	DgArchiveError err;
	DgArchive  *a = dg_archive_open_memory(b.data, b.len, NULL, &err);
	const DgArchiveInfo *info = dg_archive_info(a);
	const DgArchiveTable *t = dg_archive_table(a, 0);

	CHECK_INT_EQ(info->format, DG_ARCHIVE_CUSTOM);
	CHECK_INT_EQ(info->compression, DG_ARCHIVE_GZIP);
	CHECK_INT_EQ(info->version_minor, 16);
	CHECK_STR_EQ(info->database, "db");
	CHECK_STR_EQ(info->server_version, "15.4");
	CHECK_STR_EQ(info->dump_version, "15.5");
	CHECK_STR_EQ(info->encoding, "LATIN1");
	CHECK(!info->std_strings);
	CHECK_INT_EQ(dg_archive_table_count(a), 3);
	CHECK_STR_EQ(t->schema, "public");
	CHECK_STR_EQ(t->name, "item");
	CHECK_INT_EQ(t->column_count, 3);
	CHECK_STR_EQ(t->columns[1], "name");
	CHECK_STR_EQ(t->types[1], "character varying(20)");
	CHECK_STR_EQ(t->types[2], "timestamp(3) with time zone");
	CHECK(t->data_bytes > 0);
	t = dg_archive_table(a, 1);
	CHECK_STR_EQ(t->name, "Empty one");
	CHECK_STR_EQ(t->columns[0], "a \"b");
	CHECK(t->types[0] == NULL);
	CHECK(dg_archive_table(a, 3) == NULL);
	CHECK(dg_archive_table(a, -1) == NULL);
	CHECK(dg_archive_rows_open(a, 3, &err) == NULL);
	dg_archive_close(&a);
	CHECK(a == NULL);
	dg_archive_close(&a);
	free(b.data);
}

/* A custom archive that has lost its end is never read without an error. */
UNIT_TEST(truncation_at_every_byte)
{
	int			compression;
	int			offsets;

	for (compression = 0; compression <= 3; compression++)
	{
		for (offsets = 0; offsets < 2; offsets++)
		{
			Recipe		r = {16, compression, offsets == 1, 5, NULL, false};
			Bytes		b = make_custom(&r, two_tables, 3, NULL);
			size_t		len;

			for (len = 0; len < b.len; len++)
			{
				unsigned char *exact = malloc(len + 1);
				Result		got;

				memcpy(exact, b.data, len);
				got = read_all(exact, len, NULL);
				CHECK(is_error(got.status));
				CHECK(got.err.message[0] != '\0');
				free(exact);
			}
			free(b.data);
		}
	}
}

/*
 * Flipping bits anywhere must not crash; what a checksum covers must not go
 * unnoticed.
 */
UNIT_TEST(flipped_bits)
{
	Recipe		r = {16, DG_ARCHIVE_GZIP, true, 100, NULL, false};
	size_t		toc_len;
	Bytes		b = make_custom(&r, two_tables, 3, &toc_len);
	Result		good = read_all(b.data, b.len, NULL);
	size_t		i;
	int			bit;

	CHECK_INT_EQ(good.status, DG_ARCHIVE_OK);
	for (i = 0; i < b.len; i++)
	{
		for (bit = 0; bit < 8; bit++)
		{
			DgArchiveOptions zlib = {NULL, NULL, true};
			Result		got;

			b.data[i] ^= 1 << bit;
			got = read_all(b.data, b.len, NULL);
			if (i >= toc_len)
			{
				/* a few bits of the deflate header mean nothing */
				CHECK(is_error(got.status) || got.digest == good.digest);
				got = read_all(b.data, b.len, &zlib);
				CHECK(is_error(got.status) || got.digest == good.digest);
			}
			b.data[i] ^= 1 << bit;
		}
	}
	free(b.data);
}

UNIT_TEST(wrong_checksum)
{
	Recipe		r = {14, DG_ARCHIVE_GZIP, true, 0, NULL, false};
	Bytes		b = make_custom(&r, two_tables, 1, NULL);
	DgArchiveOptions zlib = {NULL, NULL, true};
	Result		got;

	/* the Adler-32 lies before the terminator of the last block */
	b.data[b.len - 6] ^= 1;
	got = read_all(b.data, b.len, NULL);
	CHECK_INT_EQ(got.status, DG_ARCHIVE_CHECKSUM);
	CHECK(strstr(got.err.message, "table \"public.item\"") != NULL);
	CHECK(strstr(got.err.message, "byte ") != NULL);
	CHECK_STR_EQ(got.err.table, "public.item");
	CHECK_STR_EQ(got.err.file, "memory");
	got = read_all(b.data, b.len, &zlib);
	CHECK_INT_EQ(got.status, DG_ARCHIVE_CHECKSUM);
	free(b.data);
}

static DgArchiveStatus
open_status(const Bytes *b)
{
	return read_all(b->data, b->len, NULL).status;
}

UNIT_TEST(versions_out_of_range)
{
	Recipe		r = {16, 0, true, 0, NULL, false};
	Bytes		b = make_custom(&r, two_tables, 1, NULL);

	b.data[6] = 17;
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_VERSION_NEWER);
	b.data[5] = 2;
	b.data[6] = 0;
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_VERSION_NEWER);
	b.data[5] = 1;
	b.data[6] = 11;
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_VERSION_OLDER);
	b.data[5] = 0;
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_VERSION_OLDER);
	free(b.data);
}

UNIT_TEST(sizes_and_formats_out_of_range)
{
	static const struct
	{
		int			at;
		int			value;
	}			bad[] = {
		{8, 0}, {8, 3}, {8, 33}, {8, 255}, {9, 0}, {9, 3}, {9, 33}, {10, 3},
		{10, 0}, {11, 4}, {11, 255}
	};
	Recipe		r = {16, 0, true, 0, NULL, false};
	Bytes		b = make_custom(&r, two_tables, 1, NULL);
	size_t		i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		unsigned char old = b.data[bad[i].at];

		b.data[bad[i].at] = (unsigned char) bad[i].value;
		CHECK(is_error(open_status(&b)));
		b.data[bad[i].at] = old;
	}
	free(b.data);
}

UNIT_TEST(not_an_archive)
{
	static const char *const inputs[] = {
		"", "P", "PGDM", "PGDMP", "hello world\n", "\x7f" "ELF", "PK\x03\x04",
		"\x1f\x8b\x08", "\x1f\x8b\x08\x00\x00\x00\x00\x00", "\x28\xb5\x2f\xfd",
		"\x04\x22\x4d\x18"
	};
	DgArchiveError err;
	size_t		i;

	for (i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
	{
		DgArchive  *a = dg_archive_open_memory(inputs[i], strlen(inputs[i]), NULL, &err);

		CHECK(a == NULL);
		CHECK(err.message[0] != '\0');
		dg_archive_close(&a);
	}
}

UNIT_TEST(hostile_numbers)
{
	static const int values[] = {-1, -2, 1, 1000000, INT32_MAX, -INT32_MAX};
	Recipe		r = {16, 0, true, 0, NULL, false};
	size_t		toc_len;
	Bytes		b = make_custom(&r, two_tables, 2, &toc_len);
	size_t		at;
	size_t		i;

	/* put each value over every place where an integer could be */
	for (at = 12; at + 5 < b.len; at++)
	{
		for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		{
			Bytes		copy = {NULL, 0, 0};
			Bytes		number = {NULL, 0, 0};
			Result		got;

			put(&copy, b.data, b.len);
			put_int(&number, values[i]);
			memcpy(copy.data + at, number.data, 5);
			got = read_all(copy.data, copy.len, NULL);
			CHECK(got.status == DG_ARCHIVE_OK || got.err.message[0] != '\0');
			free(copy.data);
			free(number.data);
		}
	}
	free(b.data);
}

UNIT_TEST(many_entries_claimed)
{
	Recipe		r = {16, 0, true, 0, NULL, false};
	Bytes		b = {NULL, 0, 0};

	put_header(&b, &r, 1, INT32_MAX);
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_TRUNCATED);
	free(b.data);
}

UNIT_TEST(duplicate_ids)
{
	Data		tables[2];
	Recipe		r = {16, 0, false, 0, NULL, false};
	Bytes		b;

	tables[0] = two_tables[0];
	tables[1] = two_tables[2];
	tables[1].dump_id = tables[0].dump_id;
	b = make_custom(&r, tables, 2, NULL);
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_CORRUPT);
	free(b.data);
}

UNIT_TEST(offsets_out_of_place)
{
	Recipe		r = {16, 0, true, 0, NULL, false};
	uint64_t	offsets[3] = {0};
	size_t		toc_len;
	Bytes		b = make_custom(&r, two_tables, 3, &toc_len);
	Bytes		toc = {NULL, 0, 0};
	uint64_t	bad[] = {0, 5, 0, 0, UINT64_MAX, (uint64_t) INT64_MAX};
	size_t		i;

	bad[2] = toc_len - 1;
	bad[3] = b.len;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		Result		got;

		offsets[0] = offsets[1] = offsets[2] = bad[i];
		toc.len = 0;
		put_custom_toc(&toc, &r, two_tables, 3, offsets);
		memcpy(b.data, toc.data, toc.len);
		got = read_all(b.data, b.len, NULL);
		CHECK(got.status == DG_ARCHIVE_CORRUPT || got.status == DG_ARCHIVE_TRUNCATED);
		CHECK_STR_EQ(got.err.table, "public.item");
	}
	/* all at the first table's block: the second's id does not match */
	offsets[0] = offsets[1] = offsets[2] = toc_len;
	toc.len = 0;
	put_custom_toc(&toc, &r, two_tables, 3, offsets);
	memcpy(b.data, toc.data, toc.len);
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_CORRUPT);
	free(toc.data);
	free(b.data);
}

UNIT_TEST(tables_in_any_order_without_offsets)
{
	static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
	static const char *const texts[] = {
		"1|one|2024-01-01;2|tab\there|<null>;3||\\N;", "", ";<null>;x;"
	};
	Recipe		r = {15, DG_ARCHIVE_GZIP, false, 3, NULL, false};
	Bytes		b = make_custom(&r, two_tables, 3, NULL);
	size_t		i;
	int			k;

	for (i = 0; i < 4; i++)
	{
		DgArchiveError err;
		DgArchive  *a = dg_archive_open_memory(b.data, b.len, NULL, &err);

		CHECK_INT_EQ(dg_archive_table(a, 0)->data_bytes, -1);
		if (i == 3)
		{
			CHECK(dg_archive_measure(a, &err));
			CHECK(dg_archive_table(a, 2)->data_bytes > 0);
		}
		for (k = 0; k < 3; k++)
		{
			Result		got = read_table(a, orders[i][k]);

			CHECK_INT_EQ(got.status, DG_ARCHIVE_OK);
			CHECK_STR_EQ(got.text, texts[orders[i][k]]);
			got = read_table(a, orders[i][k]);
			CHECK_STR_EQ(got.text, texts[orders[i][k]]);
		}
		dg_archive_close(&a);
	}
	free(b.data);
}

/* Large objects lie between the tables; a search has to pass over them. */
UNIT_TEST(large_objects_on_the_way)
{
	Recipe		r = {14, DG_ARCHIVE_NONE, false, 0, NULL, false};
	Bytes		b = {NULL, 0, 0};
	Bytes		rows = {NULL, 0, 0};
	Bytes		lo = {NULL, 0, 0};
	DgArchiveError err;
	DgArchive  *a;

	put(&rows, "x\n\\.\n\n\n", 7);
	put(&lo, "large object", 12);
	put_header(&b, &r, 1, 2);
	put_entry(&b, &r, 1, true, "BLOBS", "BLOBS", "", NULL, NULL);
	put_offset(&b, 1, 0);
	put_entry(&b, &r, 2, true, "t", "TABLE DATA", "", "COPY s.t (a) FROM stdin;\n", "s");
	put_offset(&b, 1, 0);
	put_byte(&b, 3);
	put_int(&b, 1);
	put_int(&b, 16384);
	put_chunks(&b, &lo, 5);
	put_int(&b, 16385);
	put_int(&b, 0);
	put_int(&b, 0);
	put_byte(&b, 1);
	put_int(&b, 2);
	put_chunks(&b, &rows, 100);
	a = dg_archive_open_memory(b.data, b.len, NULL, &err);
	CHECK(a != NULL);
	CHECK_STR_EQ(read_table(a, 0).text, "x;");
	CHECK(dg_archive_measure(a, &err));
	CHECK_INT_EQ(dg_archive_table(a, 0)->data_bytes, 1 + 5 + 5 + 7 + 5);
	dg_archive_close(&a);
	free(b.data);
	free(rows.data);
	free(lo.data);
}

/* Each stream has its own fault; none may be taken for a complete one. */
UNIT_TEST(faulty_streams)
{
	static const struct
	{
		const char *rows;
		DgArchiveStatus status;
	}			faults[] = {
		{"1\ta\tb\n", DG_ARCHIVE_TRUNCATED},
		{"1\ta\tb\n\\.", DG_ARCHIVE_TRUNCATED},
		{"", DG_ARCHIVE_TRUNCATED},
		{"1\ta\n\\.\n", DG_ARCHIVE_CORRUPT},
		{"1\ta\tb\tc\n\\.\n", DG_ARCHIVE_CORRUPT},
		{"1\ta\tb\n\\.\n\nmore\n", DG_ARCHIVE_CORRUPT},
		{"1\ta\tb\\\n\\.\n", DG_ARCHIVE_CORRUPT},
		{"1\t\\000\tb\n\\.\n", DG_ARCHIVE_CORRUPT}
	};
	size_t		i;
	int			compression;

	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
	{
		for (compression = 0; compression <= 3; compression++)
		{
			Recipe		r = {16, compression, true, 0, NULL, false};
			Data		t = two_tables[0];
			Bytes		b;
			Result		got;

			t.rows = faults[i].rows;
			b = make_custom(&r, &t, 1, NULL);
			got = read_all(b.data, b.len, NULL);
			CHECK_INT_EQ(got.status, faults[i].status);
			free(b.data);
		}
	}
}

/* Bytes after the end of the compressed stream. */
UNIT_TEST(data_behind_the_stream)
{
	Data		t = two_tables[0];
	Bytes		stream = compress_bytes(DG_ARCHIVE_GZIP, false, t.rows, strlen(t.rows));
	size_t		extra;

	for (extra = 1; extra < 20; extra++)
	{
		Recipe		r = {16, DG_ARCHIVE_NONE, true, 0, NULL, false};
		Bytes		b;
		DgArchiveOptions zlib = {NULL, NULL, true};

		put(&stream, "\n", 1);
		t.rows = (const char *) stream.data;
		t.rows_len = stream.len;
		b = make_custom(&r, &t, 1, NULL);
		b.data[11] = DG_ARCHIVE_GZIP;
		CHECK_INT_EQ(read_all(b.data, b.len, NULL).status, DG_ARCHIVE_CORRUPT);
		CHECK_INT_EQ(read_all(b.data, b.len, &zlib).status, DG_ARCHIVE_CORRUPT);
		free(b.data);
	}
	free(stream.data);
}

UNIT_TEST(copy_statements_that_are_none)
{
	static const char *const statements[] = {
		"COPY", "COPY public.item", "COPY public.item (id, name, at)",
		"COPY public.item (id, name, at) FROM '/etc/passwd';\n",
		"COPY public.item (id, name, at) FROM PROGRAM 'id';\n",
		"COPY public.item (id,, at) FROM stdin;\n",
		"COPY public.item (id, name, at FROM stdin;\n",
		"COPY public.item (\"id, name, at) FROM stdin;\n",
		"COPY public.item (id, name, at) TO stdout;\n",
		"COPY public.item (id, name, at) FROM stdin; DROP TABLE x;\n",
		"DROP TABLE public.item;\n", "COPY \"\".item (id) FROM stdin;\n",
		"COPY public. (id) FROM stdin;\n", "COPY 1.item (id) FROM stdin;\n"
	};
	Recipe		r = {16, 0, true, 0, NULL, false};
	size_t		i;

	for (i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
	{
		Data		t = two_tables[0];
		Bytes		b;

		t.copy = statements[i];
		b = make_custom(&r, &t, 1, NULL);
		CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_CORRUPT);
		free(b.data);
	}
}

UNIT_TEST(partition_root)
{
	Data		t[2];
	Recipe		r = {16, 0, true, 0, NULL, false};
	DgArchiveError err;
	DgArchive  *a;
	Bytes		b;

	t[0] = two_tables[0];
	t[0].defn = "-- load via partition root public.root\n";
	t[0].copy = "COPY public.root (id, name, at) FROM stdin;\n";
	t[1] = t[0];
	t[1].dump_id = 99;
	t[1].name = "part2";
	t[1].create = NULL;
	t[1].copy = NULL;
	t[1].rows = "INSERT INTO public.root VALUES (1, 'x');\n\n\n";
	b = make_custom(&r, t, 2, NULL);
	a = dg_archive_open_memory(b.data, b.len, NULL, &err);
	CHECK_STR_EQ(dg_archive_table(a, 0)->name, "item");
	CHECK_STR_EQ(dg_archive_table(a, 0)->target_name, "root");
	CHECK_STR_EQ(dg_archive_table(a, 0)->types[0], "integer");
	CHECK_STR_EQ(dg_archive_table(a, 1)->name, "part2");
	CHECK_STR_EQ(dg_archive_table(a, 1)->target_name, "root");
	CHECK_STR_EQ(read_table(a, 1).text, "1|x;");
	dg_archive_close(&a);
	free(b.data);
}

UNIT_TEST(with_oids_is_refused)
{
	Recipe		r = {12, 0, true, 0, NULL, false};
	Data		t = two_tables[0];
	Bytes		b;

	t.copy = "COPY public.item (id, name, at) WITH OIDS FROM stdin;\n";
	b = make_custom(&r, &t, 1, NULL);
	CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_UNSUPPORTED);
	free(b.data);
}

static bool
stop_at_once(void *arg)
{
	int		   *calls = arg;

	return --*calls < 0;
}

UNIT_TEST(interrupts)
{
	Recipe		r = {16, DG_ARCHIVE_GZIP, true, 0, NULL, false};
	Bytes		b = make_custom(&r, two_tables, 3, NULL);
	int			after;
	int			stopped = 0;

	for (after = 0; after < 40; after++)
	{
		int			calls = after;
		DgArchiveOptions opts = {stop_at_once, &calls, false};
		Result		got = read_all(b.data, b.len, &opts);

		if (got.status == DG_ARCHIVE_INTERRUPTED)
			stopped++;
		else
			CHECK_INT_EQ(got.status, DG_ARCHIVE_OK);
	}
	CHECK(stopped > 5);
	CHECK(stopped < 40);
	free(b.data);
}

/* A row much larger than the window, and the same one never ending. */
UNIT_TEST(long_rows)
{
	size_t		len = 3 * 1024 * 1024;
	char	   *rows = malloc(len + 100);
	Data		t = two_tables[2];
	int			compression;

	memset(rows, 'y', len);
	for (compression = 0; compression <= 3; compression++)
	{
		Recipe		r = {16, compression, true, 0, NULL, false};
		Bytes		b;
		Result		got;

		strcpy(rows + len, "\nshort\n\\.\n\n\n");
		t.rows = rows;
		b = make_custom(&r, &t, 1, NULL);
		got = read_all(b.data, b.len, NULL);
		CHECK_INT_EQ(got.status, DG_ARCHIVE_OK);
		CHECK_INT_EQ(got.rows, 2);
		free(b.data);
		rows[len] = '\0';
		b = make_custom(&r, &t, 1, NULL);
		CHECK_INT_EQ(open_status(&b), DG_ARCHIVE_TRUNCATED);
		free(b.data);
	}
	free(rows);
}

static bool
is_wanted(void *arg, const char *text, size_t len)
{
	static const char *const wanted[] = {"k50", "\t51", "\\N"};

	(void) arg;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
	{
		if (len == strlen(wanted[i]) && memcmp(text, wanted[i], len) == 0)
			return true;
	}
	return false;
}

UNIT_TEST(filter_passes_over_rows)
{
	Bytes		text = {NULL, 0, 0};
	Recipe		r = {16, DG_ARCHIVE_GZIP, true, 0, NULL, false};
	Data		t = two_tables[0];
	DgArchiveFilter filter = {1, is_wanted, NULL};
	DgArchiveProgress progress;
	DgArchiveError err;
	DgArchiveRows *rows;
	DgArchiveRow row;
	DgArchive  *a;
	Bytes		b;
	long		matched = 0;
	int			i;
	int			rc;

	for (i = 0; i < 50000; i++)
	{
		char		line[100];

		snprintf(line, sizeof(line), "%d\t%s%d\tx\n", i, i % 3 == 0 ? "\\t" : "k", i % 100);
		put(&text, line, strlen(line));
	}
	put(&text, "7\t\\N\tx\n\\.\n\n\n", 12);
	t.rows = (const char *) text.data;
	t.rows_len = text.len;
	b = make_custom(&r, &t, 1, NULL);
	a = dg_archive_open_memory(b.data, b.len, NULL, &err);
	rows = dg_archive_rows_open(a, 0, &err);
	filter.field = 3;
	CHECK(!dg_archive_rows_set_filter(rows, &filter, &err));
	CHECK_INT_EQ(err.code, DG_ARCHIVE_NOT_FOUND);
	filter.field = 1;
	CHECK(dg_archive_rows_set_filter(rows, &filter, &err));
	while ((rc = dg_archive_rows_next(rows, &row, &err)) > 0)
	{
		CHECK(row.number % 100 == 51 || row.number % 100 == 52);
		matched++;
	}
	CHECK_INT_EQ(rc, 0);
	CHECK_INT_EQ(dg_archive_rows_next(rows, &row, &err), 0);
	dg_archive_rows_progress(rows, &progress);
	CHECK_INT_EQ(progress.rows_read, 50001);
	CHECK_INT_EQ(progress.rows_skipped, 50001 - matched);
	CHECK_INT_EQ(progress.bytes_done, progress.bytes_total);
	CHECK_INT_EQ(matched, 500);
	dg_archive_close(&a);
	free(b.data);
	free(text.data);
}

int
main(void)
{
	RUN(every_version_and_compression);
	RUN(facts);
	RUN(truncation_at_every_byte);
	RUN(flipped_bits);
	RUN(wrong_checksum);
	RUN(versions_out_of_range);
	RUN(sizes_and_formats_out_of_range);
	RUN(not_an_archive);
	RUN(hostile_numbers);
	RUN(many_entries_claimed);
	RUN(duplicate_ids);
	RUN(offsets_out_of_place);
	RUN(tables_in_any_order_without_offsets);
	RUN(large_objects_on_the_way);
	RUN(faulty_streams);
	RUN(data_behind_the_stream);
	RUN(copy_statements_that_are_none);
	RUN(partition_root);
	RUN(with_oids_is_refused);
	RUN(interrupts);
	RUN(long_rows);
	RUN(filter_passes_over_rows);
	return unit_done();
}
