/*
 * rows_twin.c
 *		Rows of a table without a key: is one that is to come back there already?
 *
 * Where no unique key tells rows apart, their content must. Of n rows of one
 * content that are to come back, as many are there already as live rows have that
 * content: of an archive's rows, which are all that there were, any live ones;
 * of deleted rows only live ones that were written after the deletion. One that
 * was there before is another row, and so is one that an undelete brought back.
 *
 * Whether a row was written after a deletion is told by the numbers of
 * transactions and commands in both. Where they do not tell (a transaction
 * that began before the deletion's wrote it afterwards), it counts as another row,
 * and the deleted one comes back: rather one too many than one too few.
 *
 * Contents are kept as hashes, with a secret of the call's own, of 128 bits.
 */
#include "rows.h"

#include "access/genam.h"
#include "access/htup_details.h"
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
#include "utils/typcache.h"

typedef struct Image
{
	uint64		high;
	uint64		low;
} Image;

typedef struct Twin
{
	Image		image;			/* hash key */
	DgRowsMoment deleted;		/* the first of the rows with this content that are to come back */
	int64		live;			/* rows that are there */
	char		status;
} Twin;

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
};

/*
 * Does an index tell any two rows apart?
 */
static bool
is_key(Relation rel, Form_pg_index index, bool plain)
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
		bool		key = is_key(rel, index->rd_index, plain);

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
 * For an open table, in the current memory context; NULL if it has a key.
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
		twins->probes = dg_keyset_make(CurrentMemoryContext, desc, 1, &probed);
	initStringInfo(&twins->row);
	return twins;
}

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
 * A live row; the columns of the tuple begin with those asked for.
 */
void
dg_rows_twins_live(DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc)
{
	bool		found;
	Twin	   *twin = twins_insert(twins->hash, image_of_tuple(twins, tuple, desc, 1), &found);

	twin->live = found ? twin->live + 1 : 1;
}

/*
 * Was a row written after that moment?
 */
static bool
is_after(TransactionId xmin, CommandId cmin, const DgRowsMoment *moment)
{
	if (xmin == moment->xid || xmin == moment->top)
		return cmin > moment->cid;
	return TransactionIdFollows(xmin, moment->xid);
}

/*
 * A row, in the table's shape, that is going to come back; when it was deleted.
 */
void
dg_rows_twins_expect(DgRowsTwins *twins, TupleTableSlot *slot, const DgRowsMoment *deleted)
{
	bool		found;
	Twin	   *twin = twins_insert(twins->hash, image_of_slot(twins, slot), &found);

	if (!found)
		twin->live = 0;
	if (!found || is_after(twin->deleted.xid, twin->deleted.cid, deleted))
		twin->deleted = *deleted;
	if (twins->probes == NULL)
		return;
	if (dg_keyset_read(twins->probes, slot) > 0 || (dg_keyset_add(twins->probes) && dg_keyset_is_full(twins->probes)))
		twins->probes = NULL;
}

/*
 * Rows that this transaction wrote were brought back by an undelete.
 */
void
dg_rows_twins_put_back(DgRowsTwins *twins, TransactionId xid)
{
	MemoryContext old = MemoryContextSwitchTo(twins->context);

	twins->put_back = lappend_oid(twins->put_back, (Oid) xid);
	MemoryContextSwitchTo(old);
}

static void
count_live_row(void *arg, HeapTuple tuple, TupleDesc desc)
{
	DgRowsTwins *twins = arg;
	bool		isnull;
	TransactionId xmin = DatumGetTransactionId(SPI_getbinval(tuple, desc, 1, &isnull));
	CommandId	cmin = DatumGetCommandId(SPI_getbinval(tuple, desc, 2, &isnull));
	Twin	   *twin = twins_lookup(twins->hash, image_of_tuple(twins, tuple, desc, 3));

	if (twin != NULL && is_after(xmin, cmin, &twin->deleted) && !list_member_oid(twins->put_back, (Oid) xmin))
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
	dg_keyset_store(twins->probes, NULL, MakeSingleTupleTableSlot(desc, &TTSOpsVirtual), &store);
	dg_spi_register_rows("expected", store, desc);
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
	appendStringInfo(&sql, "SELECT t.xmin, t.cmin, %s FROM %s t", dg_rows_twins_columns(twins), dg_own_rows(relid));
	if (twins->probes != NULL)
		append_probes(twins, &sql);
	PushActiveSnapshot(GetLatestSnapshot());
	dg_spi_read_as_owner(relid, sql.data, 0, NULL, NULL, count_live_row, twins);
	PopActiveSnapshot();
	SPI_finish();
}

/*
 * Looks for live rows like those that are expected, as of now.
 */
void
dg_rows_twins_find(DgRowsTwins *twins)
{
	ListCell   *lc;

	foreach(lc, twins->hash->members == 0 ? NIL : dg_rows_tables(twins->relid))
		find_in_table(twins, lfirst_oid(lc));
}

/*
 * Is a row, in the table's shape, there already? Each live row is one.
 */
bool
dg_rows_twins_take(DgRowsTwins *twins, TupleTableSlot *slot)
{
	Twin	   *twin;

	if (twins->hash->members == 0)
		return false;
	twin = twins_lookup(twins->hash, image_of_slot(twins, slot));
	if (twin == NULL || twin->live == 0)
		return false;
	twin->live--;
	return true;
}
