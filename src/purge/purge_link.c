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
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "purge/purge_internal.h"

/* Lost links, known by a canonical text of some columns' values. */
typedef struct LinksOfText
{
	const char *text;			/* hash key */
	uint32		hash;
	char		status;
	List	   *links;			/* addresses of those that are not gone */
} LinksOfText;

#define SH_PREFIX texts
#define SH_ELEMENT_TYPE LinksOfText
#define SH_KEY_TYPE const char *
#define SH_KEY text
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) key, (int) strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* A foreign key that links were lost of. */
typedef struct LinkKey
{
	Oid			relation;
	List	   *columns;		/* names */
} LinkKey;

/* What to look for in rows of one bin table, by the same columns. */
typedef struct Probe
{
	bool		of_deletion;	/* the deletion's number is part of the text */
	LinkKey		key;			/* of the links: foreign key, or the primary
								 * key */
	int			nattrs;
	AttrNumber *attnums;		/* in the bin table; NULL: it does not have
								 * them all */
	texts_hash *links;
} Probe;

struct DgPurgeLinks
{
	int64	   *deletions;		/* of the plan */
	int			ndeletions;
	List	   *keys;			/* of LinkKey: those that they have lost links
								 * of */
	FmgrInfo   *output;			/* of the bin table at hand, by attribute
								 * number - 1 */
	List	   *probes;			/* for it */
	List	   *gone;			/* addresses of links */
	StringInfoData buf;
	MemoryContext context;
	MemoryContext bin_context;	/* for what is known of the bin table at hand */
};

/* ----------------------------------------------------------------------
 * Links
 * ----------------------------------------------------------------------
 */

static List *
names_of_column(const DgOwnScan *scan, AttrNumber attnum)
{
	bool		isnull;

	return dg_array_strings(dg_own_datum(scan, attnum, &isnull));
}

static bool
is_same_key(const LinkKey *key, Oid relation, List *columns)
{
	ListCell   *a;
	ListCell   *b;

	if (key->relation != relation || list_length(key->columns) != list_length(columns))
		return false;
	forboth(a, key->columns, b, columns)
	{
		if (strcmp(lfirst(a), lfirst(b)) != 0)
			return false;
	}
	return true;
}

static DgOwnScan *
links_of_deletion(int64 deletion, LOCKMODE lockmode)
{
	ScanKeyData keys[] = {dg_own_key_int8(Anum_deletion_link_deletion_id, deletion)};

	return dg_own_scan(DG_OWN_BY(deletion_link, deletion_link_deletion_idx), lockmode, lengthof(keys), keys);
}

/*
 * Takes note of the foreign key that the scan's link is of.
 */
static void
note_link_key(DgPurgeLinks *links, const DgOwnScan *scan)
{
	Oid			relation = (Oid) dg_own_int64(scan, Anum_deletion_link_relation);
	List	   *columns = names_of_column(scan, Anum_deletion_link_columns);
	ListCell   *lc;
	LinkKey    *key;

	foreach(lc, links->keys)
	{
		if (is_same_key(lfirst(lc), relation, columns))
		{
			list_free_deep(columns);
			return;
		}
	}
	key = palloc(sizeof(LinkKey));
	key->relation = relation;
	key->columns = columns;
	links->keys = lappend(links->keys, key);
}

/*
 * Prepares for the rows that the plan covers.
 */
DgPurgeLinks *
dg_purge_links_begin(const DgPlan *plan)
{
	DgPurgeLinks *links = palloc0(sizeof(DgPurgeLinks));

	links->deletions = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * Max(plan->nparts, 1));
	for (int i = 0; i < plan->nparts; i++)
	{
		int			n = links->ndeletions;

		if (n == 0 || links->deletions[n - 1] != plan->parts[i].deletion)
			links->deletions[links->ndeletions++] = plan->parts[i].deletion;
	}
	for (int i = 0; i < links->ndeletions; i++)
	{
		DgOwnScan  *scan = links_of_deletion(links->deletions[i], AccessShareLock);

		while (dg_own_next(scan))
			note_link_key(links, scan);
		dg_own_end(scan);
	}
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

/*
 * The canonical text of a link's values.
 */
static char *
link_text(const DgOwnScan *scan, bool of_deletion, AttrNumber attnum)
{
	bool		isnull;
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	if (of_deletion)
		dg_put_int64(&buf, dg_own_int64(scan, Anum_deletion_link_deletion_id));
	foreach(lc, dg_array_strings(dg_own_datum(scan, attnum, &isnull)))
		dg_put_text(&buf, lfirst(lc));
	return buf.data;
}

