/*
 * archive.h
 *		Reads pg_dump archives: bytes in, rows out.
 *
 * Pure C without server headers.  Knows nothing of tenants or of the
 * database, never prints, never throws, executes nothing it reads.
 *
 * The file is taken to be hostile: every length is bounded by what really is
 * there, every offset is checked, and memory grows with the bytes that have
 * arrived, never with what the file claims to contain.
 *
 * Every resource (descriptors, memory, decompressor states) hangs off a
 * DgArchive, and dg_archive_close() releases all of it at any moment, rows
 * still open included.  Callbacks must return; they must not jump out.
 *
 * Functions that can fail take a DgArchiveError that they fill in when, and
 * only when, they fail.
 */
#ifndef DG_ARCHIVE_H
#define DG_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct DgArchive DgArchive;
typedef struct DgArchiveRows DgArchiveRows;

/* A row may not be longer than what a server accepts as one line of COPY. */
#define DG_ARCHIVE_MAX_ROW		((size_t) 1024 * 1024 * 1024)

typedef enum DgArchiveStatus
{
	DG_ARCHIVE_OK = 0,
	DG_ARCHIVE_NOT_FOUND,		/* no such file or directory */
	DG_ARCHIVE_UNREADABLE,		/* exists, but cannot be read */
	DG_ARCHIVE_NOT_AN_ARCHIVE,	/* not something pg_dump writes */
	DG_ARCHIVE_VERSION_NEWER,	/* archive version we do not know yet */
	DG_ARCHIVE_VERSION_OLDER,	/* archive version no longer supported */
	DG_ARCHIVE_TRUNCATED,		/* ends too early */
	DG_ARCHIVE_CORRUPT,			/* contradicts the format */
	DG_ARCHIVE_CHECKSUM,		/* a checksum in the file does not match */
	DG_ARCHIVE_UNSUPPORTED,		/* valid, but nothing we can read */
	DG_ARCHIVE_TOO_LARGE,		/* exceeds one of our limits */
	DG_ARCHIVE_FORBIDDEN,		/* may not be read; given archives only */
	DG_ARCHIVE_NO_MEMORY,
	DG_ARCHIVE_INTERRUPTED		/* the interrupt callback said so */
} DgArchiveStatus;

typedef struct DgArchiveError
{
	DgArchiveStatus code;
	char		message[512];	/* one line, with file, byte and table */
	char		file[256];		/* file the fault is in, maybe cut */
	uint64_t	offset;			/* byte in that file */
	char		table[160];		/* schema.name, or empty */
	char		hint[300];		/* what to do; empty: what the code says */
} DgArchiveError;

typedef enum DgArchiveFormat
{
	DG_ARCHIVE_CUSTOM,
	DG_ARCHIVE_DIRECTORY,
	DG_ARCHIVE_TAR,
	DG_ARCHIVE_PLAIN,
	DG_ARCHIVE_GIVEN			/* a running copy of the database */
} DgArchiveFormat;

typedef enum DgArchiveCompression
{
	DG_ARCHIVE_NONE,
	DG_ARCHIVE_GZIP,
	DG_ARCHIVE_LZ4,
	DG_ARCHIVE_ZSTD
} DgArchiveCompression;

typedef enum DgArchiveForm
{
	DG_ARCHIVE_COPY,
	DG_ARCHIVE_INSERT
} DgArchiveForm;

typedef struct DgArchiveOptions
{
	/* polled at least once per megabyte; true ends the call underway */
	bool		(*interrupted) (void *arg);
	void	   *arg;
	bool		force_zlib;		/* do not use ISA-L even where it is built in */
	const char *database;		/* to be read of a script of several; NULL:
								 * none is */
} DgArchiveOptions;

typedef struct DgArchiveInfo
{
	DgArchiveFormat format;
	DgArchiveCompression compression;	/* what the header says */
	int			version_major;	/* of the archive format; 0 for plain */
	int			version_minor;
	int			version_rev;
	const char *server_version; /* of the dumped server, may be "" */
	const char *dump_version;	/* of pg_dump, may be "" */
	const char *database;		/* may be "" */
	const char *encoding;		/* of all data, may be "" */
	bool		std_strings;
	bool		trail_bytes;	/* encoding has 0x5C inside of characters */
	bool		large_objects;	/* it has some, which are not read */
	bool		row_security;	/* a script that says that it was made with it
								 * on */
	bool		whole;			/* it tells where it ends, and nothing is
								 * missing */
} DgArchiveInfo;

typedef struct DgArchiveTable
{
	int			dump_id;		/* 0 in plain dumps */
	const char *schema;			/* of the table that was dumped */
	const char *name;
	const char *target_schema;	/* where COPY or INSERT puts the rows: */
	const char *target_name;	/* differs when loading via a partition root */
	DgArchiveForm form;
	DgArchiveCompression compression;
	int64_t		data_bytes;		/* stored bytes, -1 where not known yet */
	const char *problem;		/* why its rows cannot be read, or NULL */
	bool		has_columns;	/* column_count and columns are known; of
								 * INSERTs, for good once rows were opened */
	const char *no_columns;		/* why they are not, or NULL */
	int			column_count;
	const char *const *columns; /* in the order of a row's fields */
	const char *const *types;	/* SQL text, entries may be NULL */
	const bool *generated;		/* columns that have DEFAULT for a value;
								 * NULL: none */
} DgArchiveTable;

