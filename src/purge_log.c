/*
 * purge_log.c
 *		Keeps tokens out of the server's log and of pg_stat_activity.
 *
 * A token is a permission until it is used, and statements, their parameters
 * and their plans are logged in many ways. So whatever looks like one is
 * replaced in each entry, in place, and a statement that contains one is not
 * quoted. The hook is there from when the library is loaded: for a session's
 * first statement only where it is preloaded.
 *
 * The hook runs while an error is being reported: it allocates nothing and
 * throws nothing.
 */
#include "purge.h"

#include "pgstat.h"
#include "tcop/tcopprot.h"

/* A header begins with {" and is followed by two dots and more. */
#define TOKEN_START		"eyJ"
#define TOKEN_MIN		20
#define REPLACEMENT		"<token>"

static emit_log_hook_type prev_emit_log = NULL;

static bool
is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '_' || c == '.';
}

/*
 * The first thing in a text that looks like a token, also one that was cut
 * short; NULL if there is none. *len is its length.
 */
static char *
find_token(const char *text, int *len)
{
	for (const char *p = text; (p = strstr(p, TOKEN_START)) != NULL; p += *len)
	{
		*len = 0;
		while (is_token_char(p[*len]))
			(*len)++;
		if (*len >= TOKEN_MIN && (p == text || !is_token_char(p[-1])))
			return unconstify(char *, p);
	}
	return NULL;
}

/*
 * Replaces tokens, in place.
 */
static void
redact(char *text)
{
	char	   *token;
	int			len;

	while (text != NULL && (token = find_token(text, &len)) != NULL)
	{
		memcpy(token, REPLACEMENT, strlen(REPLACEMENT));
		text = token + strlen(REPLACEMENT);
		memmove(text, token + len, strlen(token + len) + 1);
	}
}

static void
redact_entry(ErrorData *edata)
{
	int			len;

	redact(edata->message);
	redact(edata->detail);
	redact(edata->detail_log);
	redact(edata->hint);
	redact(edata->context);
	redact(edata->internalquery);
	if (debug_query_string != NULL && find_token(debug_query_string, &len) != NULL)
		edata->hide_stmt = true;
	if (prev_emit_log)
		prev_emit_log(edata);
}

/*
 * Takes tokens out of what pg_stat_activity shows of the present statement.
 */
void
dg_hide_tokens_in_activity(void)
{
	char	   *query;
	int			len;

	if (debug_query_string == NULL || find_token(debug_query_string, &len) == NULL)
		return;
	query = pstrdup(debug_query_string);
	redact(query);
	pgstat_report_activity(STATE_RUNNING, query);
	pfree(query);
}

void
dg_purge_log_init(void)
{
	prev_emit_log = emit_log_hook;
	emit_log_hook = redact_entry;
}
