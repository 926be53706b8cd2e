/*
 * rows_twin.c
 *		Rows of a table without a key: is one that is to come back there already?
 *
 * Where no unique key tells rows apart, their content must. Of n rows of one
 * content that are to come back, as many are there already as live rows have that
 * content: of an archive's rows, which are all that there were, any live ones;
 * of deleted rows only live ones that were written after the deletion. One that
 * was there before is another row, and so is one that an undelete brought back,
 * that an UPDATE has written, or that ALTER TABLE has, when it wrote the table anew.
 *
 * Whether a row was written after a deletion is told by the numbers of
 * transactions and commands in both. Where they do not tell (a transaction
 * that began before the deletion's wrote it afterwards), it counts as another row,
 * and the deleted one comes back: rather one too many than one too few.
 *
 * A row may also be there with other values than those it comes back with: one of the two has lost
 * a link. The caller says so, and is told when such a row has been taken.
 *
 * Contents are kept as hashes, with a secret of the call's own, of 128 bits.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "rows/rows_internal.h"

typedef struct Image
{
	uint64		high;
	uint64		low;
} Image;

typedef struct Twin
{
	Image		image;			/* hash key */
	DgRowsMoment deleted;		/* the first of the rows with this content
								 * that are to come back */
	int64		live;			/* rows that are there */
	List	   *others;			/* of Other: that may count as this one */
	char		status;
} Twin;

/* A live row whose content is another, but that may be taken for one of a twin's. */
typedef struct Other
{
	Image		image;
	void	   *alias;			/* what the caller knows of it */
} Other;

#define SH_PREFIX twins
#define SH_ELEMENT_TYPE Twin
#define SH_KEY_TYPE Image
#define SH_KEY image
#define SH_HASH_KEY(tb, key) ((uint32) (key).low)
#define SH_EQUAL(tb, a, b) ((a).high == (b).high && (a).low == (b).low)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct DgRowsTwins
{
	Oid			relid;
	MemoryContext context;
	int			n;				/* columns that are compared */
	Form_pg_attribute *atts;
	twins_hash *hash;
	Image		seed;
	StringInfoData row;
	DgKeySet   *probes;			/* values of an indexed column; NULL: no use */
	AttrNumber	probed;
	List	   *put_back;		/* xids (as Oid) of undeletes */
	Image		expected;		/* the row that was expected last */
	bool		expecting;		/* deleted rows; otherwise an archive's come
								 * back */
	bool		found;			/* live rows have been looked for */
};

/*
 * Does an index tell any two rows apart?
 */
static bool
is_key_index(Relation rel, Form_pg_index index, bool plain)
{
	if (!index->indisunique || !index->indisvalid || !plain)
		return false;
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->indkey.values[i];

		if (attnum <= 0 || (!index->indnullsnotdistinct && !TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attnotnull))
			return false;
	}
	return true;
}

/*
 * Has the table a key? If not, *probed is a column that rows can be looked up
 * by, or 0.
 */
static bool
has_key(Relation rel, AttrNumber *probed)
{
	ListCell   *lc;

	*probed = 0;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		plain = heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		bool		key = is_key_index(rel, index->rd_index, plain);

		if (plain && index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID && *probed == 0 &&
			index->rd_index->indkey.values[0] > 0)
			*probed = index->rd_index->indkey.values[0];
		index_close(index, NoLock);
		if (key)
			return true;
	}
	return false;
}

/*
 * Begins to tell rows of an open table by their content, in the current memory
 * context; NULL if the table has a key, which tells them.
 */