static ItemPointer
copy_address(ItemPointer tid)
{
	return memcpy(palloc(sizeof(ItemPointerData)), tid, sizeof(ItemPointerData));
}

/*
 * Adds the scan's link to those that the probe looks for, by the values in one
 * of the link's columns.
 */
static void
add_link(Probe *probe, const DgOwnScan *scan, AttrNumber attnum)
{
	bool		found;
	LinksOfText *entry = texts_insert(probe->links, link_text(scan, probe->of_deletion, attnum), &found);

	entry->links = lappend(found ? entry->links : NIL, copy_address(&scan->tuple->t_self));
}

/*
 * Which columns of the bin table have these names; NULL if it does not have them
 * all.
 */
static AttrNumber *
attnums_by_name(TupleDesc desc, List *names)
{
	AttrNumber *attnums = palloc0(sizeof(AttrNumber) * (list_length(names) + 1));
	ListCell   *lc;

	foreach(lc, names)
	{
		int			attnum = SPI_fnumber(desc, lfirst(lc));

		if (attnum <= DG_BIN_COLUMNS)
			return NULL;
		attnums[foreach_current_index(lc)] = attnum;
	}
	return attnums;
}

/*
 * Adds a probe for columns of these names in the bin table, which has them or
 * had.
 */
static Probe *
add_probe(DgPurgeLinks *links, Relation bin, bool of_deletion, LinkKey key, List *bin_columns)
{
	Probe	   *probe = palloc0(sizeof(Probe));

	probe->of_deletion = of_deletion;
	probe->key = key;
	probe->nattrs = list_length(bin_columns);
	probe->attnums = attnums_by_name(RelationGetDescr(bin), bin_columns);
	probe->links = texts_create(links->bin_context, 64, NULL);
	links->probes = lappend(links->probes, probe);
	return probe;
}

/*
 * The table and, if it has any, its parts.
 */
static List *
with_partitions(Oid relid)
{
	if (dg_has_parts(relid))
		return find_all_inheritors(relid, NoLock, NULL);
	return list_make1_oid(relid);
}

static List *
column_names(Oid relid, const AttrNumber *attnums, int n)
{
	List	   *names = NIL;

	for (int i = 0; i < n; i++)
	{
		char	   *name = get_attname(relid, attnums[i], true);

		names = lappend(names, name != NULL ? name : pstrdup(""));
	}
	return names;
}

/*
 * Adds a probe if the constraint is a foreign key of the key's columns that
 * refers to one of the tables.
 */
static void
probe_constraint(DgPurgeLinks *links, Relation bin, HeapTuple constraint, const LinkKey *key, List *referred)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(constraint);
	AttrNumber	referring_columns[INDEX_MAX_KEYS];
	AttrNumber	referred_columns[INDEX_MAX_KEYS];
	int			n;

	if (form->contype != CONSTRAINT_FOREIGN || !list_member_oid(referred, form->confrelid))
		return;
	DeconstructFkConstraintRow(constraint, &n, referring_columns, referred_columns, NULL, NULL, NULL, NULL, NULL);
	if (is_same_key(key, key->relation, column_names(form->conrelid, referring_columns, n)))
		(void) add_probe(links, bin, true, *key, column_names(form->confrelid, referred_columns, n));
}

/*
 * Adds probes for foreign keys of one table, of the key's columns, to others.
 */
static void
probe_keys_of(DgPurgeLinks *links, Relation bin, Oid relid, const LinkKey *key, List *referred)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&scankey, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, ConstraintRelidTypidNameIndexId, true, NULL, 1, &scankey);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		probe_constraint(links, bin, tuple, key, referred);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Adds probes for links that led to the table, by the foreign keys that refer to
 * it now. A key of a partition, or to one, stands for the table as a whole.
 */
static void
probe_links_to(DgPurgeLinks *links, Relation bin, Oid relation)
{
	List	   *referred = with_partitions(relation);
	ListCell   *lc;

	foreach(lc, links->keys)
	{
		LinkKey    *key = lfirst(lc);
		ListCell   *lc2;

		foreach(lc2, with_partitions(key->relation))
			probe_keys_of(links, bin, lfirst_oid(lc2), key, referred);
	}
	for (int i = 0; links->probes != NIL && i < links->ndeletions; i++)
	{
		DgOwnScan  *scan = links_of_deletion(links->deletions[i], AccessShareLock);

		while (dg_own_next(scan))
		{
			Oid			of = (Oid) dg_own_int64(scan, Anum_deletion_link_relation);
			List	   *columns = names_of_column(scan, Anum_deletion_link_columns);

			foreach(lc, links->probes)
			{
				Probe	   *probe = lfirst(lc);

				if (probe->attnums != NULL && is_same_key(&probe->key, of, columns))
					add_link(probe, scan, Anum_deletion_link_before);
			}
			list_free_deep(columns);
		}
		dg_own_end(scan);
	}
}

