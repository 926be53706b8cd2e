/*
 * archive_sequence.c
 *		Values of sequences, read from the setval() calls of a dump.
 */
#include <string.h>

#include "archive/archive_internal.h"

/*
 * Reads a 64-bit decimal number with an optional sign.
 */
static bool
parse_int64(DgArchiveText *text, int64_t *value)
{
	bool		negative = dg_archive_text_char(text, '-');
	uint64_t	limit = negative ? (uint64_t) INT64_MAX + 1 : (uint64_t) INT64_MAX;
	uint64_t	n = 0;
	const char *start;

	dg_archive_text_space(text);
	for (start = text->p; text->p < text->end && *text->p >= '0' && *text->p <= '9'; text->p++)
	{
		unsigned int digit = (unsigned int) (*text->p - '0');

		if (n > (limit - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*value = negative ? (int64_t) (0 - n) : (int64_t) n;
	return text->p > start;
}

/*
 * Reads SELECT pg_catalog.setval('name', value, is_called);
 */
static bool
parse_setval(DgArchive *archive, DgArchiveText *text, DgArchiveSequence *seq)
{
	const char *schema;
	const char *function;
	const char *literal;
	size_t		len;
	DgArchiveText inner;

	if (!dg_archive_text_word(text, "SELECT") ||
		!dg_archive_text_qualified(text, &archive->arena, &schema, &function) ||
		strcmp(function, "setval") != 0 ||
		!dg_archive_text_char(text, '(') ||
		!dg_archive_text_string(text, &archive->arena, &literal, &len) ||
		!dg_archive_text_char(text, ',') ||
		!parse_int64(text, &seq->value))
		return false;
	if (!dg_archive_text_char(text, ','))
		seq->is_called = true;
	else if (dg_archive_text_word(text, "TRUE"))
		seq->is_called = true;
	else if (dg_archive_text_word(text, "FALSE"))
		seq->is_called = false;
	else
		return false;
	if (!dg_archive_text_char(text, ')') || !dg_archive_text_char(text, ';'))
		return false;
	dg_archive_text_init(&inner, literal, len, true);
	if (!dg_archive_text_qualified(&inner, &archive->arena, &seq->schema, &seq->name))
		return false;
	if (seq->schema[0] == '\0' && archive->schemas != NULL && archive->schemas->count == 1)
		seq->schema = archive->schemas->names[0];
	return true;
}

/*
 * Records the sequence that defn sets.  schema and name, where not NULL, are
 * the entry's and take precedence over those in the literal.
 */
bool
dg_archive_sequence_add(DgArchive *archive, const char *schema, const char *name,
						const char *defn, size_t len, DgArchiveError *err)
{
	DgArchiveSequence seq;
	DgArchiveText text;

	dg_archive_text_init(&text, defn, len, archive->info.std_strings);
	if (!parse_setval(archive, &text, &seq))
		return true;			/* not a call of setval: nothing to report */
	if (schema != NULL && name != NULL)
	{
		seq.schema = schema;
		seq.name = name;
	}
	return dg_archive_append(&archive->sequences, &archive->sequence_count, &archive->sequence_cap, &seq, sizeof(seq), err);
}
