/*
 * archive_internal.h
 *		What the files of the archive reader share.
 *
 * Layers, each knowing only those before it:
 *
 *	file	one regular file, or a block of memory: bounded positioned reads
 *	source	the stored bytes of one stream: an extent of a file, or the
 *			chunks of a custom archive's data block
 *	codec	decompressor, fed and drained by the stream
 *	stream	decoded bytes in a sliding window
 *	toc		header and table of contents, read from a stream
 *	rows	COPY lines or INSERT tuples, handed out inside of the window
 */
#ifndef DG_ARCHIVE_INTERNAL_H
#define DG_ARCHIVE_INTERNAL_H

#include <sys/types.h>
#include <time.h>

#include "archive/archive.h"

/* Sizes of buffers, in bytes. */
#define DG_ARCHIVE_INPUT_SIZE		((size_t) 256 * 1024)
#define DG_ARCHIVE_WINDOW_SIZE		((size_t) 512 * 1024)

/* Limits that no real archive comes near. */
#define DG_ARCHIVE_MAX_IDENT		1024
#define DG_ARCHIVE_ENCODING_KEY	32
#define DG_ARCHIVE_MAX_COLUMNS		1664
#define DG_ARCHIVE_MAX_DEFN			((size_t) 16 * 1024 * 1024)
#define DG_ARCHIVE_MAX_TOC			((size_t) 16 * 1000 * 1000)
#define DG_ARCHIVE_MAX_OBJECTS		((size_t) 1000 * 1000)
#define DG_ARCHIVE_MAX_ARENA		((size_t) 256 * 1024 * 1024)

/* ---- archive_memory.c: errors, the arena, growing arrays ---- */

typedef struct DgArchiveArenaBlock DgArchiveArenaBlock;

typedef struct DgArchiveArena
{
	DgArchiveArenaBlock *blocks;
	size_t		total;
} DgArchiveArena;

/* A byte string that grows as bytes arrive. */
typedef struct DgArchiveBuffer
{
	char	   *data;
	size_t		len;
	size_t		cap;
	bool		isnull;
	bool		cut;			/* was longer than the limit */
} DgArchiveBuffer;

extern bool dg_archive_fail(DgArchiveError *err, DgArchiveStatus code,
							const char *file, uint64_t offset,
							const char *fmt,...)
			__attribute__((format(printf, 5, 6)));
extern bool dg_archive_no_memory(DgArchiveError *err);
extern bool dg_archive_hint(DgArchiveError *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));
extern void dg_archive_error_table(DgArchiveError *err, const char *schema, const char *name);
extern void *dg_archive_alloc(DgArchiveArena *arena, size_t size);
extern char *dg_archive_strdup(DgArchiveArena *arena, const char *s, size_t len);
extern void dg_archive_arena_free(DgArchiveArena *arena);
extern bool dg_archive_grow(void *array, size_t *cap, size_t need, size_t item);
extern bool dg_archive_append(void *array, size_t *count, size_t *cap, const void *item, size_t size,
							  DgArchiveError *err);
extern bool dg_archive_buffer_add(DgArchiveBuffer *buf, const char *data, size_t len);
extern void dg_archive_buffer_free(DgArchiveBuffer *buf);

/* ---- archive_file.c ---- */

typedef struct DgArchiveFile
{
	DgArchive  *archive;
	struct DgArchiveFile *next; /* in archive->files */
	char	   *name;			/* for messages */
	int			fd;				/* -1: in memory, or packed */
	const unsigned char *memory;
	struct DgArchiveStream *packed; /* decompresses another file, or NULL */
	bool		(*read_packed) (struct DgArchiveFile *file, uint64_t offset, void *buf,
								size_t want, size_t *got, DgArchiveError *err);
	void		(*free_packed) (struct DgArchiveStream *packed);
	bool		size_known;		/* false while a packed file was not read */
	uint64_t	size;
	struct timespec modified;	/* when it was opened */
} DgArchiveFile;

