/*
 * archive_literal.c
 *		The values in INSERT statements: literals, numbers, and a few words.
 *
 * A value is scanned without being copied, and decoded in place only if it is
 * wanted.  It comes out in the form COPY has: true is "t", B'101' is "101".
 */
#include <string.h>

#include "archive/archive_internal.h"

/* What remains to be decoded in a field's literal. */
enum
{
	LITERAL_PLAIN, LITERAL_QUOTES, LITERAL_BACKSLASHES, LITERAL_DONE
};

/*
 * Is that white space to the server, between tokens?
 */
bool
dg_archive_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/*
 * Length of the character at p in one of the encodings whose later bytes can
 * look like ASCII; 1 in any other.
 */
size_t
dg_archive_char_len(const DgArchiveInfo *info, const char *p, const char *end)
{
	unsigned char c = (unsigned char) *p;
	size_t		len = 2;

	if (c < 0x80 || !info->trail_bytes)
		return 1;
	if (info->encoding[0] == 'S')	/* SJIS, SHIFT_JIS_2004: half-width kana */
		len = c >= 0xa1 && c <= 0xdf ? 1 : 2;
	else if (strcmp(info->encoding, "GB18030") == 0)
	{
		if (end - p >= 2 && p[1] >= '0' && p[1] <= '9')
			len = 4;
	}
	else if (strcmp(info->encoding, "JOHAB") == 0 && c == 0x8f)
		len = 3;
	return len < (size_t) (end - p) ? len : (size_t) (end - p);
}

/*
 * Finds the end of a literal, p being behind its opening quote.
 */
static DgArchiveScan
scan_literal(const DgArchiveInfo *info, const char **pp, const char *end,
			 bool backslashes, DgArchiveField *field, unsigned char *kind)
{
	const char *p = *pp;

	field->ptr = p;
	*kind = LITERAL_PLAIN;
	for (;;)
	{
		if (!backslashes)
			p = memchr(p, '\'', (size_t) (end - p));
		else
		{
			while (p < end && *p != '\'' && *p != '\\')
				p += dg_archive_char_len(info, p, end);
		}
		if (p == NULL || p >= end)
			return DG_ARCHIVE_SCAN_MORE;
		if (*p == '\\')
		{
			*kind = LITERAL_BACKSLASHES;
			if (end - p < 2)
				return DG_ARCHIVE_SCAN_MORE;
			if (p[1] != '\\' && p[1] != '\'')
				return DG_ARCHIVE_SCAN_BAD; /* an escape, such as \n */
			p += 1 + dg_archive_char_len(info, p + 1, end);
			continue;
		}
		if (end - p < 2)
			return DG_ARCHIVE_SCAN_MORE;	/* may be doubled */
		if (p[1] != '\'')
			break;
		if (*kind == LITERAL_PLAIN)
			*kind = LITERAL_QUOTES;
		p += 2;
	}
	field->len = (size_t) (p - field->ptr);
	*pp = p + 1;
	return DG_ARCHIVE_SCAN_OK;
}

/*
 * Reads an unquoted value: a number or one of a few words.
 */
static DgArchiveScan
scan_bare(const char **pp, const char *end, DgArchiveField *field)
{
	const char *p = *pp;
	size_t		len;

	while (p < end && *p != ',' && *p != ')' && !dg_archive_is_space(*p) && *p != '\'')
		p++;
	if (p >= end)
		return DG_ARCHIVE_SCAN_MORE;
	field->ptr = *pp;
	field->len = len = (size_t) (p - *pp);
	*pp = p;
	if (len == 4 && memcmp(field->ptr, "NULL", 4) == 0)
		field->isnull = true;
	else if (len == 7 && memcmp(field->ptr, "DEFAULT", 7) == 0)
		field->isdefault = true;
	else if (len == 4 && memcmp(field->ptr, "true", 4) == 0)
	{
		field->ptr = "t";
		field->len = 1;
	}
	else if (len == 5 && memcmp(field->ptr, "false", 5) == 0)
	{
		field->ptr = "f";
		field->len = 1;
	}
	else
	{
		while (len > 0 && field->ptr[len - 1] != '\0' &&
			   strchr("0123456789+-.eE", field->ptr[len - 1]) != NULL)
			len--;
		if (len > 0 || field->len == 0)
			return DG_ARCHIVE_SCAN_BAD;
	}
	if (field->isnull || field->isdefault)
		field->len = 0;
	return DG_ARCHIVE_SCAN_OK;
}

/*
 * Reads a value at *pp, of which end is the end of what is there, and moves *pp
 * behind it. *kind says what remains to be decoded.
 */
DgArchiveScan
dg_archive_literal_scan(const DgArchiveInfo *info, const char **pp, const char *end,
						DgArchiveField *field, unsigned char *kind)
{
	const char *p = *pp;

	memset(field, 0, sizeof(*field));
	*kind = LITERAL_PLAIN;
	if (*p == '\'')
	{
		*pp = p + 1;
		return scan_literal(info, pp, end, !info->std_strings, field, kind);
	}
	if (*p == 'B' || *p == 'E')
	{
		if (end - p < 2)
			return DG_ARCHIVE_SCAN_MORE;
		if (p[1] != '\'')
			return DG_ARCHIVE_SCAN_BAD;
		*pp = p + 2;
		return scan_literal(info, pp, end, *p == 'E', field, kind);
	}
	return scan_bare(pp, end, field);
}

/*
 * Takes back what made CR LF of each newline.
 */
static void
join_newlines(DgArchiveField *field)
{
	const char *p = field->ptr;
	const char *end = p + field->len;
	char	   *out;

	while (p < end && (*p != '\r' || p + 1 == end || p[1] != '\n'))
		p++;
	for (out = (char *) p; p < end; p++)
	{
		if (*p != '\r' || p + 1 == end || p[1] != '\n')
			*out++ = *p;
	}
	field->len = (size_t) (out - field->ptr);
}

static void
take_out_quotes(const DgArchiveInfo *info, DgArchiveField *field, bool backslashes)
{
	const char *p = field->ptr;
	const char *end = p + field->len;
	char	   *out = (char *) p;

	while (p < end)
	{
		size_t		len;

		if (*p == '\'' || (backslashes && *p == '\\'))
			p++;
		if (p >= end)
			break;
		len = backslashes ? dg_archive_char_len(info, p, end) : 1;
		memmove(out, p, len);
		out += len;
		p += len;
	}
	field->len = (size_t) (out - field->ptr);
}

/*
 * Decodes a field's literal where it lies, in memory that is ours to write to.
 */
void
dg_archive_literal_decode(const DgArchiveInfo *info, bool crlf, DgArchiveField *field, unsigned char *kind)
{
	if (*kind == LITERAL_QUOTES || *kind == LITERAL_BACKSLASHES)
		take_out_quotes(info, field, *kind == LITERAL_BACKSLASHES);
	if (crlf && *kind != LITERAL_DONE)
		join_newlines(field);
	*kind = LITERAL_DONE;
}
