/*
 * rows_fkey.c
 *		Foreign keys of rows that are written back, checked for all rows at
 *		once.
 *
 * The server checks a foreign key with one query for each row. Here the keys
 * that the written rows refer to are collected, each once; those that rows
 * written by the same call provide are struck out, as nobody else can see or
 * remove those rows before the call commits; and the rest is looked up with
 * the server's own means: the row referred to must exist, and is locked FOR
 * KEY SHARE so that it cannot go before the commit. No key is left unchecked.
 *
 * A key that is NOT VALID may have been like that before: rows that refer to
 * none come back as they were, and the caller is told of them. With on_conflict
 * skip, rows that refer to a missing one are left out: as that shows at the end,
 * the missing keys are noted and the call is tried again without their rows
 * (rows_try.c), until no more are missing.
 *
 * The server's triggers go on checking what this does not handle: keys over
 * periods, and deferrable keys, which may be checked at commit only, unless rows
 * are to be left out or will be rolled back.
 *
 * Memory is bounded: keys beyond a limit go into a tuplestore, which spills to
 * disk, and then are looked up even if they were provided.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "rows/rows_internal.h"

#define NAMED_KEYS		3

/* One foreign key of a table that rows are written to. */
typedef struct ForeignKey
{
	ForeignKeyCacheInfo *info;
	char	   *name;
	bool		match_full;
	bool		valid;
	bool		changed;		/* rows were changed after they were noted */
	DgKeySet   *missing;		/* that earlier tries found; NULL: none */
	DgKeySet   *needed;			/* what written rows refer to */
	DgKeySet   *provided;		/* what written rows of the other table offer;
								 * NULL: none */
	Tuplestorestate *lookups;	/* what is left to look up, once there is some */
	TupleDesc	desc;			/* k1, k2, ..., and tag if it is not valid */
	TupleTableSlot *slot;
} ForeignKey;

struct DgRowsForeignKeys
{
	MemoryContext context;
	List	   *keys;			/* of ForeignKey */
	List	   *tables;			/* OIDs */
	const DgRowsOptions *options;
};

/* ----------------------------------------------------------------------
 * Tables and their keys
 * ----------------------------------------------------------------------
 */

/*
 * Begins to collect the foreign keys of a call's rows, in the current memory
 * context. The options must last as long as the result.
 */
DgRowsForeignKeys *
dg_rows_fkeys_begin(const DgRowsOptions *options)
{
	DgRowsForeignKeys *fkeys = palloc0(sizeof(DgRowsForeignKeys));

	fkeys->context = CurrentMemoryContext;
	fkeys->options = options;
	return fkeys;
}

/*
 * Is this a key that is checked here? A key to a partitioned table has parts
 * that name its partitions; they are not to be checked one by one.
 */
static bool
is_checkable(const DgRowsOptions *options, ForeignKeyCacheInfo *info, bool *match_full, bool *valid)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(info->conoid));
	Form_pg_constraint con;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", info->conoid);
	con = (Form_pg_constraint) GETSTRUCT(tuple);
	*match_full = (con->confmatchtype == FKCONSTR_MATCH_FULL);
	*valid = con->convalidated;
	result = (!con->condeferrable || !*valid || options->dry_run || options->missing != NULL || options->outside != NULL) &&
		!OidIsValid(con->conparentid) && DG_CONSTRAINT_IS_PLAIN(con);
	ReleaseSysCache(tuple);
	return result;
}

static ForeignKey *
make_foreign_key(DgRowsForeignKeys *fkeys, Relation rel, ForeignKeyCacheInfo *info, bool match_full, bool valid)
{
	ForeignKey *fkey = palloc0(sizeof(ForeignKey));

	fkey->info = info;
	fkey->name = get_constraint_name(info->conoid);
	fkey->match_full = match_full;
	fkey->valid = valid;
	fkey->missing = dg_rows_missing_of(fkeys->options->missing, info->conoid);
	fkey->needed = dg_rows_keyset_make(CurrentMemoryContext, RelationGetDescr(rel), info->nkeys, info->conkey);
	fkey->desc = dg_rows_keys_desc(info, InvalidOid, !valid);
	fkey->slot = MakeSingleTupleTableSlot(fkey->desc, &TTSOpsVirtual);
	return fkey;
}

