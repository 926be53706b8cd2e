/*
 * purge_unguard.c
 *		Giving up protection: unguard_table() and allow_drop(). And claims(): what an
 *		authority signs for this and for other acts that are no purges, which have
 *		requests (purge_request.c).
 *
 * Where deletion_guard.locked is set, which only the server's start can, giving
 * up protection takes tokens for the act "unguard": for one table, its name and,
 * as another may be given that name, its OID; for DROP EXTENSION and for dropping tables of the bin, "extension
 * deletion_guard". The latter is permitted to the transaction that has shown
 * the tokens.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "common/deletion_guard.h"
#include "common/own_tables.h"
#include "enrol/enrol.h"
#include "guard/guard.h"
#include "protect/protect.h"
#include "purge/purge_internal.h"
#include "token/token.h"

PG_FUNCTION_INFO_V1(dg_unguard_table);
PG_FUNCTION_INFO_V1(dg_allow_drop);
PG_FUNCTION_INFO_V1(dg_claims);
extern Datum dg_key_fingerprint(PG_FUNCTION_ARGS);

/* What a token names that is for all tables, and the bin. */
#define CLAIM_EXTENSION "extension deletion_guard"

/* What is to be given up: a table, or (InvalidOid) all. */
typedef struct Unguarded
{
	Oid			relid;
	const char *name;
} Unguarded;

static bool
names_relation(const DgTokenClaims *claims, void *arg)
{
	const Unguarded *unguarded = arg;

	return strcmp(claims->relation, unguarded->name) == 0 && claims->relation_id == unguarded->relid;
}

/*
 * Verifies the tokens, if any are needed or given.
 */
static List *
authorise_unguard(ArrayType *tokens, Oid relid, const char *what)
{
	Unguarded	unguarded = {relid, OidIsValid(relid) ? dg_relation_name(relid) : CLAIM_EXTENSION};
	bool		given = tokens != NULL && ArrayGetNItems(ARR_NDIM(tokens), ARR_DIMS(tokens)) > 0;

	if (!dg_locked && !given)
		return NIL;
	dg_purge_lock_authorities(ShareLock);
	return dg_purge_authorise(DG_TOKEN_ACT_UNGUARD, tokens, names_relation, &unguarded, what,
							  quote_literal_cstr(unguarded.name));
}

/*
 * The table is gone, as it was dropped where the library was not loaded: only its
 * entry among the guarded ones can be taken away. Nobody owns it any more.
 */
static void
unguard_gone(Oid relid, ArrayType *tokens)
{
	char	   *name = psprintf("%u", relid);
	List	   *approvals;

	if (!dg_guard_lookup(relid)->guarded)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with OID %u", relid),
				 errhint("The view deletion_guard.guarded_table lists the tables that are guarded.")));
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to unguard a table that was dropped"),
				 errhint("A superuser may.")));
	approvals = authorise_unguard(tokens, relid, "unguard_table");
	dg_own_delete_by_oid(DG_OWN(guard), Anum_guard_relation, relid);
	dg_guard_forget_all();
	dg_purge_approvals_record(approvals, "unguard_table", psprintf("{\"table\": %s}", dg_json_string(name)));
}

/*
 * unguard_table(target regclass, VARIADIC tokens text[]) -> void. What is in
 * the bin stays there.
 */
Datum
dg_unguard_table(PG_FUNCTION_ARGS)
{
	Oid			relid;
	ArrayType  *tokens = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	List	   *approvals;

	PreventCommandIfReadOnly("unguard_table()");
	dg_require_argument(fcinfo, 0, "target");
	relid = PG_GETARG_OID(0);
	if (get_rel_name(relid) == NULL)
	{
		unguard_gone(relid, tokens);
		PG_RETURN_VOID();
	}
	SPI_connect();
	dg_enrol_lock_owned(relid);
	approvals = authorise_unguard(tokens, relid, "unguard_table");
	dg_enrol_remove(relid);
	dg_purge_approvals_record(approvals, "unguard_table",
							  psprintf("{\"table\": %s}", dg_json_string(dg_relation_name(relid))));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * allow_drop(VARIADIC tokens text[]) -> void: lets this transaction drop the
 * extension, or tables of the bin, if nothing is in them.
 */
Datum
dg_allow_drop(PG_FUNCTION_ARGS)
{
	List	   *approvals;

	PreventCommandIfReadOnly("allow_drop()");
	dg_purge_require_extension_owner("drop deletion_guard");
	approvals = authorise_unguard(PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0), InvalidOid, "allow_drop");
	dg_purge_approvals_record(approvals, "allow_drop", "{}");
	ereport(LOG,
			(errmsg("deletion_guard may be dropped by this transaction"),
			 errdetail_log("role=%s", dg_session_role()),
			 errhidestmt(true), errhidecontext(true)));
	dg_protect_store_allow_drop();
	PG_RETURN_VOID();
}

