/*
 * purge_evidence.c
 *		verify_ledger(): the ledger's chain, and the registries held against it; and
 *		certificates: what the ledger says of one purge.
 *
 * A hold, a request, a purge or an authority that was made or changed past the
 * extension has no entry that says so; one that was removed leaves an entry behind.
 * The entries' texts are those that they were made with. Other registries also
 * remember the numbers of their entries, which shows a chain that was cut short.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "ledger/ledger.h"
#include "purge/purge_internal.h"
#include "token/token.h"

PG_FUNCTION_INFO_V1(dg_verify_ledger);
PG_FUNCTION_INFO_V1(dg_purge_certificate);
PG_FUNCTION_INFO_V1(dg_verify_certificate);

/* An entry that tells of something which should be on record. */
typedef struct Told
{
	int64		entry;
	const char *what;			/* "hold" */
	char	   *name;			/* its number or name; NULL: it cannot be read */
} Told;

/* What the ledger and the registries say. */
typedef struct Evidence
{
	DgTextSet  *entries;		/* event and details of those that concern
								 * registries */
	List	   *told;
	DgTextSet  *recorded;		/* "hold 1" */
	List	   *untold;			/* what is on record and has no entry */
	int64		referred;		/* highest entry that a registry refers to */
	MemoryContext context;
} Evidence;

/* The entries that concern registries. */
static const struct
{
	const char *event;
	const char *what;			/* NULL: something that was told before */
	const char *before;			/* the number or name, in the details */
	const char *after;
}			told_events[] = {
	{"add_authority", "authority", "{\"authority\": \"", "\","},
	{"retire_authority", NULL, NULL, NULL},
	{"hold_tenant", "hold", "{\"hold\": ", "}"},
	{"release_hold", NULL, NULL, NULL},
	{"request_purge", "request", "{\"request\": ", ","},
	{"purge", "purge", "{\"purge\": ", ","},
};

/* ----------------------------------------------------------------------
 * The ledger
 * ----------------------------------------------------------------------
 */

static char *
entry_text(const char *event, const char *details)
{
	return psprintf("%s %s", event, details);
}

/*
 * What is in the details between two texts, the first of which they begin with;
 * NULL if they do not read like that.
 */
static char *
name_between(const char *details, const char *before, const char *after)
{
	const char *name = details + strlen(before);
	const char *end;

	if (strncmp(details, before, strlen(before)) != 0)
		return NULL;
	end = strstr(name, after);
	return end == NULL || end == name ? NULL : pnstrdup(name, end - name);
}

static void
visit_entry(const DgLedgerEntry *entry, void *arg)
{
	Evidence   *evidence = arg;
	int			i = 0;
	Told	   *told;
	MemoryContext old;

	while (i < lengthof(told_events) && strcmp(entry->event, told_events[i].event) != 0)
		i++;
	if (i == lengthof(told_events))
		return;
	(void) dg_guard_textset_add(evidence->entries, entry_text(entry->event, entry->details));
	if (told_events[i].what == NULL)
		return;
	old = MemoryContextSwitchTo(evidence->context);
	told = palloc(sizeof(Told));
	told->entry = entry->id;
	told->what = told_events[i].what;
	told->name = name_between(entry->details, told_events[i].before, told_events[i].after);
	evidence->told = lappend(evidence->told, told);
	MemoryContextSwitchTo(old);
}

/* ----------------------------------------------------------------------
 * The registries
 * ----------------------------------------------------------------------
 */

/*
 * Something is on record: is there an entry that says so?
 */
static void
expect_entry(Evidence *evidence, const char *what, const char *event, const char *details)
{
	if (details == NULL || !dg_guard_textset_has(evidence->entries, entry_text(event, details)))
		evidence->untold = lappend(evidence->untold, pstrdup(what));
}

static void
refer_to(Evidence *evidence, const DgOwnScan *scan, AttrNumber attnum)
{
	evidence->referred = Max(evidence->referred, dg_own_int64(scan, attnum));
}

/*
 * Is it a key, with this fingerprint?
 */
static bool
is_key_of(const char *public_key, const char *fingerprint)
{
	DgTokenKey *key = NULL;
	DgTokenDetail detail = {0};
	bool		result;

	if (dg_token_key_parse(public_key, strlen(public_key), &key, &detail) != DG_TOKEN_OK)
		return false;
	result = strcmp(dg_token_key_fingerprint(key), fingerprint) == 0;
	dg_token_key_free(key);
	return result;
}

static void
compare_authority(Evidence *evidence, const DgOwnScan *scan)
{
	char	   *name = dg_own_text(scan, Anum_authority_name);
	char	   *what = psprintf("authority \"%s\"", name);
	char	   *fingerprint = dg_own_text(scan, Anum_authority_fingerprint);
	bool		retired = !dg_own_isnull(scan, Anum_authority_retired_at);
	char	   *retirement = psprintf("{\"authority\": %s}", dg_json_string(name));
	bool		sound = is_key_of(dg_own_text(scan, Anum_authority_public_key), fingerprint) &&
	retired == dg_guard_textset_has(evidence->entries, entry_text("retire_authority", retirement));

	expect_entry(evidence, what, "add_authority", !sound ? NULL :
				 psprintf("{\"authority\": %s, \"algorithm\": %s, \"fingerprint\": %s}", dg_json_string(name),
						  dg_json_string(dg_own_text(scan, Anum_authority_algorithm)), dg_json_string(fingerprint)));
	(void) dg_guard_textset_add(evidence->recorded, psprintf("authority %s", name));
	refer_to(evidence, scan, Anum_authority_ledger_id);
}

