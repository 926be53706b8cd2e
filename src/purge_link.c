/*
 * purge_link.c
 *		Lost links (deletion_link) that go with a purge.
 *
 * A link quotes the key of the row that was deleted, and the row that stayed:
 * by its primary key or, where there is none, by all of its columns. So a
 * link goes when the row it led to is purged, and also when the row that it
 * is of was deleted later and is purged. Both are known by the texts of their
 * columns, which are compared with those of each row as it is purged. A link
 * whose key's columns write their values in another way than those they refer
 * to, or whose foreign key is no longer there, is not found like that: it
 * goes when nothing of its deletion is left in the bin.
 */
#include "purge.h"

#include "access/table.h"
#include "bin.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A lost link, known by a canonical text of some columns' values. */
typedef struct Link
{
	ItemPointerData tid;
	const char *values;
	bool		gone;
} Link;

/* What to look for in rows of one bin table, by the same columns. */
typedef struct Probe
{
	bool		of_deletion;	/* the deletion's number is part of the text */
	Datum		relation;		/* of the links */
	Datum		columns;		/* of the links, name[] */
	int			nattrs;
	AttrNumber *attnums;		/* in the bin table; null: not in the one at hand */
	HTAB	   *links;			/* of LinkEntry */
} Probe;

typedef struct LinkEntry
{
	uint64		hash;			/* of the text; hash key */
	List	   *links;
} LinkEntry;

struct DgPurgeLinks
{
	Datum		deletions;		/* of the plan, int8[] */
	Oid			bin_table;		/* at hand */
	FmgrInfo   *output;			/* by attribute number - 1 */
	List	   *probes;			/* for it */
	List	   *gone;			/* of Link */
	StringInfoData buf;
	MemoryContext context;
	MemoryContext bin_context;	/* for what is known of the bin table at hand */
};

/*
 * Prepares for the rows that the plan covers. The caller is connected to SPI.
 */
DgPurgeLinks *
dg_purge_links_begin(const DgPlan *plan)
{
	DgPurgeLinks *links = palloc0(sizeof(DgPurgeLinks));
	Datum	   *deletions = palloc(sizeof(Datum) * Max(plan->nparts, 1));
	int			n = 0;

	for (int i = 0; i < plan->nparts; i++)
	{
		if (n == 0 || DatumGetInt64(deletions[n - 1]) != plan->parts[i].deletion)
			deletions[n++] = Int64GetDatum(plan->parts[i].deletion);
	}
	links->deletions = PointerGetDatum(construct_array(deletions, n, INT8OID, sizeof(int64),
													   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	links->context = CurrentMemoryContext;
	links->bin_context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard purge links",
											   ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&links->buf);
	return links;
}

/* ----------------------------------------------------------------------
 * What to look for
 * ----------------------------------------------------------------------
 */

static void
add_link(Probe *probe, ItemPointer tid, const char *values)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) values, strlen(values), 0);
	bool		found;
	LinkEntry  *entry = hash_search(probe->links, &hash, HASH_ENTER, &found);
	Link	   *link = palloc(sizeof(Link));

	link->tid = *tid;
	link->values = values;
	link->gone = false;
	entry->links = lappend(found ? entry->links : NIL, link);
}

/*
 * The canonical text of a link's values.
 */
