/*-------------------------------------------------------------------------
 *
 * token_json.c
 *	  Strict JSON on top of a lenient parser.
 *
 * cJSON takes more than JSON (control characters and broken UTF-8 in strings,
 * leading zeros), cuts a string at an escaped NUL, keeps duplicate names and
 * turns every number into a double.  So the text is first checked here
 * against the grammar of RFC 8259 and our own limits, and only then given to
 * cJSON, which unescapes it and builds the tree; duplicate names are looked
 * for in the tree, where differently escaped spellings of a name are equal.
 *
 * Invariants of a tree that dg_token_json_parse() returns:
 *	- the text was one JSON object and white space, nothing else;
 *	- all text is valid UTF-8 without NUL, so strlen() is a string's length;
 *	- every number was written as a plain integer of at most 2^53 - 1, which a
 *	  double holds exactly;
 *	- no object, at any level, has two equal names;
 *	- depth and number of values are bounded, and recursion with them.
 *
 * src/token/token_json.c
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "token/token_internal.h"

/* Claims and headers are flat; a JWK may contain lists. */
#define MAX_DEPTH	8

/* Comparing all names of an object with each other stays cheap. */
#define MAX_VALUES	128

typedef struct JsonScan
{
	const unsigned char *p;
	const unsigned char *end;
	int			depth;
	int			values;
} JsonScan;

static DgTokenStatus scan_value(JsonScan *scan);

/*
 * The length of the UTF-8 character at p, or 0 if there is no valid one.
 */
