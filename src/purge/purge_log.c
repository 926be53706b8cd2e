/*
 * purge_log.c
 *		Keeps tokens out of the server's log, of pg_stat_activity and of
 *		pg_stat_statements.
 *
 * A token is a permission until it is used, and statements, their parameters
 * and their plans are logged in many ways. So whatever looks like one is
 * replaced in each entry, in place, and a statement that contains one is not
 * quoted. The hook is there from when the library is loaded: for a session's
 * first statement only where it is preloaded.
 *
 * Of queries, pg_stat_statements keeps no constants; of utility statements
 * (EXECUTE, DO, CALL, PREPARE) it keeps the text as it is. Those that come after
 * our hook are given a text in which tokens are blotted out, of the same length,
 * as parse trees point into it. They do where they were loaded before us, or we
 * are not in shared_preload_libraries; list deletion_guard last there.
 *
 * The hook runs while an error is being reported: it allocates nothing and
 * throws nothing.
 */
#include "postgres.h"

#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"

#include "purge/purge_internal.h"

/* A header begins with {" and is followed by two dots and more. */
#define TOKEN_START		"eyJ"
#define TOKEN_MIN		20
#define REPLACEMENT		"<token>"
#define BLOT			'x'

static emit_log_hook_type prev_emit_log = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static bool
is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '_' || c == '.';
}

/*
 * The length of a line break within a token, with the indentation behind it: a
 * parse tree is printed in lines of 78 characters, wherever that breaks them.
 */
static int
line_break(const char *text)
{
	int			len;

	if (*text != '\n')
		return 0;
	len = 1 + strspn(text + 1, " \t");
	return is_token_char(text[len]) ? len : 0;
}

/*
 * The length of what looks like a token here, also one that was cut short; 0 if
 * nothing does.
 */
static int
token_length(const char *text)
{
	int			len = 0;
	int			nchars = 0;

	while (is_token_char(text[len]))
	{
		if (nchars < strlen(TOKEN_START) && text[len] != TOKEN_START[nchars])
			return 0;
		nchars++;
		len++;
		len += line_break(text + len);
	}
	return nchars >= TOKEN_MIN ? len : 0;
}

/*
 * The first thing in a text that looks like a token; NULL if there is none.
 * *len is its length.
 */
static char *
find_token(const char *text, int *len)
{
	for (const char *p = text; (p = strchr(p, TOKEN_START[0])) != NULL; p++)
	{
		if ((p == text || !is_token_char(p[-1])) && (*len = token_length(p)) > 0)
			return unconstify(char *, p);
	}
	return NULL;
}

/*
 * Replaces tokens, in place.
 */
static void
redact_tokens(char *text)
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

	if (edata->elevel >= ERROR)
		dg_counter_refusal(edata->sqlerrcode);
	redact_tokens(edata->message);
	redact_tokens(edata->detail);
	redact_tokens(edata->detail_log);
	redact_tokens(edata->hint);
	redact_tokens(edata->context);
	redact_tokens(edata->internalquery);
	if (debug_query_string != NULL && find_token(debug_query_string, &len) != NULL)
		edata->hide_stmt = true;
	if (prev_emit_log)
		prev_emit_log(edata);
}

/*
 * Takes tokens out of what pg_stat_activity shows of the present statement.
 */
void
dg_purge_hide_tokens_in_activity(void)
{
	char	   *query;
	int			len;

	if (debug_query_string == NULL || find_token(debug_query_string, &len) == NULL)
		return;
	query = pstrdup(debug_query_string);
	redact_tokens(query);
	pgstat_report_activity(STATE_RUNNING, query);
	pfree(query);
}

/*
 * The text of a utility statement for others to keep: palloc'd, with each token
 * blotted out, or the one given if it contains none.
 */
static const char *
query_without_tokens(const char *query)
{
	char	   *copy;
	char	   *token;
	int			len;

	if (query == NULL || find_token(query, &len) == NULL)
		return query;
	copy = pstrdup(query);
	for (char *p = copy; (token = find_token(p, &len)) != NULL; p = token + len)
		memset(token, BLOT, len);
	return copy;
}

static void
blot_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_ProcessUtility ? prev_ProcessUtility : standard_ProcessUtility;

	next(pstmt, query_without_tokens(queryString), readOnlyTree, context, params, queryEnv, dest, qc);
}

/*
 * Keeps tokens out of the server's log. Once, as the library is loaded.
 */
void
dg_purge_log_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = blot_ProcessUtility;
	prev_emit_log = emit_log_hook;
	emit_log_hook = redact_entry;
}