/*
 * Rows of the table may be what the key refers to, if the columns' types are
 * the same on both sides: then equal bytes are equal keys.
 */
static void
provide_if_referenced(ForeignKey *fkey, Relation rel)
{
	if (fkey->info->confrelid != RelationGetRelid(rel))
		return;
	for (int i = 0; i < fkey->info->nkeys; i++)
	{
		if (TupleDescAttr(RelationGetDescr(rel), fkey->info->confkey[i] - 1)->atttypid !=
			TupleDescAttr(fkey->desc, i)->atttypid)
			return;
	}
	fkey->provided = dg_rows_keyset_make(CurrentMemoryContext, RelationGetDescr(rel), fkey->info->nkeys, fkey->info->confkey);
}

/*
 * Has a table been taken on before? *handled are then its constraints.
 */
static bool
is_table_known(DgRowsForeignKeys *fkeys, Relation rel, List **handled)
{
	bool		known = false;
	ListCell   *lc;

	foreach(lc, fkeys->tables)
		known |= lfirst_oid(lc) == RelationGetRelid(rel);
	foreach(lc, fkeys->keys)
	{
		ForeignKey *fkey = lfirst(lc);

		if (known && fkey->info->conrelid == RelationGetRelid(rel))
			*handled = lappend_oid(*handled, fkey->info->conoid);
	}
	return known;
}

/*
 * Takes on a table. Returns the OIDs of the constraints that
 * are checked here, so that their triggers need not. Tables are best all taken
 * on before the first row is noted.
 */
List *
dg_rows_fkeys_add(DgRowsForeignKeys *fkeys, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(fkeys->context);
	List	   *handled = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	if (is_table_known(fkeys, rel, &handled))
	{
		MemoryContextSwitchTo(old);
		return handled;
	}
	fkeys->tables = lappend_oid(fkeys->tables, RelationGetRelid(rel));
	foreach(lc, fkeys->keys)
	{
		if (((ForeignKey *) lfirst(lc))->provided == NULL)
			provide_if_referenced(lfirst(lc), rel);
	}
	foreach(lc, dg_foreign_keys(rel))
	{
		ForeignKeyCacheInfo *info = lfirst(lc);
		ForeignKey *fkey;
		bool		match_full;
		bool		valid;

		if (!is_checkable(fkeys->options, info, &match_full, &valid))
			continue;
		fkey = make_foreign_key(fkeys, rel, info, match_full, valid);
		foreach(lc2, fkeys->tables)
		{
			Relation	other = table_open(lfirst_oid(lc2), NoLock);

			if (fkey->provided == NULL)
				provide_if_referenced(fkey, other);
			table_close(other, NoLock);
		}
		fkeys->keys = lappend(fkeys->keys, fkey);
		handled = lappend_oid(handled, info->conoid);
	}
	MemoryContextSwitchTo(old);
	return handled;
}

/* ----------------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------------
 */

static void
refuse_partial_key(ForeignKey *fkey)
{
	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("insert or update on table \"%s\" violates foreign key constraint \"%s\"",
					get_rel_name(fkey->info->conrelid), fkey->name),
			 errdetail("MATCH FULL does not allow mixing of null and nonnull key values.")));
}

/*
 * Does a row refer to one that is known to be missing?
 */
