/*
 * bin_link.c
 *		Links lost to ON DELETE SET NULL and SET DEFAULT.
 *
 * Such a foreign key changes rows that stay: their link to the deleted row is
 * lost, which no bin of deleted rows would know. So a guarded table with such
 * keys has a trigger that sees those updates, and only those, and notes for
 * each: the row (by its primary key, or all of its columns), the columns, what
 * they were and what they are now. Undelete puts them back where nobody has
 * changed them since.
 *
 * That an update is a referential action can be told only while it happens, by
 * the security context that the server runs it in; that is what the trigger's
 * WHEN condition does. That the action is of a DELETE is told when the trigger
 * fires: the statement has a query that deletes. The referenced table's own
 * trigger may not have begun a deletion by then: where a cascade comes back to
 * that table, it fires last.
 *
 * A link may have to wait: where its row was deleted, too, and comes back in a
 * later call, or where a row is known only by columns that are other lost
 * links. So whatever cannot be put back is tried again when others were.
 */
#include "bin.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "rows.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dg_in_referential_action);
PG_FUNCTION_INFO_V1(dg_capture_link);

#define Natts_deletion_link	10

/*
 * in_referential_action() -> boolean
 *
 * Is the current statement one that a foreign key runs? The server runs those,
 * and nothing else, in a context where FORCE ROW LEVEL SECURITY is off.
 */
Datum
dg_in_referential_action(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(InNoForceRLSOperation());
}

/* ----------------------------------------------------------------------
 * Noting a lost link
 * ----------------------------------------------------------------------
 */

static Datum
names_of(Relation rel, const AttrNumber *attnums, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * (n + 1));

	for (int i = 0; i < n; i++)
		elems[i] = NameGetDatum(&TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1)->attname);
	return PointerGetDatum(construct_array(elems, n, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

/*
 * The columns' values as text[], null where they are null.
 */
static Datum
texts_of(TupleTableSlot *slot, const AttrNumber *attnums, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * (n + 1));
	bool	   *nulls = palloc(sizeof(bool) * (n + 1));
	int			dims[] = {n};
	int			lbounds[] = {1};

	for (int i = 0; i < n; i++)
	{
		Oid			output;
		bool		varlena;
		Datum		value = slot_getattr(slot, attnums[i], &nulls[i]);

		if (nulls[i])
			continue;
		getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, attnums[i] - 1)->atttypid,
						  &output, &varlena);
		elems[i] = CStringGetTextDatum(OidOutputFunctionCall(output, value));
	}
	return PointerGetDatum(construct_md_array(elems, nulls, 1, dims, lbounds,
											  TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * The columns that identify a row: its primary key, or all columns.
 */
static int
identity_of(Relation rel, AttrNumber *attnums)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		if (bms_is_empty(key) || bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, key))
			attnums[n++] = att->attnum;
	}
	return n;
}

static void
note_link(Relation rel, ForeignKeyCacheInfo *fkey, TupleTableSlot *before, TupleTableSlot *after)
{
	Datum		values[Natts_deletion_link];
	bool		nulls[Natts_deletion_link] = {false};
	AttrNumber *identity = palloc(sizeof(AttrNumber) * RelationGetNumberOfAttributes(rel));
	int			nidentity = identity_of(rel, identity);

	values[0] = Int64GetDatum(dg_deletion_current());
	values[1] = ObjectIdGetDatum(dg_guard_lookup(RelationGetRelid(rel))->root);
	values[2] = names_of(rel, identity, nidentity);
	values[3] = texts_of(after, identity, nidentity);
	values[4] = names_of(rel, fkey->conkey, fkey->nkeys);
	values[5] = texts_of(before, fkey->conkey, fkey->nkeys);
	values[6] = texts_of(after, fkey->conkey, fkey->nkeys);
	values[7] = BoolGetDatum(false);
	nulls[8] = true;
	nulls[9] = true;
	dg_store_insert(dg_objects()->deletion_link, values, nulls);
}

/*
 * Did the update take a link of this key away?
 */
static bool
lost_link(Relation rel, ForeignKeyCacheInfo *fkey, TupleTableSlot *before, TupleTableSlot *after)
{
	bool		changed = false;

	for (int i = 0; i < fkey->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), fkey->conkey[i] - 1);
		bool		null_before;
		bool		null_after;
		Datum		value_before = slot_getattr(before, fkey->conkey[i], &null_before);
		Datum		value_after = slot_getattr(after, fkey->conkey[i], &null_after);

		if (null_before)
			return false;
		if (null_after || !datum_image_eq(value_before, value_after, att->attbyval, att->attlen))
			changed = true;
	}
	return changed;
}

/*
 * Does the foreign key take links when rows of a guarded table are deleted?
 */
