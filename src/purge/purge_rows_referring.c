/*
 * purge_rows_referring.c
 *		Rows of the bin that refer to rows chosen for a purge.
 *
 * Once those are gone for good, rows that refer to them could not come back: no
 * undelete would find what they refer to. So they have to be chosen, too. They are
 * looked for wherever a foreign key leads to a table of which rows were chosen, and
 * wherever a step of a tenant path does without one: in all parts of the bins of the
 * tables that refer, whoever's they are. Keys are compared by their texts.
 *
 * What refers by a foreign key with ON DELETE SET NULL or SET DEFAULT does not
 * depend on it, and is only told of: nobody has to wait for the retention of such rows.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "nodes/parsenodes.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "purge/purge_internal.h"
#include "rows/rows.h"
#include "undelete/undelete.h"

#define MAX_LINES 10

/* Lines of the report: of rows that depend on those chosen, others, live ones. */
#define DEPENDENT	0
#define LOOSE		1
#define LIVE		2
#define LINES		3

/* Columns of one table that refer to another. */
typedef struct Reference
{
	Oid			from;
	Oid			to;				/* a table of which rows were chosen */
	List	   *columns;		/* names */
	List	   *keys;			/* names, in the table that is referred to */
	const char *type_column;	/* counts where this has that text; or NULL */
	const char *type;
	bool		loose;			/* ON DELETE SET NULL or SET DEFAULT */
	bool		unkept;			/* by no foreign key: live rows may refer */
} Reference;

typedef struct Search
{
	const DgPlan *plan;
	Oid			to;				/* references to this table, */
	List	   *to_all;			/* or its partitions, */
	List	   *references;		/* are found */

	/* for the reference at hand, */
	const Reference *reference;
	DgTextSet  *texts;			/* keys of the rows chosen */
	Oid			bin_table;		/* the bin table at hand, */
	AttrNumber *attnums;		/* the columns in it that are compared, */
	AttrNumber	type_attnum;	/* and its type's, or InvalidAttrNumber */
	MemoryContext row;

	int64		rows;			/* found of it */
	DgTextSet  *choices;		/* how to choose them */
	StringInfoData lines[LINES];	/* of each kind */
	int			nlines[LINES];
} Search;

/* ----------------------------------------------------------------------
 * What refers to a table
 * ----------------------------------------------------------------------
 */

static List *
column_names_of(Oid relid, const AttrNumber *attnums, int n)
{
	List	   *names = NIL;

	for (int i = 0; i < n; i++)
		names = lappend(names, get_attname(relid, attnums[i], false));
	return names;
}

static void
add_foreign_key(Search *search, HeapTuple constraint)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(constraint);
	AttrNumber	columns[INDEX_MAX_KEYS];
	AttrNumber	keys[INDEX_MAX_KEYS];
	int			n;
	Reference  *reference;

	if (form->contype != CONSTRAINT_FOREIGN || OidIsValid(form->conparentid) ||
		!list_member_oid(search->to_all, form->confrelid))
		return;
	DeconstructFkConstraintRow(constraint, &n, columns, keys, NULL, NULL, NULL, NULL, NULL);
	reference = palloc0(sizeof(Reference));
	reference->from = form->conrelid;
	reference->loose = form->confdeltype == FKCONSTR_ACTION_SETNULL || form->confdeltype == FKCONSTR_ACTION_SETDEFAULT;
	reference->to = search->to;
	reference->columns = column_names_of(form->conrelid, columns, n);
	reference->keys = column_names_of(form->confrelid, keys, n);
	search->references = lappend(search->references, reference);
}

