/*
 * purge_digest.c
 *		Digests of the rows that a purge removes, taken as they go.
 *
 * Of each row two, both SHA-256 over the purge's salt (32 bytes) followed by a
 * canonical text (see ledger_digest.c):
 *
 *	row		relation name, then name and value of each column, in order
 *	key		relation name, then the values of the key's columns, in order
 *
 * Values are as their types write them under the settings of canonical.c; NULL
 * has a form of its own. The key is the primary key, or all columns where there
 * is none. The rows' digests are added up, modulo 2^256, into one number for the
 * table: the order does not matter, and a row more, less or different shows. The
 * keys' digests are kept, cut to 16 bytes, and those of a purge of many tenants
 * each tenant's apart: a rehydration looks at those of its own tenants only.
 *
 * Relation names and column names are those of the bin, that is, of the time of
 * the deletion.
 */
#include "purge.h"

#include "access/genam.h"
#include "access/table.h"
#include "bin.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define KEYS_PER_CHUNK	2000

/* The columns of one bin table. */
typedef struct BinColumns
{
	TupleDesc	desc;
	FmgrInfo   *output;			/* by attribute number - 1 */
	List	   *key;			/* attribute numbers */
} BinColumns;

/* Digests of one tenant's keys that are still to be written. */
typedef struct KeyDigests
{
	const char *tenant;			/* NULL: none yet */
	StringInfoData bytes;
} KeyDigests;

struct DgPurgeDigest
{
	int64		purge;
	int32		table_no;
	const char *relation_name;
	const uint8 *salt;
	DgPurgeLinks *links;		/* that may go with the rows */
	List	   *key_columns;	/* names */
	BinColumns	columns;
	DgPlanPart **parts;			/* being removed, of one deletion, by number */
	int			nparts;
	DgPlanPart *part;			/* of the last row */
	int64		rows;
	uint8		sum[DG_DIGEST_SIZE];
	int			tenants;
	KeyDigests *keys;			/* of each tenant */
	int32		chunk;			/* the next one's number */
	StringInfoData buf;
	MemoryContext context;
	MemoryContext row_context;
	pg_cryptohash_ctx *hash;
};

static void
hash_salted(pg_cryptohash_ctx *ctx, const uint8 *salt, const char *data, size_t len, uint8 *digest)
{
	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, salt, DG_DIGEST_SIZE) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) data, len) < 0 ||
		pg_cryptohash_final(ctx, digest, DG_DIGEST_SIZE) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
}

/*
 * The salted digest of a canonical text.
 */
void
dg_salted_bytes_digest(const uint8 *salt, const char *data, size_t len, uint8 *digest)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	hash_salted(ctx, salt, data, len, digest);
	pg_cryptohash_free(ctx);
}

/*
 * The salted digest of one text.
 */
void
dg_salted_digest(const uint8 *salt, const char *value, uint8 *digest)
{
	StringInfoData buf;

	initStringInfo(&buf);
	dg_put_text(&buf, value);
	dg_salted_bytes_digest(salt, buf.data, buf.len, digest);
}

/* ----------------------------------------------------------------------
 * Columns
 * ----------------------------------------------------------------------
 */

/*
 * The names of a table's primary key columns, or NIL.
 */
static List *
primary_key_names(Oid relid)
{
	List	   *names = NIL;
	Relation	rel;
	Relation	index;
	Oid			pkey;

	if (get_rel_name(relid) == NULL)
		return NIL;
	rel = table_open(relid, AccessShareLock);
	pkey = dg_primary_key_index(rel);
	if (OidIsValid(pkey))
	{
		index = index_open(pkey, AccessShareLock);
		for (int i = 0; i < index->rd_index->indnkeyatts; i++)
			names = lappend(names, get_attname(relid, index->rd_index->indkey.values[i], false));
		index_close(index, AccessShareLock);
	}
	table_close(rel, NoLock);
	return names;
}

/*
 * Every column of the bin table but the bin's own.
 */
static List *
all_names(TupleDesc desc)
{
	List	   *names = NIL;

	for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			names = lappend(names, pstrdup(NameStr(TupleDescAttr(desc, i)->attname)));
	}
	return names;
}

static AttrNumber
attnum_by_name(TupleDesc desc, const char *name)
{
	for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped && namestrcmp(&TupleDescAttr(desc, i)->attname, name) == 0)
			return i + 1;
	}
	return InvalidAttrNumber;
}

static bool
resolve_key(BinColumns *columns, List *names)
{
	ListCell   *lc;

	columns->key = NIL;
	foreach(lc, names)
	{
		AttrNumber	attnum = attnum_by_name(columns->desc, lfirst(lc));

		if (attnum == InvalidAttrNumber)
			return false;
		columns->key = lappend_int(columns->key, attnum);
	}
	return columns->key != NIL;
}

