/*
 * purge_authority.c
 *		Authorities: the public keys whose owners may approve a purge.
 *
 * The first authority is enrolled by the extension's owner. From then on,
 * enrolling, retiring, and asking for fewer approvals take tokens: as many as
 * a purge does, or of all authorities where there are fewer. One authority
 * alone could otherwise enrol a second key of its own and approve for two.
 *
 * A name or a key is enrolled once. Retired ones stay in the registry, so that
 * neither can come back under another guise, and the last active one cannot be
 * retired: nobody could approve anything again.
 *
 * Where deletion_guard.authorities_file is set, the registry does not count, and
 * the file's authorities are all there are (purge_file.c).
 *
 * The number of approvals only rises by itself. deletion_guard.approvals raises
 * it; what was once in force is remembered, and lowering it takes tokens.
 *
 * Locking: changes hold a self-conflicting lock on the registry until the end
 * of the transaction; whoever verifies tokens to act on them holds a shared
 * one, so an authority is not retired between a token's check and its use.
 */
#include "purge.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tables.h"
#include "utils/builtins.h"
#include "utils/guc_tables.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dg_add_authority);
PG_FUNCTION_INFO_V1(dg_retire_authority);
PG_FUNCTION_INFO_V1(dg_set_approvals);
PG_FUNCTION_INFO_V1(dg_key_fingerprint);

/* A public key as the registry keeps it. */
typedef struct EnrolledKey
{
	char		algorithm[16];
	char		pem[DG_TOKEN_PEM_SIZE];
	char		fingerprint[2 * DG_TOKEN_DIGEST_SIZE + 1];
	uint8		fingerprint_bytes[DG_TOKEN_DIGEST_SIZE];
} EnrolledKey;

/* What a token for add_authority() must name. */
typedef struct NewAuthority
{
	const char *name;
	const uint8 *fingerprint;
} NewAuthority;

void
dg_lock_authorities(LOCKMODE mode)
{
	Oid			relid = get_relname_relid("authority", dg_objects()->schema);

	dg_lock_object(relid, 0, mode);
}

static DgAuthority *
find_in_file(const char *name, DgRefusal *refusal)
{
	List	   *authorities;
	ListCell   *lc;

	if (!dg_authorities_read(&authorities, refusal))
		return NULL;
	foreach(lc, authorities)
	{
		DgAuthority *authority = lfirst(lc);

		if (strcmp(authority->name, name) == 0)
			return authority;
	}
	return NULL;
}

static char *
text_of(HeapTuple tuple, AttrNumber attnum, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d of a registry", attnum);
	return TextDatumGetCString(value);
}

/*
 * Finds an authority, active or retired; NULL if there is none of that name,
 * with a refusal if nobody can tell. The caller is connected to SPI.
 */
DgAuthority *
dg_authority_find(const char *name, DgRefusal *refusal)
{
	DgAuthority *authority;
	HeapTuple	tuple;
	TupleDesc	desc;

	if (dg_authorities_in_file())
		return find_in_file(name, refusal);
	tuple = dg_purge_find("authority", 1, &name, &desc);
	if (tuple == NULL)
		return NULL;
	authority = palloc(sizeof(DgAuthority));
	authority->name = pstrdup(name);
	authority->public_key = text_of(tuple, Anum_authority_public_key, desc);
	authority->fingerprint = text_of(tuple, Anum_authority_fingerprint, desc);
	authority->retired = !heap_attisnull(tuple, Anum_authority_retired_at, desc);
	return authority;
}

static int64
count(const char *sql)
{
	dg_spi_select(sql, 0, NULL, NULL, NULL);
	return dg_row_int64(0, 1, NULL);
}

/*
 * How many authorities can approve something now. The caller is connected to
 * SPI.
 */
int
dg_authorities_active(void)
{
	List	   *authorities;
	DgRefusal	refusal = {0};

	if (dg_authorities_in_file())
	{
		if (!dg_authorities_read(&authorities, &refusal))
			dg_refuse(&refusal, "authorities");
		return list_length(authorities);
	}
	return (int) count("SELECT count(*) FROM ONLY deletion_guard.authority WHERE retired_at IS NULL");
}

static bool
ever_enrolled(void)
{
	if (dg_authorities_in_file())
		return true;
	return count("SELECT count(*) FROM ONLY deletion_guard.authority") > 0;
}

/* ----------------------------------------------------------------------
 * How many must agree
 * ----------------------------------------------------------------------
 */

static int
remembered_approvals(void)
{
	if (dg_spi_select("SELECT approvals FROM ONLY deletion_guard.approval_policy", 0, NULL, NULL, NULL) == 0)
		return 1;
	return (int) dg_row_int64(0, 1, NULL);
}

/*
 * What deletion_guard.approvals says: the session's value, or that of the
 * configuration, which SET does not change, whichever is more.
 */
static int
configured_approvals(void)
{
	struct config_generic *setting = dg_find_setting("deletion_guard.approvals");

	return Max(dg_approvals, setting != NULL ? ((struct config_int *) setting)->reset_val : 1);
}

