/*
 * bin_label.c
 *		Names and contacts of tenants.
 *
 * They are looked up in the live tenant table or, for a tenant that was
 * deleted, in its latest deletion. They are not copied into the other parts
 * of a deletion, so that a purge has few places to clear.
 */
#include "bin.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dg_tenant_label);

static const char *
column_or_null(const NameData *column)
{
	return NameStr(*column)[0] == '\0' ? "NULL" :
		psprintf("t.%s", quote_identifier(NameStr(*column)));
}

/*
 * The name and contact in the first row that SPI has, in the given context.
 * False if there is none.
 */
static bool
take_label(MemoryContext context, char **name, char **contact)
{
	MemoryContext old;
	char	   *value;

	if (SPI_processed == 0)
		return false;
	old = MemoryContextSwitchTo(context);
	value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	*name = value != NULL ? MemoryContextStrdup(context, value) : NULL;
	value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	*contact = value != NULL ? MemoryContextStrdup(context, value) : NULL;
	MemoryContextSwitchTo(old);
	return true;
}

typedef struct KeyText
{
	Oid			relid;
	Oid			type;
	const char *text;
	Datum		value;
} KeyText;

static void
input_key(void *arg)
{
	KeyText    *key = arg;
	Relation	rel = table_open(key->relid, AccessShareLock);
	Oid			input;
	Oid			ioparam;
	Oid			save_userid;
	int			save_sec_context;

	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	getTypeInputInfo(key->type, &input, &ioparam);
	key->value = OidInputFunctionCall(input, unconstify(char *, key->text), ioparam, -1);
	SetUserIdAndSecContext(save_userid, save_sec_context);
	table_close(rel, NoLock);
}

/*
 * Reads a tenant's key by the input function of a type or, of a domain, of
 * its base type. False if the function refuses it: then no tenant can have
 * this key. Input functions refuse by an error, hence the subtransaction; and
 * there may be domains inside the type, whose checks are code of the table's
 * owner.
 */
bool
dg_tenant_read_key(Oid relid, Oid type, const char *tenant, Datum *value)
{
	KeyText		key = {relid, getBaseType(type), tenant};
	ErrorData  *error = dg_try(input_key, &key, true);

	*value = key.value;
	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		ReThrowError(error);
	return error == NULL;
}

static bool
live_label(const char *tenant, MemoryContext context, char **name, char **contact)
{
	const DgTenantTable *tenants = dg_tenant_table();
	Oid			type;
	Datum		key;
	int			nestlevel;

	if (!OidIsValid(tenants->relid) || get_rel_name(tenants->relid) == NULL)
		return false;
	type = get_atttype(tenants->relid, get_attnum(tenants->relid, NameStr(tenants->key_column)));
	if (!OidIsValid(type) || !dg_tenant_read_key(tenants->relid, type, tenant, &key))
		return false;
	type = getBaseType(type);
	nestlevel = dg_canonical_output_begin();
	dg_spi_execute_as_owner(tenants->relid,
							psprintf("SELECT %s, %s FROM %s t WHERE t.%s = %s::%s AND pg_catalog.concat(t.%s) COLLATE \"C\" = %s",
									 column_or_null(&tenants->name_column),
									 column_or_null(&tenants->contact_column),
									 dg_relation_name(tenants->relid),
									 quote_identifier(NameStr(tenants->key_column)),
									 quote_literal_cstr(tenant),
									 format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
									 quote_identifier(NameStr(tenants->key_column)), quote_literal_cstr(tenant)),
							0, NULL, NULL);
	AtEOXact_GUC(true, nestlevel);
	return take_label(context, name, contact);
}

static bool
deleted_label(const char *tenant, MemoryContext context, char **name, char **contact)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(tenant)};

	dg_spi_execute("SELECT p.tenant_name, p.contact FROM deletion_guard.deletion_part p"
				   " JOIN deletion_guard.bin b USING (bin_id)"
				   " JOIN deletion_guard.tenant_table t ON t.relation = b.relation"
				   " WHERE p.tenant = $1 ORDER BY p.deletion_id DESC LIMIT 1", 1, types, values, NULL);
	return take_label(context, name, contact);
}

/*
 * Name and contact of a tenant, palloc'd, or NULL.
 */
static void
find_label(const char *tenant, char **name, char **contact)
{
	MemoryContext context = CurrentMemoryContext;

	*name = *contact = NULL;
	SPI_connect();
	if (!live_label(tenant, context, name, contact))
		(void) deleted_label(tenant, context, name, contact);
	SPI_finish();
}

/*
 * tenant_label(tenant text) -> (tenant_name text, contact text)
 */
Datum
dg_tenant_label(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *contact;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	find_label(text_to_cstring(PG_GETARG_TEXT_PP(0)), &name, &contact);
	nulls[0] = (name == NULL);
	nulls[1] = (contact == NULL);
	values[0] = nulls[0] ? (Datum) 0 : CStringGetTextDatum(name);
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(contact);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
