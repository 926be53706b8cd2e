/*
 * rehydrate_keyclass.c
 *		Which columns have the same keys.
 *
 * A key of a row is a value of one column, and others refer to it: by foreign keys,
 * or by declared steps of tenant paths. Columns that such references connect are a
 * class. A value that gets another gets it in every column of its class, so whatever
 * was equal stays equal: composite keys, references within one table, and circles
 * need no thought, nor does the order of the tables. Different values stay different
 * as long as a default does not make one value twice; then a unique index says so.
 *
 * A reference that counts only for rows of a certain type connects no columns: it is
 * followed row by row (rehydrate_replace.c).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "guard/guard.h"
#include "rehydrate/rehydrate_internal.h"

static DgKeyColumn *
column_at(DgKeys *keys, Oid relid, AttrNumber attnum)
{
	DgKeyColumn id = {{relid, attnum}};
	bool		found;
	DgKeyColumn *column = hash_search(keys->columns, &id, HASH_ENTER, &found);

	if (!found)
	{
		memset((char *) column + sizeof(column->id), 0, sizeof(DgKeyColumn) - sizeof(column->id));
		column->group = column;
	}
	return column;
}

static DgKeyColumn *
leader_of(DgKeyColumn *column)
{
	while (column->group != column)
		column = column->group;
	return column;
}

/*
 * A column refers to another.
 */
static void
join_columns(DgKeyColumn *child, DgKeyColumn *parent)
{
	child->refers |= child != parent;
	leader_of(child)->group = leader_of(parent);
}

/*
 * The table among those that rows go to that another one is, or is a partition of;
 * InvalidOid if there is none.
 */
static Oid
table_among(const DgKeys *keys, Oid relid)
{
	ListCell   *lc;

	if (list_member_oid(keys->relids, relid) || !get_rel_relispartition(relid))
		return list_member_oid(keys->relids, relid) ? relid : InvalidOid;
	foreach(lc, get_partition_ancestors(relid))
	{
		if (list_member_oid(keys->relids, lfirst_oid(lc)))
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

/*
 * A column as that of the same name of another table.
 */
static AttrNumber
column_in(Oid relid, Oid from, AttrNumber attnum)
{
	return relid == from ? attnum : get_attnum(relid, get_attname(from, attnum, false));
}

/*
 * The columns that refer, and that are referred to, of a foreign key of a table or of
 * a partition of it, or of a step. Where rows are to have a certain type for the
 * step to count, their columns are of no class.
 */
static void
add_reference(DgKeys *keys, Oid relid, const ForeignKeyCacheInfo *fkey)
{
	Oid			parent = table_among(keys, fkey->confrelid);
	const char *value;
	AttrNumber	type = dg_guard_hop_type(fkey, &value);

	for (int i = 0; i < fkey->nkeys && OidIsValid(parent); i++)
	{
		DgKeyColumn *key = column_at(keys, parent, column_in(parent, fkey->confrelid, fkey->confkey[i]));
		DgKeyColumn *column = column_at(keys, relid, column_in(relid, fkey->conrelid, fkey->conkey[i]));
		DgTypedReference *typed;

		if (type == InvalidAttrNumber)
		{
			join_columns(column, key);
			continue;
		}
		typed = palloc0(sizeof(DgTypedReference));
		typed->column = column;
		typed->key = key;
		typed->type = type;
		typed->value = value;
		keys->typed = lappend(keys->typed, typed);
	}
}

/*
 * The declared steps of a table's paths, each once, as foreign keys.
 */
static List *
declared_steps(Oid relid)
{
	List	   *marks = NIL;
	List	   *steps = NIL;
	Oid			root;
	List	   *paths;
	ListCell   *lc;
	ListCell   *lc2;

	if (!dg_extract_tenant_source(relid, &root, &paths))
		return NIL;
	foreach(lc, paths)
	{
		Oid			end;
		const char *column;
		List	   *fkeys = dg_guard_path_keys(relid, lfirst(lc), &end, &column);

		foreach(lc2, fkeys)
		{
			ForeignKeyCacheInfo *fkey = lfirst(lc2);
			char	   *mark = list_nth(lfirst(lc), foreach_current_index(lc2));

			if (!OidIsValid(fkey->conoid) && fkey->conrelid == relid && !list_member(marks, makeString(mark)))
			{
				marks = lappend(marks, makeString(mark));
				steps = lappend(steps, fkey);
			}
		}
	}
	return steps;
}

static void
add_references(DgKeys *keys, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	List	   *tables = dg_has_parts(RelationGetRelid(rel)) ?
	find_all_inheritors(relid, AccessShareLock, NULL) : list_make1_oid(relid);
	List	   *steps = declared_steps(relid);
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, tables)
	{
		Relation	table = table_open(lfirst_oid(lc), NoLock);

		foreach(lc2, dg_foreign_keys(table))
			add_reference(keys, relid, lfirst(lc2));
		table_close(table, NoLock);
	}
	foreach(lc, steps)
		add_reference(keys, relid, lfirst(lc));
	keys->steps = list_concat(keys->steps, steps);
}

/*
 * The default of a column that makes keys, or NULL.
 */
static Node *
making_default(Relation rel, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	Node	   *expr = att->attisdropped || att->attgenerated != '\0' ? NULL : build_column_default(rel, attnum);

	return expr != NULL && contain_volatile_functions(expr) ? expr : NULL;
}

/*
 * Makes a default ready to be evaluated, which evaluates what is constant in it: code
 * of the table's owner.
 */
static ExprState *
prepare_default(Relation rel, Node *expr)
{
	DgRowsRole	role = dg_rows_role_of(rel->rd_rel->relowner);
	ExprState  *made;

	dg_rows_as_owner(&role);
	made = ExecInitExpr(expression_planner((Expr *) expr), NULL);
	dg_rows_as_caller(&role);
	return made;
}

/*
 * Finds the columns of a table with keys that it makes.
 */
static void
add_made_keys(DgKeys *keys, Relation rel, AttrNumber tenant)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		of_tenant = false;

		for (int i = 0; i < index->rd_index->indnkeyatts; i++)
			of_tenant |= tenant != InvalidAttrNumber && index->rd_index->indkey.values[i] == tenant;
		for (int i = 0; i < index->rd_index->indnkeyatts && index->rd_index->indisunique; i++)
		{
			AttrNumber	attnum = index->rd_index->indkey.values[i];
			DgKeyColumn *column;
			Node	   *expr = attnum > 0 ? making_default(rel, attnum) : NULL;

			if (expr == NULL)
				continue;
			column = column_at(keys, RelationGetRelid(rel), attnum);
			column->everywhere |= !of_tenant;
			if (column->made == NULL)
				column->made = prepare_default(rel, expr);
		}
		index_close(index, NoLock);
	}
}

