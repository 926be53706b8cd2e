/*
 * rehydrate_replace.c
 *		Values of rows that become another tenant's, replaced.
 *
 * Each row is in its table's shape here, and has neither been routed nor checked. What
 * replaces what was found out before (rehydrate_as_tenant.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

/* A column whose values are replaced. */
typedef struct Replaced
{
	AttrNumber	attnum;
	DgKeyClass *class;			/* by what; NULL: the tenant's key is */
	bool		all;			/* whatever it is */
	DgKeyMap   *old;			/* else if it is this one */
	bool		ready;
	Datum		fresh;			/* becomes this */
	bool		key;			/* made by the table */
	AttrNumber	type;			/* only if this column */
	const char *value;			/* has this for its text; or 0 */
	FmgrInfo	type_output;
	FmgrInfo	output;
	FmgrInfo	input;
	Oid			typioparam;
	int32		typmod;
	bool		same;			/* the class's values are of its type */
} Replaced;

struct DgAsTable
{
	DgRestore  *call;
	DgRowsRole	role;
	bool		renumbered;		/* the last row has got another key */
	List	   *columns;		/* of Replaced */
	List	   *references;		/* of DgReference */
};

static void
prepare_text(Oid type, FmgrInfo *output)
{
	Oid			function;
	bool		varlena;

	getTypeOutputInfo(type, &function, &varlena);
	fmgr_info(function, output);
}

static Replaced *
add_replaced(DgAsTable *table, Oid relid, AttrNumber attnum)
{
	Replaced   *column = palloc0(sizeof(Replaced));
	Oid			type;
	Oid			collation;
	Oid			function;

	column->attnum = attnum;
	get_atttypetypmodcoll(relid, attnum, &type, &column->typmod, &collation);
	prepare_text(type, &column->output);
	getTypeInputInfo(type, &function, &column->typioparam);
	fmgr_info(function, &column->input);
	table->columns = lappend(table->columns, column);
	return column;
}

static void
replace_by_class(DgAsTable *table, const DgKeyColumn *column, DgKeyClass *class)
{
	Replaced   *replaced;

	if (class->n == 0)
		return;
	replaced = add_replaced(table, column->id.relid, column->id.attnum);
	replaced->class = class;
	replaced->same = class->type == get_atttype(column->id.relid, column->id.attnum);
	replaced->key = list_member_ptr(class->made, column);
}

/*
 * A column of the tenant's key: a value in it is the tenant's, or may be another's
 * where a foreign key connects it.
 */
static void
replace_tenant(DgAsTable *table, const DgAsTenant *as, const DgKeyColumn *column)
{
	AttrNumber	attnum = column->id.attnum;
	DgKeyText	key = {as->old, strlen(as->old)};
	Replaced   *replaced;
	Datum		value;

	if (!dg_guard_tenant_read_key(column->id.relid, get_atttype(column->id.relid, attnum), as->old, &value))
		return;
	replaced = add_replaced(table, column->id.relid, attnum);
	replaced->all = column->tenant;
	replaced->old = dg_extract_keymap_of_columns(column->id.relid, &attnum, 1);
	dg_extract_keymap_put(replaced->old, &key, 0);
}

static void
replace_typed(DgAsTable *table, const DgAsTenant *as, const DgTypedReference *typed)
{
	int			before = list_length(table->columns);
	Oid			relid = typed->column->id.relid;
	Replaced   *replaced;

	if (typed->key->class->tenant)
		replace_tenant(table, as, typed->column);
	else
		replace_by_class(table, typed->column, typed->key->class);
	if (list_length(table->columns) == before)
		return;
	replaced = llast(table->columns);
	replaced->type = typed->type;
	replaced->value = typed->value;
	prepare_text(get_atttype(relid, replaced->type), &replaced->type_output);
}

static void
add_step(DgAsTable *table, DgAsTenant *as, const ForeignKeyCacheInfo *step)
{
	DgReference *reference = palloc0(sizeof(DgReference));

	reference->step = step;
	reference->type = dg_guard_hop_type(step, &reference->value);
	if (reference->type != InvalidAttrNumber)
		prepare_text(get_atttype(step->conrelid, reference->type), &reference->type_output);
	reference->desc = dg_rows_keys_desc(step, InvalidOid, false);
	reference->keys = tuplestore_begin_heap(false, false, work_mem);
	table->references = lappend(table->references, reference);
	as->references = lappend(as->references, reference);
}