/* What a definition says a table is a partition of, or inherits from. */
typedef struct DgArchiveParent
{
	const char *schema;			/* of the table */
	const char *name;
	const char *parent_schema;
	const char *parent_name;
	bool		partition;		/* else it inherits, from this table only */
} DgArchiveParent;

typedef struct DgArchiveSequence
{
	const char *schema;
	const char *name;
	int64_t		value;
	bool		is_called;
} DgArchiveSequence;

typedef struct DgArchiveField
{
	const char *ptr;			/* not NUL-terminated */
	size_t		len;
	bool		isnull;
	bool		isdefault;		/* DEFAULT of an INSERT; len is 0 */
} DgArchiveField;

typedef struct DgArchiveRow
{
	const DgArchiveRows *rows;
	uint64_t	number;			/* 1 for the first row of the table */
	bool		escaped;		/* fields are in COPY's escaped form */
	const char *data;			/* COPY: the line without its newline; or "" */
	size_t		len;
	const DgArchiveField *fields;	/* INSERT: the values, decoded */
	int			field_count;	/* INSERT only */
} DgArchiveRow;

/*
 * Which rows dg_archive_rows_next() returns, decided by the text of one
 * field.  NULL and DEFAULT never match.
 */
typedef struct DgArchiveFilter
{
	int			field;			/* from 0 */
	bool		(*match) (void *arg, const char *text, size_t len);
	void	   *arg;
} DgArchiveFilter;

typedef struct DgArchiveProgress
{
	uint64_t	rows_read;		/* skipped ones included */
	uint64_t	rows_skipped;	/* by the filter */
	uint64_t	bytes_done;		/* stored bytes consumed */
	int64_t		bytes_total;	/* -1 where not known */
} DgArchiveProgress;

/* archive.c */
extern DgArchive *dg_archive_open(const char *path, const DgArchiveOptions *opts,
								  DgArchiveError *err);
extern DgArchive *dg_archive_open_memory(const void *data, size_t len,
										 const DgArchiveOptions *opts,
										 DgArchiveError *err);
extern void dg_archive_close(DgArchive **archive);
extern const DgArchiveInfo *dg_archive_info(const DgArchive *archive);
extern int	dg_archive_table_count(const DgArchive *archive);
extern const DgArchiveTable *dg_archive_table(const DgArchive *archive, int index);
extern int	dg_archive_sequence_count(const DgArchive *archive);
extern const DgArchiveSequence *dg_archive_sequence(const DgArchive *archive, int index);
extern DgArchive *dg_archive_given(const char *name, const DgArchiveInfo *info);
extern bool dg_archive_give_table(DgArchive *archive, const DgArchiveTable *table,
								  const DgArchiveError *fault, DgArchiveError *err);
extern bool dg_archive_give_parent(DgArchive *archive, const DgArchiveParent *parent,
								   DgArchiveError *err);
extern bool dg_archive_give_sequence(DgArchive *archive, const DgArchiveSequence *sequence,
									 DgArchiveError *err);
extern void dg_archive_give_end(DgArchive *archive);
extern void dg_archive_row_given(DgArchiveRows *rows, const char *line, size_t len,
								 DgArchiveRow *row);

/* archive_codec.c */
extern bool dg_archive_has_isal(void);

/* archive_defn.c */
extern bool dg_archive_defines(DgArchive *archive, const char *schema, const char *name);
extern const DgArchiveParent *dg_archive_parent(const DgArchive *archive, const char *schema,
												const char *name);

/* archive_stream.c */
extern bool dg_archive_finish(DgArchive *archive, DgArchiveError *err);

/* archive_custom.c */
extern bool dg_archive_measure(DgArchive *archive, DgArchiveError *err);

/* archive_rows.c */
extern DgArchiveRows *dg_archive_rows_open(DgArchive *archive, int index,
										   DgArchiveError *err);
extern bool dg_archive_rows_set_filter(DgArchiveRows *rows,
									   const DgArchiveFilter *filter,
									   DgArchiveError *err);
extern int	dg_archive_rows_next(DgArchiveRows *rows, DgArchiveRow *row,
								 DgArchiveError *err);
extern void dg_archive_rows_progress(const DgArchiveRows *rows,
									 DgArchiveProgress *progress);
extern void dg_archive_rows_close(DgArchiveRows **rows);
extern bool dg_archive_row_field(const DgArchiveRow *row, int n,
								 DgArchiveField *field);
extern int	dg_archive_row_split(const DgArchiveRow *row, DgArchiveField *fields,
								 int max, DgArchiveError *err);

/* archive_copy.c */
extern bool dg_archive_copy_unescape(const DgArchiveInfo *info, const char *raw,
									 size_t len, char *out, size_t *outlen);

#endif							/* DG_ARCHIVE_H */
