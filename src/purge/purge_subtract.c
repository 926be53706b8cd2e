/*
 * purge_subtract.c
 *		Knowing rows again that were purged, when a backup brings them back.
 *
 * Of purged rows only salted digests of their keys are left (purge_digest.c).
 * A row that turns up in a backup is digested in the same way, once for each
 * purge that concerned its tenant and table, and looked for among them. Purges
 * that were annulled do not count.
 *
 * The rows of a purge are named by the relation's name and its key's columns as
 * they were then; names that the table had while rows of it went to the bin are
 * known from the bin's registry.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "bin/bin.h"
#include "capture/capture.h"
#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"

PG_FUNCTION_INFO_V1(dg_purge_of);

/* What one purge removed from one table. */
typedef struct PurgedTable
{
	int64		purge;
	int32		table_no;
	uint8		salt[DG_DIGEST_SIZE];
	DgPurgeKey	key;			/* of the rows to be looked up */
	uint8	   *digests;		/* sorted */
	int64		count;
} PurgedTable;

/* What purge_of() keeps from call to call. */
typedef struct PurgeOf
{
	DgPurgeSubtract *subtract;
	TupleTableSlot *slot;
} PurgeOf;

struct DgPurgeSubtract
{
	TupleDesc	desc;
	bool		plain;			/* no output depends on settings */
	List	   *tables;			/* of PurgedTable */
	FmgrInfo   *output;			/* by attribute number - 1 */
	StringInfoData buf;
	MemoryContext row_context;
};

static int
compare_digests(const void *a, const void *b)
{
	return memcmp(a, b, DG_KEY_DIGEST_SIZE);
}

static void
look_up_columns(DgPurgeSubtract *subtract, PurgedTable *table, Datum key_columns)
{
	DgPurgeKey *key = &table->key;
	List	   *names = dg_array_strings(key_columns);
	ListCell   *lc;

	key->attnums = palloc0(sizeof(AttrNumber) * (list_length(names) + 1));
	foreach(lc, names)
	{
		int			attnum = SPI_fnumber(subtract->desc, lfirst(lc));

		if (attnum <= 0)
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("rows of %s that were purged cannot be told from others", key->relation_name),
					 errdetail("Purge %lld knows them by column \"%s\", which the table no longer has.",
							   (long long) table->purge, (char *) lfirst(lc)),
					 errhint("Add the column again, rehydrate, and drop it while the table is not guarded, between unguard_table() and guard_table().")));
		key->attnums[key->nattrs++] = attnum;
		if (!dg_canonical_always(TupleDescAttr(subtract->desc, attnum - 1)->atttypid))
			subtract->plain = false;
	}
}

static bool
is_digest_of(const uint8 *tenant_digest, const uint8 *salt, const char *tenant)
{
	uint8		digest[DG_DIGEST_SIZE];

	dg_purge_salted_digest(salt, tenant, digest);
	return memcmp(digest, tenant_digest, DG_DIGEST_SIZE) == 0;
}

/*
 * Is the purge's tenant, known by a salted digest only, one of these? Yes if
 * no list is given. Also yes for a purge that was of no one tenant: of rows
 * without one, which may come along with any, or of many.
 */
static bool
concerns_tenants(const uint8 *salt, const uint8 *tenant_digest, List *tenants)
{
	ListCell   *lc;

	foreach(lc, tenants)
	{
		if (is_digest_of(tenant_digest, salt, lfirst(lc)))
			return true;
	}
	return tenants == NIL || is_digest_of(tenant_digest, salt, NULL);
}

static const uint8 *
scan_digest(const DgOwnScan *scan, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = dg_own_datum(scan, attnum, &isnull);
	const uint8 *bytes = isnull ? NULL : dg_digest_bytes(value);

	if (bytes == NULL)
		elog(ERROR, "record of a purge is damaged");
	return bytes;
}

/*
 * The names that a table has and had while rows of it went to the bin.
 */
static List *
relation_names(Oid relid)
{
	List	   *names = list_make1(dg_relation_name(relid));
	ScanKeyData keys[] = {dg_own_key_oid(Anum_registry_relation, relid)};
	DgOwnScan  *scan = dg_own_scan(DG_OWN_REGISTRY, AccessShareLock, lengthof(keys), keys);

	while (dg_own_next(scan))
		names = lappend(names, dg_own_text(scan, Anum_registry_relation_name));
	dg_own_end(scan);
	return names;
}