/*
 * How many distinct authorities a purge needs. The caller is connected to SPI.
 */
int
dg_approvals_required(void)
{
	return Max(configured_approvals(), remembered_approvals());
}

static void
remember_approvals(int approvals, List *tokens)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(approvals)};

	dg_spi_execute("INSERT INTO deletion_guard.approval_policy (approvals) VALUES ($1)"
				   " ON CONFLICT (singleton) DO UPDATE SET approvals = EXCLUDED.approvals",
				   1, types, values, NULL);
	(void) dg_approvals_record(tokens, "set_approvals", psprintf("{\"approvals\": %d}", approvals));
}

/*
 * Remembers the number of approvals in force, if it has risen. The caller is
 * connected to SPI.
 */
void
dg_approvals_raise(void)
{
	if (configured_approvals() > remembered_approvals())
		remember_approvals(configured_approvals(), NIL);
}

/*
 * How many distinct authorities an act other than a purge needs: as many as a
 * purge does, or all where there are fewer. The caller is connected to SPI.
 */
int
dg_approvals_required_for_change(void)
{
	return Max(1, Min(dg_approvals_required(), dg_authorities_active()));
}

/* ----------------------------------------------------------------------
 * Keys and names
 * ----------------------------------------------------------------------
 */

/*
 * Reads a public key. The library's key is freed before anything can throw.
 */
static void
read_key(text *public_key, EnrolledKey *enrolled)
{
	DgTokenKey *key = NULL;
	DgTokenDetail detail = {0};
	DgTokenStatus status;
	DgRefusal	refusal = {0};

	status = dg_token_key_parse(VARDATA_ANY(public_key), VARSIZE_ANY_EXHDR(public_key), &key, &detail);
	if (status == DG_TOKEN_OK)
	{
		strlcpy(enrolled->algorithm, dg_token_key_algorithm_name(key), sizeof(enrolled->algorithm));
		strlcpy(enrolled->pem, dg_token_key_pem(key), sizeof(enrolled->pem));
		strlcpy(enrolled->fingerprint, dg_token_key_fingerprint(key), sizeof(enrolled->fingerprint));
		memcpy(enrolled->fingerprint_bytes, dg_token_key_fingerprint_bytes(key), DG_TOKEN_DIGEST_SIZE);
		dg_token_key_free(key);
		return;
	}
	dg_refusal_of_token(&refusal, status, &detail);
	dg_refuse(&refusal, "public key");
}

static char *
authority_name(FunctionCallInfo fcinfo)
{
	text	   *name = dg_required_text(fcinfo, 0, "name");

	if (!dg_token_name_is_valid(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of an authority"),
				 errhint("Use 1 to %d of A-Z a-z 0-9 . _ - and no dot at the beginning.", DG_TOKEN_MAX_NAME)));
	return text_to_cstring(name);
}

/*
 * key_fingerprint(public_key text) -> text
 */
Datum
dg_key_fingerprint(PG_FUNCTION_ARGS)
{
	EnrolledKey key;

	read_key(PG_GETARG_TEXT_PP(0), &key);
	PG_RETURN_TEXT_P(cstring_to_text(key.fingerprint));
}

/* ----------------------------------------------------------------------
 * add_authority
 * ----------------------------------------------------------------------
 */

static bool
admits_authority(const DgTokenClaims *claims, void *arg)
{
	NewAuthority *authority = arg;

	return strcmp(claims->authority, authority->name) == 0 &&
		memcmp(claims->fingerprint, authority->fingerprint, DG_TOKEN_DIGEST_SIZE) == 0;
}

static void
refuse_known(const char *name, const EnrolledKey *key)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(key->fingerprint)};

	if (dg_spi_select("SELECT name, name = $1, retired_at IS NOT NULL FROM ONLY deletion_guard.authority"
					  " WHERE name = $1 OR fingerprint = $2 ORDER BY 2 DESC",
					  2, types, values, NULL) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 strcmp(dg_row_text(0, 2), "t") == 0 ?
			 errmsg("authority \"%s\" already exists", name) :
			 errmsg("this key is already that of authority \"%s\"", dg_row_text(0, 1)),
			 strcmp(dg_row_text(0, 3), "t") == 0 ? errdetail("It was retired.") : 0,
			 errhint("Names and keys are enrolled once; choose a new name and make a new key.")));
}

/*
 * Enrols a key under a name. The caller is connected to SPI.
 */
static void
enrol(const char *name, const EnrolledKey *key, List *approvals)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[6];
	int64		entry;

	entry = dg_ledger_append_now("add_authority",
								 psprintf("{\"authority\": %s, \"algorithm\": %s, \"fingerprint\": %s}",
										  dg_json_string(name), dg_json_string(key->algorithm),
										  dg_json_string(key->fingerprint)));
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(key->algorithm);
	values[2] = CStringGetTextDatum(key->pem);
	values[3] = CStringGetTextDatum(key->fingerprint);
	values[4] = CStringGetTextDatum(dg_session_role());
	values[5] = Int64GetDatum(entry);
	dg_spi_execute("INSERT INTO deletion_guard.authority"
				   " (name, algorithm, public_key, fingerprint, enrolled_at, enrolled_by, ledger_id)"
				   " VALUES ($1, $2, $3, $4, now(), $5, $6)", 6, types, values, NULL);
	dg_approvals_use(approvals, entry);
}