bool
dg_rows_fkeys_is_orphan(DgRowsForeignKeys *fkeys, Oid relid, TupleTableSlot *slot)
{
	ListCell   *lc;

	foreach(lc, fkeys->options->missing == NULL ? NIL : fkeys->keys)
	{
		ForeignKey *fkey = lfirst(lc);

		if (fkey->info->conrelid == relid && fkey->missing != NULL &&
			dg_rows_keyset_read(fkey->needed, slot) == 0 && dg_rows_keyset_has_of(fkey->missing, fkey->needed))
			return true;
	}
	return false;
}

/*
 * A row that no live row has a key of is left out: so are those that refer to it.
 */
void
dg_rows_fkeys_leave_out(DgRowsForeignKeys *fkeys, Oid relid, TupleTableSlot *slot)
{
	ListCell   *lc;

	foreach(lc, fkeys->keys)
	{
		ForeignKey *fkey = lfirst(lc);

		if (fkey->info->confrelid != relid || !fkey->valid || fkey->provided == NULL ||
			dg_rows_keyset_read(fkey->provided, slot) > 0)
			continue;
		if (fkey->missing == NULL)
			fkey->missing = dg_rows_missing_add(fkeys->options->missing, fkey->info->conoid, fkey->desc, fkey->info->nkeys);
		if (dg_rows_keyset_add_of(fkey->missing, fkey->provided))
			dg_rows_missing_added(fkeys->options->missing);
	}
}

/*
 * Takes note of a row under a key that is not valid: of every one, to be counted.
 */
static void
note_unchecked(DgRowsForeignKeys *fkeys, ForeignKey *fkey, TupleTableSlot *slot, int tag)
{
	MemoryContext old = MemoryContextSwitchTo(fkeys->context);
	TupleTableSlot *key = fkey->slot;

	if (fkey->lookups == NULL)
		fkey->lookups = tuplestore_begin_heap(false, false, work_mem);
	ExecClearTuple(key);
	for (int i = 0; i < fkey->info->nkeys; i++)
		key->tts_values[i] = slot_getattr(slot, fkey->info->conkey[i], &key->tts_isnull[i]);
	key->tts_values[fkey->info->nkeys] = Int32GetDatum(tag);
	key->tts_isnull[fkey->info->nkeys] = false;
	ExecStoreVirtualTuple(key);
	tuplestore_puttupleslot(fkey->lookups, key);
	ExecClearTuple(key);
	MemoryContextSwitchTo(old);
}

static void
note_needed(DgRowsForeignKeys *fkeys, ForeignKey *fkey, TupleTableSlot *slot, int tag)
{
	int			nulls = dg_rows_keyset_read(fkey->needed, slot);

	if (nulls > 0 && nulls < fkey->info->nkeys && fkey->match_full && fkey->valid)
		refuse_partial_key(fkey);
	if (nulls > 0)
		return;
	if (!fkey->valid)
		note_unchecked(fkeys, fkey, slot, tag);
	else if (dg_rows_keyset_add(fkey->needed) && dg_rows_keyset_is_full(fkey->needed))
	{
		MemoryContext old = MemoryContextSwitchTo(fkeys->context);

		dg_rows_keyset_store(fkey->needed, fkey->provided, fkey->slot, &fkey->lookups);
		dg_rows_keyset_forget(fkey->needed);
		MemoryContextSwitchTo(old);
	}
}

/*
 * Takes note of a row that was written to a table; the tag is told with it.
 */
void
dg_rows_fkeys_note(DgRowsForeignKeys *fkeys, Oid relid, TupleTableSlot *slot, int tag)
{
	ListCell   *lc;

	foreach(lc, fkeys->keys)
	{
		ForeignKey *fkey = lfirst(lc);

		if (fkey->info->conrelid == relid)
			note_needed(fkeys, fkey, slot, tag);
		if (fkey->info->confrelid == relid && fkey->provided != NULL && !dg_rows_keyset_is_full(fkey->provided) &&
			dg_rows_keyset_read(fkey->provided, slot) == 0)
			(void) dg_rows_keyset_add(fkey->provided);
	}
}

/*
 * Takes note that a row which was noted is going to be changed, and noted
 * again.
 */