static bool
is_among(const char *name, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/*
 * Does the purge count, and concern these tenants? Fills in its salt if so.
 */
static bool
purge_counts(int64 purge, List *tenants, uint8 *salt)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN(purge_record), AccessShareLock,
								   DG_KEYS(dg_own_key_int8(Anum_purge_record_purge_id, purge)));
	bool		result;

	if (scan == NULL)
		return false;
	memcpy(salt, scan_digest(scan, Anum_purge_record_salt), DG_DIGEST_SIZE);
	result = strcmp(dg_own_text(scan, Anum_purge_record_state), "purged") == 0 &&
		concerns_tenants(salt, scan_digest(scan, Anum_purge_record_tenant_digest), tenants);
	dg_own_end(scan);
	return result;
}

/*
 * Adds what the scan's row says that a purge removed from a table, without the
 * digests.
 */
static void
add_purged_table(DgPurgeSubtract *subtract, const DgOwnScan *scan, List *tenants)
{
	PurgedTable *table = palloc0(sizeof(PurgedTable));
	bool		isnull;

	table->purge = dg_own_int64(scan, Anum_purge_table_purge_id);
	table->table_no = (int32) dg_own_int64(scan, Anum_purge_table_table_no);
	if (!purge_counts(table->purge, tenants, table->salt))
		return;
	table->key.relation_name = dg_own_text(scan, Anum_purge_table_relation_name);
	table->key.salt = table->salt;
	table->key.output = subtract->output;
	table->key.buf = &subtract->buf;
	look_up_columns(subtract, table, dg_own_datum(scan, Anum_purge_table_key_columns, &isnull));
	subtract->tables = lappend(subtract->tables, table);
}

static int
compare_purged_tables(const ListCell *a, const ListCell *b)
{
	const PurgedTable *x = lfirst(a);
	const PurgedTable *y = lfirst(b);

	return (x->purge > y->purge) - (x->purge < y->purge);
}

/*
 * Reads which purges concern the table and the tenants.
 */
static void
find_purges(DgPurgeSubtract *subtract, Oid relid, List *tenants)
{
	List	   *names = relation_names(relid);
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(purge_table), AccessShareLock, 0, NULL);

	while (dg_own_next(scan))
	{
		if (is_among(dg_own_text(scan, Anum_purge_table_relation_name), names))
			add_purged_table(subtract, scan, tenants);
	}
	dg_own_end(scan);
	list_sort(subtract->tables, compare_purged_tables);
}

/*
 * Is the scan's chunk of digests one of these tenants'?
 */
static bool
concerns_chunk(const DgOwnScan *scan, const PurgedTable *table, List *tenants)
{
	ListCell   *lc;

	if (tenants == NIL || dg_own_isnull(scan, Anum_purged_key_tenant_digest))
		return true;
	foreach(lc, tenants)
	{
		if (is_digest_of(scan_digest(scan, Anum_purged_key_tenant_digest), table->salt, lfirst(lc)))
			return true;
	}
	return false;
}

/*
 * Reads the digests of one table of one purge, those of these tenants.
 */
static void
load_digests(PurgedTable *table, List *tenants)
{
	ScanKeyData keys[] = {dg_own_key_int8(Anum_purged_key_purge_id, table->purge),
	dg_own_key_int4(Anum_purged_key_table_no, table->table_no)};
	DgOwnScan  *scan = dg_own_scan(DG_OWN(purged_key), AccessShareLock, lengthof(keys), keys);
	Size		size = 0;
	Size		room = 1024;

	table->digests = palloc(room);
	while (dg_own_next(scan))
	{
		bool		isnull;
		Datum		value = dg_own_datum(scan, Anum_purged_key_digests, &isnull);
		bytea	   *chunk;
		Size		len;

		if (!concerns_chunk(scan, table, tenants))
			continue;
		chunk = DatumGetByteaPP(value);
		len = VARSIZE_ANY_EXHDR(chunk);
		while (size + len > room)
			table->digests = repalloc_huge(table->digests, room *= 2);
		memcpy(table->digests + size, VARDATA_ANY(chunk), len);
		size += len;
		if ((Pointer) chunk != DatumGetPointer(value))
			pfree(chunk);
	}
	dg_own_end(scan);
	table->count = size / DG_KEY_DIGEST_SIZE;
	qsort(table->digests, table->count, DG_KEY_DIGEST_SIZE, compare_digests);
}

/*
 * Prepares to tell purged rows of a table. The rows will be given as slots of
 * the descriptor's columns, which have the table's names. "tenants" (char *)
 * are those whose rows will be asked for; NIL for any. The result is allocated
 * in the current memory context; nothing needs to be freed. Takes 16 bytes for
 * each purged row of those tenants.
 */
