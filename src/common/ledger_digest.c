/*
 * ledger_digest.c
 *		Digests and the canonical texts they are taken of.
 *
 * A canonical text is a sequence of members, each written as its length in
 * bytes in decimal, a colon, the bytes, and a comma. No member can be mistaken
 * for a part of another, whatever it contains.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "ledger/ledger.h"

/*
 * SHA-256 of some bytes; DG_DIGEST_SIZE bytes of result.
 */
void
dg_sha256(const void *data, size_t len, uint8 *digest)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, data, len) < 0 ||
		pg_cryptohash_final(ctx, digest, DG_DIGEST_SIZE) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
}

/*
 * Lower-case hexadecimal, palloc'd.
 */
char *
dg_hex(const uint8 *bytes, int len)
{
	char	   *hex = palloc(2 * len + 1);

	hex[hex_encode((const char *) bytes, len, hex)] = '\0';
	return hex;
}

/*
 * A bytea of some bytes, palloc'd.
 */
bytea *
dg_bytea(const void *bytes, int len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), bytes, len);
	return result;
}

/*
 * The bytes of a digest that is kept as a bytea; NULL if they are not as many as
 * a digest has.
 */
const uint8 *
dg_digest_bytes(Datum value)
{
	bytea	   *bytes = DatumGetByteaPP(value);

	return VARSIZE_ANY_EXHDR(bytes) == DG_DIGEST_SIZE ? (const uint8 *) VARDATA_ANY(bytes) : NULL;
}

/*
 * Adds a member to a canonical text. NULL is not the same as empty.
 */
void
dg_put_text(StringInfo buf, const char *value)
{
	if (value == NULL)
		appendStringInfoString(buf, "-,");
	else
		appendStringInfo(buf, "%zu:%s,", strlen(value), value);
}

/*
 * Adds text of the server's encoding, in UTF-8.
 */
void
dg_put_utf8(StringInfo buf, const char *value)
{
	dg_put_text(buf, value == NULL ? NULL : pg_server_to_any(value, strlen(value), PG_UTF8));
}

/*
 * Appends a number, by its decimal digits, to what a digest will be taken of.
 */
void
dg_put_int64(StringInfo buf, int64 value)
{
	char		digits[32];

	snprintf(digits, sizeof(digits), INT64_FORMAT, value);
	dg_put_text(buf, digits);
}

/*
 * A JSON string, quoted and escaped, palloc'd; "null" for NULL.
 */
char *
dg_json_string(const char *value)
{
	StringInfoData buf;

	if (value == NULL)
		return pstrdup("null");
	initStringInfo(&buf);
	escape_json(&buf, value);
	return buf.data;
}

/*
 * A member of a JSON object, as text, palloc'd; NULL if it is not there, or is
 * no string and no number.
 */
char *
dg_json_member(Jsonb *object, const char *name)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(object) ||
		getKeyJsonValueFromContainer(&object->root, name, strlen(name), &value) == NULL)
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	if (value.type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	return NULL;
}
