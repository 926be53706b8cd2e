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
 * The server's triggers go on checking what this does not handle: deferrable
 * keys, which may be checked at commit only, keys of partitioned tables and
 * over periods.
 *
 * Memory is bounded: keys beyond a limit go into a tuplestore, which spills to
 * disk, and then are looked up even if they were provided.
 */
#include "rows.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_constraint.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define MAX_KEYS_BYTES	(32 * 1024 * 1024)
#define NAMED_KEYS		3

/*
 * A key: for each column the value's bytes, with their number in front where
 * the type does not fix it. Short ones are kept where they are, so that an
 * entry takes 24 bytes; of a longer one there is a pointer to its length and
 * bytes.
 */
#define INLINE_KEY		14
#define LONG_KEY		(INLINE_KEY + 1)

typedef struct Key
{
	uint16		len;			/* or LONG_KEY */
	char		bytes[INLINE_KEY];
} Key;

typedef struct KeyEntry
{
	uint32		hash;
	Key			key;			/* hash key */
	char		status;
} KeyEntry;

static inline const char *
key_bytes(const Key *key, uint32 *len)
{
	char	   *at;

	*len = key->len;
	if (key->len != LONG_KEY)
		return key->bytes;
	memcpy(&at, key->bytes, sizeof(at));
	memcpy(len, at, sizeof(*len));
	return at + sizeof(*len);
}

static inline uint32
key_hash(const Key *key)
{
	uint32		len;
	const char *bytes = key_bytes(key, &len);

	return hash_bytes((const unsigned char *) bytes, len);
}

static inline bool
key_equal(const Key *a, const Key *b)
{
	uint32		alen;
	uint32		blen;
	const char *abytes = key_bytes(a, &alen);
	const char *bbytes = key_bytes(b, &blen);

	return alen == blen && memcmp(abytes, bbytes, alen) == 0;
}

#define SH_PREFIX keyset
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE Key
#define SH_KEY key
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) key_hash(&(key))
#define SH_EQUAL(tb, a, b) key_equal(&(a), &(b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Keys of one set of columns. */
typedef struct KeySet
{
	MemoryContext context;
	keyset_hash *keys;
	int			nkeys;
	AttrNumber	attnums[INDEX_MAX_KEYS];
	int16		len[INDEX_MAX_KEYS];
	bool		byval[INDEX_MAX_KEYS];
	Oid			types[INDEX_MAX_KEYS];
	bool		full;			/* no more are added */
	Key			key;			/* the one at hand */
	char	   *work;			/* its length and bytes */
	uint32		work_len;
	Size		work_size;
} KeySet;

/* One foreign key of a table that rows are written to. */
typedef struct ForeignKey
{
	ForeignKeyCacheInfo *info;
	char	   *name;
	bool		match_full;
	bool		changed;		/* rows were changed after they were noted */
	KeySet	   *needed;			/* what written rows refer to */
	KeySet	   *provided;		/* what written rows of the other table offer; NULL: none */
	Tuplestorestate *lookups;	/* what is left to look up, once there is some */
	TupleDesc	desc;			/* k1, k2, ... */
	TupleTableSlot *slot;
} ForeignKey;

struct DgRowsForeignKeys
{
	MemoryContext context;
	List	   *keys;			/* of ForeignKey */
	List	   *tables;			/* of Relation, open for the whole call */
	const char *hint;			/* what to do where a row is missing */
};

/* ----------------------------------------------------------------------
 * Sets of keys
 * ----------------------------------------------------------------------
 */

static KeySet *
keyset_make(MemoryContext parent, Relation rel, int nkeys, const AttrNumber *attnums)
{
	MemoryContext context = AllocSetContextCreate(parent, "deletion_guard keys", ALLOCSET_DEFAULT_SIZES);
	KeySet	   *set = MemoryContextAllocZero(parent, sizeof(KeySet));

	set->context = context;
	set->keys = keyset_create(context, 256, NULL);
	set->nkeys = nkeys;
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1);

		set->attnums[i] = attnums[i];
		set->len[i] = att->attlen;
		set->byval[i] = att->attbyval;
		set->types[i] = att->atttypid;
	}
	set->work_size = 256;
	set->work = MemoryContextAlloc(parent, set->work_size);
	return set;
}

/*
 * Makes room for so many more bytes of the key at hand.
 */
