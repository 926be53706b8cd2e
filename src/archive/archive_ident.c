/*
 * archive_ident.c
 *		Small pieces of SQL as pg_dump writes them: identifiers, qualified
 *		names, column lists, string literals.
 *
 * Functions return false, with the position anywhere, when the text is not
 * what they look for (or memory is short); what that means is the caller's
 * business.  Results live in the arena.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

/*
 * Begins to read words of a text, which is not copied.
 */
void
dg_archive_text_init(DgArchiveText *text, const char *s, size_t len,
					 bool std_strings)
{
	text->p = s;
	text->end = s + len;
	text->std_strings = std_strings;
}

/*
 * Orders qualified names: by schema, then by name.
 */
int
dg_archive_name_compare(const char *schema, const char *name, const char *other_schema, const char *other_name)
{
	int			c = strcmp(schema, other_schema);

	return c != 0 ? c : strcmp(name, other_name);
}

static bool
ident_start(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool
ident_part(unsigned char c)
{
	return ident_start(c) || (c >= '0' && c <= '9') || c == '$';
}

static void
skip_block_comment(DgArchiveText *text)
{
	int			depth = 1;

	text->p += 2;
	while (text->p < text->end && depth > 0)
	{
		if (text->end - text->p >= 2 && text->p[0] == '/' && text->p[1] == '*')
		{
			depth++;
			text->p += 2;
		}
		else if (text->end - text->p >= 2 && text->p[0] == '*' && text->p[1] == '/')
		{
			depth--;
			text->p += 2;
		}
		else
			text->p++;
	}
}

/*
 * Passes over white space and comments.
 */
void
dg_archive_text_space(DgArchiveText *text)
{
	while (text->p < text->end)
	{
		char		c = *text->p;

		if (c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v')
			text->p++;
		else if (c == '-' && text->end - text->p >= 2 && text->p[1] == '-')
		{
			const char *nl = memchr(text->p, '\n', (size_t) (text->end - text->p));

			text->p = nl != NULL ? nl + 1 : text->end;
		}
		else if (c == '/' && text->end - text->p >= 2 && text->p[1] == '*')
			skip_block_comment(text);
		else
			break;
	}
}

/* Accepts one character, white space before it included. */
bool
dg_archive_text_char(DgArchiveText *text, char c)
{
	dg_archive_text_space(text);
	if (text->p >= text->end || *text->p != c)
		return false;
	text->p++;
	return true;
}

/* In ASCII only: toupper() of a Turkish locale does not make I of i. */
static char
upper_ascii(char c)
{
	return c >= 'a' && c <= 'z' ? (char) (c - 'a' + 'A') : c;
}

/* Is the unquoted word (given in upper case) here, exactly? */
bool
dg_archive_text_is_word(const DgArchiveText *text, const char *word)
{
	const char *p = text->p;

	for (; *word != '\0'; word++, p++)
	{
		if (p >= text->end || upper_ascii(*p) != *word)
			return false;
	}
	return p >= text->end || !ident_part((unsigned char) *p);
}

/*
 * Passes a word and the white space before it. False, and only the white space is
 * passed, if another comes.
 */
bool
dg_archive_text_word(DgArchiveText *text, const char *word)
{
	dg_archive_text_space(text);
	if (!dg_archive_text_is_word(text, word))
		return false;
	text->p += strlen(word);
	return true;
}

static bool
quoted_ident(DgArchiveText *text, char *out, size_t *len)
{
	text->p++;
	*len = 0;
	for (;;)
	{
		if (text->p >= text->end || *text->p == '\0')
			return false;
		if (*text->p == '"')
		{
			if (text->end - text->p < 2 || text->p[1] != '"')
				break;
			text->p++;
		}
		if (*len >= DG_ARCHIVE_MAX_IDENT)
			return false;
		out[(*len)++] = *text->p++;
	}
	text->p++;
	return *len > 0;
}

/*
 * Reads one identifier, quoted or not (then folded to lower case).
 */
bool
dg_archive_text_ident(DgArchiveText *text, DgArchiveArena *arena,
					  const char **name)
{
	char		buf[DG_ARCHIVE_MAX_IDENT];
	size_t		len = 0;

	dg_archive_text_space(text);
	if (text->p >= text->end)
		return false;
	if (*text->p == '"')
	{
		if (!quoted_ident(text, buf, &len))
			return false;
	}
	else
	{
		if (!ident_start((unsigned char) *text->p))
			return false;
		while (text->p < text->end && ident_part((unsigned char) *text->p))
		{
			char		c = *text->p++;

			if (len >= sizeof(buf))
				return false;
			buf[len++] = c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
		}
	}
	*name = dg_archive_strdup(arena, buf, len);
	return *name != NULL;
}

/*
 * Reads "name" (then *schema is "") or "schema.name".
 */
bool
dg_archive_text_qualified(DgArchiveText *text, DgArchiveArena *arena,
						  const char **schema, const char **name)
{
	const char *first;

	if (!dg_archive_text_ident(text, arena, &first))
		return false;
	if (text->p < text->end && *text->p == '.')
	{
		text->p++;
		*schema = first;
		return dg_archive_text_ident(text, arena, name);
	}
	*schema = "";
	*name = first;
	return true;
}

/*
 * Reads "(a, b, ...)".
 */
bool
dg_archive_text_columns(DgArchiveText *text, DgArchiveArena *arena,
						const char ***names, int *count)
{
	DgArchiveText look = *text;
	int			max = 1;
	int			i = 0;

	/* commas of the list, at least: those of names in quotes do no harm */
	for (; look.p < look.end && *look.p != ')'; look.p++)
		max += *look.p == ',';
	if (!dg_archive_text_char(text, '('))
		return false;
	*names = NULL;
	do
	{
		const char **list = *names;

		if (i >= DG_ARCHIVE_MAX_COLUMNS)
			return false;
		if (list == NULL || i >= max)
		{
			/* a quoted ")" hid some commas */
			max = list == NULL && max <= DG_ARCHIVE_MAX_COLUMNS ? max
				: DG_ARCHIVE_MAX_COLUMNS;
			list = dg_archive_alloc(arena, (size_t) max * sizeof(char *));
			if (list == NULL)
				return false;
			if (i > 0)
				memcpy(list, *names, (size_t) i * sizeof(char *));
			*names = list;
		}
		if (!dg_archive_text_ident(text, arena, &list[i++]))
			return false;
	} while (dg_archive_text_char(text, ','));
	*count = i;
	return dg_archive_text_char(text, ')');
}

/*
 * Finds the end of a literal that begins at its opening quote.
 */
static bool
skip_string(DgArchiveText *text, bool backslashes)
{
	text->p++;
	while (text->p < text->end)
	{
		if (*text->p == '\'')
		{
			text->p++;
			if (text->p >= text->end || *text->p != '\'')
				return true;
		}
		else if (*text->p == '\\' && backslashes)
			text->p++;
		text->p++;
	}
	return false;
}

/*
 * Reads a '...' or E'...' literal in which a backslash, where it means
 * something, makes the next character literal.
 */
bool
dg_archive_text_string(DgArchiveText *text, DgArchiveArena *arena,
					   const char **value, size_t *len)
{
	bool		backslashes = !text->std_strings;
	const char *p;
	char	   *out;

	dg_archive_text_space(text);
	if (text->end - text->p >= 2 && (text->p[0] == 'E' || text->p[0] == 'e') &&
		text->p[1] == '\'')
	{
		backslashes = true;
		text->p++;
	}
	if (text->p >= text->end || *text->p != '\'')
		return false;
	p = text->p + 1;
	if (!skip_string(text, backslashes) || text->p > text->end)
		return false;
	out = dg_archive_alloc(arena, (size_t) (text->p - p) + 1);
	if (out == NULL)
		return false;
	*value = out;
	while (p < text->p - 1)
	{
		if (*p == '\'' || (*p == '\\' && backslashes))
			p++;
		*out++ = *p++;
	}
	*len = (size_t) (out - *value);
	return true;
}

/*
 * Finds the end of a dollar-quoted literal; false if there is none here.
 */
static bool
skip_dollar(DgArchiveText *text)
{
	const char *tag_end = text->p + 1;
	size_t		tag_len;
	const char *p;

	while (tag_end < text->end && ident_part((unsigned char) *tag_end) && *tag_end != '$')
		tag_end++;
	if (tag_end >= text->end || *tag_end != '$')
		return false;
	tag_len = (size_t) (tag_end + 1 - text->p);
	for (p = tag_end + 1; (size_t) (text->end - p) >= tag_len; p++)
	{
		p = memchr(p, '$', (size_t) (text->end - p));
		if (p == NULL || (size_t) (text->end - p) < tag_len)
			return false;
		if (memcmp(p, text->p, tag_len) == 0)
		{
			text->p = p + tag_len;
			return true;
		}
	}
	return false;
}

/*
 * Passes over one token: a literal, a word, a quoted identifier, or a single
 * other character.  False at the end of the text or in an unfinished token.
 */
bool
dg_archive_text_skip_token(DgArchiveText *text)
{
	unsigned char c;

	dg_archive_text_space(text);
	if (text->p >= text->end)
		return false;
	c = (unsigned char) *text->p;
	if (c == '\'')
		return skip_string(text, !text->std_strings);
	if ((c == 'E' || c == 'e') && text->end - text->p >= 2 && text->p[1] == '\'')
	{
		text->p++;
		return skip_string(text, true);
	}
	if (c == '"')
	{
		const char *close = text->p + 1;

		/* a doubled quote reads as two identifiers side by side */
		close = memchr(close, '"', (size_t) (text->end - close));
		if (close == NULL)
			return false;
		text->p = close + 1;
		return true;
	}
	if (c == '$' && skip_dollar(text))
		return true;
	text->p++;
	if (ident_part(c))
	{
		while (text->p < text->end && ident_part((unsigned char) *text->p))
			text->p++;
	}
	return true;
}

static int
compare_parents(const void *a, const void *b)
{
	const DgArchiveParent *x = a;
	const DgArchiveParent *y = b;

	return dg_archive_name_compare(x->schema, x->name, y->schema, y->name);
}

/*
 * Puts the parents of tables in the order of the tables' names, once all are known.
 */
void
dg_archive_parents_sort(DgArchive *archive)
{
	if (archive->parent_count > 0)
		qsort(archive->parents, archive->parent_count, sizeof(*archive->parents), compare_parents);
}

/*
 * What a table was a partition of, or inherited from, or NULL; once
 * dg_archive_defn_resolve() has run.
 */
const DgArchiveParent *
dg_archive_parent(const DgArchive *archive, const char *schema, const char *name)
{
	DgArchiveParent key = {schema, name};

	if (archive->parent_count == 0)
		return NULL;
	return bsearch(&key, archive->parents, archive->parent_count, sizeof(key), compare_parents);
}
