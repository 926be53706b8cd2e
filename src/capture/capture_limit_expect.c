/*
 * capture_limit_expect.c
 *		deletion_guard.expect_tenants: which tenants a session means to delete
 *		from.
 *
 * A list of tenant keys separated by commas. Blanks around a key do not count;
 * a key in double quotes may contain anything, a double quote as two. An empty
 * value means no expectation; an empty element is refused, so that a variable
 * which happened to be empty is noticed.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "capture/capture_internal.h"

char	   *dg_expect_tenants = NULL;

static char *parsed = NULL;		/* the value that the set was made of */
static DgTextSet *expected = NULL;
static MemoryContext context = NULL;

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/*
 * Reads "..." into buf and returns what follows; NULL if it does not end.
 */
static const char *
read_quoted(const char *p, StringInfo buf)
{
	for (p++; *p != '\0'; p++)
	{
		if (*p == '"' && p[1] != '"')
			return p + 1;
		if (*p == '"')
			p++;
		appendStringInfoChar(buf, *p);
	}
	return NULL;
}

static const char *
read_plain(const char *p, StringInfo buf)
{
	for (; *p != '\0' && *p != ','; p++)
		appendStringInfoChar(buf, *p);
	while (buf->len > 0 && is_blank(buf->data[buf->len - 1]))
		buf->data[--buf->len] = '\0';
	return p;
}

/*
 * Adds the keys in a list to a set, which may be NULL. False if it is not a
 * list of keys.
 */
static bool
parse_keys(const char *p, DgTextSet *set)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (;;)
	{
		bool		quoted;

		resetStringInfo(&buf);
		while (is_blank(*p))
			p++;
		quoted = (*p == '"');
		p = quoted ? read_quoted(p, &buf) : read_plain(p, &buf);
		if (p == NULL || (!quoted && buf.len == 0))
			return false;
		while (is_blank(*p))
			p++;
		if (set != NULL)
			(void) dg_guard_textset_add(set, buf.data);
		if (*p == '\0')
			return true;
		if (*p++ != ',')
			return false;
	}
}

/*
 * The setting's check hook.
 */
bool
dg_capture_check_expect_tenants(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL || **newval == '\0' || parse_keys(*newval, NULL))
		return true;
	GUC_check_errdetail("It is not a list of tenant keys separated by commas.");
	GUC_check_errhint("Put keys that contain commas or quotes in double quotes; an empty value expects nothing in particular.");
	return false;
}

/*
 * Does the session expect to delete rows of this tenant? False as well if it
 * expects none in particular; see dg_expecting().
 */
bool
dg_capture_expects_tenant(const char *tenant)
{
	if (parsed == NULL || strcmp(parsed, dg_expect_tenants) != 0)
	{
		if (context == NULL)
			context = AllocSetContextCreate(TopMemoryContext, "deletion_guard expected tenants",
											ALLOCSET_SMALL_SIZES);
		parsed = NULL;
		MemoryContextReset(context);
		expected = dg_guard_textset_of_tenants(context, InvalidOid);
		(void) parse_keys(dg_expect_tenants, expected);
		parsed = MemoryContextStrdup(context, dg_expect_tenants);
	}
	return dg_guard_textset_has(expected, tenant);
}
