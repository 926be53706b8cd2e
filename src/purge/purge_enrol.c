/*
 * purge_enrol.c
 *		Changing who may approve: add_authority(), retire_authority(),
 *		set_approvals().
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
 * The number of approvals only rises by itself. deletion_guard.approvals raises
 * it; what was once in force is remembered, and lowering it takes tokens.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "token/token.h"

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

/* ----------------------------------------------------------------------
 * How many must agree
 * ----------------------------------------------------------------------
 */

static void
write_approvals(int approvals)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(approval_policy), RowExclusiveLock, 0, NULL);

	if (dg_own_next(scan) && dg_own_lock(scan))
	{
		dg_own_set(scan, Anum_approval_policy_approvals, Int32GetDatum(approvals));
		dg_own_update(scan);
	}
	else
	{
		Datum		values[Natts_approval_policy] = {BoolGetDatum(true), Int32GetDatum(approvals)};
		bool		nulls[Natts_approval_policy] = {false};

		dg_own_insert(DG_OWN_ALL(approval_policy), values, nulls);
	}
	dg_own_end(scan);
}

/*
 * Changes the number that is remembered. The caller has locked it.
 */
static void
remember_approvals(int approvals, List *tokens)
{
	write_approvals(approvals);
	(void) dg_purge_approvals_record(tokens, "set_approvals", psprintf("{\"approvals\": %d}", approvals));
}

static void
lock_approvals(void)
{
	dg_lock_object(dg_objects()->approval_policy, 0, ExclusiveLock);
}

/*
 * Remembers the number of approvals in force, if it has risen.
 */
void
dg_purge_approvals_raise(void)
{
	if (dg_purge_approvals_required() <= dg_purge_approvals_remembered())
		return;
	lock_approvals();
	if (dg_purge_approvals_required() > dg_purge_approvals_remembered())
		remember_approvals(dg_purge_approvals_required(), NIL);
}

/* ----------------------------------------------------------------------
 * Keys and names
 * ----------------------------------------------------------------------
 */

/*
 * Reads a public key. The library's key is freed before anything can throw.
 */
static void
read_key(text * public_key, EnrolledKey *enrolled)
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
	dg_purge_refusal_of_token(&refusal, status, &detail);
	dg_purge_refuse(&refusal, "public key");
}

static char *
authority_name(FunctionCallInfo fcinfo)
{
	text	   *name = dg_purge_required_text(fcinfo, 0, "name");

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

/*
 * The authority that has the name, else one that has the key: a scan that has
 * turned to it, or NULL.
 */
static DgOwnScan *
find_known(const char *name, const EnrolledKey *key)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN(authority), AccessShareLock,
								   DG_KEYS(dg_own_key_text(Anum_authority_name, name)));

	if (scan != NULL)
		return scan;
	return dg_own_find(DG_OWN_ALL(authority), AccessShareLock,
					   DG_KEYS(dg_own_key_text(Anum_authority_fingerprint, key->fingerprint)));
}

static void
refuse_known(const char *name, const EnrolledKey *key)
{
	DgOwnScan  *known = find_known(name, key);
	char	   *known_name;
	bool		retired;

	if (known == NULL)
		return;
	known_name = dg_own_text(known, Anum_authority_name);
	retired = !dg_own_isnull(known, Anum_authority_retired_at);
	dg_own_end(known);
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 strcmp(known_name, name) == 0 ?
			 errmsg("authority \"%s\" already exists", name) :
			 errmsg("this key is already that of authority \"%s\"", known_name),
			 retired ? errdetail("It was retired.") : 0,
			 errhint("Names and keys are enrolled once; choose a new name and make a new key.")));
}

/*
 * Enrols a key under a name.
 */