/*
 * What is to be changed in rows of a table, palloc'd.
 */
DgAsTable *
dg_rehydrate_as_tenant_table(DgRestore *call, Oid relid)
{
	DgAsTenant *as = call->as;
	DgAsTable  *table = palloc0(sizeof(DgAsTable));
	ListCell   *lc;

	table->call = call;
	table->role = dg_rows_role_of(dg_relation_owner(relid));
	foreach(lc, dg_rehydrate_keys_of_table(as->keys, relid))
	{
		DgKeyColumn *column = lfirst(lc);

		if (column->class->tenant)
			replace_tenant(table, as, column);
		else
			replace_by_class(table, column, column->class);
	}
	foreach(lc, as->keys->typed)
	{
		if (((DgTypedReference *) lfirst(lc))->column->id.relid == relid)
			replace_typed(table, as, lfirst(lc));
	}
	foreach(lc, as->keys->steps)
	{
		if (((ForeignKeyCacheInfo *) lfirst(lc))->conrelid == relid)
			add_step(table, as, lfirst(lc));
	}
	return table;
}

/*
 * Has the row the type for which a step counts?
 */
static bool
has_type(TupleTableSlot *slot, AttrNumber type, FmgrInfo *output, const char *value)
{
	return type == InvalidAttrNumber ||
		(!slot->tts_isnull[type - 1] && strcmp(OutputFunctionCall(output, slot->tts_values[type - 1]), value) == 0);
}

/*
 * The tenant's key in a column's type, which is read when the first row comes: code
 * of the table's owner may check it.
 */
static Datum
new_tenant(DgAsTable *table, Replaced *column)
{
	MemoryContext old = MemoryContextSwitchTo(table->call->context);

	if (!column->ready)
		column->fresh = InputFunctionCall(&column->input, table->call->as_tenant, column->typioparam, column->typmod);
	column->ready = true;
	MemoryContextSwitchTo(old);
	return column->fresh;
}

/*
 * What replaces a value; false if it stays.
 */
static bool
replacement_of(DgAsTable *table, Replaced *column, Datum *value)
{
	char	   *text = column->all ? NULL : OutputFunctionCall(&column->output, *value);
	DgKeyText	key = {text, text == NULL ? 0 : strlen(text)};
	bool		found = column->all || (column->class == NULL ? dg_extract_keymap_find(column->old, &key) >= 0 :
										dg_rehydrate_keys_find(column->class, text, value));

	/* a look-up may have run as somebody else */
	dg_rows_as_owner(&table->role);
	if (found && column->class == NULL)
		*value = new_tenant(table, column);
	else if (found && !column->same)
		*value = InputFunctionCall(&column->input, OutputFunctionCall(&column->class->output, *value),
								   column->typioparam, column->typmod);
	return found;
}

/*
 * Takes note of what a row refers to by a step without a foreign key.
 */
static void
note_reference(DgReference *reference, TupleTableSlot *slot)
{
	const ForeignKeyCacheInfo *step = reference->step;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS] = {0};

	if (!has_type(slot, reference->type, &reference->type_output, reference->value))
		return;
	for (int i = 0; i < step->nkeys; i++)
	{
		if (slot->tts_isnull[step->conkey[i] - 1])
			return;
		values[i] = slot->tts_values[step->conkey[i] - 1];
	}
	tuplestore_putvalues(reference->keys, reference->desc, values, nulls);
}

/*
 * Changes a row, a virtual slot in the table's shape.
 */
void
dg_rehydrate_as_tenant_change(DgAsTable *table, TupleTableSlot *slot)
{
	ListCell   *lc;

	table->renumbered = false;
	foreach(lc, table->columns)
	{
		Replaced   *column = lfirst(lc);
		int			i = column->attnum - 1;

		if (slot->tts_isnull[i] || !has_type(slot, column->type, &column->type_output, column->value))
			continue;
		if (replacement_of(table, column, &slot->tts_values[i]))
			table->renumbered |= column->key;
	}
	foreach(lc, table->references)
		note_reference(lfirst(lc), slot);
}

/*
 * Has the row that was changed last got another key?
 */
bool
dg_rehydrate_as_tenant_renumbered(const DgAsTable *table)
{
	return table != NULL && table->renumbered;
}