/* ----------------------------------------------------------------------
 * claims
 *
 * Nothing is kept of them, and nothing promised: whether the act is possible is
 * asked when the token comes.
 * ----------------------------------------------------------------------
 */

/* The acts whose object is a number, and the claim that has it. */
static const struct
{
	DgTokenAct	act;
	const char *claim;
}			numbered[] = {
	{DG_TOKEN_ACT_ANNUL_PURGE, "purge"},
	{DG_TOKEN_ACT_RELEASE_HOLD, "hold"},
	{DG_TOKEN_ACT_SET_APPROVALS, "approvals"},
};

static char *
unguard_claims(const char *object)
{
	Oid			relid;

	if (strcmp(object, CLAIM_EXTENSION) == 0)
		return psprintf("\"relation\": %s", dg_json_string(object));
	relid = DatumGetObjectId(DirectFunctionCall1(regclassin, CStringGetDatum(object)));
	return psprintf("\"relation\": %s, \"relation_id\": %u", dg_json_string(dg_relation_name(relid)), relid);
}

static char *
add_authority_claims(const char *name, text * public_key)
{
	if (public_key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("public_key must not be null for \"add_authority\"")));
	return psprintf("\"authority\": %s, \"fingerprint\": %s", dg_json_string(name),
					dg_json_string(TextDatumGetCString(DirectFunctionCall1(dg_key_fingerprint, PointerGetDatum(public_key)))));
}

/*
 * What the claims of an act say of its object, as members of a JSON object.
 */
static char *
object_claims(const char *act, const char *object, text * public_key)
{
	for (int i = 0; i < lengthof(numbered); i++)
	{
		if (strcmp(act, dg_token_act_name(numbered[i].act)) == 0)
			return psprintf("\"%s\": %lld", numbered[i].claim,
							(long long) DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(object))));
	}
	if (strcmp(act, dg_token_act_name(DG_TOKEN_ACT_RETIRE_AUTHORITY)) == 0)
		return psprintf("\"authority\": %s", dg_json_string(object));
	if (strcmp(act, dg_token_act_name(DG_TOKEN_ACT_ADD_AUTHORITY)) == 0)
		return add_authority_claims(object, public_key);
	if (strcmp(act, dg_token_act_name(DG_TOKEN_ACT_UNGUARD)) == 0)
		return unguard_claims(object);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no act \"%s\" of which claims() knows", act),
			 errhint("Acts are annul_purge, release_hold, unguard, retire_authority, add_authority and set_approvals. The claims of a purge are what request_purge() and its kin return.")));
}

/*
 * claims(act text, object text, reason text, public_key text) -> jsonb
 */
Datum
dg_claims(PG_FUNCTION_ARGS)
{
	StringInfoData buf;
	char	   *act;

	act = text_to_cstring(dg_purge_required_text(fcinfo, 0, "act"));
	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"act\": %s, \"aud\": %s, %s", dg_json_string(act), dg_json_string(dg_purge_audience_text()),
					 object_claims(act, text_to_cstring(dg_purge_required_text(fcinfo, 1, "object")),
								   PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3)));
	if (!PG_ARGISNULL(2))
		appendStringInfo(&buf, ", \"reason\": %s", dg_json_string(text_to_cstring(PG_GETARG_TEXT_PP(2))));
	appendStringInfoChar(&buf, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
}
