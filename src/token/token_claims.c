/*-------------------------------------------------------------------------
 *
 * token_claims.c
 *	  Which claims each act has, what they may say, and whether they hold now.
 *
 * Invariants:
 *	- A claim that an act does not have is an error, as is one that is missing
 *	  or has another type: nobody signs a thing that is then ignored.
 *	- Each claim is checked by the one entry it has in the table below.
 *	- Called only after the signature has been verified.
 *
 * src/token/token_claims.c
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "token/token_internal.h"

/* How a claim's value is read. */
typedef enum ClaimKind
{
	CLAIM_ACT,					/* the name of an act */
	CLAIM_TEXT,					/* 1 to max bytes */
	CLAIM_TEXT_OR_EMPTY,		/* 0 to max bytes */
	CLAIM_VISIBLE,				/* 1 to max visible ASCII characters */
	CLAIM_NAME,					/* the name of an authority */
	CLAIM_DIGEST,				/* 64 lower case hexadecimal digits */
	CLAIM_TIME,					/* Unix seconds */
	CLAIM_NUMBER				/* an integer, min to max */
} ClaimKind;

/* Sets of acts. */
#define ACT_BIT(act)	(1u << (act))
#define ON_PURGE		ACT_BIT(DG_TOKEN_ACT_PURGE)
#define ON_ANNUL		ACT_BIT(DG_TOKEN_ACT_ANNUL_PURGE)
#define ON_RELEASE		ACT_BIT(DG_TOKEN_ACT_RELEASE_HOLD)
#define ON_RETIRE		ACT_BIT(DG_TOKEN_ACT_RETIRE_AUTHORITY)
#define ON_ADD			ACT_BIT(DG_TOKEN_ACT_ADD_AUTHORITY)
#define ON_APPROVALS	ACT_BIT(DG_TOKEN_ACT_SET_APPROVALS)
#define ON_UNGUARD		ACT_BIT(DG_TOKEN_ACT_UNGUARD)
#define ON_WITHOUT		ACT_BIT(DG_TOKEN_ACT_PURGE_WITHOUT_TENANT)
#define ON_BY_AGE		ACT_BIT(DG_TOKEN_ACT_PURGE_BY_AGE)
#define ON_ANY_PURGE	(ON_PURGE | ON_WITHOUT | ON_BY_AGE)
#define ON_ALL \
	(ON_ANY_PURGE | ON_ANNUL | ON_RELEASE | ON_RETIRE | ON_ADD | ON_APPROVALS | \
	 ON_UNGUARD)

typedef struct ClaimRule
{
	const char *name;
	ClaimKind	kind;
	size_t		offset;			/* of its member in DgTokenClaims */
	int64_t		min;
	int64_t		max;			/* bytes of text, value of a number */
	unsigned int required;		/* acts that must have it */
	unsigned int allowed;		/* acts that may have it */
} ClaimRule;