static void
add_foreign_keys(Search *search)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		add_foreign_key(search, tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Steps of a table's own tenant path that are no foreign keys. What its path goes on by is
 * other tables' matter.
 */
static void
add_steps(Search *search, Oid relid)
{
	ListCell   *lc;

	foreach(lc, dg_guard_lookup(relid)->steps)
	{
		DgStep	   *step = lfirst(lc);

		if (step->foreign_key != NULL)
			break;
		if (step->target == search->to)
		{
			Reference  *reference = palloc0(sizeof(Reference));

			reference->from = relid;
			reference->to = search->to;
			reference->columns = step->columns;
			reference->keys = step->keys;
			reference->type_column = step->type_column;
			reference->type = step->value;
			reference->unkept = true;
			search->references = lappend(search->references, reference);
		}
		if (step->type_column == NULL)
			break;
	}
}

static void
find_references(Search *search, Oid to)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(guard), AccessShareLock, 0, NULL);

	search->to = to;
	search->to_all = dg_has_parts(to) ? find_all_inheritors(to, NoLock, NULL) : list_make1_oid(to);
	add_foreign_keys(search);
	while (dg_own_next(scan))
		add_steps(search, (Oid) dg_own_int64(scan, Anum_guard_relation));
	dg_own_end(scan);
}

/* ----------------------------------------------------------------------
 * Rows that refer
 * ----------------------------------------------------------------------
 */

/*
 * Which columns of a row have these names, after those of the bin's own; NULL if it does
 * not have them all.
 */
static AttrNumber *
attnums_after(TupleDesc desc, int own, List *names)
{
	AttrNumber *attnums = palloc(sizeof(AttrNumber) * (list_length(names) + 1));
	ListCell   *lc;

	foreach(lc, names)
	{
		attnums[foreach_current_index(lc)] = SPI_fnumber(desc, lfirst(lc));
		if (attnums[foreach_current_index(lc)] <= own)
			return NULL;
	}
	return attnums;
}

/*
 * The text of a row's columns; NULL if one of them is null.
 */
static char *
text_of_columns(TupleTableSlot *slot, const AttrNumber *attnums, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, attnums[i], &isnull);

		if (isnull)
			return NULL;
		dg_put_text(&buf, dg_rows_chosen_text(value, TupleDescAttr(slot->tts_tupleDescriptor, attnums[i] - 1)->atttypid));
	}
	return buf.data;
}

/*
 * Turns to rows that may refer, by the reference at hand: false if they do not have the
 * columns.
 */
static bool
begin_rows(Search *search, TupleDesc desc, int own)
{
	const Reference *reference = search->reference;

	search->attnums = attnums_after(desc, own, reference->columns);
	search->type_attnum = reference->type_column == NULL ? InvalidAttrNumber : SPI_fnumber(desc, reference->type_column);
	return search->attnums != NULL && (reference->type_column == NULL || search->type_attnum > own);
}

/*
 * Takes the key of a row that was chosen. A DgPlanRow.
 */
static void
take_key(TupleTableSlot *slot, void *arg)
{
	Search	   *search = arg;
	List	   *keys = search->reference->keys;
	MemoryContext old;
	char	   *text;

	if (search->bin_table != slot->tts_tableOid)
	{
		search->bin_table = slot->tts_tableOid;
		search->attnums = attnums_after(slot->tts_tupleDescriptor, DG_BIN_COLUMNS, keys);
	}
	old = MemoryContextSwitchTo(search->row);
	text = search->attnums == NULL ? NULL : text_of_columns(slot, search->attnums, list_length(keys));
	MemoryContextSwitchTo(old);
	if (text != NULL)
		(void) dg_guard_textset_add(search->texts, text);
	MemoryContextReset(search->row);
}

/*
 * Is a row of the bin one that goes, too?
 */
static bool
goes_too(const DgPlan *plan, DgPartId id, TupleTableSlot *slot)
{
	DgPlanPart	key = {.deletion = id.deletion,.part = id.part};
	DgPlanPart *part = bsearch(&key, plan->parts, plan->nparts, sizeof(DgPlanPart), dg_purge_plan_compare_parts);

	return part != NULL && part->bin_table == slot->tts_tableOid && dg_purge_rows_has(part, slot);
}

/*
 * Does a row refer to one that was chosen, by the reference at hand?
 */
static bool
row_refers(Search *search, TupleTableSlot *slot)
{
	char	   *text;
	bool		isnull;

	if (search->type_attnum != InvalidAttrNumber)
	{
		Datum		type = slot_getattr(slot, search->type_attnum, &isnull);

		if (isnull || strcmp(dg_value_text(TupleDescAttr(slot->tts_tupleDescriptor, search->type_attnum - 1)->atttypid, type),
							 search->reference->type) != 0)
			return false;
	}
	text = text_of_columns(slot, search->attnums, list_length(search->reference->columns));
	return text != NULL && dg_guard_textset_has(search->texts, text);
}