static inline char *
extend_key(KeySet *set, Size size)
{
	char	   *at;

	if (set->work_len + size > set->work_size)
	{
		set->work_size = (set->work_len + size) * 2;
		set->work = repalloc(set->work, set->work_size);
	}
	at = set->work + set->work_len;
	set->work_len += size;
	return at;
}

static void
append_value(KeySet *set, Datum value, int i)
{
	Datum		plain = value;
	uint32		size;
	char	   *at;

	if (set->byval[i])
	{
		Datum		aligned = (Datum) 0;

		store_att_byval(&aligned, value, set->len[i]);
		memcpy(extend_key(set, set->len[i]), &aligned, set->len[i]);
		return;
	}
	if (set->len[i] == -1)
		plain = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	size = set->len[i] == -1 ? VARSIZE_ANY_EXHDR(DatumGetPointer(plain)) :
		datumGetSize(value, false, set->len[i]);
	at = extend_key(set, sizeof(size) + size);
	memcpy(at, &size, sizeof(size));
	memcpy(at + sizeof(size), set->len[i] == -1 ? VARDATA_ANY(DatumGetPointer(plain)) :
		   DatumGetPointer(plain), size);
	if (plain != value)
		pfree(DatumGetPointer(plain));
}

/*
 * What is in work becomes the key at hand.
 */
static void
set_key(KeySet *set)
{
	uint32		len = set->work_len - sizeof(len);

	if (len <= INLINE_KEY)
	{
		set->key.len = (uint16) len;
		memcpy(set->key.bytes, set->work + sizeof(len), len);
		return;
	}
	memcpy(set->work, &len, sizeof(len));
	set->key.len = LONG_KEY;
	memcpy(set->key.bytes, &set->work, sizeof(set->work));
}

/*
 * Makes the key of a row the one at hand. Returns how many of its columns are
 * null; with any, there is no key.
 */
static int
make_key(KeySet *set, TupleTableSlot *slot)
{
	int			nulls = 0;

	set->work_len = sizeof(uint32);
	for (int i = 0; i < set->nkeys; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, set->attnums[i], &isnull);

		if (isnull)
			nulls++;
		else if (nulls == 0)
			append_value(set, value, i);
	}
	set_key(set);
	return nulls;
}

/*
 * Adds the key at hand; true if it is a new one.
 */
static bool
add_key(KeySet *set)
{
	bool		found;
	KeyEntry   *entry = keyset_insert(set->keys, set->key, &found);

	if (found)
		return false;
	if (set->key.len == LONG_KEY)
	{
		char	   *copy = MemoryContextAlloc(set->context, set->work_len);

		memcpy(copy, set->work, set->work_len);
		memcpy(entry->key.bytes, &copy, sizeof(copy));
	}
	set->full = MemoryContextMemAllocated(set->context, false) > MAX_KEYS_BYTES;
	return true;
}

/*
 * Forgets all keys.
 */
static void
keyset_forget(KeySet *set)
{
	MemoryContextReset(set->context);
	set->keys = keyset_create(set->context, 256, NULL);
	set->full = false;
}

/*
 * The values of a key, palloc'd; for a foreign key's slot.
 */
static void
key_values(KeySet *set, const Key *key, TupleTableSlot *slot)
{
	uint32		len;
	const char *at = key_bytes(key, &len);

	ExecClearTuple(slot);
	for (int i = 0; i < set->nkeys; i++)
	{
		uint32		size = set->len[i];
		char	   *value;

		slot->tts_isnull[i] = false;
		if (set->byval[i])
		{
			Datum		aligned = (Datum) 0;

			memcpy(&aligned, at, size);
			slot->tts_values[i] = fetch_att(&aligned, true, size);
			at += size;
			continue;
		}
		memcpy(&size, at, sizeof(size));
		at += sizeof(size);
		value = palloc(VARHDRSZ + size);
		if (set->len[i] == -1)
			SET_VARSIZE(value, VARHDRSZ + size);
		memcpy(set->len[i] == -1 ? VARDATA(value) : value, at, size);
		slot->tts_values[i] = PointerGetDatum(value);
		at += size;
	}
	ExecStoreVirtualTuple(slot);
}

/* ----------------------------------------------------------------------
 * Tables and their keys
 * ----------------------------------------------------------------------
 */