/*
 * The registry is not written where it does not count.
 */
static void
require_registry(void)
{
	if (dg_authorities_in_file())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("authorities are those of the file \"%s\"", dg_authorities_file),
				 errhint("Whoever may write that file adds and removes them there.")));
}

/*
 * add_authority(name text, public_key text, VARIADIC tokens text[]) -> text
 */
Datum
dg_add_authority(PG_FUNCTION_ARGS)
{
	char	   *name;
	EnrolledKey key;
	NewAuthority authority;
	List	   *approvals = NIL;

	PreventCommandIfReadOnly("add_authority()");
	require_registry();
	name = authority_name(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("public_key must not be null")));
	read_key(PG_GETARG_TEXT_PP(1), &key);
	authority.name = name;
	authority.fingerprint = key.fingerprint_bytes;

	SPI_connect();
	dg_lock_authorities(ExclusiveLock);
	if (ever_enrolled())
		approvals = dg_authorise(DG_TOKEN_ACT_ADD_AUTHORITY, PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2),
								 admits_authority, &authority, "add_authority");
	else
		dg_require_extension_owner("enrol the first authority");
	refuse_known(name, &key);
	enrol(name, &key, approvals);
	dg_approvals_raise();
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(key.fingerprint));
}

/* ----------------------------------------------------------------------
 * retire_authority, set_approvals
 * ----------------------------------------------------------------------
 */

static bool
names_authority(const DgTokenClaims *claims, void *arg)
{
	return strcmp(claims->authority, (const char *) arg) == 0;
}

static void
require_active(const char *name)
{
	DgAuthority *authority = dg_authority_find(name, NULL);

	if (authority == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("authority \"%s\" does not exist", name)));
	if (authority->retired)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("authority \"%s\" has been retired already", name)));
	if (dg_authorities_active() == 1)
		ereport(ERROR,
				(errcode(DG_ERRCODE_LAST_AUTHORITY),
				 errmsg("cannot retire \"%s\", the last authority", name),
				 errdetail("Nobody could approve a purge, or enrol another authority, after it."),
				 errhint("Enrol its successor first.")));
}

/*
 * retire_authority(name text, VARIADIC tokens text[]) -> void
 */
Datum
dg_retire_authority(PG_FUNCTION_ARGS)
{
	char	   *name;
	List	   *approvals;
	int64		entry;
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID};
	Datum		values[3];

	PreventCommandIfReadOnly("retire_authority()");
	require_registry();
	name = authority_name(fcinfo);
	SPI_connect();
	dg_lock_authorities(ExclusiveLock);
	require_active(name);
	approvals = dg_authorise(DG_TOKEN_ACT_RETIRE_AUTHORITY, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
							 names_authority, name, "retire_authority");
	entry = dg_approvals_record(approvals, "retire_authority",
								psprintf("{\"authority\": %s}", dg_json_string(name)));
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(dg_session_role());
	values[2] = Int64GetDatum(entry);
	dg_spi_execute("UPDATE deletion_guard.authority SET retired_at = now(), retired_by = $2, ledger_id = $3"
				   " WHERE name = $1", 3, types, values, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

static bool
sets_approvals(const DgTokenClaims *claims, void *arg)
{
	return claims->approvals == *(int32 *) arg;
}

/*
 * set_approvals(approvals integer, VARIADIC tokens text[]) -> void
 */
Datum
dg_set_approvals(PG_FUNCTION_ARGS)
{
	int32		wanted;
	List	   *approvals = NIL;

	PreventCommandIfReadOnly("set_approvals()");
	if (PG_ARGISNULL(0) || PG_GETARG_INT32(0) < 1 || PG_GETARG_INT32(0) > DG_TOKEN_MAX_APPROVALS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("approvals must be from 1 to %d", DG_TOKEN_MAX_APPROVALS)));
	wanted = PG_GETARG_INT32(0);

	SPI_connect();
	dg_lock_authorities(ExclusiveLock);
	if (wanted < dg_approvals_required() && ever_enrolled())
		approvals = dg_authorise(DG_TOKEN_ACT_SET_APPROVALS, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
								 sets_approvals, &wanted, "set_approvals");
	else
		dg_require_extension_owner("set the number of approvals");
	remember_approvals(wanted, approvals);
	if (wanted < dg_approvals)
		ereport(NOTICE,
				(errmsg("the setting deletion_guard.approvals still asks for %d", dg_approvals),
				 errhint("Lower it in the server's configuration, or it counts again with the next request.")));
	SPI_finish();
	PG_RETURN_VOID();
}