/*
 * The probe for rows of the table itself by these columns.
 */
static Probe *
probe_of_row(DgPurgeLinks *links, Relation bin, Oid relation, List *columns)
{
	LinkKey		key = {relation, columns};
	ListCell   *lc;

	foreach(lc, links->probes)
	{
		Probe	   *probe = lfirst(lc);

		if (!probe->of_deletion && is_same_key(&probe->key, relation, columns))
		{
			list_free_deep(columns);
			return probe;
		}
	}
	return add_probe(links, bin, false, key, columns);
}

/*
 * Adds probes for links that are of rows of the table.
 */
static void
probe_links_of(DgPurgeLinks *links, Relation bin, Oid relation)
{
	ScanKeyData keys[] = {dg_own_key_oid(Anum_deletion_link_relation, relation)};
	DgOwnScan  *scan = dg_own_scan(DG_OWN_BY(deletion_link, deletion_link_waiting_idx), AccessShareLock,
								   lengthof(keys), keys);

	while (dg_own_next(scan))
	{
		Probe	   *probe = probe_of_row(links, bin, relation, names_of_column(scan, Anum_deletion_link_key_columns));

		if (probe->attnums != NULL)
			add_link(probe, scan, Anum_deletion_link_key_values);
	}
	dg_own_end(scan);
}

/*
 * Turns to the rows of one bin table, which is the part's.
 */
void
dg_purge_links_open(DgPurgeLinks *links, const DgPlanPart *part)
{
	MemoryContext old;
	Relation	bin;

	MemoryContextReset(links->bin_context);
	links->probes = NIL;
	if (get_rel_name(part->relation) == NULL)
		return;
	old = MemoryContextSwitchTo(links->bin_context);
	bin = table_open(part->bin_table, AccessShareLock);
	probe_links_to(links, bin, part->relation);
	probe_links_of(links, bin, part->relation);
	links->output = dg_purge_output_functions(RelationGetDescr(bin), DG_BIN_COLUMNS);
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
		dg_purge_put_value(&links->buf, slot, probe->attnums[i], links->output);
	return links->buf.data;
}

static void
take_links(DgPurgeLinks *links, LinksOfText *entry)
{
	MemoryContext old = MemoryContextSwitchTo(links->context);
	ListCell   *lc;

	foreach(lc, entry->links)
		links->gone = lappend(links->gone, copy_address(lfirst(lc)));
	entry->links = NIL;
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
		LinksOfText *entry;

		if (probe->attnums == NULL || probe->links->members == 0)
			continue;
		entry = texts_lookup(probe->links, row_text(links, probe, slot));
		if (entry != NULL)
			take_links(links, entry);
	}
}

/* ----------------------------------------------------------------------
 * Removing
 * ----------------------------------------------------------------------
 */

static int
compare_addresses(const ListCell *a, const ListCell *b)
{
	return ItemPointerCompare(lfirst(a), lfirst(b));
}

/*
 * Is anything of the deletion left in the bin?
 */
static bool
is_left_in_bin(int64 deletion)
{
	ScanKeyData keys[] = {dg_own_key_int8(Anum_deletion_part_deletion_id, deletion)};
	DgOwnScan  *scan = dg_own_scan(DG_OWN(deletion_part), AccessShareLock, lengthof(keys), keys);
	bool		left = false;

	while (!left && dg_own_next(scan))
		left = dg_purge_part_rows_left(scan) > 0;
	dg_own_end(scan);
	return left;
}

/*
 * Removes the links that were noted, and those of deletions of which nothing is
 * left in the bin.
 */
void
dg_purge_links_end(DgPurgeLinks *links)
{
	ItemPointer last = NULL;
	ListCell   *lc;

	list_sort(links->gone, compare_addresses);
	foreach(lc, links->gone)
	{
		/* two probes may have found it */
		if (last == NULL || !ItemPointerEquals(last, lfirst(lc)))
			dg_own_delete_at(DG_OWN_ALL(deletion_link), lfirst(lc));
		last = lfirst(lc);
	}
	for (int i = 0; links->keys != NIL && i < links->ndeletions; i++)
	{
		DgOwnScan  *scan;

		if (is_left_in_bin(links->deletions[i]))
			continue;
		scan = links_of_deletion(links->deletions[i], RowExclusiveLock);
		while (dg_own_next(scan))
		{
			if (dg_own_lock(scan))
				dg_own_delete(scan);
		}
		dg_own_end(scan);
	}
	MemoryContextDelete(links->bin_context);
}