void
dg_rows_fkeys_change(DgRowsForeignKeys *fkeys, Oid relid)
{
	ListCell   *lc;

	foreach(lc, fkeys->keys)
	{
		ForeignKey *fkey = lfirst(lc);

		if (fkey->info->conrelid == relid)
			fkey->changed = true;
	}
}

/* ----------------------------------------------------------------------
 * Looking keys up
 * ----------------------------------------------------------------------
 */

/*
 * "(site_id, issue_id)=(3, 7), ..." of the keys that SPI has found missing.
 */
static char *
describe_missing(ForeignKey *fkey)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < fkey->info->nkeys; i++)
		appendStringInfo(&buf, "%s%s", i == 0 ? "(" : ", ",
						 get_attname(fkey->info->conrelid, fkey->info->conkey[i], false));
	appendStringInfoString(&buf, ")=");
	for (uint64 row = 0; row < Min(SPI_processed, NAMED_KEYS); row++)
	{
		appendStringInfoString(&buf, row > 0 ? ", (" : "(");
		for (int i = 0; i < fkey->info->nkeys; i++)
			appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "",
							 SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i + 1));
		appendStringInfoChar(&buf, ')');
	}
	if (SPI_processed > NAMED_KEYS)
		appendStringInfoString(&buf, " and others");
	return buf.data;
}

/*
 * A row that was noted and then changed, as it got a lost link back, does not need
 * its key any more: leaves of the missing keys those that rows have.
 */
static void
drop_unused_keys(ForeignKey *fkey)
{
	Oid			child = fkey->info->conrelid;
	Tuplestorestate *used = tuplestore_begin_heap(false, false, work_mem);
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	for (int i = 0; i < fkey->info->nkeys; i++)
	{
		Oid			type = TupleDescAttr(fkey->desc, i)->atttypid;

		appendStringInfoString(&buf, " AND ");
		generate_operator_clause(&buf, psprintf("c.%s", quote_identifier(get_attname(child, fkey->info->conkey[i], false))),
								 type, lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr,
								 psprintf("k.k%d", i + 1), type);
	}
	SPI_connect();
	dg_query_register_rows("missing_keys", fkey->lookups, fkey->desc);
	foreach(lc, dg_query_tables(child))
	{
		dg_query(psprintf("SELECT k.* FROM missing_keys k WHERE EXISTS (SELECT 1 FROM %s c WHERE true%s)",
						  dg_own_rows(lfirst_oid(lc)), buf.data), DG_AS_OWNER,
				 .table = lfirst_oid(lc));
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(used, SPI_tuptable->vals[i]);
	}
	SPI_finish();
	tuplestore_end(fkey->lookups);
	fkey->lookups = used;
}

/*
 * A query for missing keys, in order, as many as are of interest; or, where they
 * may be missing, for the number of rows that have them, by tags.
 */
static char *
missing_keys_query(DgRowsForeignKeys *fkeys, ForeignKey *fkey)
{
	StringInfoData buf;

	if (!fkey->valid)
		return "SELECT tag, pg_catalog.count(*) FROM missing_keys GROUP BY tag";
	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT * FROM missing_keys ORDER BY ");
	for (int i = 0; i < fkey->info->nkeys; i++)
		appendStringInfo(&buf, "%sk%d", i > 0 ? ", " : "", i + 1);
	if (fkeys->options->missing == NULL)
		appendStringInfo(&buf, " LIMIT %d", NAMED_KEYS + 1);
	return buf.data;
}

/*
 * SPI's last result has the keys that are missing: the next try knows them.
 */
static void
keep_missing(DgRowsForeignKeys *fkeys, ForeignKey *fkey)
{
	DgRowsMissing *missing = fkeys->options->missing;

	if (fkey->missing == NULL)
		fkey->missing = dg_rows_missing_add(missing, fkey->info->conoid, fkey->desc, fkey->info->nkeys);
	dg_rows_missing_note(missing, fkey->missing, SPI_tuptable, SPI_processed);
}