/*
 * {"issue_id": "7"}: how a row that refers is chosen, palloc'd.
 */
static char *
choice_of(const Search *search, TupleTableSlot *slot)
{
	const Reference *reference = search->reference;
	StringInfoData buf;
	ListCell   *lc;
	bool		isnull;

	initStringInfo(&buf);
	if (reference->type_column != NULL)
		appendStringInfo(&buf, "%s: %s, ", dg_json_string(reference->type_column), dg_json_string(reference->type));
	foreach(lc, reference->columns)
	{
		AttrNumber	attnum = search->attnums[foreach_current_index(lc)];
		Datum		value = slot_getattr(slot, attnum, &isnull);

		appendStringInfo(&buf, "%s%s: %s", foreach_current_index(lc) > 0 ? ", " : "", dg_json_string(lfirst(lc)),
						 dg_json_string(dg_rows_chosen_text(value, TupleDescAttr(slot->tts_tupleDescriptor, attnum - 1)->atttypid)));
	}
	return psprintf("{%s}", buf.data);
}

static void
search_parts(Search *search, Oid bin_table, const DgPartId *ids, int n)
{
	DgBinScan  *scan = dg_bin_scan_begin(bin_table, AccessShareLock, ids, n);
	MemoryContext old = CurrentMemoryContext;
	TupleTableSlot *slot;

	while ((slot = dg_bin_scan_next(scan)) != NULL)
	{
		if (slot->tts_tableOid != search->bin_table)
		{
			search->bin_table = slot->tts_tableOid;
			if (!begin_rows(search, slot->tts_tupleDescriptor, DG_BIN_COLUMNS))
				break;
		}
		MemoryContextSwitchTo(search->row);
		if (row_refers(search, slot) && !goes_too(search->plan, dg_bin_scan_part(scan), slot))
		{
			if (search->rows++ == 0 || dg_guard_textset_count(search->choices) < MAX_LINES)
				(void) dg_guard_textset_add(search->choices, choice_of(search, slot));
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(search->row);
	}
	dg_bin_scan_end(scan);
}

/*
 * Searches all that is in a bin table.
 */
static void
search_bin(Search *search, int32 bin_id, Oid bin_table)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(deletion_part), AccessShareLock, 0, NULL);
	int			size = 64;
	int			n = 0;
	DgPartId   *ids = palloc(sizeof(DgPartId) * size);

	while (dg_own_next(scan))
	{
		if (dg_own_int64(scan, Anum_deletion_part_bin_id) != bin_id || dg_purge_part_rows_left(scan) <= 0)
			continue;
		if (n == size)
			ids = repalloc_huge(ids, sizeof(DgPartId) * (size *= 2));
		ids[n].deletion = dg_own_int64(scan, Anum_deletion_part_deletion_id);
		ids[n++].part = (int32) dg_own_int64(scan, Anum_deletion_part_part);
	}
	dg_own_end(scan);
	if (n > 0)
		search_parts(search, bin_table, ids, n);
	pfree(ids);
}

/*
 * 4 rows: "public.seen": [{"issue": "2"}, {"issue": "10"}], as a request names them.
 */
static void
add_reference_line(Search *search, int kind)
{
	int64		n = dg_guard_textset_count(search->choices);
	StringInfo	buf = &search->lines[kind];

	if (search->rows == 0 || search->nlines[kind]++ >= MAX_LINES)
		return;
	appendStringInfo(buf, "%s" INT64_FORMAT " rows: %s: [", buf->len > 0 ? "\n" : "",
					 search->rows, dg_json_string(dg_relation_name(search->reference->from)));
	for (int64 i = 0; i < n; i++)
		appendStringInfo(buf, "%s%s", i > 0 ? ", " : "", dg_guard_textset_get(search->choices, i));
	appendStringInfoString(buf, n < MAX_LINES ? "]" : ", ...]");
}

static void
begin_counting(Search *search)
{
	search->bin_table = InvalidOid;
	search->rows = 0;
	search->choices = dg_guard_textset_create(CurrentMemoryContext);
}

