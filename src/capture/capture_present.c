/*
 * capture_present.c
 *		Rows and links that go back, with the keys that their tenants have now.
 *
 * What was kept of a row is as it was when it was deleted. The columns that hold
 * tenants' keys, directly or by foreign keys over other tables, get what has come of
 * these keys since (capture_rename.c).
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

struct DgRenamedColumns
{
	List	   *renames;
	List	   *columns;		/* of the bin table, from 0 after the bin's
								 * own */
	TupleDesc	desc;
	Oid			relid;
	MemoryContext context;		/* of new values */
};

/*
 * Does a column hold tenants' keys? It is the tenant table's key, a tenant column, or
 * refers to one by a foreign key. "seen" are the columns that led here.
 */
static bool
holds_keys(Relation rel, AttrNumber attnum, List *seen)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	DgGuard    *guard = dg_guard_lookup(RelationGetRelid(rel));
	char	   *name = get_attname(RelationGetRelid(rel), attnum, false);
	Node	   *column = (Node *) list_make2_oid(RelationGetRelid(rel), (Oid) attnum);
	bool		holds = (RelationGetRelid(rel) == tenants->relid && strcmp(name, NameStr(tenants->key_column)) == 0) ||
	(guard->has_tenant_column && strcmp(name, NameStr(guard->tenant_column)) == 0);
	ListCell   *lc;

	if (holds || list_member(seen, column))
		return holds;
	seen = lappend(list_copy(seen), column);
	foreach(lc, dg_foreign_keys(rel))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		Relation	referenced = table_open(fkey->confrelid, AccessShareLock);

		for (int i = 0; i < fkey->nkeys; i++)
			holds = holds || (fkey->conkey[i] == attnum && holds_keys(referenced, fkey->confkey[i], seen));
		table_close(referenced, NoLock);
	}
	return holds;
}

/*
 * The names of the columns of a table that hold tenants' keys.
 */
static List *
key_columns(Relation rel)
{
	List	   *names = NIL;

	for (int i = 1; i <= RelationGetNumberOfAttributes(rel); i++)
	{
		if (!TupleDescAttr(RelationGetDescr(rel), i - 1)->attisdropped && holds_keys(rel, i, NIL))
			names = lappend(names, get_attname(RelationGetRelid(rel), i, false));
	}
	return names;
}

/*
 * Prepares to give rows of a bin table, of these columns, the keys that tenants
 * have now. NULL if no key has ever changed.
 */
DgRenamedColumns *
dg_capture_renamed_columns(Relation rel, TupleDesc desc)
{
	List	   *renames = dg_bin_renames_read();
	DgRenamedColumns *renamed_columns;
	ListCell   *lc;

	if (renames == NIL)
		return NULL;
	renamed_columns = palloc0(sizeof(DgRenamedColumns));
	renamed_columns->renames = renames;
	renamed_columns->desc = CreateTupleDescCopy(desc);
	renamed_columns->relid = RelationGetRelid(rel);
	renamed_columns->context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard renamed keys",
													 ALLOCSET_SMALL_SIZES);
	foreach(lc, key_columns(rel))
	{
		for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
		{
			if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), lfirst(lc)) == 0)
				renamed_columns->columns = list_append_unique_int(renamed_columns->columns, i);
		}
	}
	return renamed_columns;
}

/*
 * Gives one row of a deletion, all of whose values are there, the present keys.
 */
void
dg_capture_rename_values(DgRenamedColumns *renamed_columns, int64 deletion, Datum *values, const bool *nulls)
{
	MemoryContext old;
	ListCell   *lc;

	MemoryContextReset(renamed_columns->context);
	old = MemoryContextSwitchTo(renamed_columns->context);
	foreach(lc, renamed_columns->columns)
	{
		int			column = lfirst_int(lc);
		Form_pg_attribute att = TupleDescAttr(renamed_columns->desc, column);
		const char *key;
		const char *present;

		if (nulls[column])
			continue;
		key = dg_canonical_text(att->atttypid, values[column]);
		present = dg_bin_renamed_key(renamed_columns->renames, deletion, key);
		if (present != key &&
			!dg_guard_tenant_read_key(renamed_columns->relid, att->atttypid, present, &values[column]))
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("cannot give a row of \"%s\" the key that its tenant has now",
							get_rel_name(renamed_columns->relid)),
					 errdetail("Tenant \"%s\" is \"%s\" now, which is no value of type %s, that the column \"%s\" had when the row was deleted.",
							   key, present, format_type_be(att->atttypid), NameStr(att->attname)),
					 errhint("The row is in the bin as it was. It can come back while its tenant has a key of that type.")));
	}
	MemoryContextSwitchTo(old);
}

/* ----------------------------------------------------------------------
 * Texts
 * ----------------------------------------------------------------------
 */

struct DgRenamedTexts
{
	Oid			relid;
	List	   *renames;
	List	   *columns;		/* names of those that hold tenants' keys */
};

/*
 * For texts of columns of a table; NULL if no key has ever changed.
 */
DgRenamedTexts *
dg_capture_renamed_texts(Oid relid)
{
	List	   *renames = dg_bin_renames_read();
	DgRenamedTexts *texts;
	Relation	rel;

	if (renames == NIL)
		return NULL;
	texts = palloc(sizeof(DgRenamedTexts));
	rel = table_open(relid, AccessShareLock);
	texts->relid = relid;
	texts->renames = renames;
	texts->columns = key_columns(rel);
	table_close(rel, NoLock);
	return texts;
}

/*
 * Gives a list of values of columns, as texts that a deletion has noted, the present
 * keys. The caller has called dg_canonical_output_begin().
 */
void
dg_capture_rename_texts(const DgRenamedTexts *texts, int64 deletion, List *columns, List *values)
{
	ListCell   *lc;
	ListCell   *lc2;
	ListCell   *lc3;

	forboth(lc, columns, lc2, values)
	{
		foreach(lc3, texts->columns)
		{
			const char *present = lfirst(lc2) == NULL || strcmp(lfirst(lc), lfirst(lc3)) != 0 ? NULL :
			dg_bin_renamed_key(texts->renames, deletion, lfirst(lc2));
			Oid			type;
			Datum		value;

			if (present == NULL || present == lfirst(lc2))
				continue;
			type = get_atttype(texts->relid, get_attnum(texts->relid, lfirst(lc)));
			if (dg_guard_tenant_read_key(texts->relid, type, present, &value))
				lfirst(lc2) = dg_value_text(type, value);
		}
	}
}
