/*
 * archive_toc.c
 *		Header and table of contents, the same in custom archives and in the
 *		toc.dat of directory and tar archives.
 *
 * The TOC is read through a stream from beginning to end.  Strings that are
 * of no use are passed over, the others are collected as their bytes arrive,
 * so neither the number of entries nor a length is believed before it has
 * proved true.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

#define VERSION(major, minor)	(((major) << 8) | (minor))
#define OLDEST_VERSION			VERSION(1, 12)
#define NEWEST_VERSION			VERSION(1, 16)

/* archive->scratch, by what it holds */
enum
{
	TAG, DESC, NSPACE, DEFN, COPY
};

typedef enum EntryKind
{
	KIND_OTHER, KIND_TABLE, KIND_ATTACH, KIND_TABLE_DATA, KIND_SEQUENCE_SET,
	KIND_ENCODING, KIND_STDSTRINGS, KIND_LARGE_OBJECTS
} EntryKind;

typedef struct TocEntry
{
	int			dump_id;
	bool		had_dumper;
	EntryKind	kind;
	bool		with_oids;
	int			offset_flag;	/* custom: 1 not set, 2 set, 3 no data */
	uint64_t	offset;
	const char *member;			/* others: file name, or NULL */
} TocEntry;

/*
 * "PGDMP", version, sizes.
 */
static bool
read_version(DgArchive *archive, DgArchiveStream *s, int *format, DgArchiveError *err)
{
	unsigned char b[11];
	int			version;

	if (!dg_archive_stream_take(s, b, sizeof(b), err))
		return false;
	if (memcmp(b, "PGDMP", 5) != 0)
		return dg_archive_stream_fail(s, DG_ARCHIVE_NOT_AN_ARCHIVE, err, "not a pg_dump archive");
	archive->info.version_major = b[5];
	archive->info.version_minor = b[6];
	archive->info.version_rev = b[7];
	version = VERSION(b[5], b[6]);
	if (version > NEWEST_VERSION || version < OLDEST_VERSION)
		return dg_archive_fail(err, version > NEWEST_VERSION ?
							   DG_ARCHIVE_VERSION_NEWER : DG_ARCHIVE_VERSION_OLDER,
							   s->source.file->name, 5,
							   "archive version %d.%d is not supported (1.12 to 1.16 are)",
							   b[5], b[6]);
	archive->int_size = b[8];
	archive->off_size = b[9];
	*format = b[10];
	if (archive->int_size < 4 || archive->int_size > 32 ||
		archive->off_size < 4 || archive->off_size > 32)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "invalid size of integers");
	return true;
}

static bool
read_compression(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	int			n = 0;

	if (archive->info.version_minor >= 15)
	{
		if (!dg_archive_read_byte(s, &n, err))
			return false;
		if (n > DG_ARCHIVE_ZSTD)
			return dg_archive_stream_fail(s, DG_ARCHIVE_UNSUPPORTED, err,
										  "unknown compression algorithm");
		archive->info.compression = (DgArchiveCompression) n;
		return true;
	}
	if (!dg_archive_read_int(archive, s, &n, err))
		return false;
	if (n < -1 || n > 9)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "invalid compression level");
	archive->info.compression = n == 0 ? DG_ARCHIVE_NONE : DG_ARCHIVE_GZIP;
	return true;
}

static bool
read_toc_header(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	DgArchiveBuffer *scratch = &archive->scratch[TAG];
	int			format = 0;
	int			i;

	if (!read_version(archive, s, &format, err))
		return false;
	if (archive->info.format == DG_ARCHIVE_CUSTOM && (format == 3 || format == 5))
		return dg_archive_stream_fail(s, DG_ARCHIVE_NOT_AN_ARCHIVE, err,
									  "this is a table of contents only; the archive is the directory that it lies in");
	if (format != (archive->info.format == DG_ARCHIVE_CUSTOM ? 1 : 3) &&
		!(archive->info.format == DG_ARCHIVE_DIRECTORY && format == 5))
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err,
									  "archive does not have the format its header states");
	if (!read_compression(archive, s, err))
		return false;
	for (i = 0; i < 7; i++)
	{
		int			ignored;

		if (!dg_archive_read_int(archive, s, &ignored, err))
			return false;
	}
	return dg_archive_read_name(archive, s, scratch, &archive->info.database, err) &&
		dg_archive_read_name(archive, s, scratch, &archive->info.server_version, err) &&
		dg_archive_read_name(archive, s, scratch, &archive->info.dump_version, err);
}

