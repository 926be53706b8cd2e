/*
 * archive_script.c
 *		Splits the SQL text of a plain dump into statements, comments and
 *		meta-commands, in one pass and with what psql knows about quoting.
 *
 * State is carried from byte to byte, so nothing depends on where a window
 * ends.  The text of a statement is collected without comments, up to a limit;
 * a statement of any length is passed over correctly.
 *
 * As in psql, a semicolon does not end a statement inside of parentheses or
 * of a BEGIN ATOMIC ... END function body.
 */
#include <string.h>

#include "archive/archive_script.h"

#define MAX_COMMENT		((size_t) 8192)

static bool
word_part(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
		c >= 0x80 || (c >= '0' && c <= '9') || c == '$';
}

static bool
is_sql_space(unsigned char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

/*
 * Begins to read statements of a script from a stream.
 */
void
dg_archive_script_init(DgArchiveScript *script, DgArchive *archive,
					   DgArchiveStream *stream)
{
	memset(script, 0, sizeof(*script));
	script->archive = archive;
	script->stream = stream;
	script->text = &archive->scratch[0];
	script->tag_match = -1;
}

/*
 * Collects statement text, as far as the limit allows.
 */
static bool
collect_text(DgArchiveBuffer *buf, size_t limit, const char *from, const char *to,
			 DgArchiveError *err)
{
	size_t		n = (size_t) (to - from);

	if (buf->len + n > limit)
	{
		buf->cut = true;
		n = limit - buf->len;
	}
	return dg_archive_buffer_add(buf, from, n) || dg_archive_no_memory(err);
}

/*
 * A word has ended: keep track of function bodies, as psql does.
 */
static void
end_word(DgArchiveScript *script)
{
	char	   *w = script->word;
	int			n = script->word_len;

	script->word_len = 0;
	if (n == 0)
		return;
	if (script->word_count < 4)
	{
		script->initials[script->word_count++] = w[0];
		if (script->initials[0] != 'c')
			return;
		if (script->initials[1] == 'f' || script->initials[1] == 'p' ||
			(script->initials[1] == 'o' && script->initials[2] == 'r' &&
			 (script->initials[3] == 'f' || script->initials[3] == 'p')))
			script->in_function = true;
	}
	if (!script->in_function || script->parens > 0)
		return;
	if (n == 5 && memcmp(w, "begin", 5) == 0)
		script->begins++;
	else if (n == 4 && memcmp(w, "case", 4) == 0 && script->begins > 0)
		script->begins++;
	else if (n == 3 && memcmp(w, "end", 3) == 0 && script->begins > 0)
		script->begins--;
}

static void
add_to_word(DgArchiveScript *script, char c)
{
	if (c >= 'A' && c <= 'Z')
		c = (char) (c - 'A' + 'a');
	if (script->word_len < (int) sizeof(script->word))
		script->word[script->word_len++] = c;
}

static void
begin_quote(DgArchiveScript *script, char c)
{
	script->state = c == '"' ? DG_ARCHIVE_SCRIPT_IDENT : DG_ARCHIVE_SCRIPT_LITERAL;
	script->backslashes = c == '\'' &&
		(!script->archive->info.std_strings ||
		 (script->word_len == 1 && script->word[0] == 'e'));
}

/*
 * Handles one significant byte of ordinary SQL.  Returns true if the scan of
 * ordinary text is to stop behind it.
 */
static bool
plain_byte(DgArchiveScript *script, char c)
{
	char		prev = script->prev;

	script->prev = c;
	if (word_part((unsigned char) c) && (c != '$' || script->word_len > 0))
	{
		add_to_word(script, c);
		return false;
	}
	switch (c)
	{
		case '\'':
		case '"':
			begin_quote(script, c);
			end_word(script);
			return true;
		case '$':
			script->state = DG_ARCHIVE_SCRIPT_TAG;
			script->tag_len = 0;
			return true;
		case '-':
			if (prev != '-')
				break;
			script->state = DG_ARCHIVE_SCRIPT_LINE_COMMENT;
			memcpy(script->comment, "--", 2);
			script->comment_len = 2;
			end_word(script);
			return true;
		case '*':
			if (prev != '/')
				break;
			script->state = DG_ARCHIVE_SCRIPT_BLOCK_COMMENT;
			script->depth = 1;
			script->prev = '\0';
			end_word(script);
			return true;
		default:
			break;
	}
	end_word(script);
	if (c == '(')
		script->parens++;
	else if (c == ')' && script->parens > 0)
		script->parens--;
	return c == ';' && script->parens == 0 && script->begins == 0;
}

/*
 * Ordinary SQL, inside of a statement.
 */
static bool
scan_plain(DgArchiveScript *script, bool *complete, DgArchiveError *err)
{
	DgArchiveStream *s = script->stream;
	const char *from = s->window + s->start;
	const char *end = s->window + s->end;
	const char *p = from;
	bool		stop = false;

	while (p < end && !stop)
		stop = plain_byte(script, *p++);
	s->start = (size_t) (p - s->window);
	if (!collect_text(script->text, DG_ARCHIVE_MAX_DEFN, from, p, err))
		return false;
	if (!stop)
		return true;
	if (script->state == DG_ARCHIVE_SCRIPT_PLAIN)
		*complete = true;
	else if ((script->state == DG_ARCHIVE_SCRIPT_LINE_COMMENT ||
			  script->state == DG_ARCHIVE_SCRIPT_BLOCK_COMMENT))
	{
		/* take the comment's beginning out again */
		if (!script->text->cut)
			script->text->len -= 2;
		script->comment_in_statement = true;
	}
	return true;
}

/*
 * Inside of '...' or "...": up to behind the closing quote.  A doubled quote
 * looks like two literals side by side, which does no harm here.
 */
static bool
scan_quoted(DgArchiveScript *script, DgArchiveError *err)
{
	DgArchiveStream *s = script->stream;
	const char *from = s->window + s->start;
	const char *end = s->window + s->end;
	const char *p = from;
	char		quote = script->state == DG_ARCHIVE_SCRIPT_IDENT ? '"' : '\'';

	if (!script->backslashes)
	{
		p = memchr(p, quote, (size_t) (end - p));
		p = p != NULL ? p + 1 : end;
		if (p[-1] == quote)
			script->state = DG_ARCHIVE_SCRIPT_PLAIN;
	}
	else
	{
		while (p < end && (script->escaped || *p != quote))
		{
			script->escaped = !script->escaped && *p == '\\';
			p += dg_archive_char_len(&script->archive->info, p, end);
		}
		if (p < end)
		{
			p++;
			script->state = DG_ARCHIVE_SCRIPT_PLAIN;
		}
	}
	script->prev = '\0';
	s->start = (size_t) (p - s->window);
	return collect_text(script->text, DG_ARCHIVE_MAX_DEFN, from, p, err);
}

/*
 * Behind a dollar sign that may begin $tag$.
 */
static bool
scan_tag(DgArchiveScript *script, DgArchiveError *err)
{
	DgArchiveStream *s = script->stream;
	const char *p = s->window + s->start;
	bool		digit = *p >= '0' && *p <= '9';

	script->prev = '\0';
	if (*p == '$')
	{
		script->state = DG_ARCHIVE_SCRIPT_DOLLAR;
		script->tag_match = -1;
	}
	else if (word_part((unsigned char) *p) && !(digit && script->tag_len == 0) &&
			 script->tag_len < (int) sizeof(script->tag))
		script->tag[script->tag_len++] = *p;
	else
	{
		script->state = DG_ARCHIVE_SCRIPT_PLAIN;	/* $1 or an operator: look
													 * again */
		return true;
	}
	s->start++;
	return collect_text(script->text, DG_ARCHIVE_MAX_DEFN, p, p + 1, err);
}

/*
 * Inside of $tag$...$tag$.  tag_match is the number of bytes of the closing
 * tag seen behind a dollar sign, or -1.
 */
static bool
scan_dollar(DgArchiveScript *script, DgArchiveError *err)
{
	DgArchiveStream *s = script->stream;
	const char *from = s->window + s->start;
	const char *end = s->window + s->end;
	const char *p = from;

	while (p < end && script->state == DG_ARCHIVE_SCRIPT_DOLLAR)
	{
		if (script->tag_match < 0)
		{
			p = memchr(p, '$', (size_t) (end - p));
			if (p == NULL)
			{
				p = end;
				break;
			}
			script->tag_match = 0;
		}
		else if (*p == '$')
		{
			if (script->tag_match == script->tag_len)
				script->state = DG_ARCHIVE_SCRIPT_PLAIN;
			else
				script->tag_match = 0;
		}
		else if (script->tag_match < script->tag_len &&
				 *p == script->tag[script->tag_match])
			script->tag_match++;
		else
			script->tag_match = -1;
		p++;
	}
	s->start = (size_t) (p - s->window);
	return collect_text(script->text, DG_ARCHIVE_MAX_DEFN, from, p, err);
}

static void
scan_block_comment(DgArchiveScript *script)
{
	DgArchiveStream *s = script->stream;

	while (s->start < s->end && script->depth > 0)
	{
		char		c = s->window[s->start++];

		if (c == '*' && script->prev == '/')
		{
			script->depth++;
			c = '\0';
		}
		else if (c == '/' && script->prev == '*')
		{
			script->depth--;
			c = '\0';
		}
		script->prev = c;
	}
	if (script->depth == 0)
		script->state = DG_ARCHIVE_SCRIPT_PLAIN;
}

/*
 * Does pg_dump write such a comment before something else begins?
 */
bool
dg_archive_script_is_heading(const char *p, size_t len)
{
	static const char *const headings[] = {"-- Data for Name: ", "-- Name: ", "-- PostgreSQL database ", NULL};
	int			i;

	for (i = 0; headings[i] != NULL; i++)
	{
		if (len >= strlen(headings[i]) && memcmp(p, headings[i], strlen(headings[i])) == 0)
			return true;
	}
	return false;
}

/*
 * A comment inside of a statement counts as white space.
 */
static void
scan_line_comment(DgArchiveScript *script)
{
	DgArchiveStream *s = script->stream;
	const char *p = s->window + s->start;
	const char *nl = memchr(p, '\n', s->end - s->start);
	const char *to = nl != NULL ? nl : s->window + s->end;
	size_t		n = sizeof(script->comment) - script->comment_len;

	if (n > (size_t) (to - p))
		n = (size_t) (to - p);
	memcpy(script->comment + script->comment_len, p, n);
	script->comment_len += n;
	script->prev = '\0';
	s->start = (size_t) (to - s->window);
	if (nl == NULL)
		return;
	script->heading_in_statement |= dg_archive_script_is_heading(script->comment, script->comment_len);
	script->state = DG_ARCHIVE_SCRIPT_PLAIN;
}

/*
 * Reads to the end of the line into script->text: a comment or meta-command.
 */
static int
read_line(DgArchiveScript *script, DgArchiveError *err)
{
	DgArchiveStream *s = script->stream;
	DgArchiveBuffer *line = script->text;

	for (;;)
	{
		const char *p = s->window + s->start;
		const char *nl = memchr(p, '\n', s->end - s->start);
		const char *to = nl != NULL ? nl : s->window + s->end;
		int			rc;

		if (!collect_text(line, MAX_COMMENT, p, to, err))
			return -1;
		s->start = (size_t) (to - s->window);
		if (nl != NULL)
		{
			s->start++;
			break;
		}
		rc = dg_archive_stream_fill(s, err);
		if (rc < 0)
			return -1;
		if (rc == 0)
			break;
	}
	if (line->len > 0 && line->data[line->len - 1] == '\r')
		line->data[--line->len] = '\0';
	return 1;
}

/*
 * Passes over white space before a statement: 1, at the end 0, on error -1.
 */
static int
skip_space_before(DgArchiveStream *s, DgArchiveError *err)
{
	int			rc;

	for (;;)
	{
		for (; s->start < s->end; s->start++)
		{
			if (!is_sql_space((unsigned char) s->window[s->start]))
				return 1;
		}
		rc = dg_archive_stream_fill(s, err);
		if (rc <= 0)
			return rc;
	}
}

static void
begin_script_statement(DgArchiveScript *script)
{
	script->state = DG_ARCHIVE_SCRIPT_PLAIN;
	script->prev = '\0';
	script->word_len = 0;
	script->word_count = 0;
	memset(script->initials, 0, sizeof(script->initials));
	script->in_function = false;
	script->parens = 0;
	script->begins = 0;
	script->escaped = false;
	script->comment_in_statement = false;
	script->heading_in_statement = false;
}

static bool
scan_some(DgArchiveScript *script, bool *complete, DgArchiveError *err)
{
	switch (script->state)
	{
		case DG_ARCHIVE_SCRIPT_PLAIN:
			return scan_plain(script, complete, err);
		case DG_ARCHIVE_SCRIPT_LITERAL:
		case DG_ARCHIVE_SCRIPT_IDENT:
			return scan_quoted(script, err);
		case DG_ARCHIVE_SCRIPT_TAG:
			return scan_tag(script, err);
		case DG_ARCHIVE_SCRIPT_DOLLAR:
			return scan_dollar(script, err);
		case DG_ARCHIVE_SCRIPT_LINE_COMMENT:
			scan_line_comment(script);
			return true;
		case DG_ARCHIVE_SCRIPT_BLOCK_COMMENT:
			scan_block_comment(script);
			return true;
	}
	return true;
}

/*
 * Gets the next item into script->text and says what it is, with the position
 * of its first byte in script->offset.  At the end of the text the result is
 * DG_ARCHIVE_SCRIPT_END; DG_ARCHIVE_SCRIPT_FAILED comes with *err.
 */
DgArchiveScriptItem
dg_archive_script_next(DgArchiveScript *script, DgArchiveError *err)
{
	DgArchiveStream *s = script->stream;
	bool		complete = false;
	int			rc = skip_space_before(s, err);
	char		c;

	while (rc > 0 && s->window[s->start] == '\xef')
	{
		/* a byte order mark, of a file that another was put before */
		if (s->end - s->start < 3 && dg_archive_stream_fill(s, err) < 0)
			return DG_ARCHIVE_SCRIPT_FAILED;
		if (s->end - s->start < 3 || memcmp(s->window + s->start, "\xef\xbb\xbf", 3) != 0)
			break;
		s->start += 3;
		rc = skip_space_before(s, err);
	}
	if (rc <= 0)
		return rc < 0 ? DG_ARCHIVE_SCRIPT_FAILED : DG_ARCHIVE_SCRIPT_END;
	begin_script_statement(script);
	script->text->len = 0;
	script->text->cut = false;
	script->offset = dg_archive_stream_tell(s);
	c = s->window[s->start];
	if (c == '-' && s->end - s->start < 2 && dg_archive_stream_fill(s, err) < 0)
		return DG_ARCHIVE_SCRIPT_FAILED;
	if (c == '\\' || (c == '-' && s->end - s->start >= 2 &&
					  s->window[s->start + 1] == '-'))
	{
		if (read_line(script, err) < 0)
			return DG_ARCHIVE_SCRIPT_FAILED;
		return c == '\\' ? DG_ARCHIVE_SCRIPT_COMMAND : DG_ARCHIVE_SCRIPT_COMMENT;
	}
	while (!complete)
	{
		if (s->start == s->end)
		{
			rc = dg_archive_stream_fill(s, err);
			if (rc < 0)
				return DG_ARCHIVE_SCRIPT_FAILED;
			if (rc == 0)
			{
				dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, s->source.file->name,
								dg_archive_stream_tell(s),
								"file ends inside of a statement");
				return DG_ARCHIVE_SCRIPT_FAILED;
			}
		}
		if (!scan_some(script, &complete, err))
			return DG_ARCHIVE_SCRIPT_FAILED;
	}
	return DG_ARCHIVE_SCRIPT_STATEMENT;
}
