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

#include "archive_internal.h"

#define VERSION(major, minor)	(((major) << 8) | (minor))
#define OLDEST_VERSION			VERSION(1, 12)
#define NEWEST_VERSION			VERSION(1, 16)

#define MAX_NAME				((size_t) 64 * 1024)

/* archive->scratch, by what it holds */
enum
{
	TAG, DESC, NSPACE, DEFN, COPY
};

typedef enum EntryKind
{
	KIND_OTHER, KIND_TABLE, KIND_TABLE_DATA, KIND_SEQUENCE_SET,
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

static bool
fail_toc(DgArchiveStream *s, DgArchiveError *err, DgArchiveStatus code,
		 const char *what)
{
	return dg_archive_fail(err, code, s->source.file->name,
						   dg_archive_stream_stored(s), "%s", what);
}

static bool
read_byte(DgArchiveStream *s, int *value, DgArchiveError *err)
{
	unsigned char b;

	if (!dg_archive_stream_take(s, &b, 1, err))
		return false;
	*value = b;
	return true;
}

static bool
read_int(DgArchive *archive, DgArchiveStream *s, int *value, DgArchiveError *err)
{
	unsigned char b[33];
	uint32_t	n;
	int			i;

	if (!dg_archive_stream_take(s, b, (size_t) archive->int_size + 1, err))
		return false;
	for (i = 5; i <= archive->int_size; i++)
	{
		if (b[i] != 0)
			return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "integer out of range");
	}
	n = (uint32_t) b[1];
	for (i = 2; i <= 4 && i <= archive->int_size; i++)
		n |= (uint32_t) b[i] << (8 * (i - 1));
	if (b[0] > 1 || n > INT32_MAX)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "integer out of range");
	*value = b[0] == 1 ? -(int) n : (int) n;
	return true;
}

/*
 * Reads the length of a string; -1 stands for NULL.
 */
static bool
read_length(DgArchive *archive, DgArchiveStream *s, int *len, DgArchiveError *err)
{
	if (!read_int(archive, s, len, err))
		return false;
	if (*len < -1)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "negative string length");
	if (s->codec == NULL && *len > 0 && s->source.file->size_known &&
		(uint64_t) *len > s->source.end - dg_archive_stream_stored(s))
		return fail_toc(s, err, DG_ARCHIVE_TRUNCATED,
						"string reaches beyond the end of the file");
	return true;
}

static bool
skip_string(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	int			len;

	if (!read_length(archive, s, &len, err))
		return false;
	return len <= 0 || dg_archive_stream_skip(s, (uint64_t) len, err);
}

/*
 * Collects a string, of which more than limit bytes are dropped (buf->cut).
 */
static bool
read_string(DgArchive *archive, DgArchiveStream *s, DgArchiveBuffer *buf,
			size_t limit, DgArchiveError *err)
{
	int			len;
	size_t		left;

	if (!read_length(archive, s, &len, err))
		return false;
	buf->len = 0;
	buf->isnull = len < 0;
	buf->cut = len > 0 && (size_t) len > limit;
	left = len < 0 ? 0 : (size_t) len;
	while (left > 0)
	{
		size_t		n = s->end - s->start;
		size_t		keep;

		if (n == 0)
		{
			int			rc = dg_archive_stream_fill(s, err);

			if (rc < 0)
				return false;
			if (rc == 0)
				return fail_toc(s, err, DG_ARCHIVE_TRUNCATED, "unexpected end of file");
			continue;
		}
		n = n < left ? n : left;
		keep = n < limit - buf->len ? n : limit - buf->len;
		if (!dg_archive_buffer_add(buf, s->window + s->start, keep))
			return dg_archive_no_memory(err);
		s->start += n;
		left -= n;
	}
	if (!dg_archive_buffer_add(buf, "", 0))
		return dg_archive_no_memory(err);
	return true;
}

/*
 * As read_string(), for a name: NUL bytes and endless ones are refused.
 * *copy (if not NULL) is put into the arena; NULL reads as "".
 */
