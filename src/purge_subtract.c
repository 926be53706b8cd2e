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
#include "purge.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dg_purge_of);

/* What one purge removed from one table. */
typedef struct PurgedTable
{
	int64		purge;
	char	   *relation_name;
	uint8		salt[DG_DIGEST_SIZE];
	int			nkeys;			/* columns of the key */
	AttrNumber *attnums;		/* of the rows to be looked up */
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
	FmgrInfo   *output;			/* by attribute number - 1 */
	bool		plain;			/* no output depends on settings */
	int			ntables;
	PurgedTable *tables;
	StringInfoData buf;
	MemoryContext row_context;
};

static int
compare_digests(const void *a, const void *b)
{
	return memcmp(a, b, DG_KEY_DIGEST_SIZE);
}

/*
 * Do values of the type look the same whatever the session's settings?
 */
static bool
is_plain_type(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

static void
look_up_columns(DgPurgeSubtract *subtract, PurgedTable *table, Datum key_columns)
{
	Datum	   *names;
	TupleDesc	desc = subtract->desc;

	deconstruct_array(DatumGetArrayTypeP(key_columns), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &names, NULL, &table->nkeys);
	table->attnums = palloc0(sizeof(AttrNumber) * (table->nkeys + 1));
	for (int i = 0; i < table->nkeys; i++)
	{
		for (int j = 0; j < desc->natts; j++)
		{
			if (!TupleDescAttr(desc, j)->attisdropped &&
				namestrcmp(&TupleDescAttr(desc, j)->attname, NameStr(*DatumGetName(names[i]))) == 0)
				table->attnums[i] = j + 1;
		}
		if (table->attnums[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(DG_ERRCODE_CANNOT_RESTORE),
					 errmsg("rows of %s that were purged cannot be told from others", table->relation_name),
					 errdetail("Purge %lld knows them by column \"%s\", which the table no longer has.",
							   (long long) table->purge, NameStr(*DatumGetName(names[i]))),
					 errhint("Add the column again, rehydrate, and drop it.")));
		if (!is_plain_type(TupleDescAttr(desc, table->attnums[i] - 1)->atttypid))
			subtract->plain = false;
	}
}

static bool
is_digest_of(const uint8 *tenant_digest, const uint8 *salt, const char *tenant)
{
	uint8		digest[DG_DIGEST_SIZE];

	dg_salted_digest(salt, tenant, digest);
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
row_digest(uint64 row, int column)
{
	bool		isnull;
	Datum		value = dg_row_datum(row, column, &isnull);
	bytea	   *bytes = isnull ? NULL : DatumGetByteaPP(value);

	if (isnull || VARSIZE_ANY_EXHDR(bytes) != DG_DIGEST_SIZE)
		elog(ERROR, "record of a purge is damaged");
	return (const uint8 *) VARDATA_ANY(bytes);
}

/*
 * Reads which purges concern the table and the tenants. Fills in the tables,
 * but not their digests; "table_nos" gets their numbers.
 */
static void
find_purges(DgPurgeSubtract *subtract, Oid relid, List *tenants, int32 **table_nos, MemoryContext context)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(relid), CStringGetTextDatum(dg_relation_name(relid))};
	int			found;

	found = dg_spi_select("SELECT t.purge_id, t.table_no, t.relation_name, t.key_columns, r.salt, r.tenant_digest"
						  " FROM deletion_guard.purge_table t"
						  " JOIN ONLY deletion_guard.purge_record r ON r.purge_id = t.purge_id"
						  " WHERE r.state = 'purged' AND (t.relation_name = $2 OR t.relation_name IN"
						  "  (SELECT b.relation_name FROM deletion_guard.bin b WHERE b.relation = $1))"
						  " ORDER BY t.purge_id, t.table_no", 2, types, values, NULL);
	subtract->tables = MemoryContextAllocZero(context, sizeof(PurgedTable) * (found + 1));
	*table_nos = palloc(sizeof(int32) * (found + 1));
	for (int i = 0; i < found; i++)
	{
		PurgedTable *table = &subtract->tables[subtract->ntables];
		const uint8 *salt = row_digest(i, 5);
		MemoryContext old;
		bool		isnull;

		if (!concerns_tenants(salt, row_digest(i, 6), tenants))
			continue;
		(*table_nos)[subtract->ntables++] = (int32) dg_row_int64(i, 2, NULL);
		table->purge = dg_row_int64(i, 1, NULL);
		memcpy(table->salt, salt, DG_DIGEST_SIZE);
		old = MemoryContextSwitchTo(context);
		table->relation_name = dg_row_text(i, 3);
		look_up_columns(subtract, table, dg_row_datum(i, 4, &isnull));
		MemoryContextSwitchTo(old);
	}
}

/*
 * The tenants as a purge knows them, as bytea[].
 */