static bool
takes_links(ForeignKeyCacheInfo *fkey)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(fkey->conoid));
	char		action;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", fkey->conoid);
	action = ((Form_pg_constraint) GETSTRUCT(tuple))->confdeltype;
	ReleaseSysCache(tuple);
	return (action == FKCONSTR_ACTION_SETNULL || action == FKCONSTR_ACTION_SETDEFAULT) &&
		dg_guard_lookup(fkey->confrelid)->guarded;
}

/*
 * AFTER UPDATE, row, in a referential action.
 */
Datum
dg_capture_link(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	int			nestlevel;
	ListCell   *lc;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		strcmp(trigdata->tg_trigger->tgname, DG_TRIGGER_LINK) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called as the trigger it is for", "capture_link"),
				 errhint("Let deletion_guard.guard_table() make the triggers.")));

	/* an action of an UPDATE: nothing was deleted */
	if (!dg_deletion_exists() && !dg_statement_may_delete())
		return PointerGetDatum(NULL);
	nestlevel = dg_canonical_output_begin();
	foreach(lc, dg_foreign_keys(trigdata->tg_relation))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		if (takes_links(fkey) &&
			lost_link(trigdata->tg_relation, fkey, trigdata->tg_trigslot, trigdata->tg_newslot))
			note_link(trigdata->tg_relation, fkey, trigdata->tg_trigslot, trigdata->tg_newslot);
	}
	AtEOXact_GUC(true, nestlevel);
	return PointerGetDatum(NULL);
}

/* ----------------------------------------------------------------------
 * Putting links back
 * ----------------------------------------------------------------------
 */

typedef struct Link
{
	ItemPointerData tid;		/* of the row in deletion_link */
	Oid			relation;
	List	   *key_columns;	/* of char * */
	List	   *key_values;		/* of char *, NULL where null */
	List	   *columns;
	List	   *before;
	List	   *after;
	bool		waiting;
	bool		restored;
	char	   *missing;		/* a column that the table has lost, without which it stays lost */
} Link;

static List *
strings_of(Datum array, Oid type)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	List	   *strings = NIL;

	if (type == NAMEOID)
		deconstruct_array(DatumGetArrayTypeP(array), NAMEOID, NAMEDATALEN, false,
						  TYPALIGN_CHAR, &elems, &nulls, &n);
	else
		deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
						  TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
		strings = lappend(strings, nulls[i] ? NULL :
						  type == NAMEOID ? pstrdup(NameStr(*DatumGetName(elems[i]))) :
						  TextDatumGetCString(elems[i]));
	return strings;
}

static Datum
int8_array(List *numbers)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(numbers));

	for (int i = 0; i < list_length(numbers); i++)
		elems[i] = Int64GetDatum(*(int64 *) list_nth(numbers, i));
	return PointerGetDatum(construct_array(elems, list_length(numbers), INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Datum
oid_array(List *oids)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(oids));

	for (int i = 0; i < list_length(oids); i++)
		elems[i] = ObjectIdGetDatum(list_nth_oid(oids, i));
	return PointerGetDatum(construct_array(elems, list_length(oids), OIDOID, sizeof(Oid),
										   true, TYPALIGN_INT));
}

/*
 * Links that are still lost, of these deletions, or waiting for rows of these
 * tables or for links of rows without a key; in the current context. A link
 * waits for what was deleted before it began to wait: a row that was deleted
 * later is another, even if it has the key.
 */
static List *
read_links(List *deletions, List *relids)
{
	Oid			types[] = {INT8ARRAYOID, OIDARRAYOID};
	Datum		values[] = {int8_array(deletions), oid_array(relids)};
	MemoryContext context = CurrentMemoryContext;
	List	   *links = NIL;

	SPI_connect();
	dg_spi_execute("SELECT ctid, relation, key_columns, key_values, columns, before, after, waiting_since"
				   " FROM deletion_guard.deletion_link"
				   " WHERE deletion_id = ANY ($1) AND NOT restored AND waiting_since IS NULL"
				   " OR waiting_since IS NOT NULL AND (relation = ANY ($2) OR relation IN"
				   "  (SELECT l.relation FROM deletion_guard.deletion_link l WHERE l.deletion_id = ANY ($1)))"
				   " AND EXISTS (SELECT 1 FROM unnest($1) d WHERE d BETWEEN deletion_id AND waiting_since)"
				   " ORDER BY deletion_id, relation",
				   2, types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(context);
		Link	   *link = palloc0(sizeof(Link));
		bool		isnull;

		link->tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(tuple, desc, 1, &isnull));
		link->relation = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
		link->key_columns = strings_of(SPI_getbinval(tuple, desc, 3, &isnull), NAMEOID);
		link->key_values = strings_of(SPI_getbinval(tuple, desc, 4, &isnull), TEXTOID);
		link->columns = strings_of(SPI_getbinval(tuple, desc, 5, &isnull), NAMEOID);
		link->before = strings_of(SPI_getbinval(tuple, desc, 6, &isnull), TEXTOID);
		link->after = strings_of(SPI_getbinval(tuple, desc, 7, &isnull), TEXTOID);
		(void) SPI_getbinval(tuple, desc, 8, &isnull);
		link->waiting = !isnull;
		links = lappend(links, link);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return links;
}