static bool
read_name(DgArchive *archive, DgArchiveStream *s, DgArchiveBuffer *buf,
		  const char **copy, DgArchiveError *err)
{
	if (!read_string(archive, s, buf, MAX_NAME, err))
		return false;
	if (buf->cut)
		return fail_toc(s, err, DG_ARCHIVE_TOO_LARGE, "name is too long");
	if (buf->len > 0 && memchr(buf->data, '\0', buf->len) != NULL)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "name contains a NUL byte");
	if (copy == NULL)
		return true;
	*copy = dg_archive_strdup(&archive->arena, buf->data, buf->len);
	return *copy != NULL || dg_archive_no_memory(err);
}

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
		return fail_toc(s, err, DG_ARCHIVE_NOT_AN_ARCHIVE, "not a pg_dump archive");
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
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "invalid size of integers");
	return true;
}

static bool
read_compression(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	int			n = 0;

	if (archive->info.version_minor >= 15)
	{
		if (!read_byte(s, &n, err))
			return false;
		if (n > DG_ARCHIVE_ZSTD)
			return fail_toc(s, err, DG_ARCHIVE_UNSUPPORTED,
							"unknown compression algorithm");
		archive->info.compression = (DgArchiveCompression) n;
		return true;
	}
	if (!read_int(archive, s, &n, err))
		return false;
	if (n < -1 || n > 9)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "invalid compression level");
	archive->info.compression = n == 0 ? DG_ARCHIVE_NONE : DG_ARCHIVE_GZIP;
	return true;
}

static bool
read_header(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	DgArchiveBuffer *scratch = &archive->scratch[TAG];
	int			format = 0;
	int			i;

	if (!read_version(archive, s, &format, err))
		return false;
	if (archive->info.format == DG_ARCHIVE_CUSTOM && (format == 3 || format == 5))
		return fail_toc(s, err, DG_ARCHIVE_NOT_AN_ARCHIVE,
						"this is a table of contents only; the archive is the directory that it lies in");
	if (format != (archive->info.format == DG_ARCHIVE_CUSTOM ? 1 : 3) &&
		!(archive->info.format == DG_ARCHIVE_DIRECTORY && format == 5))
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT,
						"archive does not have the format its header states");
	if (!read_compression(archive, s, err))
		return false;
	for (i = 0; i < 7; i++)
	{
		int			ignored;

		if (!read_int(archive, s, &ignored, err))
			return false;
	}
	return read_name(archive, s, scratch, &archive->info.database, err) &&
		read_name(archive, s, scratch, &archive->info.server_version, err) &&
		read_name(archive, s, scratch, &archive->info.dump_version, err);
}