static EntryKind
entry_kind(const DgArchiveBuffer *desc)
{
	static const struct
	{
		const char *name;
		EntryKind	kind;
	}			kinds[] = {
		{"TABLE", KIND_TABLE}, {"FOREIGN TABLE", KIND_TABLE}, {"TABLE ATTACH", KIND_ATTACH},
		{"TABLE DATA", KIND_TABLE_DATA}, {"SEQUENCE SET", KIND_SEQUENCE_SET},
		{"ENCODING", KIND_ENCODING}, {"STDSTRINGS", KIND_STDSTRINGS},
		{"BLOBS", KIND_LARGE_OBJECTS}
	};
	size_t		i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		if (desc->len == strlen(kinds[i].name) &&
			memcmp(desc->data, kinds[i].name, desc->len) == 0)
			return kinds[i].kind;
	}
	return KIND_OTHER;
}

/*
 * The texts of an entry, of which only those of a useful kind are kept.
 */
static bool
read_entry_texts(DgArchive *archive, DgArchiveStream *s, TocEntry *entry,
				 DgArchiveError *err)
{
	DgArchiveBuffer *b = archive->scratch;
	int			ignored;

	if (!dg_archive_skip_string(archive, s, err) || /* catalog */
		!dg_archive_skip_string(archive, s, err) || /* object */
		!dg_archive_read_name(archive, s, &b[TAG], NULL, err) ||
		!dg_archive_read_name(archive, s, &b[DESC], NULL, err) ||
		!dg_archive_read_int(archive, s, &ignored, err))	/* section */
		return false;
	entry->kind = entry_kind(&b[DESC]);
	b[DEFN].len = b[COPY].len = 0;
	if (entry->kind == KIND_OTHER ? !dg_archive_skip_string(archive, s, err) :
		!dg_archive_read_string(archive, s, &b[DEFN], DG_ARCHIVE_MAX_DEFN, err))
		return false;
	if (!dg_archive_skip_string(archive, s, err))	/* drop statement */
		return false;
	if (entry->kind != KIND_TABLE_DATA ? !dg_archive_skip_string(archive, s, err) :
		!dg_archive_read_string(archive, s, &b[COPY], DG_ARCHIVE_MAX_DEFN, err))
		return false;
	return dg_archive_read_name(archive, s, &b[NSPACE], NULL, err) &&
		dg_archive_skip_string(archive, s, err) &&	/* tablespace */
		(archive->info.version_minor < 14 || dg_archive_skip_string(archive, s, err)) &&
		(archive->info.version_minor < 16 || dg_archive_read_int(archive, s, &ignored, err)) &&
		dg_archive_skip_string(archive, s, err);	/* owner */
}

static bool
read_entry(DgArchive *archive, DgArchiveStream *s, TocEntry *entry,
		   DgArchiveError *err)
{
	char		flag[8];
	DgArchiveBuffer word = {flag, 0, sizeof(flag), false, false};
	int			len;
	int			had_dumper;

	memset(entry, 0, sizeof(*entry));
	if (!dg_archive_read_int(archive, s, &entry->dump_id, err))
		return false;
	if (entry->dump_id <= 0)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "invalid dump id");
	if (!dg_archive_read_int(archive, s, &had_dumper, err) ||
		!read_entry_texts(archive, s, entry, err))
		return false;
	if (had_dumper != 0 && had_dumper != 1)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "entry neither has data nor has none");
	entry->had_dumper = had_dumper == 1;
	if (!dg_archive_read_string(archive, s, &word, sizeof(flag) - 1, err))
		return false;
	entry->with_oids = strcmp(flag, "true") == 0;
	do
	{
		/* dependencies, up to a NULL */
		if (!dg_archive_read_length(archive, s, &len, err) ||
			(len > 0 && !dg_archive_stream_skip(s, (uint64_t) len, err)))
			return false;
	} while (len >= 0);
	if (archive->info.format == DG_ARCHIVE_CUSTOM)
		return dg_archive_read_offset(archive, s, &entry->offset_flag, &entry->offset, err);
	if (entry->kind != KIND_TABLE_DATA)
		return dg_archive_skip_string(archive, s, err);
	/* the DEFN buffer is still needed: read the file name aside */
	{
		DgArchiveBuffer name = {NULL, 0, 0, false, false};
		bool		ok = dg_archive_read_name(archive, s, &name, &entry->member, err);

		dg_archive_buffer_free(&name);
		return ok;
	}
}