static char *
link_text(bool of_deletion, int64 deletion, Datum values)
{
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;
	StringInfoData buf;

	initStringInfo(&buf);
	if (of_deletion)
		dg_put_int64(&buf, deletion);
	deconstruct_array(DatumGetArrayTypeP(values), TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
		dg_put_text(&buf, nulls[i] ? NULL : TextDatumGetCString(elems[i]));
	return buf.data;
}

/*
 * Loads the links of a probe: those of the plan's deletions by what they led to,
 * or all of a table by the row that they are of.
 */
static void
load_links(DgPurgeLinks *links, Probe *probe)
{
	Oid			types[] = {INT8ARRAYOID, OIDOID, NAMEARRAYOID};
	Datum		values[] = {links->deletions, probe->relation, probe->columns};
	HASHCTL		ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(LinkEntry), .hcxt = links->bin_context};
	int			found;
	bool		isnull;

	probe->links = hash_create("deletion_guard purge links", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	found = dg_spi_select(probe->of_deletion ?
						  "SELECT ctid, deletion_id, before FROM deletion_guard.deletion_link"
						  " WHERE deletion_id = ANY ($1) AND relation = $2 AND columns = $3" :
						  "SELECT ctid, deletion_id, key_values FROM deletion_guard.deletion_link"
						  " WHERE relation = $2 AND key_columns = $3", 3, types, values, NULL);
	for (int i = 0; i < found; i++)
		add_link(probe, (ItemPointer) DatumGetPointer(dg_row_datum(i, 1, &isnull)),
				 link_text(probe->of_deletion, dg_row_int64(i, 2, NULL), dg_row_datum(i, 3, &isnull)));
	SPI_freetuptable(SPI_tuptable);
}

/*
 * A probe for columns of these names in the bin table, which has them or had;
 * with as many links as there are.
 */
static void
add_probe(DgPurgeLinks *links, Relation bin, bool of_deletion, Datum relation, Datum link_columns, Datum bin_columns)
{
	TupleDesc	desc = RelationGetDescr(bin);
	Probe	   *probe = palloc0(sizeof(Probe));
	Datum	   *names;

	deconstruct_array(DatumGetArrayTypeP(bin_columns), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &names, NULL, &probe->nattrs);
	probe->attnums = palloc0(sizeof(AttrNumber) * (probe->nattrs + 1));
	for (int i = 0; i < probe->nattrs; i++)
	{
		for (int j = DG_BIN_COLUMNS; j < desc->natts; j++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, j);

			if (!att->attisdropped && namestrcmp(&att->attname, NameStr(*DatumGetName(names[i]))) == 0)
				probe->attnums[i] = j + 1;
		}
		if (probe->attnums[i] == InvalidAttrNumber)
			return;
	}
	probe->of_deletion = of_deletion;
	probe->relation = relation;
	probe->columns = link_columns;
	links->probes = lappend(links->probes, probe);
}

/*
 * Foreign keys that refer to the table, and have links of the plan's deletions:
 * the links' table, their columns and the columns referred to. A key of a
 * partition, or to one, stands for the table as a whole.
 */
#define KEYS_TO_TABLE \
	"SELECT DISTINCT l.relation::oid, l.columns," \
	" (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY AS k (attnum, n)" \
	"   JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum)" \
	" FROM deletion_guard.deletion_link l" \
	" JOIN pg_constraint c ON c.contype = 'f'" \
	"  AND c.conrelid IN (SELECT l.relation::oid UNION ALL SELECT relid::oid FROM pg_partition_tree(l.relation))" \
	"  AND c.confrelid IN (SELECT $2 UNION ALL SELECT relid::oid FROM pg_partition_tree($2::regclass))" \
	"  AND l.columns = (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)" \
	"   JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum)" \
	" WHERE l.deletion_id = ANY ($1)"

/* Links that are of rows of the table. */
#define LINKS_OF_TABLE \
	"SELECT DISTINCT relation::oid, key_columns, key_columns FROM deletion_guard.deletion_link WHERE relation = $2"

static void
add_probes(DgPurgeLinks *links, Relation bin, Oid relation, bool of_deletion)
{
	Oid			types[] = {INT8ARRAYOID, OIDOID};
	Datum		values[] = {links->deletions, ObjectIdGetDatum(relation)};
	int			found = dg_spi_select(of_deletion ? KEYS_TO_TABLE : LINKS_OF_TABLE, 2, types, values, NULL);
	bool		isnull;

	for (int i = 0; i < found; i++)
		add_probe(links, bin, of_deletion, dg_row_datum(i, 1, &isnull),
				  dg_row_result(links->bin_context, dg_row_datum(i, 2, &isnull), NAMEARRAYOID),
				  dg_row_datum(i, 3, &isnull));
}

/*
 * Turns to the rows of one bin table, which is the part's.
 */