extern DgArchiveFile *dg_archive_file_create(DgArchive *archive, const char *name, DgArchiveError *err);
extern DgArchiveFile *dg_archive_file_open(DgArchive *archive, const char *path, DgArchiveError *err);
extern DgArchiveFile *dg_archive_file_open_at(DgArchive *archive, int dirfd, const char *name, DgArchiveError *err);
extern DgArchiveFile *dg_archive_file_memory(DgArchive *archive, const char *name, const void *data,
											 size_t len, DgArchiveError *err);
extern bool dg_archive_file_kind(const char *name, mode_t mode, DgArchiveError *err);
extern void dg_archive_file_close(DgArchiveFile *file);
extern bool dg_archive_files_unchanged(DgArchive *archive, DgArchiveError *err);
extern bool dg_archive_file_some(DgArchiveFile *file, uint64_t offset, void *buf,
								 size_t want, size_t *got, DgArchiveError *err);
extern bool dg_archive_file_exact(DgArchiveFile *file, uint64_t offset, void *buf, size_t len, DgArchiveError *err);
extern bool dg_archive_interrupted(DgArchive *archive, DgArchiveError *err);

/* ---- archive_source.c ---- */

typedef struct DgArchiveSource
{
	DgArchiveFile *file;
	uint64_t	start;			/* where the extent or block begins */
	uint64_t	pos;			/* next byte of the file to be used */
	uint64_t	end;			/* end of the extent, or of the file */
	bool		open_ended;		/* end is not known: read until there is none */
	bool		at_end;
	/* for chunks only */
	bool		chunked;
	int			int_size;
	uint64_t	chunk_left;
	unsigned char *raw;			/* read-ahead */
	size_t		raw_start;
	size_t		raw_end;
} DgArchiveSource;

extern void dg_archive_source_extent(DgArchiveSource *source, DgArchiveFile *file, uint64_t start, uint64_t end);
extern bool dg_archive_source_chunks(DgArchiveSource *source, DgArchiveFile *file, uint64_t block,
									 uint64_t body, int int_size, DgArchiveError *err);
extern bool dg_archive_source_read(DgArchiveSource *source, void *buf, size_t cap, size_t *got, DgArchiveError *err);
extern bool dg_archive_source_peek(DgArchiveSource *source, size_t want, const unsigned char **data,
								   size_t *got, DgArchiveError *err);
extern bool dg_archive_source_skip_chunks(DgArchiveSource *source, bool *empty, DgArchiveError *err);
extern bool dg_archive_source_int(DgArchiveSource *source, int64_t *value, DgArchiveError *err);
extern void dg_archive_source_free(DgArchiveSource *source);

/* ---- archive_codec.c ---- */

typedef enum DgArchiveFraming
{
	DG_ARCHIVE_FRAME_ZLIB,		/* custom archives: one zlib stream */
	DG_ARCHIVE_FRAME_FILE		/* gzip, lz4, zstd files: frames in a row */
} DgArchiveFraming;

typedef struct DgArchiveCodecIO
{
	const unsigned char *in;
	size_t		in_len;
	unsigned char *out;
	size_t		out_len;
	bool		frame_end;		/* set by decode */
	DgArchiveStatus status;		/* set by decode when it fails */
	const char *detail;
} DgArchiveCodecIO;

typedef struct DgArchiveCodec
{
	const char *name;
	bool		single_zlib;	/* framed as ZLIB there is exactly one frame */
	void	   *(*create) (DgArchiveFraming framing);	/* NULL: no memory */
	bool		(*decode) (void *state, DgArchiveCodecIO *io);
	bool		(*reset) (void *state); /* before the next frame */
	void		(*destroy) (void *state);
} DgArchiveCodec;

extern const DgArchiveCodec *dg_archive_codec_choose(DgArchive *archive, DgArchiveCompression compression);

/* ---- archive_stream.c ---- */