static void
compare_hold(Evidence *evidence, const DgOwnScan *scan)
{
	char	   *what = psprintf("hold " INT64_FORMAT, dg_own_int64(scan, Anum_hold_hold_id));
	char	   *details = psprintf("{\"hold\": " INT64_FORMAT "}", dg_own_int64(scan, Anum_hold_hold_id));

	expect_entry(evidence, what, "hold_tenant", details);
	if (!dg_own_isnull(scan, Anum_hold_released_at))
		expect_entry(evidence, psprintf("the release of %s", what), "release_hold", details);
	(void) dg_guard_textset_add(evidence->recorded, what);
}

static void
compare_request(Evidence *evidence, const DgOwnScan *scan)
{
	int64		id = dg_own_int64(scan, Anum_purge_request_record_request_id);
	char	   *what = psprintf("request " INT64_FORMAT, id);
	bool		isnull;
	Datum		value = dg_own_datum(scan, Anum_purge_request_record_digest, &isnull);
	const uint8 *digest = isnull ? NULL : dg_digest_bytes(value);

	expect_entry(evidence, what, "request_purge", digest == NULL ? NULL :
				 psprintf("{\"request\": " INT64_FORMAT ", \"rows\": " INT64_FORMAT ", \"digest\": \"%s\"}",
						  id, dg_own_int64(scan, Anum_purge_request_record_rows), dg_hex(digest, DG_DIGEST_SIZE)));
	(void) dg_guard_textset_add(evidence->recorded, what);
}

static void
compare_purge(Evidence *evidence, const DgOwnScan *scan)
{
	char	   *what = psprintf("purge " INT64_FORMAT, dg_own_int64(scan, Anum_purge_record_purge_id));

	expect_entry(evidence, what, "purge", dg_own_text(scan, Anum_purge_record_certificate));
	(void) dg_guard_textset_add(evidence->recorded, what);
	refer_to(evidence, scan, Anum_purge_record_ledger_id);
	refer_to(evidence, scan, Anum_purge_record_annulled_ledger_id);
}

static void
compare_used_token(Evidence *evidence, const DgOwnScan *scan)
{
	refer_to(evidence, scan, Anum_used_token_ledger_id);
}

static void
read_registry(Evidence *evidence, DgOwnTable table, void (*check) (Evidence *evidence, const DgOwnScan *scan))
{
	DgOwnScan  *scan = dg_own_scan(table, AccessShareLock, 0, NULL);

	while (dg_own_next(scan))
		check(evidence, scan);
	dg_own_end(scan);
}

static int
compare_texts(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * Holds the registries against the entries that the walk has come by, and the
 * other way round.
 */
static void
compare_registries(DgLedgerWalk *walk, Evidence *evidence)
{
	ListCell   *lc;

	list_sort(evidence->untold, compare_texts);
	foreach(lc, evidence->untold)
		dg_ledger_add_problem(walk, "no entry tells of %s as it is on record", (char *) lfirst(lc));
	foreach(lc, evidence->told)
	{
		Told	   *told = lfirst(lc);

		if (told->name == NULL || !dg_guard_textset_has(evidence->recorded, psprintf("%s %s", told->what, told->name)))
			dg_ledger_add_problem(walk, "%s %s of entry " INT64_FORMAT " is no longer on record",
								  told->what, told->name != NULL ? told->name : "(unknown)", told->entry);
	}
}

static void
verify_all(DgLedgerWalk *walk, int64 head_entry, const char *head_hash)
{
	Evidence	evidence = {0};

	evidence.context = CurrentMemoryContext;
	evidence.entries = dg_guard_textset_create(CurrentMemoryContext);
	evidence.recorded = dg_guard_textset_create(CurrentMemoryContext);
	dg_ledger_flush();
	dg_ledger_walk(walk, head_entry, head_hash, visit_entry, &evidence);
	read_registry(&evidence, DG_OWN_ALL(authority), compare_authority);
	read_registry(&evidence, DG_OWN_ALL(used_token), compare_used_token);
	read_registry(&evidence, DG_OWN_ALL(hold), compare_hold);
	read_registry(&evidence, DG_OWN_ALL(purge_request_record), compare_request);
	read_registry(&evidence, DG_OWN_ALL(purge_record), compare_purge);
	if (Max(evidence.referred, head_entry) > walk->id)
		dg_ledger_add_missing(walk, walk->id + 1, Max(evidence.referred, head_entry), " at the end");
	compare_registries(walk, &evidence);
}

/*
 * verify_ledger(head_entry bigint, head_hash text)
 *		-> (ok boolean, entries bigint, problem text)
 */
Datum
dg_verify_ledger(PG_FUNCTION_ARGS)
{
	DgLedgerWalk walk;
	char	   *problems;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0) != PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("give both head_entry and head_hash, or neither"),
				 errhint("deletion_guard.ledger_head() prints the two.")));
	verify_all(&walk, PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0),
			   PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	problems = dg_ledger_problems(&walk);

	values[0] = BoolGetDatum(problems == NULL);
	values[1] = Int64GetDatum(walk.entries);
	nulls[2] = problems == NULL;
	values[2] = problems == NULL ? (Datum) 0 : CStringGetTextDatum(problems);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ----------------------------------------------------------------------
 * Certificates
 *
 * A certificate is the text of the purge's ledger entry plus "ledger", the
 * entry's number and hash. It names no tenant; the digest in its plan was
 * signed by the authorities together with the tenant's key and name, so that
 * the claims show whom it was about.
 * ----------------------------------------------------------------------
 */

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
