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
 * keys' digests are kept, cut to 16 bytes.
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

#define DIGESTS_PER_CHUNK	2000

/* The columns of one bin table. */
typedef struct BinColumns
{
	TupleDesc	desc;
	FmgrInfo   *output;			/* by attribute number - 1 */
	List	   *key;			/* attribute numbers */
} BinColumns;

struct DgPurgeDigest
{
	int64		purge;
	int32		table_no;
	const char *relation_name;
	const uint8 *salt;
	DgPurgeLinks *links;		/* that may go with the rows */
	List	   *key_columns;	/* names */
	BinColumns	columns;
	int64		rows;
	uint8		sum[DG_DIGEST_SIZE];
	uint8	   *keys;			/* of the chunk at hand */
	int			nkeys;
	int32		chunk;
	StringInfoData buf;
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

static void
flush_keys(DgPurgeDigest *digest)
{
	Oid			types[] = {INT8OID, INT4OID, INT4OID, BYTEAOID};
	Datum		values[] = {Int64GetDatum(digest->purge), Int32GetDatum(digest->table_no),
		Int32GetDatum(digest->chunk), (Datum) 0};

	if (digest->nkeys == 0)
		return;
	values[3] = PointerGetDatum(dg_bytea(digest->keys, digest->nkeys * DG_KEY_DIGEST_SIZE));
	dg_spi_execute("INSERT INTO deletion_guard.purged_key (purge_id, table_no, chunk, digests)"
				   " VALUES ($1, $2, $3, $4)", 4, types, values, NULL);
	digest->chunk++;
	digest->nkeys = 0;
}

static void
hash_key(DgPurgeDigest *digest, TupleTableSlot *slot)
{
	uint8		hash[DG_DIGEST_SIZE];
	ListCell   *lc;

	resetStringInfo(&digest->buf);
	dg_put_text(&digest->buf, digest->relation_name);
	foreach(lc, digest->columns.key)
		put_value(digest, slot, lfirst_int(lc));
	hash_salted(digest->hash, digest->salt, digest->buf.data, digest->buf.len, hash);
	memcpy(digest->keys + digest->nkeys * DG_KEY_DIGEST_SIZE, hash, DG_KEY_DIGEST_SIZE);
	digest->nkeys++;
}

static void
digest_row(TupleTableSlot *slot, void *arg)
{
	DgPurgeDigest *digest = arg;
	MemoryContext old = MemoryContextSwitchTo(digest->row_context);

	hash_row(digest, slot);
	hash_key(digest, slot);
	dg_purge_links_row(digest->links, slot);
	digest->rows++;
	if (digest->nkeys == DIGESTS_PER_CHUNK)
		flush_keys(digest);
	MemoryContextSwitchTo(old);
	MemoryContextReset(digest->row_context);
}

/*
 * Begins the digests of the rows of one bin table, that of the part given. The
 * caller is connected to SPI and has called dg_canonical_output_begin().
 */
DgPurgeDigest *
dg_purge_digest_begin(int64 purge, int32 table_no, const DgPlanPart *part, const uint8 *salt,
					  DgPurgeLinks *links)
{
	DgPurgeDigest *digest = palloc0(sizeof(DgPurgeDigest));

	digest->purge = purge;
	digest->table_no = table_no;
	digest->relation_name = part->relation_name;
	digest->salt = salt;
	digest->links = links;
	digest->keys = palloc(DIGESTS_PER_CHUNK * DG_KEY_DIGEST_SIZE);
	digest->row_context = AllocSetContextCreate(CurrentMemoryContext, "deletion_guard purge row",
												ALLOCSET_DEFAULT_SIZES);
	digest->hash = pg_cryptohash_create(PG_SHA256);
	initStringInfo(&digest->buf);
	describe_bin(digest, part);
	dg_purge_links_open(links, part);
	return digest;
}

/*
 * Removes the rows of one part of that bin table, adding them to the digests.
 * Returns how many there were.
 */
int64
dg_purge_digest_part(DgPurgeDigest *digest, const DgPlanPart *part)
{
	return dg_bin_purge_part(part->bin_table, part->deletion, part->part, digest_row, digest);
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

	flush_keys(digest);
	dg_spi_execute("INSERT INTO deletion_guard.purge_table"
				   " (purge_id, table_no, relation_name, key_columns, rows, digest)"
				   " VALUES ($1, $2, $3, $4, $5, $6)", 6, types, values, NULL);
	*rows = digest->rows;
	memcpy(sum, digest->sum, DG_DIGEST_SIZE);
	pg_cryptohash_free(digest->hash);
	MemoryContextDelete(digest->row_context);
}
