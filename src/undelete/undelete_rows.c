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

static void
require_reading(Oid relid)
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

#define OF_CALL	"p.bin_id = $1 AND ($2 IS NULL OR " DG_OF_TENANTS("$2", "$4") ")" \
	" AND ($3 IS NULL OR p.deletion_id = $3)"

/*
 * A query for the deleted rows in one bin table: the deletion; the columns of the
 * table, in order, where those that it got later, or has dropped, are null; the
 * part, how many rows of it should be there, and whether this is one. A part that
 * should have some and has none gives a line as well.
 */
static char *
rows_query(Relation rel, Relation bin)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData columns;
	const char *deletion = quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(bin), 0)->attname));
	const char *part = quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(bin), 1)->attname));
	const char *row = quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(bin), 2)->attname));

	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && get_attnum(RelationGetRelid(bin), NameStr(att->attname)) > DG_BIN_COLUMNS)
			appendStringInfo(&columns, ", r.%s", quote_identifier(NameStr(att->attname)));
		else
			appendStringInfoString(&columns, ", NULL");
	}
	return psprintf("SELECT p.deletion_id%s, p.part::bigint, p.rows - p.restored - p.purged, r.%s IS NOT NULL"
					" FROM deletion_guard.deletion_part p LEFT JOIN %s r ON p.deletion_id = r.%s AND p.part = r.%s"
					" WHERE " OF_CALL " AND (p.rows > p.restored + p.purged OR r.%s IS NOT NULL)"
					" ORDER BY p.deletion_id, p.part, r.%s",
					columns.data, row, dg_relation_name(RelationGetRelid(bin)), deletion, part, row, row);
}

/*
 * Converts a value of the bin to the column's present type, without the
 * column's length and precision. The type may have checks, so this runs with
 * the rights of the table's owner, like all code that belongs to the table,
 * not with the extension's.
 */
static Datum
as_present_type(Datum value, Oid from, Form_pg_attribute att)
{
	Oid			input;
	Oid			typioparam;

	getTypeInputInfo(att->atttypid, &input, &typioparam);
	return OidInputFunctionCall(input, dg_value_text(from, value), typioparam, -1);
}

/* The value at hand, for error messages. */
typedef struct Reading
{
	Oid			bin_table;
	int64		deletion;
	Form_pg_attribute att;		/* of the table; NULL: none */
	Oid			from;			/* its type in the bin */
} Reading;

static void
reading_context(void *arg)
{
	Reading    *reading = arg;

	if (reading->att == NULL)
		return;
	errcontext("reading column \"%s\" of a deleted row of deletion %lld, which is of type %s now and was of type %s",
			   NameStr(reading->att->attname), (long long) reading->deletion,
			   format_type_be(reading->att->atttypid), format_type_be(reading->from));
	errhint("The rows are in %s as they were, for a superuser to read. Leave them out by tenant or deletion_id, or change the column's type.",
			dg_relation_name(reading->bin_table));
}

static void
put_deleted_row(ReturnSetInfo *rsinfo, Relation rel, HeapTuple tuple, TupleDesc from, List *sets, Reading *reading)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	bool		isnull;

	reading->deletion = DatumGetInt64(SPI_getbinval(tuple, from, 1, &isnull));
	for (int i = 0; i < desc->natts; i++)
	{
		/* the first column is the bin's */
		reading->from = TupleDescAttr(from, i + 1)->atttypid;
		values[i] = SPI_getbinval(tuple, from, i + 2, &nulls[i]);
		if (nulls[i] || reading->from == TupleDescAttr(desc, i)->atttypid)
			continue;
		reading->att = TupleDescAttr(desc, i);
		values[i] = as_present_type(values[i], reading->from, reading->att);
		reading->att = NULL;
	}
	if (sets != NIL)
		(void) dg_undelete_links_put(sets, rel, reading->deletion, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, desc, values, nulls);
}

/*
 * Fails unless SPI's result has as many rows of each part as it should.
 */
static void
check_rows(Relation rel)
{
	int			n = RelationGetNumberOfAttributes(rel) + 1;
	int64		found = 0;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		found += DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, n + 3, &isnull));
		if (i + 1 < SPI_processed && dg_row_int64(i, 1, NULL) == dg_row_int64(i + 1, 1, NULL) &&
			dg_row_int64(i, n + 1, NULL) == dg_row_int64(i + 1, n + 1, NULL))
			continue;
		dg_undelete_check_part(dg_relation_name(RelationGetRelid(rel)), dg_row_int64(i, 1, NULL), (int) dg_row_int64(i, n + 1, NULL),
							   found, dg_row_int64(i, n + 2, NULL));
		found = 0;
	}
}

/*
 * Fails if a bin table is gone and the records say that rows were left in it.
 */
static void
check_gone(Relation rel, Oid *types, Datum *values, const char *nulls)
{
	dg_query("SELECT p.deletion_id, p.part::bigint, p.rows - p.restored - p.purged FROM deletion_guard.deletion_part p"
			 " WHERE " OF_CALL " AND p.rows > p.restored + p.purged ORDER BY 1, 2 LIMIT 1",
			 DG_AS_US, 4, types, values, nulls);
	if (SPI_processed > 0)
		dg_undelete_check_part(dg_relation_name(RelationGetRelid(rel)), dg_row_int64(0, 1, NULL), (int) dg_row_int64(0, 2, NULL),
							   0, dg_row_int64(0, 3, NULL));
}

static void
put_rows(ReturnSetInfo *rsinfo, Relation rel, List *sets, Oid bin_table)
{
	Reading		reading = {.bin_table = bin_table};
	ErrorContextCallback context = {.previous = error_context_stack,.callback = reading_context,
	.arg = &reading};
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard row",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row);
	DgRole		caller;

	error_context_stack = &context;
	caller = dg_role_enter(rel->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		put_deleted_row(rsinfo, rel, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, sets, &reading);
		MemoryContextReset(row);
	}
	error_context_stack = context.previous;
	dg_role_leave(caller);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
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
	Oid			types[] = {INT4OID, TEXTARRAYOID, INT8OID, INT4ARRAYOID};
	Datum		values[4] = {0};
	char		nulls[4] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' ', PG_ARGISNULL(1) ? 'n' : ' '};
	Relation	rel;
	List	   *bins;
	List	   *ids;
	List	   *sets;

	require_reading(relid);
	if (!PG_ARGISNULL(1))
		require_telling(relid);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!PG_ARGISNULL(1))
		values[1] = dg_bin_tenants_in_bin(dg_bin_tenants_present(list_make1(text_to_cstring(PG_GETARG_TEXT_PP(1)))), &values[3]);
	values[2] = PG_GETARG_DATUM(2);
	rel = table_open(relid, AccessShareLock);
	sets = dg_undelete_links_of_table(relid, false);
	SPI_connect();
	bins = bins_of(relid, &ids);
	check_guarded(relid, bins != NIL);
	for (int i = 0; i < list_length(bins); i++)
	{
		Relation	bin = try_table_open(list_nth_oid(bins, i), AccessShareLock);

		values[0] = Int32GetDatum(list_nth_int(ids, i));
		/* an empty bin can be dropped */
		if (bin == NULL)
		{
			check_gone(rel, types, values, nulls);
			continue;
		}
		dg_query(rows_query(rel, bin), DG_AS_US, 4, types, values, nulls);
		check_rows(rel);
		put_rows((ReturnSetInfo *) fcinfo->resultinfo, rel, sets, RelationGetRelid(bin));
		table_close(bin, NoLock);
	}
	SPI_finish();
	table_close(rel, NoLock);
	return (Datum) 0;
}