DgPurgeSubtract *
dg_purge_subtract_begin(Oid relid, TupleDesc desc, List *tenants)
{
	DgPurgeSubtract *subtract = palloc0(sizeof(DgPurgeSubtract));
	ListCell   *lc;

	subtract->desc = CreateTupleDescCopy(desc);
	subtract->plain = true;
	subtract->output = dg_purge_output_functions(desc, 0);
	subtract->row_context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard purged row", ALLOCSET_SMALL_SIZES);
	initStringInfo(&subtract->buf);
	tenants = dg_bin_tenants_known_by(tenants);
	find_purges(subtract, relid, tenants);
	foreach(lc, subtract->tables)
		load_digests(lfirst(lc), tenants);
	return subtract;
}

/*
 * Refuses rows without a value of their own in a column that purged rows are known by;
 * "has" are the names of those columns that rows will have it in.
 */
void
dg_purge_subtract_require(const DgPurgeSubtract *subtract, List *has)
{
	ListCell   *lc;

	foreach(lc, subtract->tables)
	{
		const PurgedTable *table = lfirst(lc);

		for (int i = 0; i < table->key.nattrs && table->count > 0; i++)
		{
			char	   *name = NameStr(TupleDescAttr(subtract->desc, table->key.attnums[i] - 1)->attname);

			if (list_member(has, makeString(name)))
				continue;
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("rows of %s that were purged cannot be told from others", table->key.relation_name),
					 errdetail("Purge %lld knows them by column \"%s\", which mapping leaves out or sets, or which the archive does not have.",
							   (long long) table->purge, name),
					 errhint("Nothing was restored. Let mapping keep the column, leave the table out, or annul the purge if it was wrong.")));
		}
	}
}

static int64
find_purge(DgPurgeSubtract *subtract, TupleTableSlot *slot)
{
	ListCell   *lc;

	foreach(lc, subtract->tables)
	{
		PurgedTable *table = lfirst(lc);
		uint8		digest[DG_KEY_DIGEST_SIZE];

		if (table->count == 0)
			continue;
		dg_purge_key_digest(&table->key, slot, digest);
		if (bsearch(digest, table->digests, table->count, DG_KEY_DIGEST_SIZE, compare_digests) != NULL)
			return table->purge;
	}
	return 0;
}

/*
 * The purge that removed this row, 0 if none did.
 */
int64
dg_purge_of_row(DgPurgeSubtract *subtract, TupleTableSlot *slot)
{
	MemoryContext old;
	int			nestlevel = 0;
	int64		purge;

	if (subtract->tables == NIL)
		return 0;
	old = MemoryContextSwitchTo(subtract->row_context);
	if (!subtract->plain)
		nestlevel = dg_canonical_output_begin();
	purge = find_purge(subtract, slot);
	if (!subtract->plain)
		AtEOXact_GUC(true, nestlevel);
	MemoryContextSwitchTo(old);
	MemoryContextReset(subtract->row_context);
	return purge;
}

/* ----------------------------------------------------------------------
 * purge_of
 * ----------------------------------------------------------------------
 */

static PurgeOf *
purge_of_begin(FunctionCallInfo fcinfo)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	PurgeOf    *state;
	TupleDesc	desc;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the argument is not a row of a table"),
				 errhint("Say of which table it is a row: deletion_guard.purge_of('(42,...)'::public.issue), or purge_of(t) FROM some_table t.")));
	state = palloc0(sizeof(PurgeOf));
	desc = lookup_rowtype_tupdesc_copy(type, -1);
	state->slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	state->subtract = dg_purge_subtract_begin(relid, desc, NIL);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = state;
	return state;
}

/*
 * purge_of(row_value "any") -> bigint: the purge that removed the row, null
 * if none did.
 */
Datum
dg_purge_of(PG_FUNCTION_ARGS)
{
	PurgeOf    *state = fcinfo->flinfo->fn_extra;
	HeapTupleHeader header;
	HeapTupleData tuple = {0};
	int64		purge;

	if (state == NULL)
		state = purge_of_begin(fcinfo);
	header = PG_GETARG_HEAPTUPLEHEADER(0);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	ExecStoreHeapTuple(&tuple, state->slot, false);
	purge = dg_purge_of_row(state->subtract, state->slot);
	ExecClearTuple(state->slot);
	if (purge == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(purge);
}