DgRowsTwins *
dg_rows_twins_make(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber	probed;
	DgRowsTwins *twins;

	if (has_key(rel, &probed))
		return NULL;
	twins = palloc0(sizeof(DgRowsTwins));
	twins->relid = RelationGetRelid(rel);
	twins->context = CurrentMemoryContext;
	twins->atts = palloc(sizeof(Form_pg_attribute) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->attgenerated == '\0')
			twins->atts[twins->n++] = att;
	}
	if (twins->n == 0 || !pg_strong_random(&twins->seed, sizeof(twins->seed)))
		return NULL;
	twins->hash = twins_create(CurrentMemoryContext, 64, NULL);
	twins->probed = probed;
	if (probed > 0)
		twins->probes = dg_rows_keyset_make(CurrentMemoryContext, desc, 1, &probed);
	initStringInfo(&twins->row);
	return twins;
}

/*
 * The table that the rows are of.
 */
Oid
dg_rows_twins_table(const DgRowsTwins *twins)
{
	return twins->relid;
}

/*
 * "t.a, t.b": the columns that dg_rows_twins_live() wants, palloc'd.
 */
char *
dg_rows_twins_columns(DgRowsTwins *twins)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < twins->n; i++)
		appendStringInfo(&buf, "%st.%s", i > 0 ? ", " : "", quote_identifier(NameStr(twins->atts[i]->attname)));
	return buf.data;
}

static void
begin_image(DgRowsTwins *twins)
{
	resetStringInfo(&twins->row);
}

static Image
end_image(DgRowsTwins *twins)
{
	Image		image;

	image.high = hash_bytes_extended((unsigned char *) twins->row.data, twins->row.len, twins->seed.high);
	image.low = hash_bytes_extended((unsigned char *) twins->row.data, twins->row.len, twins->seed.low);
	return image;
}

static Image
image_of_slot(DgRowsTwins *twins, TupleTableSlot *slot)
{
	begin_image(twins);
	for (int i = 0; i < twins->n; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, twins->atts[i]->attnum, &isnull);

		dg_rows_append_value(&twins->row, value, isnull, twins->atts[i]);
	}
	return end_image(twins);
}

/*
 * Of a row of a query, whose columns from "first" on are the table's.
 */
static Image
image_of_tuple(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc, int first)
{
	begin_image(twins);
	for (int i = 0; i < twins->n; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(tuple, desc, first + i, &isnull);

		dg_rows_append_value(&twins->row, value, isnull, twins->atts[i]);
	}
	return end_image(twins);
}

/*
 * Takes note of a live row; the columns of the tuple begin with those that
 * dg_rows_twins_columns() has asked for.
 */
void
dg_rows_twins_live(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc)
{
	bool		found;
	Twin	   *twin = twins_insert(twins->hash, image_of_tuple(twins, tuple, desc, 1), &found);

	if (!found)
		twin->others = NIL;
	twin->live = found ? twin->live + 1 : 1;
}

/*
 * The twin of an image, which is made.
 */
static Twin *
twin_of(DgRowsTwins *twins, Image image, bool *found)
{
	Twin	   *twin = twins_insert(twins->hash, image, found);

	if (!*found)
	{
		twin->live = 0;
		twin->others = NIL;
	}
	return twin;
}

/*
 * A row with this image may be there as one with the other.
 */
static void
add_other(DgRowsTwins *twins, Image image, Image as, void *alias)
{
	MemoryContext old = MemoryContextSwitchTo(twins->context);
	Other	   *other = palloc(sizeof(Other));
	bool		found;
	Twin	   *twin = twin_of(twins, image, &found);

	other->image = as;
	other->alias = alias;
	twin->others = lappend(twin->others, other);
	MemoryContextSwitchTo(old);
}

/*
 * That live row may also be taken for one with these values, in the table's shape.
 */
void
dg_rows_twins_alias(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc,
					const Datum *values, const bool *nulls, void *alias)
{
	Image		live = image_of_tuple(twins, tuple, desc, 1);

	begin_image(twins);
	for (int i = 0; i < twins->n; i++)
		dg_rows_append_value(&twins->row, values[twins->atts[i]->attnum - 1], nulls[twins->atts[i]->attnum - 1], twins->atts[i]);
	add_other(twins, end_image(twins), live, alias);
}