/*
 * A condition for one column by the text of its value: concat() uses the
 * type's output function, as texts_of() does, and not a cast.
 */
static void
append_condition(StringInfo sql, const char *column, const char *value)
{
	if (value == NULL)
		appendStringInfo(sql, " AND %s IS NULL", quote_identifier(column));
	else
		appendStringInfo(sql, " AND pg_catalog.concat(%s) OPERATOR(pg_catalog.=) %s",
						 quote_identifier(column), quote_literal_cstr(value));
}

/*
 * A condition for one column that can use an index on it.
 */
static void
append_key(StringInfo sql, Oid relid, const char *column, const char *value)
{
	if (value == NULL)
		append_condition(sql, column, value);
	else
		appendStringInfo(sql, " AND %s = %s::%s", quote_identifier(column), quote_literal_cstr(value),
						 format_type_extended(get_atttype(relid, get_attnum(relid, column)), -1,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

static bool
has_primary_key(Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	bool		result = !bms_is_empty(RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY));

	table_close(rel, NoLock);
	return result;
}

/*
 * Is the row live that the link leads to? True where no foreign key says which
 * that is.
 */
static bool
parent_is_live(Link *link, const AttrNumber *attnums, int n)
{
	Relation	rel = table_open(link->relation, RowExclusiveLock);
	bool		live = true;
	ListCell   *lc;

	foreach(lc, dg_foreign_keys(rel))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);
		StringInfoData sql;

		if (fkey->nkeys != n || memcmp(fkey->conkey, attnums, sizeof(AttrNumber) * n) != 0)
			continue;
		initStringInfo(&sql);
		appendStringInfo(&sql, "SELECT 1 FROM %s WHERE true", dg_relation_name(fkey->confrelid));
		for (int i = 0; i < n; i++)
			append_key(&sql, fkey->confrelid, get_attname(fkey->confrelid, fkey->confkey[i], false),
					   list_nth(link->before, i));
		dg_spi_execute_as_owner(fkey->confrelid, sql.data, 0, NULL, NULL);
		live = SPI_processed > 0;
		break;
	}
	table_close(rel, NoLock);
	return live;
}

/*
 * Finds the row whose link was lost, if it is there and nobody has given it
 * another link since; locks it.
 */
static bool
find_row(Link *link, bool keyed, Oid *relid, ItemPointer tid)
{
	StringInfoData sql;
	ListCell   *lc;
	ListCell   *lc2;
	bool		isnull;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT tableoid, ctid FROM %s WHERE true", dg_relation_name(link->relation));
	forboth(lc, link->key_columns, lc2, link->key_values)
	{
		if (keyed)
			append_key(&sql, link->relation, lfirst(lc), lfirst(lc2));
		else
			append_condition(&sql, lfirst(lc), lfirst(lc2));
	}
	forboth(lc, link->columns, lc2, link->after)
		append_condition(&sql, lfirst(lc), lfirst(lc2));
	appendStringInfoString(&sql, " LIMIT 1 FOR NO KEY UPDATE");

	dg_spi_execute_as_owner(link->relation, sql.data, 0, NULL, NULL);
	if (SPI_processed == 0)
		return false;
	*relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return true;
}

/*
 * Keeps what has become of a link: put back, or waiting for its row.
 */
static void
mark_link(Link *link)
{
	Oid			types[] = {TIDOID, BOOLOID};
	Datum		values[] = {PointerGetDatum(&link->tid), BoolGetDatum(link->restored)};
	bool		isnull;

	dg_spi_execute("UPDATE deletion_guard.deletion_link SET restored = $2, waiting_since ="
				   " CASE WHEN NOT $2 THEN (SELECT last_value FROM deletion_guard.deletion_id_seq) END"
				   " WHERE ctid = $1 RETURNING ctid", 2, types, values, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "link of a deletion is gone");
	link->tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0],
															 SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * A column that the link needs and the table does not have any more, or NULL.
 */