typedef struct DgArchiveStream
{
	DgArchive  *archive;
	DgArchiveSource source;
	const DgArchiveCodec *codec;	/* NULL: stored as is */
	void	   *codec_state;
	DgArchiveFraming framing;
	bool		in_frame;
	bool		any_frame;
	bool		ended;			/* nothing follows what is in the window */
	unsigned char *in;
	size_t		in_start;
	size_t		in_end;
	char	   *window;
	size_t		cap;
	size_t		start;			/* unread bytes: window[start .. end) */
	size_t		end;
	uint64_t	base;			/* decoded bytes before window[0] */
} DgArchiveStream;

extern bool dg_archive_stream_init(DgArchiveStream *stream, DgArchive *archive,
								   DgArchiveCompression compression,
								   DgArchiveFraming framing, DgArchiveError *err);
extern int	dg_archive_stream_fill(DgArchiveStream *stream, DgArchiveError *err);
extern bool dg_archive_stream_take(DgArchiveStream *stream, void *buf, size_t len, DgArchiveError *err);
extern bool dg_archive_stream_skip(DgArchiveStream *stream, uint64_t len, DgArchiveError *err);
extern uint64_t dg_archive_stream_tell(const DgArchiveStream *stream);
extern uint64_t dg_archive_stream_stored(const DgArchiveStream *stream);
extern void dg_archive_stream_free(DgArchiveStream *stream);
extern bool dg_archive_stream_fail(const DgArchiveStream *stream, DgArchiveStatus code,
								   DgArchiveError *err, const char *fmt,...)
			__attribute__((format(printf, 4, 5)));
extern DgArchiveFile *dg_archive_file_packed(DgArchiveFile *inner, DgArchiveCompression compression,
											 DgArchiveError *err);

/* ---- archive.c ---- */


/* ---- archive_ident.c ---- */

/* A place in SQL text. */
typedef struct DgArchiveText
{
	const char *p;
	const char *end;
	bool		std_strings;
} DgArchiveText;

extern void dg_archive_parents_sort(DgArchive *archive);
extern int	dg_archive_name_compare(const char *schema, const char *name,
									const char *other_schema, const char *other_name);
extern void dg_archive_text_init(DgArchiveText *text, const char *s, size_t len, bool std_strings);
extern void dg_archive_text_space(DgArchiveText *text);
extern bool dg_archive_text_char(DgArchiveText *text, char c);
extern bool dg_archive_text_word(DgArchiveText *text, const char *word);
extern bool dg_archive_text_is_word(const DgArchiveText *text, const char *word);
extern bool dg_archive_text_ident(DgArchiveText *text, DgArchiveArena *arena, const char **name);
extern bool dg_archive_text_qualified(DgArchiveText *text, DgArchiveArena *arena,
									  const char **schema, const char **name);
extern bool dg_archive_text_columns(DgArchiveText *text, DgArchiveArena *arena, const char ***names, int *count);
extern bool dg_archive_text_string(DgArchiveText *text, DgArchiveArena *arena, const char **value, size_t *len);
extern bool dg_archive_text_skip_token(DgArchiveText *text);

/* ---- archive_names.c ---- */

/* Where a name without a schema is looked for, in order. */
typedef struct DgArchiveSchemas
{
	int			count;
	const char *const *names;
} DgArchiveSchemas;

/* A statement of a script that changes a table. */
typedef struct DgArchiveChange
{
	const DgArchiveSchemas *schemas;
	const char *schema;			/* of the table, "" if not said */
	const char *name;			/* NULL: the whole schema */
	const char *what;			/* the statement does */
	bool		columns;		/* columns, */
	bool		rows;			/* or rows, or the name */
	uint64_t	offset;
	size_t		entries;		/* that came before it */
} DgArchiveChange;

extern bool dg_archive_schemas_default(DgArchive *archive);
extern bool dg_archive_schemas_set(DgArchive *archive, DgArchiveText *text);
extern const struct DgArchiveEntry *dg_archive_entry_find(const DgArchive *archive, const char *schema, const char *name);
extern bool dg_archive_change_add(DgArchive *archive, const DgArchiveChange *change, DgArchiveError *err);
extern bool dg_archive_names_finish(DgArchive *archive, DgArchiveError *err);

