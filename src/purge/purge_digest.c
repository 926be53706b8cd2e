/*
 * purge_digest.c
 *		Digests of the rows that a purge removes (purge_execute.c), taken as they go.
 *
 * Of each row two, each the SHA-256 over the purge's salt (32 bytes) followed by a
 * canonical text (see ledger_digest.c). Of its key: the relation's name, then the
 * values of the key's columns, in order, cut to 16 bytes; purge_subtract.c makes it
 * of rows that a backup brings back, too. Of the row: the relation's name, then name
 * and value of each column, in order.
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
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "bin/bin.h"
#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"

#define KEYS_PER_CHUNK	2000

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
	const uint8 *salt;
	TupleDesc	desc;			/* of the bin table */
	List	   *key_columns;	/* names */
	DgPurgeKey	key;
	int64		rows;
	uint8		sum[DG_DIGEST_SIZE];
	int			tenants;
	KeyDigests *keys;			/* of each tenant */
	int32		chunk;			/* the next one's number */
	StringInfoData buf;
	MemoryContext context;
};

/* ----------------------------------------------------------------------
 * Keys
 * ----------------------------------------------------------------------
 */

/*
 * The salted digest of a canonical text. The context may be NULL; one that is
 * kept is faster.
 */
static void
digest_salted(pg_cryptohash_ctx *kept, const uint8 *salt, const char *data, size_t len, uint8 *digest)
{
	pg_cryptohash_ctx *ctx = kept != NULL ? kept : pg_cryptohash_create(PG_SHA256);

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, salt, DG_DIGEST_SIZE) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) data, len) < 0 ||
		pg_cryptohash_final(ctx, digest, DG_DIGEST_SIZE) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	if (kept == NULL)
		pg_cryptohash_free(ctx);
}

/*
 * The salted digest of one text.
 */
void
dg_purge_salted_digest(const uint8 *salt, const char *value, uint8 *digest)
{
	StringInfoData buf;

	initStringInfo(&buf);
	dg_put_text(&buf, value);
	digest_salted(NULL, salt, buf.data, buf.len, digest);
}

/*
 * The output functions of columns, from the one after "skip" on, by attribute
 * number - 1; palloc'd.
 */
FmgrInfo *
dg_purge_output_functions(TupleDesc desc, int skip)
{
	FmgrInfo   *output = palloc0(sizeof(FmgrInfo) * (desc->natts + 1));

	for (int i = skip; i < desc->natts; i++)
	{
		Oid			function;
		bool		varlena;

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		getTypeOutputInfo(TupleDescAttr(desc, i)->atttypid, &function, &varlena);
		fmgr_info(function, &output[i]);
	}
	return output;
}

/*
 * Adds a value of a row to a canonical text.
 */
void
dg_purge_put_value(StringInfo buf, TupleTableSlot *slot, AttrNumber attnum, FmgrInfo *output)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attnum, &isnull);

	dg_put_text(buf, isnull ? NULL : OutputFunctionCall(&output[attnum - 1], value));
}

/*
 * The digest of a row's key, DG_KEY_DIGEST_SIZE bytes. The caller has called
 * dg_canonical_output_begin(), and resets its memory context from row to row.
 */