/*
 * Counts rows of the bin that refer, by the reference at hand.
 */
static void
search_bins(Search *search)
{
	const Reference *reference = search->reference;
	Oid			root = dg_guard_partition_root(reference->from);
	DgOwnScan  *scan = dg_own_scan(DG_OWN_REGISTRY, AccessShareLock, 0, NULL);

	begin_counting(search);
	while (dg_own_next(scan))
	{
		Oid			relation = (Oid) dg_own_int64(scan, Anum_registry_relation);

		if (relation == reference->from || relation == root)
			search_bin(search, (int32) dg_own_int64(scan, Anum_registry_bin_id), (Oid) dg_own_int64(scan, Anum_registry_bin_table));
	}
	dg_own_end(scan);
	add_reference_line(search, reference->loose ? LOOSE : DEPENDENT);
}

/*
 * Counts a live row if it refers. A DgLiveRow.
 */
static void
count_live_reference(TupleTableSlot *slot, void *arg)
{
	Search	   *search = arg;
	MemoryContext old = CurrentMemoryContext;

	if (search->attnums == NULL && !begin_rows(search, slot->tts_tupleDescriptor, 0))
		return;
	MemoryContextSwitchTo(search->row);
	if (row_refers(search, slot) && (search->rows++ == 0 || dg_guard_textset_count(search->choices) < MAX_LINES))
		(void) dg_guard_textset_add(search->choices, choice_of(search, slot));
	MemoryContextSwitchTo(old);
	MemoryContextReset(search->row);
}

static void
search_live(Search *search)
{
	Relation	rel = table_open(search->reference->from, AccessShareLock);

	begin_counting(search);
	search->attnums = NULL;
	dg_undelete_live_each(rel, count_live_reference, search);
	table_close(rel, NoLock);
	add_reference_line(search, LIVE);
}

static void
search_reference(Search *search, const Reference *reference)
{
	search->reference = reference;
	search->texts = dg_guard_textset_create(CurrentMemoryContext);
	search->bin_table = InvalidOid;
	dg_purge_rows_each(search->plan, reference->to, take_key, search);
	search_bins(search);
	if (reference->unkept)
		search_live(search);
}

static void
report_references(const Search *search)
{
	if (search->nlines[LIVE] > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ROWS_REMAIN),
				 errmsg("live rows refer to rows chosen, and without them nothing tells whose they are"),
				 errdetail("%s", search->lines[LIVE].data),
				 errhint("Delete them first, and choose them, too.")));
	if (search->nlines[DEPENDENT] > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_ROWS_REMAIN),
				 errmsg("rows in the bin refer to rows chosen, and could not come back without them"),
				 errdetail("%s", search->lines[DEPENDENT].data),
				 errhint("Choose them, too. Rows of another tenant are purged by a request of their own, first.")));
	if (search->nlines[LOOSE] > 0)
		ereport(NOTICE,
				(errmsg("rows in the bin refer to rows chosen, by foreign keys with ON DELETE SET NULL or SET DEFAULT"),
				 errdetail("%s", search->lines[LOOSE].data),
				 errhint("They stay. To bring them back after the purge, insert a row for them to refer to, and delete it then.")));
}

/*
 * Fails if rows that are not in the plan refer to rows that are: in the bin or, where no
 * foreign key keeps them from it, live.
 */
void
dg_purge_rows_require_referring(const DgPlan *plan)
{
	Search		search = {.plan = plan};
	int			nestlevel = dg_canonical_output_begin();
	ListCell   *lc;

	for (int kind = 0; kind < LINES; kind++)
		initStringInfo(&search.lines[kind]);
	search.row = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard referring row", ALLOCSET_DEFAULT_SIZES);
	foreach(lc, dg_rows_chosen_tables(plan->chosen))
	{
		if (OidIsValid(lfirst_oid(lc)))
			find_references(&search, lfirst_oid(lc));
	}
	foreach(lc, search.references)
		search_reference(&search, lfirst(lc));
	MemoryContextDelete(search.row);
	AtEOXact_GUC(true, nestlevel);
	report_references(&search);
}
