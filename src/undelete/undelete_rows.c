/*
 * undelete_rows.c
 *		deleted_rows(): the rows that are in the bin, as rows of their table.
 *
 * A row that had lost links to ON DELETE SET NULL or SET DEFAULT before it was
 * deleted itself is shown with them, as it comes back with them.
 *
 * All who may read the table may read its deleted rows. Where row security
 * applies to the caller, there is no way to apply its policies to rows that are
 * not in the table, so the call is refused.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "guard/guard.h"
#include "undelete/undelete_internal.h"

PG_FUNCTION_INFO_V1(dg_deleted_rows);

static Oid
table_of_type(Oid type)
{
	Oid			relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;
	char		relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the first argument of deleted_rows() must have the type of a table"),
				 errhint("For example: deletion_guard.deleted_rows(NULL::public.issue).")));
	return relid;
}

/*
 * Rows of a partition are kept with those of the root, but for those from before it
 * was one; what is not guarded is not kept.
 */
static void
check_guarded(Oid relid, bool has_bins)
{
	DgGuard    *guard = dg_guard_lookup(relid);

	if (guard->guarded && guard->root != relid)
		ereport(has_bins ? NOTICE : ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("deleted rows of \"%s\", a partition, are those of \"%s\"", get_rel_name(relid), get_rel_name(guard->root)),
				 errhint("Ask for deletion_guard.deleted_rows(NULL::%s).", dg_relation_name(guard->root))));
	if (!guard->guarded)
		ereport(NOTICE,
				(errmsg("\"%s\" is not guarded: what is deleted from it is not kept", get_rel_name(relid))));
}

/*
 * Fails unless the caller may read all rows of a table.
 */
void
dg_undelete_require_reading(Oid relid)
{
	AclResult	result = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(get_rel_relkind(relid)), get_rel_name(relid));
	if (check_enable_rls(relid, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security of \"%s\" applies to you, but cannot be applied to deleted rows",
						get_rel_name(relid)),
				 errhint("Ask as a role that bypasses row security.")));
}

/*
 * To choose rows by tenant is to learn whose they are.
 */
static void
require_telling(Oid relid)
{
	if (!dg_guard_may_tell(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to choose deleted rows of \"%s\" by tenant", get_rel_name(relid)),
				 errdetail("A path of foreign keys tells their tenants, through columns that you may not read, or not in all rows."),
				 errhint("Leave out the tenant, or ask as a role that may read the tables of deletion_guard.guarded_table.tenant_path.")));
}

/* What a call asks for, and what it gives its rows to. */
typedef struct DeletedRows
{
	Relation	rel;
	ReturnSetInfo *rsinfo;
	List	   *links;			/* that rows of the table had lost */
	Snapshot	snapshot;
	Datum		values[4];		/* bin, tenants, deletion, tenants' bins */
	char		nulls[4];
	Oid			bin_table;
	AttrNumber *source;			/* for each column of the table, the bin's; 0:
								 * none */

	/* for error messages: the value at hand */
	int64		deletion;
	Form_pg_attribute att;		/* of the table; NULL: none */
	Oid			from;			/* its type in the bin */
} DeletedRows;

/*
 * Converts a value of the bin to the column's present type, without the
 * column's length and precision. The type may have checks, so this runs with
 * the rights of the table's owner, like all code that belongs to the table,
 * not with the extension's.
 */
static Datum
as_present_type(Datum value, Oid from, Form_pg_attribute att)
{
	return dg_value_of_text(att->atttypid, -1, dg_value_text(from, value));
}

static void
reading_context(void *arg)
{
	DeletedRows *call = arg;

	if (call->att == NULL)
		return;
	errcontext("reading column \"%s\" of a deleted row of deletion %lld, which is of type %s now and was of type %s",
			   NameStr(call->att->attname), (long long) call->deletion,
			   format_type_be(call->att->atttypid), format_type_be(call->from));
	errhint("The rows are in %s as they were, for a superuser to read. Leave them out by tenant or deletion_id, or change the column's type.",
			dg_relation_name(call->bin_table));
}

/*
 * Which of the bin's columns each of the table's is; what the table got later, or
 * has dropped, is null.
 */
static AttrNumber *
columns_in_bin(Relation rel, Oid bin_table)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber *source = palloc0(sizeof(AttrNumber) * desc->natts);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		AttrNumber	attnum = att->attisdropped ? InvalidAttrNumber : get_attnum(bin_table, NameStr(att->attname));

		source[i] = attnum > DG_BIN_COLUMNS ? attnum : 0;
	}
	return source;
}

static void
put_deleted_row(DeletedRows *call, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(call->rel);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		int			from = call->source[i] - 1;

		nulls[i] = from < 0 || slot->tts_isnull[from];
		values[i] = nulls[i] ? (Datum) 0 : slot->tts_values[from];
		if (nulls[i])
			continue;
		call->from = TupleDescAttr(slot->tts_tupleDescriptor, from)->atttypid;
		if (call->from == TupleDescAttr(desc, i)->atttypid)
			continue;
		call->att = TupleDescAttr(desc, i);
		values[i] = as_present_type(values[i], call->from, call->att);
		call->att = NULL;
	}
	if (call->links != NIL)
		(void) dg_undelete_links_put(call->links, call->rel, call->deletion, values, nulls);
	tuplestore_putvalues(call->rsinfo->setResult, desc, values, nulls);
}