/*
 * Learns what rows of the bin table look like and what identifies them.
 */
static void
describe_bin(DgPurgeDigest *digest, const DgPlanPart *part)
{
	Relation	bin = table_open(part->bin_table, AccessShareLock);
	BinColumns *columns = &digest->columns;

	columns->desc = CreateTupleDescCopy(RelationGetDescr(bin));
	columns->output = palloc0(sizeof(FmgrInfo) * columns->desc->natts);
	for (int i = DG_BIN_COLUMNS; i < columns->desc->natts; i++)
	{
		Oid			output;
		bool		varlena;

		if (TupleDescAttr(columns->desc, i)->attisdropped)
			continue;
		getTypeOutputInfo(TupleDescAttr(columns->desc, i)->atttypid, &output, &varlena);
		fmgr_info(output, &columns->output[i]);
	}
	table_close(bin, NoLock);

	digest->key_columns = primary_key_names(part->relation);
	if (resolve_key(columns, digest->key_columns))
		return;
	digest->key_columns = all_names(columns->desc);
	(void) resolve_key(columns, digest->key_columns);
}

/* ----------------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------------
 */

static void
put_value(DgPurgeDigest *digest, TupleTableSlot *slot, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attnum, &isnull);

	dg_put_text(&digest->buf, isnull ? NULL : OutputFunctionCall(&digest->columns.output[attnum - 1], value));
}

/*
 * Adds one 256-bit number to another, modulo 2^256; the last byte is the least.
 */
static void
add_digest(uint8 *sum, const uint8 *digest)
{
	unsigned int carry = 0;

	for (int i = DG_DIGEST_SIZE - 1; i >= 0; i--)
	{
		carry += (unsigned int) sum[i] + digest[i];
		sum[i] = carry & 0xFF;
		carry >>= 8;
	}
}

static void
hash_row(DgPurgeDigest *digest, TupleTableSlot *slot)
{
	TupleDesc	desc = digest->columns.desc;
	uint8		hash[DG_DIGEST_SIZE];

	resetStringInfo(&digest->buf);
	dg_put_text(&digest->buf, digest->relation_name);
	for (int i = DG_BIN_COLUMNS; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		dg_put_text(&digest->buf, NameStr(TupleDescAttr(desc, i)->attname));
		put_value(digest, slot, i + 1);
	}
	hash_salted(digest->hash, digest->salt, digest->buf.data, digest->buf.len, hash);
	add_digest(digest->sum, hash);
}

/*
 * Writes a chunk of key digests. Where the purge is of many tenants, the chunk
 * says which one's they are, as a salted digest.
 */
static void
flush_keys(DgPurgeDigest *digest, KeyDigests *keys)
{
	Oid			types[] = {INT8OID, INT4OID, INT4OID, BYTEAOID, BYTEAOID};
	Datum		values[] = {Int64GetDatum(digest->purge), Int32GetDatum(digest->table_no),
		Int32GetDatum(digest->chunk), (Datum) 0, (Datum) 0};
	char		nulls[] = {' ', ' ', ' ', ' ', digest->tenants > 1 ? ' ' : 'n'};
	uint8		tenant[DG_DIGEST_SIZE];

	if (keys->bytes.len == 0)
		return;
	dg_salted_digest(digest->salt, keys->tenant, tenant);
	values[3] = PointerGetDatum(dg_bytea((uint8 *) keys->bytes.data, keys->bytes.len));
	values[4] = PointerGetDatum(dg_bytea(tenant, DG_DIGEST_SIZE));
	dg_spi_execute("INSERT INTO deletion_guard.purged_key (purge_id, table_no, chunk, digests, tenant_digest)"
				   " VALUES ($1, $2, $3, $4, $5)", 5, types, values, nulls);
	digest->chunk++;
	resetStringInfo(&keys->bytes);
}

static void
hash_key(DgPurgeDigest *digest, KeyDigests *keys, TupleTableSlot *slot)
{
	uint8		hash[DG_DIGEST_SIZE];
	ListCell   *lc;

	resetStringInfo(&digest->buf);
	dg_put_text(&digest->buf, digest->relation_name);
	foreach(lc, digest->columns.key)
		put_value(digest, slot, lfirst_int(lc));
	hash_salted(digest->hash, digest->salt, digest->buf.data, digest->buf.len, hash);
	appendBinaryStringInfo(&keys->bytes, (char *) hash, DG_KEY_DIGEST_SIZE);
}

