/*
 * purge_store.c
 *		Finding rows of the registries, and small things every file of the room
 *		needs.
 *
 * What decides about a purge (authorities, holds, requests, used tokens, the
 * bin's contents) is read with a snapshot taken on the spot (dg_spi_select() of
 * spi.c, and here), whatever the transaction's isolation level: a hold that was
 * committed before the tenant's lock was granted counts, also for a transaction
 * that began before it. Writes keep the transaction's rules and fail with a
 * serialization error where those say so.
 */
#include "purge.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dg_audience);

/*
 * Finds a row of one of the extension's tables by the texts of its primary key;
 * NULL if there is none. As dg_spi_select(), in a fraction of the time: for
 * what each token is looked up in. The tuple and its descriptor are palloc'd.
 */
HeapTuple
dg_purge_find(const char *table, int nkeys, const char *const *keys, TupleDesc *desc)
{
	Oid			schema = dg_objects()->schema;
	Oid			relid = get_relname_relid(table, schema);
	Oid			indexid = get_relname_relid(psprintf("%s_pkey", table), schema);
	ScanKeyData scankeys[2];
	Relation	rel;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid) || !OidIsValid(indexid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table deletion_guard.%s or its index is missing", table)));
	Assert(nkeys <= lengthof(scankeys));
	for (int i = 0; i < nkeys; i++)
		ScanKeyInit(&scankeys[i], i + 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(keys[i]));
	rel = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(rel, indexid, true, snapshot, nkeys, scankeys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		tuple = heap_copytuple(tuple);
		*desc = CreateTupleDescCopy(RelationGetDescr(rel));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return tuple;
}

/*
 * The next number of one of the extension's sequences. The caller is connected
 * to SPI.
 */
int64
dg_purge_next_id(const char *sequence)
{
	dg_spi_execute(psprintf("SELECT nextval('deletion_guard.%s')", sequence), 0, NULL, NULL, NULL);
	return dg_row_int64(0, 1, NULL);
}

/*
 * Who is acting, for the record: the role that logged in.
 */
char *
dg_session_role(void)
{
	return GetUserNameFromId(GetSessionUserId(), false);
}

/*
 * For what only the extension's owner may do, whoever was granted EXECUTE:
 * the first key decides who can ever approve a purge.
 */
void
dg_require_extension_owner(const char *act)
{
	if (has_privs_of_role(GetUserId(), dg_objects()->owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to %s", act),
			 errhint("Only the owner of the extension, or a superuser, may do this.")));
}

/*
 * An argument that must be given and not be blank.
 */
text *
dg_required_text(FunctionCallInfo fcinfo, int arg, const char *name)
{
	text	   *value;

	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	value = PG_GETARG_TEXT_PP(arg);
	if (VARSIZE_ANY_EXHDR(value) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", name)));
	if (VARSIZE_ANY_EXHDR(value) > DG_TOKEN_MAX_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long", name),
				 errdetail("It has %d bytes; a token has room for %d.",
						   (int) VARSIZE_ANY_EXHDR(value), DG_TOKEN_MAX_TEXT)));
	return value;
}

/*
 * What the claim "aud" of a token for this database must say; palloc'd. The OID
 * tells the database from a copy (CREATE DATABASE ... TEMPLATE) that has been
 * given its name since, in which its used tokens may be unused.
 */
char *
dg_audience_text(void)
{
	return psprintf("deletion_guard:" UINT64_FORMAT ":%u:%s", GetSystemIdentifier(),
					MyDatabaseId, get_database_name(MyDatabaseId));
}

/*
 * audience() -> text
 */
Datum
dg_audience(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(dg_audience_text()));
}
