/*
 * purge_certificate.c
 *		Certificates: what the ledger says of one purge.
 *
 * A certificate is the text of the purge's ledger entry plus "ledger", the
 * entry's number and hash. It names no tenant; the digest in its plan was
 * signed by the authorities together with the tenant's key and name, so that
 * the claims show whom it was about.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"

PG_FUNCTION_INFO_V1(dg_purge_certificate);
PG_FUNCTION_INFO_V1(dg_verify_certificate);

/*
 * The number of the purge's ledger entry; 0 if there is none yet, -1 if there is no
 * such purge.
 */
static int64
entry_of_purge(int64 purge)
{
	DgOwnScan  *scan = dg_own_find(DG_OWN(purge_record), AccessShareLock,
								   DG_KEYS(dg_own_key_int8(Anum_purge_record_purge_id, purge)));
	int64		entry;

	if (scan == NULL)
		return -1;
	entry = dg_own_int64(scan, Anum_purge_record_ledger_id);
	dg_own_end(scan);
	return entry;
}

/*
 * The certificate of a purge, a jsonb.
 */
Datum
dg_purge_certificate_text(int64 purge)
{
	int64		entry = entry_of_purge(purge);
	char	   *event;
	char	   *details;
	char	   *hash;

	if (entry < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no purge %lld", (long long) purge),
				 errhint("The table deletion_guard.purge_record lists purges.")));
	if (entry == 0 || !dg_ledger_entry(entry, &event, &details, &hash))
		ereport(ERROR,
				(errcode(DG_ERRCODE_LEDGER_BROKEN),
				 errmsg("the ledger has no entry of purge %lld", (long long) purge),
				 errhint("Run deletion_guard.verify_ledger().")));
	details[strlen(details) - 1] = '\0';
	return DirectFunctionCall1(jsonb_in,
							   CStringGetDatum(psprintf("%s, \"ledger\": {\"entry\": " INT64_FORMAT ", \"hash\": \"%s\"}}",
														details, entry, hash)));
}

/*
 * purge_certificate(purge_id bigint) -> jsonb
 */
Datum
dg_purge_certificate(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(dg_purge_certificate_text(PG_GETARG_INT64(0)));
}

/*
 * The purge that a certificate says it is of; 0 if it is no certificate.
 */
static int64
certified_purge(Jsonb *certificate)
{
	char	   *digits = dg_json_member(certificate, "purge");

	if (digits == NULL || digits[0] == '0' || digits[0] == '\0' || strlen(digits) > 18 || strspn(digits, "0123456789") != strlen(digits))
		return 0;
	return strtoll(digits, NULL, 10);
}

/*
 * What is wrong with a certificate, or NULL.
 */
static const char *
certificate_problem(Jsonb *certificate)
{
	int64		purge = certified_purge(certificate);

	if (purge == 0)
		return "this is not a certificate of a purge";
	if (entry_of_purge(purge) <= 0)
		return psprintf("there was no purge " INT64_FORMAT " in this database", purge);
	if (!DatumGetBool(DirectFunctionCall2(jsonb_eq, JsonbPGetDatum(certificate), dg_purge_certificate_text(purge))))
		return psprintf("the ledger says otherwise of purge " INT64_FORMAT, purge);
	return NULL;
}

/*
 * verify_certificate(certificate jsonb) -> (ok boolean, problem text)
 */
Datum
dg_verify_certificate(PG_FUNCTION_ARGS)
{
	const char *problem = "there is no certificate";
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!PG_ARGISNULL(0))
		problem = certificate_problem(PG_GETARG_JSONB_P(0));
	values[0] = BoolGetDatum(problem == NULL);
	nulls[1] = problem == NULL;
	if (problem != NULL)
		values[1] = CStringGetTextDatum(problem);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