/* ---- archive_defn.c ---- */

/* What CREATE TABLE said; kept until the archive is closed. */
typedef struct DgArchiveShape
{
	const char *schema;
	const char *name;
	const DgArchiveSchemas *schemas;	/* for parents' names */
	bool		known;			/* the columns could be read */
	bool		resolved;		/* inherited columns were put in */
	bool		visiting;		/* guards against cycles of INHERITS */
	bool		partition;		/* the parent is what it is a partition of */
	bool		with_oids;
	int			count;
	const char **columns;
	const char **types;
	bool	   *generated;
	int			parent_count;
	const char **parent_schemas;
	const char **parent_names;
} DgArchiveShape;

extern bool dg_archive_defn_table(DgArchive *archive, const char *schema, const char *name,
								  const char *defn, size_t len, bool with_oids, DgArchiveError *err);
extern bool dg_archive_defn_parents(DgArchive *archive, const char *defn, size_t len, DgArchiveError *err);
extern bool dg_archive_defn_resolve(DgArchive *archive, DgArchiveError *err);
extern void dg_archive_defn_sort(DgArchive *archive);
extern void dg_archive_defn_altered(DgArchive *archive, const char *schema, const char *name);
extern const DgArchiveShape *dg_archive_defn_find(DgArchive *archive, const char *schema, const char *name);

/* ---- archive_sequence.c ---- */

extern bool dg_archive_sequence_add(DgArchive *archive, const char *schema, const char *name,
									const char *defn, size_t len, DgArchiveError *err);

/* ---- tables ---- */

typedef enum DgArchivePlace
{
	DG_ARCHIVE_AT_UNKNOWN,		/* custom without offsets: not found yet */
	DG_ARCHIVE_AT_BLOCK,		/* custom: block starts at offset */
	DG_ARCHIVE_AT_EXTENT,		/* tar, plain: offset .. end of the main file */
	DG_ARCHIVE_AT_MEMBER,		/* directory: a file of its own */
	DG_ARCHIVE_AT_GIVEN,		/* the caller has it */
	DG_ARCHIVE_AT_NOWHERE		/* entry without data, or with a fault */
} DgArchivePlace;

/* A DgArchiveTable and where its data is. */
typedef struct DgArchiveEntry
{
	DgArchiveTable pub;			/* first: handed out */
	DgArchivePlace place;
	uint64_t	offset;
	uint64_t	end;
	const char *member;			/* file name, with suffix */
	const DgArchiveError *fault;	/* why it cannot be read, or NULL */
	/* plain */
	uint64_t	statement;		/* where the first statement is */
	const DgArchiveSchemas *schemas;	/* of target_name, if that is
										 * unqualified */
	int			dump;			/* which one of several in a script */
	bool		with_oids;
	bool		list_missing;	/* COPY or INSERT without a column list */
	bool		peeked;			/* INSERT: first statement was looked at */
} DgArchiveEntry;

/* Any TOC entry that has a data block: what a forward scan can meet. */
typedef struct DgArchiveBlock
{
	int			dump_id;
	int			entry;			/* index into entries, or -1 */
	bool		located;
	uint64_t	offset;
} DgArchiveBlock;

typedef struct DgArchiveMember
{
	const char *name;
	uint64_t	offset;
	uint64_t	size;
} DgArchiveMember;

struct DgArchive
{
	DgArchiveOptions options;
	DgArchiveInfo info;
	DgArchiveArena arena;
	DgArchiveFile *files;		/* every open file */
	DgArchiveFile *file;		/* the main one; NULL for a directory */
	int			dirfd;
	char	   *path;
	DgArchiveStream *toc;		/* while it is read */
	DgArchiveBuffer scratch[5]; /* strings of the TOC entry being read */
	DgArchiveRows *rows;		/* every open reader */