static void
enrol_key(const char *name, const EnrolledKey *key, List *approvals)
{
	Datum		values[Natts_authority] = {0};
	bool		nulls[Natts_authority] = {false};
	int64		entry;

	entry = dg_ledger_append_now("add_authority",
								 psprintf("{\"authority\": %s, \"algorithm\": %s, \"fingerprint\": %s}",
										  dg_json_string(name), dg_json_string(key->algorithm),
										  dg_json_string(key->fingerprint)));
	values[Anum_authority_name - 1] = CStringGetTextDatum(name);
	values[Anum_authority_algorithm - 1] = CStringGetTextDatum(key->algorithm);
	values[Anum_authority_public_key - 1] = CStringGetTextDatum(key->pem);
	values[Anum_authority_fingerprint - 1] = CStringGetTextDatum(key->fingerprint);
	values[Anum_authority_enrolled_at - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[Anum_authority_enrolled_by - 1] = CStringGetTextDatum(dg_session_role());
	values[Anum_authority_ledger_id - 1] = Int64GetDatum(entry);
	nulls[Anum_authority_retired_at - 1] = true;
	nulls[Anum_authority_retired_by - 1] = true;
	dg_own_insert(DG_OWN(authority), values, nulls);
	dg_purge_approvals_use(approvals, entry);
}

/*
 * The registry is not written where it does not count.
 */
static void
require_registry(void)
{
	if (dg_purge_authorities_in_file())
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
	dg_require_argument(fcinfo, 1, "public_key");
	read_key(PG_GETARG_TEXT_PP(1), &key);
	authority.name = name;
	authority.fingerprint = key.fingerprint_bytes;

	dg_purge_lock_authorities(ExclusiveLock);
	if (dg_purge_authorities_ever())
		approvals = dg_purge_authorise(DG_TOKEN_ACT_ADD_AUTHORITY, PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2),
									   admits_authority, &authority, "add_authority",
									   psprintf("%s, public_key => '...'", quote_literal_cstr(name)));
	else
		dg_purge_require_extension_owner("enrol the first authority");
	refuse_known(name, &key);
	enrol_key(name, &key, approvals);
	dg_purge_approvals_raise();
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
	DgAuthority *authority = dg_purge_authority_find(name, NULL);

	if (authority == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("authority \"%s\" does not exist", name)));
	if (authority->retired)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("authority \"%s\" has been retired already", name)));
	if (dg_purge_authorities_active() == 1)
		ereport(ERROR,
				(errcode(DG_ERRCODE_LAST_AUTHORITY),
				 errmsg("cannot retire \"%s\", the last authority", name),
				 errdetail("Nobody could approve a purge, or enrol another authority, after it."),
				 errhint("Enrol its successor first.")));
}

static void
write_retirement(const char *name, int64 entry)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN(authority), RowExclusiveLock,
								   DG_KEYS(dg_own_key_text(Anum_authority_name, name)));

	if (scan == NULL || !dg_own_lock(scan))
		elog(ERROR, "authority \"%s\" is gone", name);
	dg_own_set(scan, Anum_authority_retired_at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	dg_own_set(scan, Anum_authority_retired_by, CStringGetTextDatum(dg_session_role()));
	dg_own_set(scan, Anum_authority_ledger_id, Int64GetDatum(entry));
	dg_own_update(scan);
	dg_own_end(scan);
}

/*
 * retire_authority(name text, VARIADIC tokens text[]) -> void
 */
Datum
dg_retire_authority(PG_FUNCTION_ARGS)
{
	char	   *name;
	List	   *approvals;

	PreventCommandIfReadOnly("retire_authority()");
	require_registry();
	name = authority_name(fcinfo);
	dg_purge_lock_authorities(ExclusiveLock);
	require_active(name);
	approvals = dg_purge_authorise(DG_TOKEN_ACT_RETIRE_AUTHORITY, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
								   names_authority, name, "retire_authority",
								   quote_literal_cstr(name));
	write_retirement(name, dg_purge_approvals_record(approvals, "retire_authority",
													 psprintf("{\"authority\": %s}", dg_json_string(name))));
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

	dg_purge_lock_authorities(ExclusiveLock);
	if (wanted < dg_purge_approvals_required() && dg_purge_authorities_ever())
		approvals = dg_purge_authorise(DG_TOKEN_ACT_SET_APPROVALS, PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
									   sets_approvals, &wanted, "set_approvals", psprintf("'%d'", wanted));
	else
		dg_purge_require_extension_owner("set the number of approvals");
	lock_approvals();
	remember_approvals(wanted, approvals);
	if (wanted < dg_approvals)
		ereport(NOTICE,
				(errmsg("the setting deletion_guard.approvals still asks for %d", dg_approvals),
				 errhint("Lower it in the server's configuration, or it counts again with the next request.")));
	PG_RETURN_VOID();
}