static char *
missing_column(Link *link)
{
	ListCell   *lc;

	foreach(lc, link->key_columns)
	{
		if (get_attnum(link->relation, lfirst(lc)) <= 0)
			return lfirst(lc);
	}
	foreach(lc, link->columns)
	{
		if (get_attnum(link->relation, lfirst(lc)) <= 0)
			return lfirst(lc);
	}
	return NULL;
}

/*
 * Puts one link back; false if its row is gone or has another link now, or the
 * table has lost the columns. *live says whether what it leads to is live.
 */
static bool
restore_link(Link *link, DgRowsTarget *target, bool *live)
{
	int			n = list_length(link->columns);
	AttrNumber *attnums = palloc(sizeof(AttrNumber) * n);
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	bool		keyed;
	Oid			relid;
	ItemPointerData tid;

	*live = false;
	if (link->missing != NULL)
		return false;
	keyed = has_primary_key(link->relation);
	for (int i = 0; i < n; i++)
	{
		attnums[i] = get_attnum(link->relation, list_nth(link->columns, i));
		values[i] = dg_rows_writer_read(target, attnums[i], list_nth(link->before, i));
	}
	if (!parent_is_live(link, attnums, n))
		return false;
	*live = true;
	return find_row(link, keyed, &relid, &tid) &&
		dg_rows_writer_change(target, relid, &tid, attnums, values, nulls, n);
}

/*
 * One try at every link that is still lost; returns how many were put back.
 */
static int64
restore_pass(DgRowsWriter *writer, List *links)
{
	DgRowsTarget *target = NULL;
	Oid			open = InvalidOid;
	int64		restored = 0;
	ListCell   *lc;

	foreach(lc, links)
	{
		Link	   *link = lfirst(lc);
		bool		live;

		if (link->restored)
			continue;
		if (link->relation != open)
		{
			Relation	rel = table_open(link->relation, RowExclusiveLock);

			dg_rows_require_update(rel);
			table_close(rel, NoLock);
			target = dg_rows_writer_target(writer, link->relation, NULL, 0);
			open = link->relation;
		}
		SPI_connect();
		link->restored = restore_link(link, target, &live);
		if (link->restored)
			restored++;
		if (link->restored || (live && !link->waiting))
		{
			mark_link(link);
			link->waiting = true;
		}
		SPI_finish();
	}
	return restored;
}

/*
 * Says so where links stay lost with the columns of their table, once for each
 * column.
 */
static void
warn_of_missing_columns(List *links)
{
	const Link *last = NULL;
	ListCell   *lc;

	foreach(lc, links)
	{
		Link	   *link = lfirst(lc);

		if (link->missing == NULL ||
			(last != NULL && last->relation == link->relation && strcmp(last->missing, link->missing) == 0))
			continue;
		last = link;
		ereport(WARNING,
				(errmsg("links that ON DELETE SET NULL or SET DEFAULT took from rows of \"%s\" stay lost: it has no column \"%s\" any more",
						get_rel_name(link->relation), link->missing),
				 errhint("Roll back, add the column with its values again, and call again.")));
	}
}

/*
 * A column of a table has a new name: those of its links that know it by the
 * old one follow. The caller is connected to SPI.
 */
void
dg_link_rename_column(Oid relid, const char *old, const char *new)
{
	Oid			types[] = {OIDOID, NAMEOID, NAMEOID};
	Datum		values[] = {ObjectIdGetDatum(relid), DirectFunctionCall1(namein, CStringGetDatum(old)),
	DirectFunctionCall1(namein, CStringGetDatum(new))};

	dg_spi_execute("UPDATE deletion_guard.deletion_link SET key_columns = array_replace(key_columns, $2, $3),"
				   " columns = array_replace(columns, $2, $3)"
				   " WHERE relation = $1 AND ($2 = ANY (key_columns) OR $2 = ANY (columns))",
				   3, types, values, NULL);
}

/*
 * Puts back the links that deletions took, as far as what they lead to is live
 * again, and those that wait for rows of the tables given. Returns how many.
 * What was written so far must be flushed; foreign keys are checked when the
 * writer ends. The caller needs UPDATE on the tables.
 */
int64
dg_restore_links(DgRowsWriter *writer, List *deletions, List *relids)
{
	List	   *links = NIL;
	int64		restored = 0;
	int64		more;
	int			nestlevel = dg_canonical_output_begin();
	ListCell   *lc;

	foreach(lc, read_links(deletions, relids))
	{
		Link	   *link = lfirst(lc);

		if (get_rel_name(link->relation) == NULL)
			continue;
		link->missing = missing_column(link);
		links = lappend(links, link);
	}
	warn_of_missing_columns(links);
	do
	{
		more = restore_pass(writer, links);
		restored += more;
	} while (more > 0 && restored < list_length(links));
	AtEOXact_GUC(true, nestlevel);
	return restored;
}