	int			int_size;
	int			off_size;
	bool		crlf;			/* plain: lines end with CR LF */
	uint64_t	data_start;		/* custom: end of the TOC */
	uint64_t	scan_pos;		/* custom: first block not looked at yet */
	bool		scan_done;

	DgArchiveEntry *entries;
	size_t		entry_count;
	size_t		entry_cap;
	DgArchiveBlock *blocks;		/* sorted by dump id once the TOC is read */
	size_t		block_count;
	size_t		block_cap;
	int		   *ids;			/* all dump ids, to find duplicates */
	size_t		id_count;
	size_t		id_cap;
	DgArchiveEntry **by_name;	/* all entries, once they are known */
	DgArchiveShape *shapes;		/* sorted by name once all are known */
	size_t		shape_count;
	size_t		shape_cap;
	DgArchiveParent *parents;	/* likewise */
	size_t		parent_count;
	size_t		parent_cap;
	DgArchiveSequence *sequences;
	size_t		sequence_count;
	size_t		sequence_cap;
	const DgArchiveSchemas *schemas;	/* plain: the present search_path */
	DgArchiveChange *changes;	/* plain, in order */
	size_t		change_count;
	size_t		change_cap;
	size_t		part_start;		/* plain: entries of databases before the
								 * present one */
	DgArchiveMember *members;	/* of a tar, sorted by name */
	size_t		member_count;
	size_t		member_cap;
};

/* ---- archive_primitive.c ---- */

extern bool dg_archive_read_byte(DgArchiveStream *s, int *value, DgArchiveError *err);
extern bool dg_archive_read_int(DgArchive *archive, DgArchiveStream *s, int *value, DgArchiveError *err);
extern bool dg_archive_read_length(DgArchive *archive, DgArchiveStream *s, int *len, DgArchiveError *err);
extern bool dg_archive_skip_string(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err);
extern bool dg_archive_read_string(DgArchive *archive, DgArchiveStream *s, DgArchiveBuffer *buf,
								   size_t limit, DgArchiveError *err);
extern bool dg_archive_read_name(DgArchive *archive, DgArchiveStream *s, DgArchiveBuffer *buf,
								 const char **copy, DgArchiveError *err);
extern bool dg_archive_read_offset(DgArchive *archive, DgArchiveStream *s, int *flag,
								   uint64_t *offset, DgArchiveError *err);

/* ---- archive_toc.c ---- */

extern bool dg_archive_toc_read(DgArchive *archive, DgArchiveStream *stream, DgArchiveError *err);
extern bool dg_archive_toc_finish(DgArchiveStream *stream, DgArchiveError *err);
extern DgArchiveBlock *dg_archive_block(DgArchive *archive, int64_t dump_id);

/* ---- archive_entry.c ---- */

extern bool dg_archive_too_many(const DgArchive *archive);
extern void dg_archive_encoding_key(const char *name, char key[DG_ARCHIVE_ENCODING_KEY]);
extern void dg_archive_set_encoding(DgArchive *archive, const char *name);
extern bool dg_archive_entry_copy(DgArchive *archive, DgArchiveEntry *entry, const char *sql, size_t len);
extern void dg_archive_entry_root(DgArchive *archive, DgArchiveEntry *entry, const char *defn, size_t len);
extern bool dg_archive_entry_columns(DgArchive *archive, DgArchiveEntry *entry, DgArchiveError *err);
extern bool dg_archive_entry_fault(DgArchive *archive, DgArchiveEntry *entry, DgArchiveError *err);
extern bool dg_archive_entries_finish(DgArchive *archive, DgArchiveError *err);

/* ---- archive_literal.c ---- */

typedef enum DgArchiveScan
{
	DG_ARCHIVE_SCAN_OK,
	DG_ARCHIVE_SCAN_MORE,		/* again, with more data */
	DG_ARCHIVE_SCAN_BAD
} DgArchiveScan;