/*
 * The parts of the call that have rows in the bin that it has come to, in order,
 * palloc'd.
 */
static DgPlacedPart *
parts_of(DeletedRows *call, int64 *n)
{
	static Oid	types[] = {INT4OID, TEXTARRAYOID, INT8OID, INT4ARRAYOID};
	DgPlacedPart *parts;

	*n = dg_query("SELECT p.deletion_id, p.part::bigint, p.rows - p.restored - p.purged, p.filenode, p.blocks"
				  " FROM ONLY deletion_guard.deletion_part p"
				  " WHERE p.bin_id = $1 AND p.rows > p.restored + p.purged AND ($2 IS NULL OR " DG_OF_TENANTS("$2", "$4") ")"
				  " AND ($3 IS NULL OR p.deletion_id = $3) ORDER BY p.deletion_id, p.part",
				  DG_AS_US, 4, types, call->values, call->nulls,.snapshot = call->snapshot);
	parts = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(DgPlacedPart) * (*n + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 i = 0; i < *n; i++)
	{
		bool		isnull;

		parts[i].deletion = dg_row_int64(i, 1, NULL);
		parts[i].part = (int32) dg_row_int64(i, 2, NULL);
		parts[i].rows = dg_row_int64(i, 3, NULL);
		parts[i].filenode = (Oid) dg_row_int64(i, 4, NULL);
		parts[i].blocks = DatumGetByteaPP(dg_row_datum(i, 5, &isnull));
	}
	return parts;
}

/*
 * What belongs to the table runs as its owner. A row's memory ends with it.
 */
static void
put_rows(DeletedRows *call, DgBinScan *scan)
{
	ErrorContextCallback context = {.previous = error_context_stack,.callback = reading_context,
	.arg = call};
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard row",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	DgRole		caller = dg_role_enter(call->rel->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION);
	TupleTableSlot *slot;

	error_context_stack = &context;
	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		DgPlacedPart *part = dg_bin_scan_placed(scan);

		part->found++;
		call->deletion = part->deletion;
		MemoryContextSwitchTo(row);
		put_deleted_row(call, slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	error_context_stack = context.previous;
	dg_role_leave(caller);
	MemoryContextDelete(row);
}

/*
 * Gives the rows of one bin. Fails unless it has as many of each part as it should:
 * none, where the table is gone, as that of an empty bin may be.
 */
static void
put_bin(DeletedRows *call, Oid bin_table)
{
	int64		n;
	DgPlacedPart *parts = parts_of(call, &n);
	Relation	bin = try_table_open(bin_table, AccessShareLock);

	if (bin != NULL && n > 0)
	{
		DgBinScan  *scan = dg_bin_scan_begin_placed(bin_table, parts, n, call->snapshot);

		call->bin_table = bin_table;
		call->source = columns_in_bin(call->rel, bin_table);
		put_rows(call, scan);
		dg_bin_scan_end(scan);
	}
	if (bin != NULL)
		table_close(bin, NoLock);
	for (int64 i = 0; i < n; i++)
		dg_undelete_check_part(dg_relation_name(RelationGetRelid(call->rel)), parts[i].deletion, parts[i].part,
							   parts[i].found, parts[i].rows);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * The bins of a table, as a list of OIDs; their ids are in *ids.
 */
static List *
bins_of(Oid relid, List **ids)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};

	dg_query("SELECT bin_table, bin_id FROM deletion_guard.bin WHERE relation = $1 ORDER BY bin_id",
			 DG_AS_US, 1, types, values);
	*ids = NIL;
	for (uint64 i = 0; i < SPI_processed; i++)
		*ids = lappend_int(*ids, (int) dg_row_int64(i, 2, NULL));
	return dg_row_oids(1);
}

/*
 * deleted_rows(target anyelement, tenant text, deletion_id bigint) -> setof anyelement
 */
Datum
dg_deleted_rows(PG_FUNCTION_ARGS)
{
	Oid			relid = table_of_type(get_fn_expr_argtype(fcinfo->flinfo, 0));
	DeletedRows call = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo,
	.nulls = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' ', PG_ARGISNULL(1) ? 'n' : ' '}};
	List	   *bins;
	List	   *ids;

	dg_undelete_require_reading(relid);
	if (!PG_ARGISNULL(1))
		require_telling(relid);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!PG_ARGISNULL(1))
		call.values[1] = dg_bin_tenants_in_bin(dg_bin_tenants_present(list_make1(text_to_cstring(PG_GETARG_TEXT_PP(1)))), &call.values[3]);
	call.values[2] = PG_GETARG_DATUM(2);
	call.rel = table_open(relid, AccessShareLock);
	call.links = dg_undelete_links_of_table(relid, false);
	SPI_connect();
	bins = bins_of(relid, &ids);
	check_guarded(relid, bins != NIL);
	CommandCounterIncrement();
	call.snapshot = RegisterSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < list_length(bins); i++)
	{
		call.values[0] = Int32GetDatum(list_nth_int(ids, i));
		put_bin(&call, list_nth_oid(bins, i));
	}
	UnregisterSnapshot(call.snapshot);
	SPI_finish();
	table_close(call.rel, NoLock);
	return (Datum) 0;
}