/*
 * Tables and large objects have data, and nothing else has: an entry of another
 * kind may be of a table, whose rows would be missed.
 */
static bool
check_has_data(DgArchive *archive, DgArchiveStream *s, const TocEntry *entry, DgArchiveError *err)
{
	bool		no_data = archive->info.format == DG_ARCHIVE_CUSTOM && entry->offset_flag == 3;

	if (entry->kind == KIND_TABLE_DATA && (!entry->had_dumper || no_data))
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "entry for the data of a table has none");
	if (entry->kind != KIND_TABLE_DATA && entry->kind != KIND_LARGE_OBJECTS && entry->had_dumper)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "data of a kind that pg_dump does not write");
	return true;
}

/*
 * SET client_encoding = '...'; or SET standard_conforming_strings = '...';
 */
static bool
apply_setting(DgArchive *archive, DgArchiveStream *s, EntryKind kind,
			  DgArchiveError *err)
{
	DgArchiveText text;
	const char *value;
	const char *quote;
	size_t		len;

	quote = memchr(archive->scratch[DEFN].data, '\'', archive->scratch[DEFN].len);
	if (quote == NULL)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "setting without a value");
	dg_archive_text_init(&text, quote, archive->scratch[DEFN].len -
						 (size_t) (quote - archive->scratch[DEFN].data), true);
	if (!dg_archive_text_string(&text, &archive->arena, &value, &len) || len > 64)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "setting without a value");
	if (kind == KIND_ENCODING)
		dg_archive_set_encoding(archive, value);
	else
		archive->info.std_strings = strcmp(value, "on") == 0;
	return true;
}

static bool
fill_table(DgArchive *archive, DgArchiveStream *s, const TocEntry *toc,
		   DgArchiveEntry *entry, DgArchiveError *err)
{
	DgArchiveBuffer *b = archive->scratch;

	entry->pub.dump_id = toc->dump_id;
	entry->pub.data_bytes = -1;
	entry->pub.schema = dg_archive_strdup(&archive->arena, b[NSPACE].data, b[NSPACE].len);
	entry->pub.name = dg_archive_strdup(&archive->arena, b[TAG].data, b[TAG].len);
	if (entry->pub.schema == NULL || entry->pub.name == NULL)
		return dg_archive_no_memory(err);
	entry->pub.target_schema = entry->pub.schema;
	entry->pub.target_name = entry->pub.name;
	entry->pub.compression = archive->info.compression;
	entry->with_oids = toc->with_oids;
	entry->member = toc->member;
	entry->offset = toc->offset;
	if (archive->info.format != DG_ARCHIVE_CUSTOM)
		entry->place = DG_ARCHIVE_AT_MEMBER;
	else
		entry->place = toc->offset_flag == 2 ? DG_ARCHIVE_AT_BLOCK :
			toc->offset_flag == 1 ? DG_ARCHIVE_AT_UNKNOWN : DG_ARCHIVE_AT_NOWHERE;
	dg_archive_entry_root(archive, entry, b[DEFN].data, b[DEFN].len);
	if (b[COPY].len == 0)
	{
		entry->pub.form = DG_ARCHIVE_INSERT;
		entry->list_missing = true;
		return true;
	}
	entry->pub.form = DG_ARCHIVE_COPY;
	if (b[COPY].cut ||
		!dg_archive_entry_copy(archive, entry, b[COPY].data, b[COPY].len))
	{
		dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "COPY statement cannot be understood");
		dg_archive_error_table(err, entry->pub.schema, entry->pub.name);
		return false;
	}
	return true;
}

/*
 * Records an entry that has data: its block and, of a table, the table.
 */
static bool
add_data(DgArchive *archive, DgArchiveStream *s, const TocEntry *toc,
		 DgArchiveError *err)
{
	DgArchiveBlock block = {toc->dump_id, -1, toc->offset_flag == 2, toc->offset};
	DgArchiveEntry entry;

	if (toc->kind == KIND_TABLE_DATA)
	{
		memset(&entry, 0, sizeof(entry));
		if (!fill_table(archive, s, toc, &entry, err))
			return false;
		block.entry = (int) archive->entry_count;
		if (!dg_archive_append(&archive->entries, &archive->entry_count, &archive->entry_cap, &entry, sizeof(entry), err))
			return false;
	}
	return dg_archive_append(&archive->blocks, &archive->block_count, &archive->block_cap, &block, sizeof(block), err);
}