/*
 * The table that a key is of: one of a partition is the table's business.
 */
static Oid
table_of_key(ForeignKey *fkey)
{
	Oid			relid = fkey->info->conrelid;

	return get_rel_relispartition(relid) ? llast_oid(get_partition_ancestors(relid)) : relid;
}

static void
refuse_missing(DgRowsForeignKeys *fkeys, ForeignKey *fkey)
{
	bool		visible = dg_rows_may_read(table_of_key(fkey));

	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("cannot restore rows of \"%s\": rows of \"%s\" that they refer to do not exist",
					get_rel_name(fkey->info->conrelid), get_rel_name(fkey->info->confrelid)),
			 visible ? errdetail("Foreign key \"%s\" needs %s.", fkey->name, describe_missing(fkey)) :
			 errdetail("Foreign key \"%s\" needs them. Values are not shown, as you may not read all of \"%s\".",
					   fkey->name, get_rel_name(table_of_key(fkey))),
			 errhint("%s", fkeys->options->hint)));
}

/*
 * SPI's last result counts rows that refer to none, by tags.
 */
static void
tell_of_orphans(DgRowsForeignKeys *fkeys, ForeignKey *fkey)
{
	Oid			relid = table_of_key(fkey);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64		rows = dg_row_int64(i, 2, NULL);

		fkeys->options->tell(fkeys->options->arg, relid, (int) dg_row_int64(i, 1, NULL),
							 psprintf(rows == 1 ? "%lld row refers to a row of \"%s\" that does not exist, as before: foreign key \"%s\" is NOT VALID" :
									  "%lld rows refer to rows of \"%s\" that do not exist, as before: foreign key \"%s\" is NOT VALID",
									  (long long) rows, get_rel_name(fkey->info->confrelid), fkey->name));
	}
}

/*
 * Looks up what is left to look up.
 */
static void
look_up_keys(DgRowsForeignKeys *fkeys, ForeignKey *fkey)
{
	DgRowsParents parents = {fkey->info, dg_query_tables(fkey->info->confrelid), DG_AS_OWNER, fkey->desc,.lock = fkey->valid};

	if (fkeys->options->outside != NULL)
		fkeys->options->outside(fkeys->options->arg, fkey->info, fkey->lookups, fkey->desc);
	dg_rows_parentless(&parents, &fkey->lookups);
	if (fkey->valid && fkey->changed && tuplestore_tuple_count(fkey->lookups) > 0)
		drop_unused_keys(fkey);
	if (tuplestore_tuple_count(fkey->lookups) == 0)
		return;
	SPI_connect();
	dg_query_register_rows("missing_keys", fkey->lookups, fkey->desc);
	dg_query(missing_keys_query(fkeys, fkey), DG_AS_OWNER,
			 .table = fkey->info->conrelid);
	if (!fkey->valid)
		tell_of_orphans(fkeys, fkey);
	else if (fkeys->options->missing == NULL)
		refuse_missing(fkeys, fkey);
	else
		keep_missing(fkeys, fkey);
	SPI_finish();
}

/*
 * Checks every key that was noted. All rows have been written.
 */
void
dg_rows_fkeys_check(DgRowsForeignKeys *fkeys)
{
	ListCell   *lc;

	foreach(lc, fkeys->keys)
	{
		ForeignKey *fkey = lfirst(lc);
		MemoryContext old = MemoryContextSwitchTo(fkeys->context);

		dg_rows_keyset_store(fkey->needed, fkey->provided, fkey->slot, &fkey->lookups);
		MemoryContextSwitchTo(old);
		if (fkey->lookups != NULL)
		{
			look_up_keys(fkeys, fkey);
			tuplestore_end(fkey->lookups);
		}
		ExecDropSingleTupleTableSlot(fkey->slot);
	}
	dg_rows_missing_refuse(fkeys->options->missing);
}
