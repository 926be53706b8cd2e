/*
 * rehydrate_referrer.c
 *		Foreign keys that lead to rows which have gone (rehydrate_extra.c): the keys
 *		that they led to are kept, and when all rows are back, none may be in use.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

/* Rows that refer to deleted ones would be left without what they refer to. */
typedef struct Referrer
{
	ForeignKeyCacheInfo *fkey;
	TupleDesc	desc;
	Tuplestorestate *keys;		/* of deleted rows */
} Referrer;

static Referrer *
make_referrer(ForeignKeyCacheInfo *fkey)
{
	Referrer   *referrer = palloc0(sizeof(Referrer));

	referrer->fkey = fkey;
	referrer->desc = dg_extract_live_keys_desc(fkey, false);
	referrer->keys = tuplestore_begin_heap(false, false, work_mem);
	return referrer;
}

/*
 * Adds the foreign keys that lead to rows of a table, or of its partition, unless
 * they are known.
 */
List *
dg_rehydrate_referrers_add(List *referrers, Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	ListCell   *lc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		ForeignKeyCacheInfo *fkey;
		bool		known = false;

		if (RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_PK || !TRIGGER_FOR_DELETE(trigger->tgtype))
			continue;
		fkey = dg_foreign_key_of(trigger->tgconstraint);
		foreach(lc, referrers)
			known |= ((Referrer *) lfirst(lc))->fkey->conoid == fkey->conoid;
		if (!known)
			referrers = lappend(referrers, make_referrer(fkey));
	}
	return referrers;
}

/*
 * Has a DELETE of rows that the table calls t return what is kept of them.
 */
void
dg_rehydrate_referrers_returning(StringInfo buf, List *referrers)
{
	ListCell   *lc;

	foreach(lc, referrers)
	{
		ForeignKeyCacheInfo *fkey = ((Referrer *) lfirst(lc))->fkey;

		for (int i = 0; i < fkey->nkeys; i++)
			appendStringInfo(buf, "%s t.%s", lc == list_head(referrers) && i == 0 ? " RETURNING" : ",",
							 quote_identifier(get_attname(fkey->confrelid, fkey->confkey[i], false)));
	}
}

/*
 * Keeps what foreign keys refer to of the rows that were deleted just now. No
 * row refers to a key with a null.
 */
void
dg_rehydrate_referrers_keep(List *referrers)
{
	Datum	   *values = palloc(sizeof(Datum) * MaxTupleAttributeNumber);
	bool	   *nulls = palloc(sizeof(bool) * MaxTupleAttributeNumber);
	ListCell   *lc;

	for (uint64 row = 0; referrers != NIL && row < SPI_processed; row++)
	{
		int			column = 0;

		heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, nulls);
		foreach(lc, referrers)
		{
			Referrer   *referrer = lfirst(lc);

			if (memchr(nulls + column, true, referrer->fkey->nkeys) == NULL)
				tuplestore_putvalues(referrer->keys, referrer->desc, values + column, nulls + column);
			column += referrer->fkey->nkeys;
		}
	}
	pfree(values);
	pfree(nulls);
}

/*
 * Adds to "found" those of the keys that a row of a table refers to.
 */
static void
find_keys_in_use(const Referrer *referrer, Oid relid, Tuplestorestate *found)
{
	const ForeignKeyCacheInfo *fkey = referrer->fkey;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT k.* FROM keys k WHERE EXISTS (SELECT FROM %s r WHERE ", dg_own_rows(relid));
	for (int i = 0; i < fkey->nkeys; i++)
	{
		appendStringInfoString(&buf, i > 0 ? " AND " : "");
		dg_guard_append_clause(&buf, psprintf("k.k%d", i + 1), get_atttype(fkey->confrelid, fkey->confkey[i]), fkey->conpfeqop[i],
							   psprintf("r.%s", quote_identifier(get_attname(fkey->conrelid, fkey->conkey[i], false))),
							   get_atttype(fkey->conrelid, fkey->conkey[i]));
	}
	appendStringInfoChar(&buf, ')');
	SPI_connect();
	dg_query_register_rows("keys", referrer->keys, referrer->desc);
	dg_query(buf.data, DG_AS_OWNER,
			 .table = relid,.snapshot = GetActiveSnapshot());
	for (uint64 row = 0; row < SPI_processed; row++)
		tuplestore_puttuple(found, SPI_tuptable->vals[row]);
	SPI_finish();
}

static void
check_referrer(Referrer *referrer)
{
	const ForeignKeyCacheInfo *fkey = referrer->fkey;
	DgRowsParents parents = {fkey, dg_query_tables(fkey->confrelid), DG_AS_OWNER, referrer->desc,.text = true,.many = true};
	Tuplestorestate *lost = tuplestore_begin_heap(false, false, work_mem);
	ListCell   *lc;

	foreach(lc, dg_query_tables(fkey->conrelid))
		find_keys_in_use(referrer, lfirst_oid(lc), lost);
	tuplestore_end(referrer->keys);

	/*
	 * a row that came back may have the same key, if it is not the primary
	 * one
	 */
	if (tuplestore_tuple_count(lost) > 0)
		dg_rows_parentless(&parents, &lost);
	if (tuplestore_tuple_count(lost) > 0)
		ereport(ERROR,
				(errcode(DG_ERRCODE_CANNOT_RESTORE),
				 errmsg("cannot delete rows of \"%s\" that the archive does not have: rows of \"%s\" refer to them",
						get_rel_name(fkey->confrelid), get_rel_name(fkey->conrelid)),
				 errdetail_plural("Foreign key \"%s\" refers to %lld row that would go. Rows of other tenants, and rows that the archive cannot tell anything of, are left as they are.",
								  "Foreign key \"%s\" refers to %lld rows that would go. Rows of other tenants, and rows that the archive cannot tell anything of, are left as they are.",
								  (unsigned long) tuplestore_tuple_count(lost),
								  get_constraint_name(fkey->conoid), (long long) tuplestore_tuple_count(lost)),
				 errhint("Nothing was changed. If the rows are of the same tenants, have their table among relations, and guard it so that its rows are known to be theirs; otherwise change or delete them first, or say extra => 'keep'.")));
	tuplestore_end(lost);
}

/*
 * All rows are back: none of any table may refer to one that has gone, as of now.
 */
void
dg_rehydrate_referrers_check(const DgRestore *call)
{
	ListCell   *lc;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, call->referrers)
		check_referrer(lfirst(lc));
	PopActiveSnapshot();
}