static size_t
utf8_length(const unsigned char *p, const unsigned char *end)
{
	size_t		avail = (size_t) (end - p);
	size_t		len;
	size_t		i;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (avail < len)
		return 0;
	for (i = 1; i < len; i++)
	{
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	/* overlong forms, surrogates, beyond U+10FFFF */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

static DgTokenStatus
check_encoding(const unsigned char *p, const unsigned char *end)
{
	while (p < end)
	{
		size_t		len = utf8_length(p, end);

		if (len == 0)
			return DG_TOKEN_BAD_UTF8;
		if (*p == 0)
			return DG_TOKEN_NUL_CHARACTER;
		p += len;
	}
	return DG_TOKEN_OK;
}

static void
skip_json_space(JsonScan *scan)
{
	while (scan->p < scan->end &&
		   (*scan->p == ' ' || *scan->p == '\t' ||
			*scan->p == '\n' || *scan->p == '\r'))
		scan->p++;
}

/* Step over one given character, if it is the next. */
static bool
accept_char(JsonScan *scan, char c)
{
	if (scan->p >= scan->end || *scan->p != (unsigned char) c)
		return false;
	scan->p++;
	return true;
}

/*
 * Read the four hexadecimal digits of a \u escape; -1 if there are none.
 */
static int
scan_hex4(JsonScan *scan)
{
	int			value = 0;
	int			i;

	if (scan->end - scan->p < 4)
		return -1;
	for (i = 0; i < 4; i++)
	{
		int			c = *scan->p++;

		if (c >= '0' && c <= '9')
			c -= '0';
		else if (c >= 'a' && c <= 'f')
			c -= 'a' - 10;
		else if (c >= 'A' && c <= 'F')
			c -= 'A' - 10;
		else
			return -1;
		value = value << 4 | c;
	}
	return value;
}

/*
 * Scan what follows a \u.  Half a surrogate pair is not a character.
 */
static DgTokenStatus
scan_unicode_escape(JsonScan *scan)
{
	int			value = scan_hex4(scan);

	if (value < 0)
		return DG_TOKEN_BAD_JSON;
	if (value == 0)
		return DG_TOKEN_NUL_CHARACTER;
	if (value >= 0xdc00 && value <= 0xdfff)
		return DG_TOKEN_BAD_UTF8;
	if (value >= 0xd800 && value <= 0xdbff)
	{
		if (!accept_char(scan, '\\') || !accept_char(scan, 'u'))
			return DG_TOKEN_BAD_UTF8;
		value = scan_hex4(scan);
		if (value < 0)
			return DG_TOKEN_BAD_JSON;
		if (value < 0xdc00 || value > 0xdfff)
			return DG_TOKEN_BAD_UTF8;
	}
	return DG_TOKEN_OK;
}

static DgTokenStatus
scan_string(JsonScan *scan)
{
	if (!accept_char(scan, '"'))
		return DG_TOKEN_BAD_JSON;
	while (scan->p < scan->end)
	{
		unsigned char c = *scan->p++;

		if (c == '"')
			return DG_TOKEN_OK;
		if (c < 0x20)
			return DG_TOKEN_BAD_JSON;
		if (c != '\\')
			continue;
		if (accept_char(scan, 'u'))
		{
			DgTokenStatus status = scan_unicode_escape(scan);

			if (status != DG_TOKEN_OK)
				return status;
		}
		else if (scan->p >= scan->end || strchr("\"\\/bfnrt", *scan->p) == NULL)
			return DG_TOKEN_BAD_JSON;
		else
			scan->p++;
	}
	return DG_TOKEN_BAD_JSON;	/* no closing quote */
}

static bool
next_is_digit(const JsonScan *scan)
{
	return scan->p < scan->end && *scan->p >= '0' && *scan->p <= '9';
}

/*
 * Scan a number.  Only plain integers pass: 1.0 and 1e3 are integers to some
 * libraries and not to others, and -0 is equal to 0 but not the same.
 */
static DgTokenStatus
scan_number(JsonScan *scan)
{
	bool		negative = accept_char(scan, '-');
	int64_t		value = 0;
	const unsigned char *first = scan->p;

	while (next_is_digit(scan))
	{
		value = value * 10 + (*scan->p++ - '0');
		if (value > DG_TOKEN_MAX_INTEGER)
			return DG_TOKEN_BAD_NUMBER;
		if (*first == '0' && scan->p - first > 1)
			return DG_TOKEN_BAD_JSON;
	}
	if (scan->p == first)
		return DG_TOKEN_BAD_JSON;
	if (negative && value == 0)
		return DG_TOKEN_BAD_NUMBER;
	if (scan->p < scan->end &&
		(*scan->p == '.' || *scan->p == 'e' || *scan->p == 'E'))
		return DG_TOKEN_BAD_NUMBER;
	return DG_TOKEN_OK;
}

static DgTokenStatus
scan_word(JsonScan *scan, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (scan->end - scan->p) < len || memcmp(scan->p, word, len) != 0)
		return DG_TOKEN_BAD_JSON;
	scan->p += len;
	return DG_TOKEN_OK;
}

/*
 * Scan an object or an array, whose members differ by the name before the
 * value only.
 */
static DgTokenStatus
scan_container(JsonScan *scan, char opening, char closing)
{
	DgTokenStatus status;

	if (++scan->depth > MAX_DEPTH)
		return DG_TOKEN_TOO_DEEP;
	accept_char(scan, opening);
	skip_json_space(scan);
	if (!accept_char(scan, closing))
	{
		do
		{
			skip_json_space(scan);
			if (opening == '{')
			{
				status = scan_string(scan);
				if (status != DG_TOKEN_OK)
					return status;
				skip_json_space(scan);
				if (!accept_char(scan, ':'))
					return DG_TOKEN_BAD_JSON;
				skip_json_space(scan);
			}
			status = scan_value(scan);
			if (status != DG_TOKEN_OK)
				return status;
			skip_json_space(scan);
		} while (accept_char(scan, ','));
		if (!accept_char(scan, closing))
			return DG_TOKEN_BAD_JSON;
	}
	scan->depth--;
	return DG_TOKEN_OK;
}

static DgTokenStatus
scan_value(JsonScan *scan)
{
	if (scan->p >= scan->end)
		return DG_TOKEN_BAD_JSON;
	if (++scan->values > MAX_VALUES)
		return DG_TOKEN_TOO_MANY_VALUES;
	switch (*scan->p)
	{
		case '{':
			return scan_container(scan, '{', '}');
		case '[':
			return scan_container(scan, '[', ']');
		case '"':
			return scan_string(scan);
		case 't':
			return scan_word(scan, "true");
		case 'f':
			return scan_word(scan, "false");
		case 'n':
			return scan_word(scan, "null");
		default:
			return scan_number(scan);
	}
}

/*
 * Check everything about a JSON text but the uniqueness of names.
 */
DgTokenStatus
dg_token_json_check(const char *text, size_t len)
{
	JsonScan	scan;
	DgTokenStatus status;

	scan.p = (const unsigned char *) text;
	scan.end = scan.p + len;
	scan.depth = 0;
	scan.values = 0;

	status = check_encoding(scan.p, scan.end);
	if (status != DG_TOKEN_OK)
		return status;
	skip_json_space(&scan);
	status = scan_value(&scan);
	if (status != DG_TOKEN_OK)
		return status;
	skip_json_space(&scan);
	return scan.p == scan.end ? DG_TOKEN_OK : DG_TOKEN_BAD_JSON;
}

/*
 * Does this object, or one inside it, have two equal names?  Recursion is
 * bounded by MAX_DEPTH, work by the square of MAX_VALUES.
 */
static bool
has_duplicate_name(const cJSON *item)
{
	const cJSON *child;
	const cJSON *other;

	cJSON_ArrayForEach(child, item)
	{
		if (cJSON_IsObject(item))
		{
			for (other = child->next; other != NULL; other = other->next)
			{
				if (strcmp(child->string, other->string) == 0)
					return true;
			}
		}
		if (has_duplicate_name(child))
			return true;
	}
	return false;
}

/*
 * Parse a JSON object.  text[len] must exist and be NUL.  On success *tree is
 * the caller's to free with cJSON_Delete(); on failure it is NULL.
 */
DgTokenStatus
dg_token_json_parse(const char *text, size_t len, cJSON **tree)
{
	DgTokenStatus status = dg_token_json_check(text, len);

	*tree = NULL;
	if (status != DG_TOKEN_OK)
		return status;
	*tree = cJSON_ParseWithLengthOpts(text, len + 1, NULL, true);

	/* The text is good, so there is only one thing that can be missing. */
	if (*tree == NULL)
		return DG_TOKEN_NO_MEMORY;
	if (!cJSON_IsObject(*tree))
		status = DG_TOKEN_NOT_OBJECT;
	else if (has_duplicate_name(*tree))
		status = DG_TOKEN_DUPLICATE_NAME;
	if (status != DG_TOKEN_OK)
	{
		cJSON_Delete(*tree);
		*tree = NULL;
	}
	return status;
}

/*
 * The member of that name, in exactly that spelling, or NULL.
 */
const cJSON *
dg_token_json_member(const cJSON *object, const char *name)
{
	const cJSON *child;

	cJSON_ArrayForEach(child, object)
	{
		if (child->string != NULL && strcmp(child->string, name) == 0)
			return child;
	}
	return NULL;
}

/*
 * The value of a number, which dg_token_json_check() has made sure is exact.
 */
bool
dg_token_json_integer(const cJSON *item, int64_t *value)
{
	if (!cJSON_IsNumber(item))
		return false;
	*value = (int64_t) item->valuedouble;
	return true;
}