static bool
apply_entry(DgArchive *archive, DgArchiveStream *s, const TocEntry *toc,
			DgArchiveError *err)
{
	DgArchiveBuffer *b = archive->scratch;
	const char *schema;
	const char *name;

	switch (toc->kind)
	{
		case KIND_ENCODING:
		case KIND_STDSTRINGS:
			return apply_setting(archive, s, toc->kind, err);
		case KIND_ATTACH:
			return b[DEFN].cut || dg_archive_defn_parents(archive, b[DEFN].data, b[DEFN].len, err);
		case KIND_LARGE_OBJECTS:
			archive->info.large_objects = true;
			return true;
		case KIND_TABLE:
		case KIND_SEQUENCE_SET:
			schema = dg_archive_strdup(&archive->arena, b[NSPACE].data, b[NSPACE].len);
			name = dg_archive_strdup(&archive->arena, b[TAG].data, b[TAG].len);
			if (schema == NULL || name == NULL)
				return dg_archive_no_memory(err);
			if (toc->kind == KIND_TABLE)
				return dg_archive_defn_table(archive, schema, name, b[DEFN].data,
											 b[DEFN].cut ? 0 : b[DEFN].len,
											 toc->with_oids, err) &&
					dg_archive_defn_parents(archive, b[DEFN].data,
											b[DEFN].cut ? 0 : b[DEFN].len, err);
			return dg_archive_sequence_add(archive, schema, name, b[DEFN].data,
										   b[DEFN].len, err);
		default:
			return true;
	}
}

static int
compare_ints(const void *a, const void *b)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;

	return (x > y) - (x < y);
}

static bool
check_ids(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	size_t		i;

	if (archive->id_count > 0)
		qsort(archive->ids, archive->id_count, sizeof(int), compare_ints);
	for (i = 1; i < archive->id_count; i++)
	{
		if (archive->ids[i] == archive->ids[i - 1])
			return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, s->source.file->name,
								   dg_archive_stream_stored(s),
								   "dump id %d occurs twice", archive->ids[i]);
	}
	free(archive->ids);
	archive->ids = NULL;
	archive->id_count = archive->id_cap = 0;
	return true;
}

static int
compare_blocks(const void *a, const void *b)
{
	const DgArchiveBlock *x = a;
	const DgArchiveBlock *y = b;

	return (x->dump_id > y->dump_id) - (x->dump_id < y->dump_id);
}

/*
 * Finds an entry that has data by its dump id; NULL if there is none.
 */
DgArchiveBlock *
dg_archive_block(DgArchive *archive, int64_t dump_id)
{
	DgArchiveBlock key;

	if (archive->block_count == 0 || dump_id <= 0 || dump_id > INT32_MAX)
		return NULL;
	key.dump_id = (int) dump_id;
	return bsearch(&key, archive->blocks, archive->block_count, sizeof(key),
				   compare_blocks);
}

/*
 * Reads header and TOC from a fresh stream; afterwards the stream stands at
 * the byte behind the TOC.
 */
bool
dg_archive_toc_read(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	int			count = 0;
	int			i;

	if (!read_toc_header(archive, s, err) || !dg_archive_read_int(archive, s, &count, err))
		return false;
	if (count < 0)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "negative number of entries");
	for (i = 0; i < count; i++)
	{
		TocEntry	entry;

		if (!read_entry(archive, s, &entry, err))
			return false;
		if (!dg_archive_append(&archive->ids, &archive->id_count, &archive->id_cap, &entry.dump_id, sizeof(int), err))
			return false;
		if (archive->id_count > DG_ARCHIVE_MAX_TOC || dg_archive_too_many(archive))
			return dg_archive_stream_fail(s, DG_ARCHIVE_TOO_LARGE, err, "too many entries");
		if (!check_has_data(archive, s, &entry, err) ||
			(entry.had_dumper && !add_data(archive, s, &entry, err)))
			return false;
		if (!apply_entry(archive, s, &entry, err))
			return false;
	}
	if (archive->block_count > 0)
		qsort(archive->blocks, archive->block_count, sizeof(*archive->blocks),
			  compare_blocks);
	return check_ids(archive, s, err) && dg_archive_entries_finish(archive, err);
}

/*
 * For a TOC that has a file of its own: nothing may follow it, and if it is
 * compressed its checksum has to match.
 */
bool
dg_archive_toc_finish(DgArchiveStream *s, DgArchiveError *err)
{
	int			rc = 1;

	if (s->start == s->end)
		rc = dg_archive_stream_fill(s, err);
	if (rc < 0)
		return false;
	if (s->start < s->end)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err,
									  "data after the end of the table of contents");
	return true;
}