#define RULE(member, kind, min, max, required, allowed) \
	{#member, kind, offsetof(DgTokenClaims, member), min, max, required, allowed}

static const ClaimRule claim_rules[] = {
	RULE(act, CLAIM_ACT, 0, 0, ON_ALL, ON_ALL),
	RULE(aud, CLAIM_TEXT, 1, DG_TOKEN_MAX_AUD, ON_ALL, ON_ALL),
	RULE(jti, CLAIM_VISIBLE, 1, DG_TOKEN_MAX_JTI, ON_ALL, ON_ALL),
	RULE(iat, CLAIM_TIME, 0, DG_TOKEN_MAX_TIME, ON_ALL, ON_ALL),
	RULE(nbf, CLAIM_TIME, 0, DG_TOKEN_MAX_TIME, ON_ALL, ON_ALL),
	RULE(exp, CLAIM_TIME, 0, DG_TOKEN_MAX_TIME, ON_ALL, ON_ALL),

	/*
	 * a tenant's key may be empty; its name is where the tenant table has no
	 * column of names
	 */
	RULE(tenant, CLAIM_TEXT_OR_EMPTY, 0, DG_TOKEN_MAX_TEXT, ON_PURGE, ON_PURGE),
	RULE(tenant_name, CLAIM_TEXT_OR_EMPTY, 0, DG_TOKEN_MAX_TEXT, ON_PURGE, ON_PURGE),
	RULE(relations, CLAIM_TEXT, 1, DG_TOKEN_MAX_RELATIONS, ON_WITHOUT | ON_BY_AGE, ON_WITHOUT | ON_BY_AGE),
	RULE(deleted_before, CLAIM_VISIBLE, 1, DG_TOKEN_MAX_MOMENT, ON_BY_AGE, ON_BY_AGE),
	RULE(tenants, CLAIM_NUMBER, 1, DG_TOKEN_MAX_INTEGER, ON_BY_AGE, ON_BY_AGE),
	/* numbers with commas between; rows as JSON, in a text */
	RULE(deletions, CLAIM_TEXT, 1, DG_TOKEN_MAX_CHOICE, 0, ON_PURGE),
	RULE(keys, CLAIM_TEXT, 1, DG_TOKEN_MAX_CHOICE, 0, ON_PURGE),
	RULE(request, CLAIM_NUMBER, 1, DG_TOKEN_MAX_INTEGER, ON_ANY_PURGE, ON_ANY_PURGE),
	RULE(digest, CLAIM_DIGEST, 0, 0, ON_ANY_PURGE, ON_ANY_PURGE),
	RULE(rows, CLAIM_NUMBER, 0, DG_TOKEN_MAX_INTEGER, ON_ANY_PURGE, ON_ANY_PURGE),
	RULE(reason, CLAIM_TEXT, 1, DG_TOKEN_MAX_TEXT, ON_ANY_PURGE, ON_ALL),
	RULE(purge, CLAIM_NUMBER, 1, DG_TOKEN_MAX_INTEGER, ON_ANNUL, ON_ANNUL),
	RULE(hold, CLAIM_NUMBER, 1, DG_TOKEN_MAX_INTEGER, ON_RELEASE, ON_RELEASE),
	RULE(authority, CLAIM_NAME, 1, DG_TOKEN_MAX_NAME, ON_RETIRE | ON_ADD, ON_RETIRE | ON_ADD),
	/* without it the token would admit whatever key it is shown with */
	RULE(fingerprint, CLAIM_DIGEST, 0, 0, ON_ADD, ON_ADD),
	RULE(approvals, CLAIM_NUMBER, 1, DG_TOKEN_MAX_APPROVALS, ON_APPROVALS, ON_APPROVALS),
	RULE(relation, CLAIM_TEXT, 1, DG_TOKEN_MAX_RELATION, ON_UNGUARD, ON_UNGUARD),

	/*
	 * a table's OID, as another may be renamed to its name; the extension has
	 * none
	 */
	RULE(relation_id, CLAIM_NUMBER, 1, DG_TOKEN_MAX_OID, 0, ON_UNGUARD),
};

#define CLAIM_RULE_COUNT (sizeof(claim_rules) / sizeof(claim_rules[0]))

static const char *const act_names[] = {
	[DG_TOKEN_ACT_NONE] = "",
	[DG_TOKEN_ACT_PURGE] = "purge",
	[DG_TOKEN_ACT_ANNUL_PURGE] = "annul_purge",
	[DG_TOKEN_ACT_RELEASE_HOLD] = "release_hold",
	[DG_TOKEN_ACT_RETIRE_AUTHORITY] = "retire_authority",
	[DG_TOKEN_ACT_ADD_AUTHORITY] = "add_authority",
	[DG_TOKEN_ACT_SET_APPROVALS] = "set_approvals",
	[DG_TOKEN_ACT_UNGUARD] = "unguard",
	[DG_TOKEN_ACT_PURGE_WITHOUT_TENANT] = "purge_without_tenant",
	[DG_TOKEN_ACT_PURGE_BY_AGE] = "purge_by_age",
};

#define ACT_COUNT (sizeof(act_names) / sizeof(act_names[0]))

/*
 * An act's name as in the claim "act"; empty for none.  Never NULL.
 */
const char *
dg_token_act_name(DgTokenAct act)
{
	return (unsigned int) act < ACT_COUNT ? act_names[act] : "";
}

static DgTokenAct
act_by_name(const char *name)
{
	unsigned int i;

	for (i = DG_TOKEN_ACT_NONE + 1; i < ACT_COUNT; i++)
	{
		if (strcmp(name, act_names[i]) == 0)
			return (DgTokenAct) i;
	}
	return DG_TOKEN_ACT_NONE;
}

static const ClaimRule *
rule_by_name(const char *name)
{
	size_t		i;

	for (i = 0; i < CLAIM_RULE_COUNT; i++)
	{
		if (strcmp(name, claim_rules[i].name) == 0)
			return &claim_rules[i];
	}
	return NULL;
}

static bool
is_visible(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (*text < 0x21 || *text > 0x7e)
			return false;
	}
	return true;
}

/*
 * Copy a text claim into its member, which has room for rule->max bytes and a
 * NUL.
 */
static DgTokenStatus
read_text_claim(const ClaimRule *rule, const char *text, char *member)
{
	size_t		len = strlen(text);

	if (len > (size_t) rule->max)
		return DG_TOKEN_CLAIM_TOO_LONG;
	if (len < (size_t) rule->min)
		return DG_TOKEN_CLAIM_VALUE;
	if (rule->kind == CLAIM_VISIBLE && !is_visible(text))
		return DG_TOKEN_CLAIM_VALUE;
	if (rule->kind == CLAIM_NAME && !dg_token_name_is_valid(text, len))
		return DG_TOKEN_CLAIM_VALUE;
	memcpy(member, text, len + 1);
	return DG_TOKEN_OK;
}