DgRowsForeignKeys *
dg_rows_fkeys_begin(void)
{
	DgRowsForeignKeys *fkeys = palloc0(sizeof(DgRowsForeignKeys));

	fkeys->context = CurrentMemoryContext;
	fkeys->hint = "Nothing was restored. Restore the rows referred to together with these: if they were deleted by another statement, deletion_guard.undelete_tenant() brings back both.";
	return fkeys;
}

/*
 * What a caller can do where a row that is referred to does not exist.
 */
void
dg_rows_fkeys_hint(DgRowsForeignKeys *fkeys, const char *hint)
{
	fkeys->hint = hint;
}

/*
 * Is this a key that is checked here? A key to a partitioned table has parts
 * that name its partitions; they are not to be checked one by one.
 */
static bool
is_checkable(ForeignKeyCacheInfo *info, bool *match_full)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(info->conoid));
	Form_pg_constraint con;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", info->conoid);
	con = (Form_pg_constraint) GETSTRUCT(tuple);
	*match_full = (con->confmatchtype == FKCONSTR_MATCH_FULL);
	result = !con->condeferrable && !OidIsValid(con->conparentid) && DG_CONSTRAINT_IS_PLAIN(con);
	ReleaseSysCache(tuple);
	return result;
}

static ForeignKey *
make_foreign_key(Relation rel, ForeignKeyCacheInfo *info, bool match_full)
{
	ForeignKey *fkey = palloc0(sizeof(ForeignKey));

	fkey->info = info;
	fkey->name = get_constraint_name(info->conoid);
	fkey->match_full = match_full;
	fkey->needed = keyset_make(CurrentMemoryContext, rel, info->nkeys, info->conkey);
	fkey->desc = CreateTemplateTupleDesc(info->nkeys);
	for (int i = 0; i < info->nkeys; i++)
		TupleDescInitEntry(fkey->desc, i + 1, psprintf("k%d", i + 1), fkey->needed->types[i], -1, 0);
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
			fkey->needed->types[i])
			return;
	}
	fkey->provided = keyset_make(CurrentMemoryContext, rel, fkey->info->nkeys, fkey->info->confkey);
}

/*
 * Takes on a table, which stays open. Returns the OIDs of the constraints that
 * are checked here, so that their triggers need not. Tables are best all taken
 * on before the first row is noted.
 */
