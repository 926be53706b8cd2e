/*
 * purge_key.c
 *		What a purge remembers of a row: a salted digest of its key.
 *
 * It is the SHA-256 over the purge's salt (32 bytes) followed by a canonical text
 * (see ledger_digest.c): the relation's name, then the values of the key's
 * columns, in order, cut to 16 bytes. purge_digest.c makes it of each row that a
 * purge removes, purge_subtract.c of rows that a backup brings back.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"

/*
 * The salted digest of a canonical text. The context may be NULL; one that is
 * kept is faster.
 */
void
dg_purge_salted_bytes_digest(pg_cryptohash_ctx *kept, const uint8 *salt, const char *data, size_t len, uint8 *digest)
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
	dg_purge_salted_bytes_digest(NULL, salt, buf.data, buf.len, digest);
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
	dg_purge_salted_bytes_digest(key->hash, key->salt, key->buf->data, key->buf->len, hash);
	memcpy(digest, hash, DG_KEY_DIGEST_SIZE);
}