void
dg_purge_links_open(DgPurgeLinks *links, const DgPlanPart *part)
{
	MemoryContext old;
	Relation	bin;
	ListCell   *lc;

	MemoryContextReset(links->bin_context);
	links->probes = NIL;
	if (get_rel_name(part->relation) == NULL)
		return;
	old = MemoryContextSwitchTo(links->bin_context);
	bin = table_open(part->bin_table, AccessShareLock);
	add_probes(links, bin, part->relation, true);
	add_probes(links, bin, part->relation, false);
	foreach(lc, links->probes)
		load_links(links, lfirst(lc));
	links->output = palloc0(sizeof(FmgrInfo) * RelationGetNumberOfAttributes(bin));
	for (int i = DG_BIN_COLUMNS; i < RelationGetNumberOfAttributes(bin); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(bin), i);
		Oid			output;
		bool		varlena;

		if (att->attisdropped)
			continue;
		getTypeOutputInfo(att->atttypid, &output, &varlena);
		fmgr_info(output, &links->output[i]);
	}
	table_close(bin, NoLock);
	MemoryContextSwitchTo(old);
}

/* ----------------------------------------------------------------------
 * Looking
 * ----------------------------------------------------------------------
 */

static const char *
row_text(DgPurgeLinks *links, const Probe *probe, TupleTableSlot *slot)
{
	bool		isnull;

	resetStringInfo(&links->buf);
	if (probe->of_deletion)
		dg_put_int64(&links->buf, DatumGetInt64(slot_getattr(slot, Anum_bin_deletion, &isnull)));
	for (int i = 0; i < probe->nattrs; i++)
	{
		Datum		value = slot_getattr(slot, probe->attnums[i], &isnull);

		dg_put_text(&links->buf,
					isnull ? NULL : OutputFunctionCall(&links->output[probe->attnums[i] - 1], value));
	}
	return links->buf.data;
}

static void
take_links(DgPurgeLinks *links, const LinkEntry *entry, const char *values)
{
	MemoryContext old = MemoryContextSwitchTo(links->context);
	ListCell   *lc;

	foreach(lc, entry->links)
	{
		Link	   *link = lfirst(lc);

		if (link->gone || strcmp(link->values, values) != 0)
			continue;
		link->gone = true;
		links->gone = lappend(links->gone, memcpy(palloc(sizeof(ItemPointerData)), &link->tid, sizeof(ItemPointerData)));
	}
	MemoryContextSwitchTo(old);
}

/*
 * Notes the links that go with a row. The caller has called
 * dg_canonical_output_begin(), and resets its memory context from row to row.
 */
void
dg_purge_links_row(DgPurgeLinks *links, TupleTableSlot *slot)
{
	ListCell   *lc;

	foreach(lc, links->probes)
	{
		Probe	   *probe = lfirst(lc);
		const char *values = row_text(links, probe, slot);
		uint64		hash = hash_bytes_extended((const unsigned char *) values, strlen(values), 0);
		LinkEntry  *entry = hash_search(probe->links, &hash, HASH_FIND, NULL);

		if (entry != NULL)
			take_links(links, entry, values);
	}
}

/*
 * Removes the links that were noted, and those of deletions of which nothing is
 * left in the bin.
 */
void
dg_purge_links_end(DgPurgeLinks *links)
{
	Oid			types[] = {TIDARRAYOID, INT8ARRAYOID};
	Datum		values[2];
	Datum	   *tids = palloc(sizeof(Datum) * Max(list_length(links->gone), 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, links->gone)
		tids[n++] = PointerGetDatum(lfirst(lc));
	values[0] = PointerGetDatum(construct_array(tids, n, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT));
	values[1] = links->deletions;
	dg_spi_execute("DELETE FROM deletion_guard.deletion_link WHERE ctid = ANY ($1)", 1, types, values, NULL);
	dg_spi_execute("DELETE FROM deletion_guard.deletion_link WHERE deletion_id = ANY ($1)"
				   " AND deletion_id NOT IN (SELECT p.deletion_id FROM deletion_guard.deletion_part p"
				   "  WHERE p.deletion_id = ANY ($1) AND p.rows > p.restored + p.purged)",
				   1, types + 1, values + 1, NULL);
	MemoryContextDelete(links->bin_context);
}
