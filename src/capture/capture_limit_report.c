/*
 * capture_limit_report.c
 *		What is said when a deletion runs into a ceiling, and to whom.
 *
 * The caller learns how many rows and tenants it was about and, if it may read
 * the rows, which; names only if it may read them. The server's log, the ledger and those who listen
 * on the channel learn the numbers. As the error takes the transaction with
 * it, the ledger's entry and the notification are made by a process of their
 * own (ledger_autonomous.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "capture/capture_internal.h"
#include "common/deletion_guard.h"
#include "guard/guard.h"
#include "ledger/ledger.h"

#define SHOWN_TENANTS 3

/* ----------------------------------------------------------------------
 * The tenants
 * ----------------------------------------------------------------------
 */

/*
 * May the user know the tenants of all that is deleted from the table at hand and
 * was deleted from others before?
 */
static bool
may_tell(const DgLimit *limit, int64 deletion)
{
	Oid			role = dg_guard_statement_role();
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(deletion)};
	bool		result = dg_guard_may_tell(limit->root, role);
	ListCell   *lc;

	if (!result)
		return false;
	SPI_connect();
	dg_query("SELECT DISTINCT b.relation FROM deletion_guard.deletion_part p"
			 " JOIN deletion_guard.bin b USING (bin_id) WHERE p.deletion_id = $1",
			 DG_AS_US, 1, types, values);
	foreach(lc, dg_row_oids(1))
		result = result && dg_guard_may_tell(lfirst_oid(lc), role);
	SPI_finish();
	return result;
}

/*
 * May the user see the tenants' names?
 */
static bool
may_read_names(const DgTenantTable *tenants)
{
	Oid			role = dg_guard_statement_role();
	AttrNumber	attnum = get_attnum(tenants->relid, NameStr(tenants->name_column));

	if (attnum == InvalidAttrNumber || check_enable_rls(tenants->relid, role, true) == RLS_ENABLED)
		return false;
	return pg_class_aclcheck(tenants->relid, role, ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck(tenants->relid, attnum, role, ACL_SELECT) == ACLCHECK_OK;
}

/*
 * A tenant's name, palloc'd, or NULL. The tenant table is asked as the deleting
 * statement sees it: by now the row may be gone, and not be in the bin yet. An
 * earlier part of the statement may have put it there.
 */
static char *
tenant_name(const char *tenant)
{
	DgTenantRow row = {0};

	if (!ActiveSnapshotSet() || dg_bin_tenant_live(tenant, GetActiveSnapshot(), &row) == 0)
		(void) dg_bin_tenant_deleted(tenant, GetLatestSnapshot(), &row);
	return row.name != NULL && row.name[0] != '\0' ? row.name : NULL;
}

/*
 * "17 (Acme), 18 (Globex), 19 (Initech) and 880 more", palloc'd.
 */
static char *
list_tenants(DgTextSet *set)
{
	const DgTenantTable *tenants = dg_guard_tenant_table();
	bool		named = OidIsValid(tenants->relid) && NameStr(tenants->name_column)[0] != '\0' &&
	may_read_names(tenants);
	int64		n = dg_guard_textset_count(set);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int64 i = 0; i < Min(n, SHOWN_TENANTS); i++)
	{
		const char *tenant = dg_guard_textset_get(set, i);
		char	   *name = named ? tenant_name(tenant) : NULL;

		appendStringInfo(&buf, "%s%s", i == 0 ? "" : i == n - 1 ? " and " : ", ", tenant);
		if (name != NULL)
			appendStringInfo(&buf, " (%s)", name);
	}
	if (n > SHOWN_TENANTS)
		appendStringInfo(&buf, " and " INT64_FORMAT " more", n - SHOWN_TENANTS);
	return buf.data;
}

/* ----------------------------------------------------------------------
 * Words
 * ----------------------------------------------------------------------
 */

/*
 * "1 row", "2 rows", palloc'd.
 */
static char *
count_in_words(int64 n, const char *what)
{
	return psprintf(INT64_FORMAT " %s%s", n, what, n == 1 ? "" : "s");
}

static char *
message_text(const DgLimit *limit, const DgTotal *total, const char *name, int most, bool tell)
{
	const char *verb = limit->stopped ? "refused" : "is larger than it should be";

	if ((limit->exceeded & DG_CEILING_EXPECTED) && limit->unexpected != NULL && !tell)
		return psprintf("deletion %s: rows of a tenant whom deletion_guard.%s does not name", verb, name);
	if (limit->exceeded & DG_CEILING_EXPECTED)
		return limit->unexpected != NULL ?
			psprintf("deletion %s: rows of tenant \"%s\", whom deletion_guard.%s does not name",
					 verb, limit->unexpected, name) :
			psprintf("deletion %s: rows of no known tenant, while deletion_guard.%s names some", verb, name);
	if (limit->exceeded & DG_CEILING_WIPES)
		return psprintf("deletion %s: %s within an hour, deletion_guard.%s is %d",
						verb, count_in_words(limit->wiped + limit->rows, "tenant"), name, most);
	if (limit->exceeded & DG_CEILING_TENANTS)
		return psprintf("deletion %s: rows of %s, deletion_guard.%s is %d",
						verb, count_in_words(dg_guard_textset_count(total->tenants), "tenant"), name, most);
	return psprintf("deletion %s: %s, deletion_guard.%s is %d",
					verb, count_in_words(total->rows, "row"), name, most);
}

