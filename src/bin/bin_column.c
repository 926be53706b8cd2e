/*
 * bin_column.c
 *		Bins for the values of a column that is dropped.
 *
 * They hold the values with what identifies their rows: the primary key, or all
 * columns. As the rows stay in their table, such a bin belongs to no table from the
 * beginning, like that of a table that was dropped; it goes by the name of the table
 * and the column.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "bin/bin_internal.h"
#include "guard/guard.h"

/*
 * The columns that identify a row without one of them: the primary key, or all.
 */
static bool
identifies_row(Relation rel, Form_pg_attribute att, AttrNumber dropped)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);

	if (att->attisdropped || att->attgenerated != '\0')
		return false;
	return bms_is_empty(key) || bms_is_member(dropped - FirstLowInvalidHeapAttributeNumber, key) ||
		bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, key);
}

/*
 * Those and the column itself.
 */
static TupleDesc
shape_of(Relation rel, AttrNumber attnum)
{
	TupleDesc	desc = RelationGetDescr(rel);
	TupleDesc	shape;
	AttrNumber	n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		if (i + 1 == attnum || identifies_row(rel, TupleDescAttr(desc, i), attnum))
			n++;
	}
	shape = CreateTemplateTupleDesc(n);
	n = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		if (i + 1 == attnum || identifies_row(rel, TupleDescAttr(desc, i), attnum))
			TupleDescCopyEntry(shape, ++n, desc, i + 1);
	}
	dg_tupdesc_finalize(shape);
	return shape;
}

/*
 * Makes the bin, as one of a table that is gone.
 */
static void
make_bin(DgBinPlan *plan, TupleDesc shape, const char *column)
{
	Oid			types[] = {INT4OID, TEXTOID, NAMEOID};
	Datum		values[3];

	plan->bin_table = dg_bin_create(plan->root, shape, &plan->bin_id);
	values[0] = Int32GetDatum(plan->bin_id);
	values[1] = CStringGetTextDatum(psprintf("%s.%s", dg_relation_name(plan->root), quote_identifier(column)));
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(column));
	SPI_connect();
	dg_query("UPDATE deletion_guard.bin SET relation = 0, relation_name = $2, dropped_column = $3 WHERE bin_id = $1",
			 DG_AS_US, 3, types, values);
	SPI_finish();
}

/*
 * How the values of a column of the enrolled table root go into a bin, those that
 * are in rel: root itself or a partition, which may have the columns in another
 * order. Into the bin of the other plan, for another partition, if that is not NULL.
 */
DgBinPlan *
dg_bin_column_plan(DgGuard *guard, Relation rel, Relation root, AttrNumber attnum, const DgBinPlan *other)
{
	DgBinPlan  *plan = palloc0(sizeof(DgBinPlan));
	TupleDesc	shape = shape_of(root, attnum);

	plan->root = guard->root;
	plan->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	dg_bin_map_columns(plan, shape, guard, rel);
	if (other == NULL)
		make_bin(plan, shape, NameStr(TupleDescAttr(RelationGetDescr(root), attnum - 1)->attname));
	else
	{
		plan->bin_table = other->bin_table;
		plan->bin_id = other->bin_id;
	}
	return plan;
}
