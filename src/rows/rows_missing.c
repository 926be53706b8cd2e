/*
 * rows_missing.c
 *		Keys that rows refer to and that are nowhere, where such rows are to be
 *		left out.
 *
 * Which these are shows when all rows have been written. So they are noted
 * here, outside of the try that found them, and the call is tried again
 * (rows_try.c): rows that refer to them are left out then, and of those that refer
 * to these the keys are noted in turn.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "rows/rows_internal.h"

/* Missing keys of one foreign key. */
typedef struct MissingKeys
{
	Oid			conoid;
	DgKeySet   *keys;
} MissingKeys;

struct DgRowsMissing
{
	MemoryContext context;
	List	   *keys;			/* of MissingKeys */
	bool		grown;			/* in the present try */
	bool		found;			/* are there rows, in the present try, that
								 * refer to some? */
};

/*
 * An empty collection of missing keys, for all tries of one call, in the
 * current memory context.
 */
DgRowsMissing *
dg_rows_missing_make(void)
{
	DgRowsMissing *missing = palloc0(sizeof(DgRowsMissing));

	missing->context = CurrentMemoryContext;
	return missing;
}

/*
 * The missing keys of a foreign key; NULL if there are none, or missing is
 * NULL.
 */
DgKeySet *
dg_rows_missing_of(DgRowsMissing *missing, Oid conoid)
{
	ListCell   *lc;

	foreach(lc, missing == NULL ? NIL : missing->keys)
	{
		MissingKeys *keys = lfirst(lc);

		if (keys->conoid == conoid)
			return keys->keys;
	}
	return NULL;
}

/*
 * A set for a foreign key that has none yet; its keys are the first nkeys columns
 * of desc.
 */
DgKeySet *
dg_rows_missing_add(DgRowsMissing *missing, Oid conoid, TupleDesc desc, int nkeys)
{
	MemoryContext old = MemoryContextSwitchTo(missing->context);
	MissingKeys *keys = palloc(sizeof(MissingKeys));
	AttrNumber	attnums[INDEX_MAX_KEYS];

	for (int i = 0; i < nkeys; i++)
		attnums[i] = i + 1;
	keys->conoid = conoid;
	keys->keys = dg_rows_keyset_make(missing->context, desc, nkeys, attnums);
	missing->keys = lappend(missing->keys, keys);
	MemoryContextSwitchTo(old);
	return keys->keys;
}

/*
 * A key was added in the present try. Rows that refer to it may have been written
 * before: the check of all keys tells.
 */
void
dg_rows_missing_added(DgRowsMissing *missing)
{
	missing->grown = true;
}

/*
 * Adds the keys that a query has found missing, to which rows refer that were
 * written.
 */
void
dg_rows_missing_note(DgRowsMissing *missing, DgKeySet *keys, SPITupleTable *found, uint64 n)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(found->tupdesc, &TTSOpsHeapTuple);

	for (uint64 i = 0; i < n; i++)
	{
		ExecStoreHeapTuple(found->vals[i], slot, false);
		(void) dg_rows_keyset_read(keys, slot);
		if (dg_rows_keyset_add(keys))
			missing->grown = true;
		missing->found = true;
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Ends the present try, by an error, if rows that it has written refer to missing
 * ones.
 */
void
dg_rows_missing_refuse(const DgRowsMissing *missing)
{
	if (missing != NULL && missing->found)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg_internal("rows that others refer to do not exist")));
}

/*
 * Has the try that just failed done so as rows refer to missing ones, and does the
 * next one know of more of these? Then the call is to be tried again.
 */
bool
dg_rows_missing_grown(DgRowsMissing *missing)
{
	bool		again = missing != NULL && missing->found && missing->grown;

	if (again)
		missing->found = missing->grown = false;
	return again;
}