void
dg_purge_key_digest(DgPurgeKey *key, TupleTableSlot *slot, uint8 *digest)
{
	uint8		hash[DG_DIGEST_SIZE];

	resetStringInfo(key->buf);
	dg_put_text(key->buf, key->relation_name);
	for (int i = 0; i < key->nattrs; i++)
		dg_purge_put_value(key->buf, slot, key->attnums[i], key->output);
	digest_salted(key->hash, key->salt, key->buf->data, key->buf->len, hash);
	memcpy(digest, hash, DG_KEY_DIGEST_SIZE);
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

static bool
resolve_key(DgPurgeDigest *digest)
{
	DgPurgeKey *key = &digest->key;
	ListCell   *lc;

	key->nattrs = 0;
	key->attnums = palloc(sizeof(AttrNumber) * (list_length(digest->key_columns) + 1));
	foreach(lc, digest->key_columns)
	{
		int			attnum = SPI_fnumber(digest->desc, lfirst(lc));

		if (attnum <= DG_BIN_COLUMNS)
			return false;
		key->attnums[key->nattrs++] = attnum;
	}
	return key->nattrs > 0;
}

/*
 * Learns what rows of the bin table look like and what identifies them.
 */
static void
describe_bin(DgPurgeDigest *digest, const DgPlanPart *part)
{
	Relation	bin = table_open(part->bin_table, AccessShareLock);

	digest->desc = CreateTupleDescCopy(RelationGetDescr(bin));
	table_close(bin, NoLock);
	memset(&digest->key, 0, sizeof(DgPurgeKey));
	digest->key.relation_name = part->relation_name;
	digest->key.salt = digest->salt;
	digest->key.buf = &digest->buf;
	digest->key.output = dg_purge_output_functions(digest->desc, DG_BIN_COLUMNS);
	digest->key.hash = pg_cryptohash_create(PG_SHA256);
	digest->key_columns = primary_key_names(part->relation);
	if (resolve_key(digest))
		return;
	digest->key_columns = all_names(digest->desc);
	(void) resolve_key(digest);
}

/* ----------------------------------------------------------------------
 * Rows
 * ----------------------------------------------------------------------
 */

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
add_row_digest(DgPurgeDigest *digest, TupleTableSlot *slot)
{
	uint8		hash[DG_DIGEST_SIZE];

	resetStringInfo(&digest->buf);
	dg_put_text(&digest->buf, digest->key.relation_name);
	for (int i = DG_BIN_COLUMNS; i < digest->desc->natts; i++)
	{
		if (TupleDescAttr(digest->desc, i)->attisdropped)
			continue;
		dg_put_text(&digest->buf, NameStr(TupleDescAttr(digest->desc, i)->attname));
		dg_purge_put_value(&digest->buf, slot, i + 1, digest->key.output);
	}
	digest_salted(digest->key.hash, digest->salt, digest->buf.data, digest->buf.len, hash);
	add_digest(digest->sum, hash);
}

/*
 * Writes a chunk of key digests. Where the purge is of many tenants, the chunk
 * says which one's they are, as a salted digest.
 */
static void
flush_keys(DgPurgeDigest *digest, KeyDigests *keys)
{
	Datum		values[Natts_purged_key] = {0};
	bool		nulls[Natts_purged_key] = {false};
	uint8		tenant[DG_DIGEST_SIZE];

	if (keys->bytes.len == 0)
		return;
	dg_purge_salted_digest(digest->salt, keys->tenant, tenant);
	values[Anum_purged_key_purge_id - 1] = Int64GetDatum(digest->purge);
	values[Anum_purged_key_table_no - 1] = Int32GetDatum(digest->table_no);
	values[Anum_purged_key_chunk - 1] = Int32GetDatum(digest->chunk++);
	values[Anum_purged_key_digests - 1] = PointerGetDatum(dg_bytea((uint8 *) keys->bytes.data, keys->bytes.len));
	values[Anum_purged_key_tenant_digest - 1] = PointerGetDatum(dg_bytea(tenant, DG_DIGEST_SIZE));
	nulls[Anum_purged_key_tenant_digest - 1] = digest->tenants == 1;
	dg_own_insert(DG_OWN(purged_key), values, nulls);
	resetStringInfo(&keys->bytes);
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

/*
 * Adds a row of a part. The caller resets its memory context from row to row.
 */
void
dg_purge_digest_row(DgPurgeDigest *digest, const DgPlanPart *part, TupleTableSlot *slot)
{
	KeyDigests *keys = keys_of_part(digest, part);
	uint8		hash[DG_KEY_DIGEST_SIZE];

	add_row_digest(digest, slot);
	dg_purge_key_digest(&digest->key, slot, hash);
	appendBinaryStringInfo(&keys->bytes, (char *) hash, DG_KEY_DIGEST_SIZE);
	digest->rows++;
	if (keys->bytes.len == KEYS_PER_CHUNK * DG_KEY_DIGEST_SIZE)
		flush_keys(digest, keys);
}

/*
 * Begins the digests of the rows of one bin table, that of the part given, of a
 * plan of so many tenants. The caller has called dg_canonical_output_begin().
 */
DgPurgeDigest *
dg_purge_digest_begin(int64 purge, int32 table_no, const DgPlanPart *part, int tenants, const uint8 *salt)
{
	DgPurgeDigest *digest = palloc0(sizeof(DgPurgeDigest));

	digest->purge = purge;
	digest->table_no = table_no;
	digest->salt = salt;
	digest->tenants = tenants;
	digest->keys = palloc0(sizeof(KeyDigests) * tenants);
	digest->context = CurrentMemoryContext;
	initStringInfo(&digest->buf);
	describe_bin(digest, part);
	return digest;
}

static void
record_table(const DgPurgeDigest *digest)
{
	Datum		values[Natts_purge_table] = {0};
	bool		nulls[Natts_purge_table] = {false};

	values[Anum_purge_table_purge_id - 1] = Int64GetDatum(digest->purge);
	values[Anum_purge_table_table_no - 1] = Int32GetDatum(digest->table_no);
	values[Anum_purge_table_relation_name - 1] = CStringGetTextDatum(digest->key.relation_name);
	values[Anum_purge_table_key_columns - 1] = dg_name_array(digest->key_columns);
	values[Anum_purge_table_rows - 1] = Int64GetDatum(digest->rows);
	values[Anum_purge_table_digest - 1] = PointerGetDatum(dg_bytea(digest->sum, DG_DIGEST_SIZE));
	dg_own_insert(DG_OWN(purge_table), values, nulls);
}

/*
 * Ends the digests and keeps them with the purge.
 */
void
dg_purge_digest_end(DgPurgeDigest *digest, int64 *rows, uint8 *sum)
{
	for (int i = 0; i < digest->tenants; i++)
	{
		flush_keys(digest, &digest->keys[i]);
		if (digest->keys[i].bytes.data != NULL)
			pfree(digest->keys[i].bytes.data);
	}
	pfree(digest->keys);
	record_table(digest);
	*rows = digest->rows;
	memcpy(sum, digest->sum, DG_DIGEST_SIZE);
	pg_cryptohash_free(digest->key.hash);
}
