/*
 * purge_unguard.c
 *		Giving up protection: unguard_table() and allow_drop().
 *
 * Where deletion_guard.locked is set, which only the server's start can, giving
 * up protection takes tokens for the act "unguard": for one table, its name;
 * for DROP EXTENSION and for dropping tables of the bin, "extension
 * deletion_guard". The latter is permitted to the transaction that has shown
 * the tokens.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
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

#define EXTENSION_CLAIM "extension deletion_guard"

static bool
names_relation(const DgTokenClaims *claims, void *arg)
{
	return strcmp(claims->relation, (const char *) arg) == 0;
}

/*
 * Verifies the tokens, if any are needed or given.
 */
static List *
authorise_unguard(ArrayType *tokens, char *relation, const char *what)
{
	bool		given = tokens != NULL && ArrayGetNItems(ARR_NDIM(tokens), ARR_DIMS(tokens)) > 0;

	if (!dg_locked && !given)
		return NIL;
	dg_purge_lock_authorities(ShareLock);
	return dg_purge_authorise(DG_TOKEN_ACT_UNGUARD, tokens, names_relation, relation, what,
							  psprintf("\"relation\": %s", dg_json_string(relation)));
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
	approvals = authorise_unguard(tokens, name, "unguard_table");
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
	approvals = authorise_unguard(tokens, dg_relation_name(relid), "unguard_table");
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
	approvals = authorise_unguard(PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0), EXTENSION_CLAIM, "allow_drop");
	dg_purge_approvals_record(approvals, "allow_drop", "{}");
	ereport(LOG,
			(errmsg("deletion_guard may be dropped by this transaction"),
			 errdetail_log("role=%s", dg_session_role()),
			 errhidestmt(true), errhidecontext(true)));
	dg_protect_store_allow_drop();
	PG_RETURN_VOID();
}