static void
add_key_table(DgKeys *keys, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	const char *name = dg_guard_tenant_column_of(relid);
	AttrNumber	attnum = name == NULL ? InvalidAttrNumber : get_attnum(relid, name);

	if (attnum != InvalidAttrNumber)
		column_at(keys, relid, attnum)->tenant = true;
	add_references(keys, rel);
	add_made_keys(keys, rel, attnum);
	table_close(rel, NoLock);
}

static DgKeyClass *
class_of_leader(DgKeys *keys, DgKeyColumn *leader)
{
	if (leader->class == NULL)
	{
		leader->class = palloc0(sizeof(DgKeyClass));
		keys->classes = lappend(keys->classes, leader->class);
	}
	return leader->class;
}

/*
 * What is known of a column, or NULL.
 */
DgKeyColumn *
dg_rehydrate_keys_column(const DgKeys *keys, Oid relid, AttrNumber attnum)
{
	DgKeyColumn id = {{relid, attnum}};

	return hash_search(keys->columns, &id, HASH_FIND, NULL);
}

/*
 * A tuplestore's columns: a value as text, and its number.
 */
static TupleDesc
values_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "k", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, 2, "n", INT4OID, -1, 0);
	dg_tupdesc_finalize(desc);
	return desc;
}

/*
 * The columns of a table that have keys or refer to such, in their order.
 */
List *
dg_rehydrate_keys_of_table(const DgKeys *keys, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *columns = NIL;

	for (AttrNumber attnum = 1; attnum <= RelationGetNumberOfAttributes(rel); attnum++)
	{
		DgKeyColumn *column = dg_rehydrate_keys_column(keys, relid, attnum);

		if (column != NULL)
			columns = lappend(columns, column);
	}
	table_close(rel, NoLock);
	return columns;
}

/*
 * Puts the columns of a table into their classes.
 */
static void
add_classes(DgKeys *keys, Oid relid)
{
	ListCell   *lc;

	foreach(lc, dg_rehydrate_keys_of_table(keys, relid))
	{
		DgKeyColumn *column = lfirst(lc);

		column->class = class_of_leader(keys, leader_of(column));
		column->class->tenant |= column->tenant;
		if (column->made != NULL && !column->refers)
			column->class->made = lappend(column->class->made, column);
		if (column->class->column == NULL)
			column->class->column = column;
		if (column->class->made != NIL)
			column->class->column = linitial(column->class->made);
	}
}

/*
 * The columns of some tables that have keys or refer to such, by classes; all is
 * palloc'd. The tenant table is one of them, if there is one.
 */
DgKeys *
dg_rehydrate_keys_make(List *relids)
{
	DgKeys	   *keys = palloc0(sizeof(DgKeys));
	HASHCTL		ctl = {.keysize = sizeof(((DgKeyColumn *) NULL)->id),.entrysize = sizeof(DgKeyColumn),.hcxt = CurrentMemoryContext};
	ListCell   *lc;

	keys->context = CurrentMemoryContext;
	keys->desc = values_desc();
	keys->relids = relids;
	keys->columns = hash_create("deletion_guard key columns", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach(lc, relids)
		add_key_table(keys, lfirst_oid(lc));
	foreach(lc, relids)
		add_classes(keys, lfirst_oid(lc));
	return keys;
}