/*
 * Was a row written after that moment?
 */
static bool
is_after(TransactionId xmin, CommandId cmin, const DgRowsMoment *moment)
{
	if (!TransactionIdIsValid(moment->xid))
		return false;
	if (xmin == moment->xid || xmin == moment->top)
		return cmin > moment->cid;
	return TransactionIdFollows(xmin, moment->xid);
}

/*
 * Takes note of a row, in the table's shape, that is going to come back, and of
 * when it was deleted. Or, with an alias, other values with which the row that
 * was expected last may be there.
 */
static void
expect_twin(DgRowsTwins *twins, TupleTableSlot *slot, const DgRowsMoment *deleted, void *alias)
{
	Image		image = image_of_slot(twins, slot);
	bool		found;
	Twin	   *twin = twin_of(twins, image, &found);

	if (!found || is_after(twin->deleted.xid, twin->deleted.cid, deleted))
		twin->deleted = *deleted;
	if (alias != NULL)
		add_other(twins, twins->expected, image, alias);
	twins->expected = image;
	twins->expecting = true;
	if (twins->probes == NULL)
		return;
	if (dg_rows_keyset_read(twins->probes, slot) > 0 || (dg_rows_keyset_add(twins->probes) && dg_rows_keyset_is_full(twins->probes)))
		twins->probes = NULL;
}

/*
 * Takes note that the rows which a transaction wrote were brought back by an
 * undelete: they are not new ones.
 */
void
dg_rows_twins_put_back(DgRowsTwins *twins, TransactionId xid)
{
	MemoryContext old = MemoryContextSwitchTo(twins->context);

	twins->put_back = lappend_oid(twins->put_back, (Oid) xid);
	MemoryContextSwitchTo(old);
}

/*
 * Was there a version of a row before? It was written by an UPDATE, or by a
 * transaction that has altered its table's columns, and may have written all rows anew.
 */
static bool
is_written_anew(Oid relid, ItemPointer tid, TransactionId xmin)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		anew = false;

	for (int i = 1; i <= RelationGetNumberOfAttributes(rel) && !anew; i++)
	{
		HeapTuple	attribute = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(i));

		if (HeapTupleIsValid(attribute))
		{
			anew = (HeapTupleHeaderGetRawXmin(attribute->t_data) == xmin);
			ReleaseSysCache(attribute);
		}
	}
	if (!anew && rel->rd_tableam != NULL && table_tuple_fetch_row_version(rel, tid, SnapshotAny, slot))
		anew = TTS_IS_BUFFERTUPLE(slot) &&
			(((HeapTupleTableSlot *) slot)->tuple->t_data->t_infomask & HEAP_UPDATED) != 0;
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return anew;
}

static void
count_live_twin(void *arg, HeapTuple tuple, TupleDesc desc)
{
	DgRowsTwins *twins = arg;
	bool		isnull;
	TransactionId xmin = DatumGetTransactionId(SPI_getbinval(tuple, desc, 1, &isnull));
	CommandId	cmin = DatumGetCommandId(SPI_getbinval(tuple, desc, 2, &isnull));
	ItemPointer tid = (ItemPointer) DatumGetPointer(SPI_getbinval(tuple, desc, 3, &isnull));
	Oid			relid = DatumGetObjectId(SPI_getbinval(tuple, desc, 4, &isnull));
	Twin	   *twin = twins_lookup(twins->hash, image_of_tuple(twins, tuple, desc, 5));

	if (twin != NULL && is_after(xmin, cmin, &twin->deleted) &&
		!list_member_oid(twins->put_back, (Oid) xmin) && !is_written_anew(relid, tid, xmin))
		twin->live++;
}

/*
 * Gives the query the values of the indexed column, by which rows are looked up.
 */