List *
dg_rows_fkeys_add(DgRowsForeignKeys *fkeys, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(fkeys->context);
	List	   *handled = NIL;
	List	   *infos = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	fkeys->tables = lappend(fkeys->tables, rel);
	foreach(lc, fkeys->keys)
	{
		if (((ForeignKey *) lfirst(lc))->provided == NULL)
			provide_if_referenced(lfirst(lc), rel);
	}
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE && !rel->rd_rel->relispartition)
		infos = dg_foreign_keys(rel);
	foreach(lc, infos)
	{
		ForeignKeyCacheInfo *info = lfirst(lc);
		ForeignKey *fkey;
		bool		match_full;

		if (!is_checkable(info, &match_full))
			continue;
		fkey = make_foreign_key(rel, info, match_full);
		foreach(lc2, fkeys->tables)
		{
			if (fkey->provided == NULL)
				provide_if_referenced(fkey, lfirst(lc2));
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
 * Moves the collected keys to those that will be looked up.
 */
static void
move_to_lookups(ForeignKey *fkey)
{
	keyset_iterator it;
	KeyEntry   *entry;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard key",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	keyset_start_iterate(fkey->needed->keys, &it);
	while ((entry = keyset_iterate(fkey->needed->keys, &it)) != NULL)
	{
		if (fkey->provided != NULL && keyset_lookup(fkey->provided->keys, entry->key) != NULL)
			continue;
		if (fkey->lookups == NULL)
		{
			MemoryContextSwitchTo(old);
			fkey->lookups = tuplestore_begin_heap(false, false, work_mem);
			MemoryContextSwitchTo(context);
		}
		key_values(fkey->needed, &entry->key, fkey->slot);
		tuplestore_puttupleslot(fkey->lookups, fkey->slot);
		ExecClearTuple(fkey->slot);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * Takes note of a row that was written to a table.
 */
void
dg_rows_fkeys_note(DgRowsForeignKeys *fkeys, Oid relid, TupleTableSlot *slot)
{
	ListCell   *lc;

	foreach(lc, fkeys->keys)
	{
		ForeignKey *fkey = lfirst(lc);

		if (fkey->info->conrelid == relid)
		{
			int			nulls = make_key(fkey->needed, slot);

			if (nulls > 0 && nulls < fkey->info->nkeys && fkey->match_full)
				refuse_partial_key(fkey);
			if (nulls == 0 && add_key(fkey->needed) && fkey->needed->full)
			{
				MemoryContext old = MemoryContextSwitchTo(fkeys->context);

				move_to_lookups(fkey);
				keyset_forget(fkey->needed);
				MemoryContextSwitchTo(old);
			}
		}
		if (fkey->info->confrelid == relid && fkey->provided != NULL && !fkey->provided->full &&
			make_key(fkey->provided, slot) == 0)
			(void) add_key(fkey->provided);
	}
}

/*
 * A row that was noted is going to be changed, and noted again.
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

static char *
lookup_query(ForeignKey *fkey)
{
	StringInfoData buf;
	Oid			parent = fkey->info->confrelid;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT k.* FROM restored_keys k WHERE NOT EXISTS (SELECT 1 FROM %s%s p WHERE ",
					 get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					 dg_relation_name(parent));
	for (int i = 0; i < fkey->info->nkeys; i++)
	{
		char	   *column = psprintf("p.%s", quote_identifier(get_attname(parent, fkey->info->confkey[i], false)));

		if (i > 0)
			appendStringInfoString(&buf, " AND ");
		generate_operator_clause(&buf, column, get_atttype(parent, fkey->info->confkey[i]),
								 fkey->info->conpfeqop[i], psprintf("k.k%d", i + 1),
								 fkey->needed->types[i]);
	}
	appendStringInfoString(&buf, " FOR KEY SHARE OF p) ORDER BY ");
	for (int i = 0; i < fkey->info->nkeys; i++)
		appendStringInfo(&buf, "%sk%d", i > 0 ? ", " : "", i + 1);
	if (!fkey->changed)
		appendStringInfo(&buf, " LIMIT %d", NAMED_KEYS + 1);
	return buf.data;
}

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
 * Has SPI know a tuplestore of keys by a name.
 */
static void
register_keys(ForeignKey *fkey, char *name, Tuplestorestate *keys)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = name;
	enr->md.tupdesc = fkey->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(keys);
	enr->reldata = keys;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the keys to look up");
}

/*
 * The keys that are missing are those in the result of SPI's last query. A row
 * that was noted and then changed, as it got a lost link back, does not need
 * its key any more: drops keys that no row has, by another query.
 */
static void
drop_unused_keys(ForeignKey *fkey)
{
	Oid			child = fkey->info->conrelid;
	Tuplestorestate *missing = tuplestore_begin_heap(false, false, work_mem);
	StringInfoData buf;

	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(missing, SPI_tuptable->vals[i]);
	register_keys(fkey, "missing_keys", missing);

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT k.* FROM missing_keys k WHERE EXISTS (SELECT 1 FROM ONLY %s c WHERE true",
					 dg_relation_name(child));
	for (int i = 0; i < fkey->info->nkeys; i++)
	{
		Oid			type = fkey->needed->types[i];

		appendStringInfoString(&buf, " AND ");
		generate_operator_clause(&buf, psprintf("c.%s", quote_identifier(get_attname(child, fkey->info->conkey[i], false))),
								 type, lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr,
								 psprintf("k.k%d", i + 1), type);
	}
	appendStringInfo(&buf, ") ORDER BY k1 LIMIT %d", NAMED_KEYS + 1);
	dg_spi_execute_as_owner(child, buf.data, 0, NULL, NULL);
}

static void
look_up(ForeignKey *fkey, const char *hint)
{
	SPI_connect();
	register_keys(fkey, "restored_keys", fkey->lookups);
	dg_spi_execute_as_owner(fkey->info->confrelid, lookup_query(fkey), 0, NULL, NULL);
	if (SPI_processed > 0 && fkey->changed)
		drop_unused_keys(fkey);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("cannot restore rows of \"%s\": rows of \"%s\" that they refer to do not exist",
						get_rel_name(fkey->info->conrelid), get_rel_name(fkey->info->confrelid)),
				 errdetail("Foreign key \"%s\" needs %s.", fkey->name, describe_missing(fkey)),
				 errhint("%s", hint)));
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

		move_to_lookups(fkey);
		MemoryContextSwitchTo(old);
		if (fkey->lookups != NULL)
		{
			look_up(fkey, fkeys->hint);
			tuplestore_end(fkey->lookups);
		}
		ExecDropSingleTupleTableSlot(fkey->slot);
	}
}