static EntryKind
entry_kind(const DgArchiveBuffer *desc)
{
	static const struct
	{
		const char *name;
		EntryKind	kind;
	}			kinds[] = {
		{"TABLE", KIND_TABLE}, {"FOREIGN TABLE", KIND_TABLE},
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
 * An offset: a flag, then off_size bytes of which 64 bits may be used.
 */
static bool
read_offset(DgArchive *archive, DgArchiveStream *s, TocEntry *entry,
			DgArchiveError *err)
{
	unsigned char b[32];
	int			i;

	if (!read_byte(s, &entry->offset_flag, err) ||
		!dg_archive_stream_take(s, b, (size_t) archive->off_size, err))
		return false;
	if (entry->offset_flag < 1 || entry->offset_flag > 3)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "invalid offset flag");
	entry->offset = 0;
	for (i = 0; i < archive->off_size; i++)
	{
		if (i >= 8 && b[i] != 0)
			return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "offset out of range");
		if (i < 8)
			entry->offset |= (uint64_t) b[i] << (8 * i);
	}
	return true;
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

	if (!skip_string(archive, s, err) ||	/* catalog */
		!skip_string(archive, s, err) ||	/* object */
		!read_name(archive, s, &b[TAG], NULL, err) ||
		!read_name(archive, s, &b[DESC], NULL, err) ||
		!read_int(archive, s, &ignored, err))	/* section */
		return false;
	entry->kind = entry_kind(&b[DESC]);
	b[DEFN].len = b[COPY].len = 0;
	if (entry->kind == KIND_OTHER ? !skip_string(archive, s, err) :
		!read_string(archive, s, &b[DEFN], DG_ARCHIVE_MAX_DEFN, err))
		return false;
	if (!skip_string(archive, s, err))	/* drop statement */
		return false;
	if (entry->kind != KIND_TABLE_DATA ? !skip_string(archive, s, err) :
		!read_string(archive, s, &b[COPY], DG_ARCHIVE_MAX_DEFN, err))
		return false;
	return read_name(archive, s, &b[NSPACE], NULL, err) &&
		skip_string(archive, s, err) && /* tablespace */
		(archive->info.version_minor < 14 || skip_string(archive, s, err)) &&
		(archive->info.version_minor < 16 || read_int(archive, s, &ignored, err)) &&
		skip_string(archive, s, err);	/* owner */
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
	if (!read_int(archive, s, &entry->dump_id, err))
		return false;
	if (entry->dump_id <= 0)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "invalid dump id");
	if (!read_int(archive, s, &had_dumper, err) ||
		!read_entry_texts(archive, s, entry, err))
		return false;
	entry->had_dumper = had_dumper != 0;
	if (!read_string(archive, s, &word, sizeof(flag) - 1, err))
		return false;
	entry->with_oids = strcmp(flag, "true") == 0;
	do
	{
		/* dependencies, up to a NULL */
		if (!read_length(archive, s, &len, err) ||
			(len > 0 && !dg_archive_stream_skip(s, (uint64_t) len, err)))
			return false;
	} while (len >= 0);
	if (archive->info.format == DG_ARCHIVE_CUSTOM)
		return read_offset(archive, s, entry, err);
	if (entry->kind != KIND_TABLE_DATA)
		return skip_string(archive, s, err);
	/* the DEFN buffer is still needed: read the file name aside */
	{
		DgArchiveBuffer name = {NULL, 0, 0, false, false};
		bool		ok = read_name(archive, s, &name, &entry->member, err);

		dg_archive_buffer_free(&name);
		return ok;
	}
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
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "setting without a value");
	dg_archive_text_init(&text, quote, archive->scratch[DEFN].len -
						 (size_t) (quote - archive->scratch[DEFN].data), true);
	if (!dg_archive_text_string(&text, &archive->arena, &value, &len) || len > 64)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "setting without a value");
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
		fail_toc(s, err, DG_ARCHIVE_CORRUPT, "COPY statement cannot be understood");
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
		if (!dg_archive_grow(&archive->entries, &archive->entry_cap,
							 archive->entry_count + 1, sizeof(entry)))
			return dg_archive_no_memory(err);
		block.entry = (int) archive->entry_count;
		archive->entries[archive->entry_count++] = entry;
	}
	if (archive->info.format != DG_ARCHIVE_CUSTOM)
		return true;
	if (!dg_archive_grow(&archive->blocks, &archive->block_cap,
						 archive->block_count + 1, sizeof(block)))
		return dg_archive_no_memory(err);
	archive->blocks[archive->block_count++] = block;
	return true;
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
											 toc->with_oids, err);
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

/*
 * What can be said about tables only now that all definitions are known.
 */
static bool
finish_tables(DgArchive *archive, DgArchiveError *err)
{
	size_t		i;

	if (!dg_archive_defn_resolve(archive, err))
		return false;
	for (i = 0; i < archive->entry_count; i++)
	{
		if (!dg_archive_entry_columns(archive, &archive->entries[i], err))
			return false;
	}
	return true;
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

	if (!read_header(archive, s, err) || !read_int(archive, s, &count, err))
		return false;
	if (count < 0)
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT, "negative number of entries");
	for (i = 0; i < count; i++)
	{
		TocEntry	entry;

		if (!read_entry(archive, s, &entry, err))
			return false;
		if (!dg_archive_grow(&archive->ids, &archive->id_cap,
							 archive->id_count + 1, sizeof(int)))
			return dg_archive_no_memory(err);
		archive->ids[archive->id_count++] = entry.dump_id;
		if (archive->id_count > DG_ARCHIVE_MAX_TOC || dg_archive_too_many(archive))
			return fail_toc(s, err, DG_ARCHIVE_TOO_LARGE, "too many entries");
		if (entry.had_dumper && !add_data(archive, s, &entry, err))
			return false;
		if (!apply_entry(archive, s, &entry, err))
			return false;
	}
	return check_ids(archive, s, err) && finish_tables(archive, err);
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
		return fail_toc(s, err, DG_ARCHIVE_CORRUPT,
						"data after the end of the table of contents");
	return true;
}