static DgTokenStatus
read_number(const ClaimRule *rule, const cJSON *item, int64_t *member)
{
	int64_t		value;

	if (!dg_token_json_integer(item, &value))
		return DG_TOKEN_CLAIM_TYPE;
	if (value < rule->min || value > rule->max)
		return rule->kind == CLAIM_TIME ? DG_TOKEN_TIME_RANGE :
			DG_TOKEN_CLAIM_VALUE;
	*member = value;
	return DG_TOKEN_OK;
}

/*
 * Check one claim's value and put it into its member.
 */
static DgTokenStatus
read_claim(const ClaimRule *rule, const cJSON *item, DgTokenClaims *claims)
{
	char	   *member = (char *) claims + rule->offset;

	if (rule->kind == CLAIM_TIME || rule->kind == CLAIM_NUMBER)
		return read_number(rule, item, (int64_t *) (void *) member);
	if (!cJSON_IsString(item))
		return DG_TOKEN_CLAIM_TYPE;
	switch (rule->kind)
	{
		case CLAIM_ACT:
			claims->act = act_by_name(item->valuestring);
			return claims->act == DG_TOKEN_ACT_NONE ? DG_TOKEN_ACT_UNKNOWN :
				DG_TOKEN_OK;
		case CLAIM_DIGEST:
			return dg_token_hex_decode(item->valuestring,
									   strlen(item->valuestring),
									   (unsigned char *) member,
									   DG_TOKEN_DIGEST_SIZE) ?
				DG_TOKEN_OK : DG_TOKEN_CLAIM_VALUE;
		default:
			return read_text_claim(rule, item->valuestring, member);
	}
}

/*
 * Are all claims there that the act must have, and only those it may have?
 */
static DgTokenStatus
check_presence(const cJSON *tree, DgTokenAct act, DgTokenDetail *detail)
{
	size_t		i;

	for (i = 0; i < CLAIM_RULE_COUNT; i++)
	{
		const ClaimRule *rule = &claim_rules[i];
		bool		present = dg_token_json_member(tree, rule->name) != NULL;

		if (present && (rule->allowed & ACT_BIT(act)) == 0)
			return dg_token_refuse(DG_TOKEN_CLAIM_UNKNOWN, rule->name, detail);
		if (!present && (rule->required & ACT_BIT(act)) != 0)
			return dg_token_refuse(DG_TOKEN_CLAIM_MISSING, rule->name, detail);
	}
	return DG_TOKEN_OK;
}

/*
 * Read the claims out of a tree that dg_token_json_parse() made.  All members
 * of *claims but "kid" are set; they mean something only on success.
 */
DgTokenStatus
dg_token_claims_parse(const cJSON *tree, DgTokenClaims *claims,
					  DgTokenDetail *detail)
{
	const cJSON *act = dg_token_json_member(tree, "act");
	const cJSON *child;
	DgTokenStatus status;

	if (act == NULL)
		return dg_token_refuse(DG_TOKEN_CLAIM_MISSING, "act", detail);
	cJSON_ArrayForEach(child, tree)
	{
		const ClaimRule *rule = rule_by_name(child->string);

		/* An unknown name is the token's, not ours to repeat. */
		if (rule == NULL)
			return dg_token_refuse(DG_TOKEN_CLAIM_UNKNOWN, NULL, detail);
		status = read_claim(rule, child, claims);
		if (status != DG_TOKEN_OK)
			return dg_token_refuse(status, rule->name, detail);
	}
	return check_presence(tree, claims->act, detail);
}

/*
 * Compare the claims with what the caller expects.  All times are within
 * 0 .. DG_TOKEN_MAX_TIME and the skew is bounded, so nothing overflows.
 */
DgTokenStatus
dg_token_claims_check(const DgTokenClaims *claims, const DgTokenContext *ctx,
					  DgTokenDetail *detail)
{
	if (strcmp(claims->aud, ctx->audience) != 0)
		return dg_token_refuse(DG_TOKEN_WRONG_AUDIENCE, "aud", detail);
	if (claims->exp < claims->nbf || claims->exp < claims->iat)
		return dg_token_refuse(DG_TOKEN_TIME_ORDER, "exp", detail);
	if (claims->exp <= ctx->now - ctx->clock_skew)
		return dg_token_refuse(DG_TOKEN_EXPIRED, "exp", detail);
	if (claims->iat > ctx->now + ctx->clock_skew)
		return dg_token_refuse(DG_TOKEN_ISSUED_IN_FUTURE, "iat", detail);
	if (claims->nbf > ctx->now + ctx->clock_skew)
		return dg_token_refuse(DG_TOKEN_NOT_YET_VALID, "nbf", detail);
	return DG_TOKEN_OK;
}