extern bool dg_archive_is_space(char c);
extern size_t dg_archive_char_len(const DgArchiveInfo *info, const char *p, const char *end);
extern DgArchiveScan dg_archive_literal_scan(const DgArchiveInfo *info, const char **pp, const char *end,
											 DgArchiveField *field, unsigned char *kind);
extern void dg_archive_literal_decode(const DgArchiveInfo *info, bool crlf, DgArchiveField *field,
									  unsigned char *kind);

/* ---- archive_probe.c ---- */

extern DgArchiveCompression dg_archive_probe_compression(const unsigned char *head, size_t len);
extern bool dg_archive_plain_probe(const unsigned char *head, size_t len);
extern bool dg_archive_probe_stranger(DgArchive *archive, const unsigned char *head, size_t len, DgArchiveError *err);

/* ---- formats ---- */

extern bool dg_archive_custom_open(DgArchive *archive, DgArchiveError *err);
extern bool dg_archive_custom_source(DgArchive *archive, DgArchiveEntry *entry,
									 DgArchiveSource *source, DgArchiveError *err);
extern void dg_archive_custom_passed(DgArchive *archive, DgArchiveEntry *entry, uint64_t start, uint64_t end);
extern bool dg_archive_directory_open(DgArchive *archive, DgArchiveError *err);
extern bool dg_archive_member_name(const char *name);
extern const char *const dg_archive_suffixes[4];
extern bool dg_archive_tar_probe(const unsigned char *block, size_t len);
extern bool dg_archive_tar_open(DgArchive *archive, DgArchiveError *err);
extern bool dg_archive_plain_open(DgArchive *archive, DgArchiveError *err);

/* ---- archive_rows.c, archive_copy.c, archive_insert.c ---- */

/* Where an INSERT reader stands. */
typedef enum DgArchiveInsertState
{
	DG_ARCHIVE_BETWEEN,			/* statements */
	DG_ARCHIVE_BEFORE_TUPLE,
	DG_ARCHIVE_AFTER_TUPLE
} DgArchiveInsertState;

struct DgArchiveRows
{
	DgArchive  *archive;
	DgArchiveRows *next;		/* in archive->rows */
	DgArchiveEntry *entry;
	DgArchiveFile *file;		/* ours to close, or NULL */
	DgArchiveStream stream;
	DgArchiveFilter filter;
	bool		filtered;
	bool		filter_last;	/* by the last column */
	bool		crlf;			/* lines of a plain dump end with CR LF */
	bool		done;
	bool		failed;
	DgArchiveError failure;		/* repeated by later calls */
	uint64_t	rows_read;
	uint64_t	rows_skipped;
	uint64_t	bytes_given;
	DgArchiveBuffer unescaped;
	/* INSERT */
	DgArchiveInsertState state;
	int			newlines;		/* since the last statement */
	DgArchiveBuffer header;		/* first statement's text up to its first
								 * tuple */
	bool		default_values; /* INSERT ... DEFAULT VALUES */
	DgArchiveField *fields;
	unsigned char *kinds;		/* how each field's literal is to be decoded */
	size_t		field_cap;
	size_t		kind_cap;
	int			field_count;
	int			width;			/* of the first row, 0 before it */
};

extern int	dg_archive_copy_next(DgArchiveRows *rows, DgArchiveRow *row, DgArchiveError *err);
extern int	dg_archive_copy_begin(DgArchiveStream *s, DgArchiveError *err);
extern int	dg_archive_copy_skip(DgArchiveStream *s, int columns, DgArchiveError *err);
extern bool dg_archive_copy_field(const char *line, size_t len, int n, DgArchiveField *field);
extern int	dg_archive_insert_next(DgArchiveRows *rows, DgArchiveRow *row, DgArchiveError *err);
extern bool dg_archive_insert_head(DgArchive *archive, DgArchiveEntry *entry,
								   DgArchiveText *text, bool *default_values);
extern bool dg_archive_insert_peek(DgArchiveRows *rows, DgArchiveError *err);

#endif							/* DG_ARCHIVE_INTERNAL_H */