static int
compare_part(const void *number, const void *part)
{
	int32		a = *(const int32 *) number;
	int32		b = (*(DgPlanPart *const *) part)->part;

	return (a > b) - (a < b);
}

static DgPlanPart *
find_part(DgPurgeDigest *digest, int32 number)
{
	if (digest->part == NULL || digest->part->part != number)
		digest->part = *(DgPlanPart **) bsearch(&number, digest->parts, digest->nparts,
												sizeof(DgPlanPart *), compare_part);
	return digest->part;
}

static KeyDigests *
keys_of_part(DgPurgeDigest *digest, const DgPlanPart *part)
{
	KeyDigests *keys = &digest->keys[part->tenant_no - 1];

	if (keys->bytes.data == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(digest->context);

		initStringInfo(&keys->bytes);
		MemoryContextSwitchTo(old);
	}
	keys->tenant = part->tenant;
	return keys;
}

static void
digest_row(TupleTableSlot *slot, int32 number, void *arg)
{
	DgPurgeDigest *digest = arg;
	DgPlanPart *part = find_part(digest, number);
	KeyDigests *keys = keys_of_part(digest, part);
	MemoryContext old = MemoryContextSwitchTo(digest->row_context);

	hash_row(digest, slot);
	hash_key(digest, keys, slot);
	dg_purge_links_row(digest->links, slot);
	digest->rows++;
	part->removed++;
	if (keys->bytes.len == KEYS_PER_CHUNK * DG_KEY_DIGEST_SIZE)
		flush_keys(digest, keys);
	MemoryContextSwitchTo(old);
	MemoryContextReset(digest->row_context);
}

/*
 * Begins the digests of the rows of one bin table, that of the part given, of a
 * plan of so many tenants. The caller is connected to SPI and has called
 * dg_canonical_output_begin().
 */
DgPurgeDigest *
dg_purge_digest_begin(int64 purge, int32 table_no, const DgPlanPart *part, int tenants,
					  const uint8 *salt, DgPurgeLinks *links)
{
	DgPurgeDigest *digest = palloc0(sizeof(DgPurgeDigest));

	digest->purge = purge;
	digest->table_no = table_no;
	digest->relation_name = part->relation_name;
	digest->salt = salt;
	digest->links = links;
	digest->tenants = tenants;
	digest->keys = palloc0(sizeof(KeyDigests) * tenants);
	digest->context = CurrentMemoryContext;
	digest->row_context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard purge row",
												ALLOCSET_DEFAULT_SIZES);
	digest->hash = pg_cryptohash_create(PG_SHA256);
	initStringInfo(&digest->buf);
	describe_bin(digest, part);
	dg_purge_links_open(links, part);
	return digest;
}

/*
 * Removes the rows of some parts of that bin table, all of one deletion and by
 * number, adding them to the digests. Counts in each part how many there were.
 */
void
dg_purge_digest_parts(DgPurgeDigest *digest, DgPlanPart **parts, int nparts)
{
	int32	   *numbers = palloc(sizeof(int32) * nparts);

	for (int i = 0; i < nparts; i++)
		numbers[i] = parts[i]->part;
	digest->parts = parts;
	digest->nparts = nparts;
	digest->part = NULL;
	dg_bin_purge_parts(parts[0]->bin_table, parts[0]->deletion, numbers, nparts, digest_row, digest);
	pfree(numbers);
}

/*
 * Ends the digests and keeps them with the purge.
 */
void
dg_purge_digest_end(DgPurgeDigest *digest, int64 *rows, uint8 *sum)
{
	Oid			types[] = {INT8OID, INT4OID, TEXTOID, NAMEARRAYOID, INT8OID, BYTEAOID};
	Datum		values[] = {Int64GetDatum(digest->purge), Int32GetDatum(digest->table_no),
		CStringGetTextDatum(digest->relation_name), dg_name_array(digest->key_columns),
		Int64GetDatum(digest->rows), PointerGetDatum(dg_bytea(digest->sum, DG_DIGEST_SIZE))};

	for (int i = 0; i < digest->tenants; i++)
	{
		flush_keys(digest, &digest->keys[i]);
		if (digest->keys[i].bytes.data != NULL)
			pfree(digest->keys[i].bytes.data);
	}
	pfree(digest->keys);
	dg_spi_execute("INSERT INTO deletion_guard.purge_table"
				   " (purge_id, table_no, relation_name, key_columns, rows, digest)"
				   " VALUES ($1, $2, $3, $4, $5, $6)", 6, types, values, NULL);
	*rows = digest->rows;
	memcpy(sum, digest->sum, DG_DIGEST_SIZE);
	pg_cryptohash_free(digest->hash);
	MemoryContextDelete(digest->row_context);
}
