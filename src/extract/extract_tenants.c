/*
 * extract_tenants.c
 *		The tenants whose rows are wanted, each with a number.
 */
#include "postgres.h"

#include "catalog/pg_authid_d.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "guard/guard.h"
#include "extract/extract_internal.h"
#include "rows/rows.h"

/*
 * Reads a tenant's key as a value of a column's type, as the table's owner where
 * the caller is a superuser. An error names both.
 */
Datum
dg_extract_tenant_value(Oid relid, AttrNumber attnum, Oid type, int32 typmod, const char *tenant)
{
	MemoryContext old = CurrentMemoryContext;
	DgRowsRole	role = dg_rows_role_of(dg_relation_owner(relid));
	Datum		value = (Datum) 0;

	dg_rows_as_owner(&role);
	PG_TRY();
	{
		value = dg_value_of_text(type, typmod, tenant);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		dg_rows_as_caller(&role);
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("tenant \"%s\" cannot be a value of column \"%s\" of \"%s\", which tells tenants",
						tenant, get_attname(relid, attnum, false), get_rel_name(relid)),
				 errdetail("The column is of type %s: %s", format_type_with_typemod(type, typmod), error->message),
				 errhint("Give the key of the tenant, as that column has it; several as an array, such as ARRAY['7', '8'].")));
	}
	PG_END_TRY();
	dg_rows_as_caller(&role);
	return value;
}

/*
 * A tenant's key as a column that tells tenants spells it.
 */
char *
dg_extract_tenant_in_column(Oid relid, AttrNumber attnum, const char *tenant)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	return dg_value_text(type, dg_extract_tenant_value(relid, attnum, type, typmod, tenant));
}

/*
 * The tenants of a call, each once, in the spelling of the tenant table's key.
 */
DgTenants *
dg_extract_tenants_make(int n, char **keys)
{
	const DgTenantTable *table = dg_guard_tenant_table();
	AttrNumber	attnum = OidIsValid(table->relid) ?
	get_attnum(table->relid, NameStr(table->key_column)) : InvalidAttrNumber;
	DgTenants  *tenants = palloc0(sizeof(DgTenants));
	DgKeyMap   *seen;

	if (attnum != InvalidAttrNumber)
		seen = dg_extract_keymap_of_columns(table->relid, &attnum, 1);
	else
	{
		seen = dg_extract_keymap_create(1);
		dg_extract_keymap_set_column(seen, 0, TEXTOID, C_COLLATION_OID, BOOTSTRAP_SUPERUSERID);
	}
	tenants->exact = dg_extract_keymap_is_exact(seen);
	tenants->keys = palloc(sizeof(char *) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		char	   *key = attnum == InvalidAttrNumber ? keys[i] :
		dg_extract_tenant_in_column(table->relid, attnum, keys[i]);
		DgKeyText	text = {key, strlen(key)};

		if (dg_extract_keymap_find(seen, &text) != DG_KEY_ABSENT)
			continue;
		dg_extract_keymap_put(seen, &text, i);
		tenants->keys[tenants->n++] = key;
	}
	return tenants;
}

/*
 * The tenants of an array of text, which must name some and have no nulls.
 */
DgTenants *
dg_extract_tenants_of_array(ArrayType *array)
{
	List	   *tenants = dg_array_strings(PointerGetDatum(array));
	char	  **keys = palloc(sizeof(char *) * list_length(tenants));
	ListCell   *lc;

	if (tenants == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tenants names no tenant")));
	foreach(lc, tenants)
	{
		if (lfirst(lc) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("tenants must not contain nulls")));
		keys[foreach_current_index(lc)] = lfirst(lc);
	}
	return dg_extract_tenants_make(list_length(tenants), keys);
}

/*
 * The tenants' keys as a list.
 */
List *
dg_extract_tenant_list(const DgTenants *tenants)
{
	List	   *keys = NIL;

	for (int i = 0; i < tenants->n; i++)
		keys = lappend(keys, tenants->keys[i]);
	return keys;
}

/*
 * Stands for all tenants of an archive: none is known yet.
 */
DgTenants *
dg_extract_tenants_all(void)
{
	DgTenants  *tenants = palloc0(sizeof(DgTenants));

	tenants->all = dg_guard_textset_of_tenants(CurrentMemoryContext, InvalidOid);
	tenants->keys = palloc(sizeof(char *));
	return tenants;
}

/*
 * The number of a tenant that may be new.
 */
static int
add_tenant(DgTenants *tenants, const char *key)
{
	int64		n = dg_guard_textset_find(tenants->all, key);

	if (n >= 0)
		return (int) n;
	(void) dg_guard_textset_add(tenants->all, key);
	if ((tenants->n & (tenants->n - 1)) == 0)
		tenants->keys = repalloc_huge(tenants->keys, sizeof(char *) * (tenants->n * 2 + 1));
	tenants->keys[tenants->n] = unconstify(char *, dg_guard_textset_get(tenants->all, tenants->n));
	return tenants->n++;
}

/*
 * The number of a tenant, or DG_KEY_OTHER_TENANT.
 */
int
dg_extract_tenant_find(const DgTenants *tenants, const char *tenant)
{
	if (tenants->all != NULL)
		return add_tenant(unconstify(DgTenants *, tenants), tenant);
	for (int i = 0; i < tenants->n && !tenants->nobody; i++)
	{
		if (dg_guard_tenant_equal(tenants->keys[i], tenant))
			return i;
	}
	return DG_KEY_OTHER_TENANT;
}

/*
 * Stands in for tenants: finds rows without a tenant.
 */
DgTenants *
dg_extract_tenants_nobody(void)
{
	DgTenants  *tenants = palloc0(sizeof(DgTenants));

	tenants->n = 1;
	tenants->keys = palloc(sizeof(char *));
	tenants->keys[0] = DG_NO_TENANT;
	tenants->nobody = true;
	return tenants;
}
