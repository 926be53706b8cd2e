/*
 * undelete_live.c
 *		Live rows of a tenant that a choice of rows stands for.
 *
 * Each table that the choice names is read from one end to the other, as its owner.
 * Whose a row is that has the values is asked in the way of a deletion.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture/capture.h"
#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "rows/rows.h"
#include "undelete/undelete.h"

/* of the rows that were found, as many are named */
#define NAMED_ROWS 5

/* Rows of a table on their way to an action. */
typedef struct EachLive
{
	DgLiveRow	action;
	void	   *arg;
	TupleTableSlot *slot;		/* NULL: no row has come yet */
	MemoryContext context;
} EachLive;

typedef struct LiveRows
{
	const char *tenant;
	DgChosenTable *table;
	Tuplestorestate *rows;		/* that have the values, */
	TupleDesc	desc;			/* as they have it; NULL: none */
	int64		n;				/* the tenant's */
	StringInfoData names;
} LiveRows;

/*
 * "t.a, t.b": a table's columns in its own order, with something in the place of those
 * that were dropped.
 */
static char *
columns_in_place(TupleDesc desc)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		appendStringInfo(&buf, "%s%s%s", i > 0 ? ", " : "", att->attisdropped ? "NULL" : "t.",
						 att->attisdropped ? "" : quote_identifier(NameStr(att->attname)));
	}
	return buf.data;
}

static void
pass_row(void *arg, HeapTuple tuple, TupleDesc desc)
{
	EachLive   *each = arg;
	MemoryContext old = MemoryContextSwitchTo(each->context);

	if (each->slot == NULL)
		each->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(desc), &TTSOpsHeapTuple);
	ExecStoreHeapTuple(tuple, each->slot, false);
	each->action(each->slot, each->arg);
	ExecClearTuple(each->slot);
	MemoryContextSwitchTo(old);
}

/*
 * Calls the action with each live row of a table, in slots with its columns. Reads as the
 * owner of it, or of its partition; the action runs as the caller.
 */
void
dg_undelete_live_each(Relation rel, DgLiveRow action, void *arg)
{
	EachLive	each = {action, arg,.context = CurrentMemoryContext};
	char	   *columns = columns_in_place(RelationGetDescr(rel));
	ListCell   *lc;

	SPI_connect();
	foreach(lc, dg_query_tables(RelationGetRelid(rel)))
		dg_query_each(pass_row, &each, psprintf("SELECT %s FROM %s t", columns, dg_own_rows(lfirst_oid(lc))),
					  DG_AS_OWNER,.table = lfirst_oid(lc),.snapshot = GetLatestSnapshot());
	SPI_finish();
	if (each.slot != NULL)
		ExecDropSingleTupleTableSlot(each.slot);
}

/*
 * Keeps a row that has the values. A DgLiveRow.
 */
static void
take_live_row(TupleTableSlot *slot, void *arg)
{
	LiveRows   *live = arg;

	if (live->desc == NULL)
	{
		live->desc = CreateTupleDescCopy(slot->tts_tupleDescriptor);
		dg_rows_chosen_begin(live->table, live->desc);
	}
	slot_getallattrs(slot);
	if (dg_rows_chosen_has(live->table, slot->tts_values, slot->tts_isnull))
		tuplestore_puttupleslot(live->rows, slot);
}

/*
 * Adds a row's name: its table's and, if it has a primary key, the values of that.
 */
static void
name_row(LiveRows *live, Relation rel, TupleTableSlot *slot)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	StringInfoData values;
	int			column = -1;

	initStringInfo(&values);
	while ((column = bms_next_member(key, column)) >= 0)
	{
		AttrNumber	attnum = column + FirstLowInvalidHeapAttributeNumber;
		bool		isnull;
		Datum		value = slot_getattr(slot, attnum, &isnull);
		Oid			type = TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid;

		appendStringInfo(&values, "%s%s=%s", values.len > 0 ? ", " : "", get_attname(RelationGetRelid(rel), attnum, false),
						 isnull ? "null" : dg_rows_chosen_text(value, type));
	}
	appendStringInfo(&live->names, "%s%s", live->names.len > 0 ? ", " : "", dg_relation_name(RelationGetRelid(rel)));
	if (values.len > 0)
		appendStringInfo(&live->names, " (%s)", values.data);
}

/*
 * Of the rows that have the values, counts and names the tenant's. Of a table that is not
 * guarded any more nobody can tell whose they are.
 */
static void
judge_live_rows(LiveRows *live, Relation rel)
{
	DgGuard    *guard = dg_guard_lookup(RelationGetRelid(rel));
	DgTenantResolver *resolver = guard->guarded ? dg_capture_tenant_resolver_of(rel) : NULL;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(live->desc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(live->rows, true, false, slot))
	{
		char	   *tenant = resolver != NULL ? dg_capture_tenant_of(resolver, slot) : NULL;

		if (guard->guarded && (tenant == NULL || !dg_guard_tenant_equal_in(guard->root, tenant, live->tenant)))
			continue;
		if (live->n++ < NAMED_ROWS)
			name_row(live, rel, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	if (resolver != NULL)
		dg_capture_tenant_resolver_end(resolver);
}

static void
look_among_live_rows(LiveRows *live, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);

	live->desc = NULL;
	live->rows = tuplestore_begin_heap(false, false, work_mem);
	dg_undelete_live_each(rel, take_live_row, live);
	if (tuplestore_tuple_count(live->rows) > 0)
		judge_live_rows(live, rel);
	tuplestore_end(live->rows);
	table_close(rel, NoLock);
}

/*
 * How many live rows of the tenant the choice (of DgChosenTable) stands for; the first of
 * them are named in text. What the choice has found before is forgotten.
 */
int64
dg_undelete_live_chosen(const char *tenant, List *chosen, char **text)
{
	LiveRows	live = {.tenant = tenant};
	int			nestlevel = dg_canonical_output_begin();
	ListCell   *lc;

	initStringInfo(&live.names);
	foreach(lc, dg_rows_chosen_tables(chosen))
	{
		Oid			relid = lfirst_oid(lc);
		char		relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

		if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
			continue;
		live.table = dg_rows_chosen_of(chosen, relid, "");
		look_among_live_rows(&live, relid);
	}
	AtEOXact_GUC(true, nestlevel);
	*text = live.names.data;
	return live.n;
}