static Datum
tenant_digests(const uint8 *salt, List *tenants)
{
	Datum	   *digests = palloc(sizeof(Datum) * Max(list_length(tenants), 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, tenants)
	{
		uint8		digest[DG_DIGEST_SIZE];

		dg_salted_digest(salt, lfirst(lc), digest);
		digests[n++] = PointerGetDatum(dg_bytea(digest, DG_DIGEST_SIZE));
	}
	return PointerGetDatum(construct_array(digests, n, BYTEAOID, -1, false, TYPALIGN_INT));
}

/*
 * Reads the digests of one table of one purge, those of these tenants.
 */
static void
load_digests(PurgedTable *table, int32 table_no, List *tenants, MemoryContext context)
{
	Oid			types[] = {INT8OID, INT4OID, BYTEAARRAYOID};
	Datum		values[] = {Int64GetDatum(table->purge), Int32GetDatum(table_no),
		tenant_digests(table->salt, tenants)};
	char		nulls[] = {' ', ' ', tenants == NIL ? 'n' : ' '};
	int			chunks = dg_spi_select("SELECT digests FROM deletion_guard.purged_key"
									   " WHERE purge_id = $1 AND table_no = $2"
									   " AND (tenant_digest IS NULL OR $3 IS NULL OR tenant_digest = ANY ($3))",
									   3, types, values, nulls);
	Size		size = 0;
	bool		isnull;

	for (int i = 0; i < chunks; i++)
		size += toast_raw_datum_size(dg_row_datum(i, 1, &isnull)) - VARHDRSZ;
	table->digests = MemoryContextAllocHuge(context, size + 1);
	size = 0;
	for (int i = 0; i < chunks; i++)
	{
		Datum		value = dg_row_datum(i, 1, &isnull);
		bytea	   *chunk = DatumGetByteaPP(value);

		memcpy(table->digests + size, VARDATA_ANY(chunk), VARSIZE_ANY_EXHDR(chunk));
		size += VARSIZE_ANY_EXHDR(chunk);
		if ((Pointer) chunk != DatumGetPointer(value))
			pfree(chunk);
	}
	table->count = size / DG_KEY_DIGEST_SIZE;
	qsort(table->digests, table->count, DG_KEY_DIGEST_SIZE, compare_digests);
	SPI_freetuptable(SPI_tuptable);
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
	MemoryContext context = CurrentMemoryContext;
	DgPurgeSubtract *subtract = palloc0(sizeof(DgPurgeSubtract));
	int32	   *table_nos;

	subtract->desc = CreateTupleDescCopy(desc);
	subtract->plain = true;
	subtract->output = palloc0(sizeof(FmgrInfo) * (desc->natts + 1));
	subtract->row_context = AllocSetContextCreate(context, "deletion_guard purged row", ALLOCSET_SMALL_SIZES);
	initStringInfo(&subtract->buf);

	SPI_connect();
	find_purges(subtract, relid, tenants, &table_nos, context);
	for (int i = 0; i < subtract->ntables; i++)
		load_digests(&subtract->tables[i], table_nos[i], tenants, context);
	SPI_finish();

	for (int i = 0; i < subtract->ntables; i++)
	{
		for (int j = 0; j < subtract->tables[i].nkeys; j++)
		{
			AttrNumber	attnum = subtract->tables[i].attnums[j];
			Oid			output;
			bool		varlena;

			getTypeOutputInfo(TupleDescAttr(desc, attnum - 1)->atttypid, &output, &varlena);
			fmgr_info(output, &subtract->output[attnum - 1]);
		}
	}
	return subtract;
}

static void
key_digest(DgPurgeSubtract *subtract, const PurgedTable *table, TupleTableSlot *slot, uint8 *digest)
{
	resetStringInfo(&subtract->buf);
	dg_put_text(&subtract->buf, table->relation_name);
	for (int i = 0; i < table->nkeys; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, table->attnums[i], &isnull);

		dg_put_text(&subtract->buf,
					isnull ? NULL : OutputFunctionCall(&subtract->output[table->attnums[i] - 1], value));
	}
	dg_salted_bytes_digest(table->salt, subtract->buf.data, subtract->buf.len, digest);
}

static int64
find_purge(DgPurgeSubtract *subtract, TupleTableSlot *slot)
{
	for (int i = 0; i < subtract->ntables; i++)
	{
		const PurgedTable *table = &subtract->tables[i];
		uint8		digest[DG_DIGEST_SIZE];

		if (table->count == 0)
			continue;
		key_digest(subtract, table, slot, digest);
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

	if (subtract->ntables == 0)
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
				 errhint("For example: SELECT deletion_guard.purge_of(t) FROM some_table t.")));
	state = palloc0(sizeof(PurgeOf));
	desc = lookup_rowtype_tupdesc_copy(type, -1);
	state->slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	state->subtract = dg_purge_subtract_begin(relid, desc, NIL);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = state;
	return state;
}

/*
 * purge_of(row_value anyelement) -> bigint: the purge that removed the row, null
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