static char *
detail_text(const DgLimit *limit, const DgTotal *total, bool tell)
{
	int64		tenants = dg_guard_textset_count(total->tenants);
	const char *outcome = limit->stopped ? "It is rolled back." : "It goes on.";

	if (tenants == 0)
		return psprintf("Up to \"%s\" the statement removes %s, of no tenant. %s",
						get_rel_name(limit->root), count_in_words(total->rows, "row"), outcome);
	if (!tell)
		return psprintf("Up to \"%s\" the statement removes %s of %s. They are not shown, as you may not read all of these rows. %s",
						get_rel_name(limit->root), count_in_words(total->rows, "row"), count_in_words(tenants, "tenant"), outcome);
	return psprintf("Up to \"%s\" the statement removes %s of %s: %s. %s",
					get_rel_name(limit->root), count_in_words(total->rows, "row"), count_in_words(tenants, "tenant"),
					list_tenants(total->tenants), outcome);
}

static const char *
hint_text(const DgLimit *limit)
{
	if (limit->exceeded & DG_CEILING_EXPECTED)
		return "Make sure that the ids are of the right kind; deletion_guard.preview() shows what a statement removes.";
	if (!limit->stopped)
		return "What it deleted can be brought back with deletion_guard.undelete().";
	if (limit->exceeded & DG_CEILING_WIPES)
		return "Make sure that the ids are of the right kind. What is gone can be brought back with deletion_guard.undelete_tenants(). If it was right, wait, or have a superuser raise the ceiling.";
	return "Look at it with deletion_guard.preview(). If it is right, delete in smaller statements, or have a superuser raise the ceiling.";
}

/* ----------------------------------------------------------------------
 * The record
 * ----------------------------------------------------------------------
 */

/*
 * The server's log has every refusal. What is handed over to be recorded may be one
 * for several that there was no process for.
 */
static void
record_refusal(const DgLimit *limit, const DgTotal *total, const char *name, int most)
{
	static int64 unrecorded = 0;
	int64		tenants = dg_guard_textset_count(total->tenants);
	char	   *role = GetUserNameFromId(GetSessionUserId(), false);
	char	   *numbers = psprintf("\"ceiling\": \"%s\", \"limit\": %d, \"tenants\": " INT64_FORMAT
								   ", \"rows\": " INT64_FORMAT,
								   name, most, tenants, total->rows);

	ereport(LOG,
			(errmsg("deletion_guard refused a deletion: %s", name),
			 errdetail_log("role=%s table=%s limit=%d tenants=" INT64_FORMAT " rows=" INT64_FORMAT,
						   role, dg_relation_name(limit->root), most, tenants, total->rows),
			 errhidestmt(true), errhidecontext(true)));
	if (dg_ledger_autonomous("deletion_refused",
							 psprintf("{\"table\": %s, %s, \"count\": " INT64_FORMAT "}",
									  dg_json_string(dg_relation_name(limit->root)), numbers, unrecorded + 1),
							 psprintf("{\"event\": \"refused\", \"deletion\": null, %s, \"role\": %s}",
									  numbers, dg_json_string(role))))
		unrecorded = 0;
	else
		unrecorded++;
}

/*
 * A capture has run into ceilings. Its tenants and rows are in total; those
 * that earlier captures of the deletion wrote down are added. Raises an error
 * if the capture was stopped.
 */
void
dg_capture_limit_report(const DgLimit *limit, int64 deletion, DgTotal *capture)
{
	DgTotal    *total = dg_capture_total_begin(InvalidOid);
	int			most;
	const char *name = dg_capture_ceiling_name(limit->exceeded, &most);
	char	   *message;
	char	   *detail;
	bool		tell;
	int			sqlstate = (limit->exceeded & DG_CEILING_EXPECTED) ?
	DG_ERRCODE_UNEXPECTED_TENANT : DG_ERRCODE_LIMIT_EXCEEDED;

	if (dg_capture_limit_observing())
		return;
	dg_capture_total_add_deletion(total, deletion);
	for (int64 i = 0; i < dg_guard_textset_count(capture->tenants); i++)
		dg_capture_total_add(total, dg_guard_textset_get(capture->tenants, i), 0);
	dg_capture_limit_add_known(total->tenants);
	total->rows = Max(total->rows + capture->rows, limit->rows_before + limit->rows);

	/* looking names up may fail, and try again: not within a report */
	tell = may_tell(limit, deletion);
	message = message_text(limit, total, name, most, tell);
	detail = detail_text(limit, total, tell);
	if (limit->stopped)
		record_refusal(limit, total, name, most);
	ereport(limit->stopped ? ERROR : WARNING,
			(errcode(sqlstate),
			 errmsg_internal("%s", message),
			 errdetail_internal("%s", detail),
			 errdetail_log("table=%s tenants=" INT64_FORMAT " rows=" INT64_FORMAT,
						   dg_relation_name(limit->root), dg_guard_textset_count(total->tenants), total->rows),
			 errhint("%s", hint_text(limit))));
}
