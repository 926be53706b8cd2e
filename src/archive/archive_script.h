/*
 * archive_script.h
 *		What the files share that read plain dumps, which are scripts of SQL.
 */
#ifndef DG_ARCHIVE_SCRIPT_H
#define DG_ARCHIVE_SCRIPT_H

#include "archive/archive_internal.h"

/* ---- archive_script.c ---- */

typedef enum DgArchiveScriptItem
{
	DG_ARCHIVE_SCRIPT_END,
	DG_ARCHIVE_SCRIPT_FAILED,
	DG_ARCHIVE_SCRIPT_STATEMENT,
	DG_ARCHIVE_SCRIPT_COMMENT,	/* from -- to the end of the line */
	DG_ARCHIVE_SCRIPT_COMMAND	/* a line that begins with a backslash */
} DgArchiveScriptItem;

typedef struct DgArchiveScript
{
	DgArchive  *archive;
	DgArchiveStream *stream;
	DgArchiveBuffer *text;		/* of the item, without comments inside of it */
	uint64_t	offset;			/* of the item */
	bool		comment_in_statement;
	bool		heading_in_statement;	/* one of pg_dump's, that begins the
										 * next */
	/* the rest is the scanner's own */
	enum
	{
		DG_ARCHIVE_SCRIPT_PLAIN,
		DG_ARCHIVE_SCRIPT_LITERAL,
		DG_ARCHIVE_SCRIPT_IDENT,
		DG_ARCHIVE_SCRIPT_TAG,
		DG_ARCHIVE_SCRIPT_DOLLAR,
		DG_ARCHIVE_SCRIPT_LINE_COMMENT,
		DG_ARCHIVE_SCRIPT_BLOCK_COMMENT
	}			state;
	char		prev;
	bool		backslashes;
	bool		escaped;
	int			depth;			/* of block comments */
	char		comment[32];	/* the beginning of one */
	size_t		comment_len;
	int			parens;
	int			begins;
	bool		in_function;
	char		word[8];
	int			word_len;
	char		initials[4];
	int			word_count;
	char		tag[64];
	int			tag_len;
	int			tag_match;
} DgArchiveScript;

extern void dg_archive_script_init(DgArchiveScript *script, DgArchive *archive, DgArchiveStream *stream);
extern bool dg_archive_script_is_heading(const char *p, size_t len);
extern DgArchiveScriptItem dg_archive_script_next(DgArchiveScript *script, DgArchiveError *err);

/* ---- archive_statement.c ---- */

extern bool dg_archive_statement_known(const DgArchiveBuffer *text);
extern bool dg_archive_statement(DgArchive *archive, const DgArchiveBuffer *text, uint64_t offset,
								 DgArchiveError *err);
extern bool dg_archive_use_encoding(DgArchive *archive, const char *name, uint64_t offset, DgArchiveError *err);
extern bool dg_archive_fail_statement(DgArchive *archive, const DgArchiveBuffer *text, uint64_t offset,
									  const char *what, DgArchiveError *err);

/* ---- archive_database.c ---- */

/* What was known before a database of a script began. */
typedef struct DgArchiveMark
{
	DgArchiveInfo info;
	size_t		entry_count;
	size_t		shape_count;
	size_t		parent_count;
	size_t		sequence_count;
	size_t		change_count;
} DgArchiveMark;

typedef struct DgArchiveDatabases
{
	DgArchiveMark start;		/* before the first */
	DgArchiveMark mark;			/* before the one underway */
	DgArchiveMark only;			/* behind the one that has rows */
	bool		wanted;			/* the one underway is */
	bool		found;			/* the wanted one has begun */
	int			named;			/* how many were */
	int			with_rows;		/* how many of those not wanted have some */
	bool		unnamed_rows;	/* there are some before the first one */
	uint64_t	second;			/* where a second one began */
	bool		commented;		/* comments say where each begins */
	char		names[200];		/* of those with rows, for messages */
} DgArchiveDatabases;

extern void dg_archive_databases_init(DgArchiveDatabases *databases, const DgArchive *archive);
extern bool dg_archive_databases_connect(DgArchiveDatabases *databases, DgArchive *archive,
										 const char *p, const char *end, uint64_t offset,
										 DgArchiveError *err);
extern bool dg_archive_databases_end(DgArchiveDatabases *databases, DgArchive *archive, bool cluster,
									 DgArchiveError *err);

#endif							/* DG_ARCHIVE_SCRIPT_H */