static void
append_probes(DgRowsTwins *twins, StringInfo sql)
{
	Oid			type = get_atttype(twins->relid, twins->probed);
	TupleDesc	desc = CreateTemplateTupleDesc(1);
	Tuplestorestate *store = NULL;

	TupleDescInitEntry(desc, 1, "v", type, -1, 0);
	dg_tupdesc_finalize(desc);
	dg_rows_keyset_store(twins->probes, NULL, MakeSingleTupleTableSlot(desc, &TTSOpsVirtual), &store);
	dg_query_register_rows("expected", store, desc);
	appendStringInfoString(sql, " WHERE EXISTS (SELECT 1 FROM expected e WHERE ");
	generate_operator_clause(sql, psprintf("t.%s", quote_identifier(get_attname(twins->relid, twins->probed, false))),
							 type, lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr, "e.v", type);
	appendStringInfoChar(sql, ')');
}

static void
find_in_table(DgRowsTwins *twins, Oid relid)
{
	StringInfoData sql;

	SPI_connect();
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT t.xmin, t.cmin, t.ctid, t.tableoid, %s FROM %s t", dg_rows_twins_columns(twins), dg_own_rows(relid));
	if (twins->probes != NULL)
		append_probes(twins, &sql);
	dg_query_each(count_live_twin, twins, sql.data, DG_AS_OWNER,
				  .table = relid,
				  .snapshot = GetLatestSnapshot());
	SPI_finish();
}

/*
 * Have the live rows been looked for? From now on, yes.
 */
bool
dg_rows_twins_known(DgRowsTwins *twins)
{
	bool		known = twins->found;

	twins->found = true;
	return known;
}

/*
 * Looks for live rows like those that are expected, as of now.
 */
void
dg_rows_twins_find(DgRowsTwins *twins)
{
	ListCell   *lc;

	foreach(lc, twins->hash->members == 0 ? NIL : dg_query_tables(twins->relid))
		find_in_table(twins, lfirst_oid(lc));
}

/*
 * Is a row, in the table's shape, there already? Each live row is one. *alias is
 * what the caller has said of it, if it has other values; otherwise NULL.
 *
 * An archive's row is sooner the live one that has lost nothing. A deleted row is
 * sooner the one that has its link back: otherwise the link would be put into a
 * live row that never had it.
 */
bool
dg_rows_twins_take(DgRowsTwins *twins, TupleTableSlot *slot, void **alias)
{
	Twin	   *twin = twins->hash->members == 0 ? NULL : twins_lookup(twins->hash, image_of_slot(twins, slot));

	*alias = NULL;
	while (twin != NULL && (twin->live == 0 || twins->expecting) && twin->others != NIL)
	{
		Other	   *other = linitial(twin->others);
		Twin	   *live = twins_lookup(twins->hash, other->image);

		twin->others = list_delete_first(twin->others);
		if (live == NULL || live->live == 0)
			continue;
		live->live--;
		*alias = other->alias;
		return true;
	}
	if (twin == NULL || twin->live == 0)
		return false;
	twin->live--;
	return true;
}

/*
 * Will rows of the target be told by their content, so that the caller should say
 * which he is going to put, or which are live?
 */
DgRowsTwins *
dg_rows_writer_twins(DgRowsTarget *target)
{
	return target->twins;
}

/*
 * Announces a row that is going to be put, and when it was deleted, to a target
 * whose rows are told by their content; or, with an alias, the other values
 * with which the last such row may be there.
 */
void
dg_rows_writer_expect(DgRowsTarget *target, Datum *values, bool *nulls, const DgRowsMoment *deleted, void *alias)
{
	ErrorContextCallback context = {.previous = error_context_stack,
		.callback = dg_rows_map_context,
	.arg = target->map};
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));

	error_context_stack = &context;
	dg_rows_as_owner(&target->role);
	dg_rows_map_apply(target->map, GetPerTupleExprContext(target->estate), values, nulls, target->slot);
	dg_rows_as_caller(&target->role);
	error_context_stack = context.previous;
	expect_twin(target->twins, target->slot, deleted, alias);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(target->estate);
}
