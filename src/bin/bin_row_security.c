/*
 * bin_row_security.c
 *		Row security of a guarded table is that of its bins, too.
 *
 * Nobody is granted anything on bin tables, but a member of pg_read_all_data may
 * read every table, save where row security keeps rows from him. The policies of
 * the live table cannot be applied to rows that are not in it, so none are made:
 * with row security on, a bin shows its rows to nobody but the extension's owner
 * and roles that bypass row security. Where the live table has none, neither has
 * the bin: a role that may dump the one must be able to dump the other.
 *
 * Lost links are rows' contents, too, and those of all tables are in one: it has
 * row security as soon as a guarded table has it. So have the records in which
 * names and contacts of tenants are, as soon as the tenant table has it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "bin/bin_internal.h"
#include "common/own_tables.h"
#include "guard/guard.h"

static bool
has_row_security(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

static void
set_row_security(Oid relid, bool on)
{
	if (has_row_security(relid) != on)
		dg_query(psprintf("ALTER TABLE %s %s ROW LEVEL SECURITY",
						  dg_relation_name(relid), on ? "ENABLE" : "DISABLE"), DG_AS_US);
}

/*
 * Gives a bin table the row security of its table. The caller is connected to SPI.
 */
void
dg_bin_take_row_security(Oid bin_table, Oid relid)
{
	if (get_rel_namespace(bin_table) == dg_objects()->bin_schema)
		set_row_security(bin_table, has_row_security(relid));
}

static List *
bins_of_table(Oid relid)
{
	ScanKeyData key = dg_own_key_oid(Anum_registry_relation, relid);
	DgOwnScan  *scan = dg_own_scan(DG_OWN_REGISTRY, AccessShareLock, 1, &key);
	List	   *bins = NIL;

	while (dg_own_next(scan))
	{
		bool		isnull;

		bins = lappend_oid(bins, DatumGetObjectId(dg_own_datum(scan, Anum_registry_bin_table, &isnull)));
	}
	dg_own_end(scan);
	return bins;
}

/*
 * A table is guarded from now on, or the table of tenants, or its row security was
 * turned on or off: its bins follow, and what else has contents of its rows. The
 * caller is connected to SPI. ACCESS EXCLUSIVE on what is altered.
 */
void
dg_bin_follow_row_security(Oid relid)
{
	List	   *bins = bins_of_table(relid);
	ListCell   *lc;

	foreach(lc, bins)
		dg_bin_take_row_security(lfirst_oid(lc), relid);
	if (!has_row_security(relid))
		return;
	if (bins != NIL || dg_guard_lookup(relid)->guarded)
		set_row_security(dg_objects()->deletion_link, true);
	if (relid == dg_guard_tenant_table()->relid)
	{
		set_row_security(dg_objects()->deletion_part, true);
		set_row_security(dg_objects()->purge_request_record, true);
	}
}
