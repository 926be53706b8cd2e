/*
 * purge_certificate.c
 *		Certificates: what the ledger says of one purge.
 *
 * A certificate is the text of the purge's ledger entry plus "ledger", the
 * entry's number and hash. It names no tenant; the digest in its plan was
 * signed by the authorities together with the tenant's key and name, so that
 * whoever has the claims can show whom it was about.
 */
#include "purge.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(dg_purge_certificate);
PG_FUNCTION_INFO_V1(dg_verify_certificate);

/*
 * The certificate of a purge, a jsonb. The caller is connected to SPI.
 */
Datum
dg_certificate(int64 purge)
{
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(purge), (Datum) 0};
	int64		entry;
	char	   *event;
	char	   *details;
	char	   *hash;
	bool		isnull;

	if (dg_spi_select("SELECT ledger_id, certificate FROM ONLY deletion_guard.purge_record"
					  " WHERE purge_id = $1", 1, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no purge %lld", (long long) purge),
				 errhint("The table deletion_guard.purge_record lists purges.")));
	entry = dg_row_int64(0, 1, &isnull);
	if (isnull || !dg_ledger_entry(entry, &event, &details, &hash))
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
	MemoryContext caller = CurrentMemoryContext;
	Datum		certificate;

	SPI_connect();
	certificate = dg_row_result(caller, dg_certificate(PG_GETARG_INT64(0)), JSONBOID);
	SPI_finish();
	PG_RETURN_DATUM(certificate);
}

/*
 * The purge that a certificate says it is of; 0 if it is no certificate.
 */
static int64
certified_purge(Datum certificate)
{
	Oid			types[] = {JSONBOID};
	Datum		values[] = {certificate};
	bool		isnull;
	int64		purge;

	dg_spi_select("SELECT CASE WHEN jsonb_typeof($1) = 'object' AND $1->>'purge' ~ '^[1-9][0-9]{0,17}$'"
				  " THEN ($1->>'purge')::bigint END", 1, types, values, NULL);
	purge = dg_row_int64(0, 1, &isnull);
	return isnull ? 0 : purge;
}

/*
 * What is wrong with a certificate, or NULL.
 */
static const char *
certificate_problem(Datum certificate)
{
	Oid			types[] = {INT8OID};
	int64		purge = certified_purge(certificate);
	Datum		values[] = {Int64GetDatum(purge)};

	if (purge == 0)
		return "this is not a certificate of a purge";
	if (dg_spi_select("SELECT 1 FROM ONLY deletion_guard.purge_record WHERE purge_id = $1 AND ledger_id IS NOT NULL",
					  1, types, values, NULL) == 0)
		return psprintf("there was no purge " INT64_FORMAT " in this database", purge);
	if (!DatumGetBool(DirectFunctionCall2(jsonb_eq, certificate, dg_certificate(purge))))
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
	SPI_connect();
	if (!PG_ARGISNULL(0))
		problem = certificate_problem(PG_GETARG_DATUM(0));
	if (problem != NULL)
		problem = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt, problem);
	SPI_finish();

	values[0] = BoolGetDatum(problem == NULL);
	nulls[1] = problem == NULL;
	if (problem != NULL)
		values[1] = CStringGetTextDatum(problem);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
