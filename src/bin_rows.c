/*
 * bin_rows.c
 *		deleted_rows(): the rows that are in the bin, as rows of their table.
 *
 * Whoever may read the table may read its deleted rows. Where row security
 * applies to the caller, there is no way to apply its policies to rows that
 * are not in the table, so the call is refused.
 */
#include "bin.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

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
 * A query for the deleted rows in one bin table, as rows of the table; columns
 * that the table got later are null.
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
		AttrNumber	from;

		if (att->attisdropped)
			continue;
		if (columns.len > 0)
			appendStringInfoString(&columns, ", ");
		from = get_attnum(RelationGetRelid(bin), NameStr(att->attname));
		if (from <= DG_BIN_COLUMNS)
			appendStringInfoString(&columns, "NULL");
		else
		{
			appendStringInfo(&columns, "r.%s", quote_identifier(NameStr(att->attname)));
			if (TupleDescAttr(RelationGetDescr(bin), from - 1)->atttypid != att->atttypid)
				appendStringInfo(&columns, "::pg_catalog.text::%s",
								 format_type_extended(att->atttypid, att->atttypmod,
													  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		}
	}
	return psprintf("SELECT ROW(%s)::%s FROM %s r JOIN deletion_guard.deletion_part p"
					" ON p.deletion_id = r.%s AND p.part = r.%s"
					" WHERE p.bin_id = $1 AND ($2 IS NULL OR p.tenant = $2)"
					" AND ($3 IS NULL OR p.deletion_id = $3) ORDER BY r.%s, r.%s, r.%s",
					columns.data, dg_relation_name(RelationGetRelid(rel)),
					dg_relation_name(RelationGetRelid(bin)),
					deletion, part, deletion, part, row);
}

static void
put_rows(ReturnSetInfo *rsinfo)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		HeapTupleHeader row = DatumGetHeapTupleHeader(SPI_getbinval(SPI_tuptable->vals[i],
																	SPI_tuptable->tupdesc, 1, &isnull));
		HeapTupleData tuple = {0};

		tuple.t_len = HeapTupleHeaderGetDatumLength(row);
		tuple.t_data = row;
		tuplestore_puttuple(rsinfo->setResult, &tuple);
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * The bins of a table, as a list of OIDs, with their ids.
 */
static List *
bins_of(Oid relid, List **ids)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	List	   *bins = NIL;

	*ids = NIL;
	dg_spi_execute("SELECT bin_table, bin_id FROM deletion_guard.bin WHERE relation = $1 ORDER BY bin_id",
				   1, types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		bins = lappend_oid(bins, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
																SPI_tuptable->tupdesc, 1, &isnull)));
		*ids = lappend_int(*ids, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
															 SPI_tuptable->tupdesc, 2, &isnull)));
	}
	return bins;
}

/*
 * deleted_rows(target anyelement, tenant text, deletion_id bigint) -> setof anyelement
 */
Datum
dg_deleted_rows(PG_FUNCTION_ARGS)
{
	Oid			relid = table_of_type(get_fn_expr_argtype(fcinfo->flinfo, 0));
	Oid			types[] = {INT4OID, TEXTOID, INT8OID};
	Datum		values[3];
	char		nulls[3] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' '};
	Relation	rel;
	List	   *bins;
	List	   *ids;

	require_reading(relid);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = PG_GETARG_DATUM(2);
	rel = table_open(relid, AccessShareLock);
	SPI_connect();
	bins = bins_of(relid, &ids);
	for (int i = 0; i < list_length(bins); i++)
	{
		Relation	bin = table_open(list_nth_oid(bins, i), AccessShareLock);

		values[0] = Int32GetDatum(list_nth_int(ids, i));
		dg_spi_execute(rows_query(rel, bin), 3, types, values, nulls);
		put_rows((ReturnSetInfo *) fcinfo->resultinfo);
		table_close(bin, NoLock);
	}
	SPI_finish();
	table_close(rel, NoLock);
	return (Datum) 0;
}
