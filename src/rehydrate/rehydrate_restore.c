/*
 * rehydrate_restore.c
 *		Writing tenants' rows from an archive into tables.
 *
 * All rows that the archive has of the tenants are restored, or none. They are
 * written as the caller, with the caller's privileges; other tenants' rows are
 * neither read nor locked, but for the row locks that foreign keys take. Rows
 * that were purged are left out (see purge_subtract.c).
 *
 * Locks: ROW EXCLUSIVE on the tables that rows go to.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "archive/archive.h"
#include "capture/capture.h"
#include "guard/guard.h"
#include "purge/purge.h"
#include "rehydrate/rehydrate_internal.h"
#include "rows/rows.h"

/* what to do about keys that are taken, of rows that become another tenant's */
#define HINT_TO_RENUMBER \
	"Nothing was restored. With renumber => true, keys that a table makes by a default (identity, serial, gen_random_uuid()) get new values, and so do references to them. Others need another value by mapping; or the live rows stay, with on_conflict => 'skip'."
#define HINT_RENUMBERED \
	"Nothing was restored. Only keys that a table makes by a default were renumbered. These need another value by mapping; or the live rows stay, with on_conflict => 'skip'."

/* ----------------------------------------------------------------------
 * Writing
 * ----------------------------------------------------------------------
 */

static DgDestination *
destination_of_table(DgRestore *call, Oid relid, bool shared)
{
	DgDestination *destination;
	ListCell   *lc;

	foreach(lc, call->destinations)
	{
		destination = lfirst(lc);
		if (destination->relid == relid && destination->shared == shared)
			return destination;
	}
	destination = palloc0(sizeof(DgDestination));
	destination->relid = destination->written = relid;
	destination->shared = shared;
	destination->counts = palloc0(sizeof(DgCount) * call->plan->tenants->n);
	call->destinations = lappend(call->destinations, destination);
	return destination;
}

static void
note_purge(DgDestination *destination, int64 purge)
{
	MemoryContext old;
	int64	   *noted;
	ListCell   *lc;

	foreach(lc, destination->purges)
	{
		if (*(int64 *) lfirst(lc) == purge)
			return;
	}
	old = MemoryContextSwitchTo(GetMemoryChunkContext(destination));
	noted = palloc(sizeof(int64));
	*noted = purge;
	destination->purges = lappend(destination->purges, noted);
	MemoryContextSwitchTo(old);
}

/*
 * The purges that rows of a destination were of, each between two texts; palloc'd.
 */
char *
dg_rehydrate_purges_text(const DgDestination *destination, const char *before, const char *after)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, destination->purges)
		appendStringInfo(&buf, "%s%s" INT64_FORMAT "%s", buf.len > 0 ? ", " : "", before, *(int64 *) lfirst(lc), after);
	return buf.data;
}

/*
 * Was the row purged? Then it stays away, until that purge is annulled. Any other
 * row gets the values that it has as another tenant's; it may have been purged as
 * that one's, too, by the key that it had or by the one that it has now.
 */
static bool
refuse_purged(void *arg, TupleTableSlot *slot)
{
	DgDestination *destination = arg;
	int64		purge = dg_purge_of_row(destination->subtract, slot);

	if (purge == 0 && destination->as != NULL)
		purge = dg_purge_of_row(destination->subtract_as, slot);
	if (purge == 0 && destination->as != NULL)
	{
		dg_rehydrate_as_tenant_change(destination->as, slot);
		if (!dg_rehydrate_as_tenant_renumbered(destination->as))
			purge = dg_purge_of_row(destination->subtract_as, slot);
	}
	if (purge != 0)
		note_purge(destination, purge);
	return purge != 0;
}

static void
begin_subtracting(DgRestore *call, DgDestination *destination)
{
	Relation	rel = table_open(destination->relid, AccessShareLock);

	/* a purge keeps a digest of one spelling of the tenant's key */
	destination->subtract = dg_purge_subtract_begin(destination->relid, RelationGetDescr(rel),
													call->plan->tenants->exact && !destination->shared ?
													dg_extract_tenant_list(call->plan->tenants) : NIL);
	if (call->as != NULL)
		destination->subtract_as = dg_purge_subtract_begin(destination->relid, RelationGetDescr(rel),
														   call->plan->tenants->exact ? list_make1(call->as_tenant) : NIL);
	table_close(rel, AccessShareLock);
}

/*
 * Whatever was purged stays away; the source has to have the columns by which it is
 * known.
 */
static void
subtract_purged(DgRestore *call, DgDestination *destination, const DgSource *source)
{
	List	   *columns = NIL;

	for (int i = 0; i < source->ncolumns; i++)
	{
		if (source->fields[i] >= 0)
			columns = lappend(columns, makeString(pstrdup(source->columns[i].name)));
	}
	if (destination->subtract == NULL)
		begin_subtracting(call, destination);
	dg_purge_subtract_require(destination->subtract, columns);
	if (call->as != NULL)
		dg_purge_subtract_require(destination->subtract_as, columns);
}

/*
 * Where a source's target is, among the call's.
 */
static int
place_of(const DgRestore *call, const DgSource *source, bool shared)
{
	return source->index + (shared ? dg_archive_table_count(call->archive->archive) : 0);
}

static void
open_destination_table(DgRestore *call, DgSource *source, bool shared)
{
	MemoryContext old = MemoryContextSwitchTo(call->context);
	DgDestination *destination = destination_of_table(call, source->target, shared);
	int			place = place_of(call, source, shared);
	DgRowsTarget *target;

	dg_extract_source_set_types(call->archive, source);
	target = dg_rows_writer_target(call->writer, destination->written, source->columns, source->ncolumns);
	dg_rows_writer_verify(target);
	subtract_purged(call, destination, source);
	if (call->as != NULL && !shared && destination->as == NULL)
		destination->as = dg_rehydrate_as_tenant_table(call, destination->relid);
	dg_rows_writer_refuse(target, refuse_purged, destination);
	call->by_source[place] = destination;
	call->targets[place] = target;
	MemoryContextSwitchTo(old);
}

typedef struct LiveTwins
{
	DgRestore  *call;
	DgDestination *destination;
	DgRowsTwins *twins;
} LiveTwins;

static void
note_live_twin(void *arg, HeapTuple tuple, TupleDesc desc, int tenant)
{
	LiveTwins  *live = arg;

	dg_rows_twins_live(live->twins, tuple, desc);
	dg_rehydrate_links_alias(live->call, live->destination, live->twins, tuple, desc);
}

/*
 * Of a table without a key, the tenants' live rows: those of the archive that are
 * the same are there already.
 */
static void
find_live_twins(DgRestore *call, DgPass *pass)
{
	LiveTwins	live = {call, call->by_source[pass->source->index],
	dg_rows_writer_twins(call->targets[pass->source->index])};

	/* another tenant's rows are not the same, whatever they have */
	if (call->as == NULL && live.twins != NULL && pass->finder != NULL && !dg_rows_twins_known(live.twins))
		dg_extract_live_twins(pass->finder, &call->plan->finders, call->plan->tenants, dg_rows_twins_columns(live.twins),
							  note_live_twin, &live);
}

/*
 * All tables are opened before the first row is written: then the writer knows
 * which keys its own rows will provide.
 */
static void
open_destination_tables(DgRestore *call)
{
	ListCell   *lc;

	foreach(lc, call->plan->passes)
	{
		DgPass	   *pass = lfirst(lc);

		if (!pass->emit || !pass->source->wanted)
			continue;
		open_destination_table(call, pass->source, false);
		if (call->into_schema == NULL && call->as == NULL)
			find_live_twins(call, pass);
	}
}

/*
 * Makes the schema that rows are to go to.
 */
static void
create_schema(DgRestore *call)
{
	List	   *copies = dg_rehydrate_schema_create(call->into_schema, call->plan->targets, call->any_name);
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, call->plan->targets, lc2, copies)
		destination_of_table(call, lfirst_oid(lc), false)->written = lfirst_oid(lc2);
}

/*
 * Counts a row; a DgRowsSettle.
 */
static void
count_row_outcome(void *arg, const DgRow *row, DgRowOutcome outcome)
{
	DgDestination *destination = row->owner;
	DgCount    *count = &destination->counts[row->tag];

	switch (outcome)
	{
		case DG_ROW_RESTORED:
			count->restored++;
			destination->restored++;
			break;
		case DG_ROW_IDENTICAL:
			count->identical++;
			break;
		case DG_ROW_REFUSED:
			count->purged++;
			count->skipped++;
			break;
		case DG_ROW_SUPPRESSED:
			count->suppressed++;
			count->skipped++;
			break;
		case DG_ROW_ORPHANED:
			count->orphaned++;
			count->skipped++;
			break;
		case DG_ROW_SKIPPED:
		case DG_ROW_CONFLICT:
			count->skipped++;
			break;
		case DG_ROW_LATER:
			break;
	}
}

/*
 * Writes one row.
 */
static void
put_archive_row(DgRestore *call, DgSource *source, bool shared, int tenant, Datum *values, bool *nulls)
{
	int			place = place_of(call, source, shared);
	DgDestination *destination = call->by_source[place];
	DgCount    *count = &destination->counts[tenant];
	DgRow		row;
	DgRowOutcome outcome;

	if (call->references != NULL)
		dg_rehydrate_references_note(call->references, source, values, nulls);
	if (call->parents != NULL)
		dg_rehydrate_references_note(call->parents, source, values, nulls);
	count->found++;
	if (!shared && dg_rehydrate_as_tenant_stays_out(call, source))
	{
		count->merged++;
		count->skipped++;
		return;
	}
	dg_extract_source_count_objects(source, values, nulls, &count->objects);
	dg_extract_source_read_values(source, values, nulls);
	memset(&row, 0, sizeof(DgRow));
	row.values = values;
	row.nulls = nulls;
	row.tenant = shared || call->plan->tenants->nobody ? NULL :
		call->as != NULL ? call->as_tenant : call->plan->tenants->keys[tenant];
	row.tag = tenant;
	row.owner = destination;
	outcome = dg_rows_writer_put(call->targets[place], &row);
	count->renumbered += (outcome == DG_ROW_RESTORED || outcome == DG_ROW_LATER) && dg_rehydrate_as_tenant_renumbered(destination->as);
	if (outcome != DG_ROW_LATER)
		count_row_outcome(call, &row, outcome);
}

static void
write_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	DgRestore  *call = arg;

	if (call->choices == NIL || dg_rehydrate_is_chosen(call->choices, source, values, nulls))
		put_archive_row(call, source, false, tenant, values, nulls);
}

/*
 * Writes a row of the tenants that a chosen one refers to. The source is one of
 * another plan.
 */
static void
write_parent(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	DgRestore  *call = arg;
	MemoryContext old = MemoryContextSwitchTo(call->context);

	dg_extract_source_set_types(call->archive, source);
	MemoryContextSwitchTo(old);
	put_archive_row(call, source, false, tenant, values, nulls);
}

/*
 * Writes a row that is no tenant's.
 */
static void
write_shared_row(void *arg, DgSource *source, int tenant, Datum *values, bool *nulls)
{
	DgRestore  *call = arg;

	if (call->targets[place_of(call, source, true)] == NULL)
		open_destination_table(call, source, true);
	put_archive_row(call, source, true, 0, values, nulls);
}

/*
 * Brings in what the rows written so far refer to, and what that refers to.
 */
static void
write_referenced_rows(DgRestore *call)
{
	do
		dg_rows_writer_flush(call->writer);
	while ((call->parents != NULL && dg_rehydrate_references_read(call->parents, write_parent, call)) ||
		   (call->references != NULL && dg_rehydrate_references_read(call->references, write_shared_row, call)));
}

/*
 * Does a sequence belong to a column of a table that got rows?
 */
static bool
is_behind_restored_rows(DgRestore *call, Oid sequence)
{
	ListCell   *lc;
	Oid			table;
	int32		attnum;

	if (!sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &attnum) &&
		!sequenceIsOwned(sequence, DEPENDENCY_INTERNAL, &table, &attnum))
		return false;
	foreach(lc, call->destinations)
	{
		DgDestination *destination = lfirst(lc);

		if (destination->written == table)
			return destination->restored > 0;
	}
	return false;
}

/*
 * The database that the archive is of may have given out keys that are beyond
 * those of the rows restored: to other tenants, who may come back later.
 */
static void
raise_sequences(DgRestore *call)
{
	for (int i = 0; i < dg_archive_sequence_count(call->archive->archive); i++)
	{
		const DgArchiveSequence *sequence = dg_archive_sequence(call->archive->archive, i);
		Oid			namespace = get_namespace_oid(dg_extract_text(call->archive, sequence->schema), true);
		Oid			relid;

		if (!sequence->is_called || !OidIsValid(namespace))
			continue;
		relid = get_relname_relid(dg_extract_text(call->archive, sequence->name), namespace);
		if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_SEQUENCE &&
			is_behind_restored_rows(call, relid))
			dg_rows_raise_sequence(relid, sequence->value);
	}
}

/* ----------------------------------------------------------------------
 * A call
 * ----------------------------------------------------------------------
 */

/*
 * Keeps a word about a tenant's rows of a table.
 */
static void
note_problem(void *arg, Oid relid, int tag, const char *problem)
{
	DgRestore  *call = arg;
	ListCell   *lc;

	foreach(lc, call->destinations)
	{
		DgDestination *destination = lfirst(lc);
		DgCount    *count = &destination->counts[tag];

		if (destination->written == relid)
			count->note = MemoryContextStrdup(call->context, count->note == NULL ? problem :
											  psprintf("%s; %s", count->note, problem));
	}
}

/*
 * What to do where a row that is referred to does not exist.
 */
static char *
hint_of(const DgRestore *call)
{
	return psprintf("Nothing was restored. %s%s With on_conflict => 'skip', rows without them are left out.",
					call->plan->chosen ? "If they are of the same tenants, name their tables in relations as well. " : "",
					call->with_referenced ?
					"The archive does not have these rows either, or they are of other tenants: rehydrate those too." :
					"Rehydrate the tenants that these rows are of or, if they have none, bring them in with with_referenced => true.");
}

static void
set_writer_options(DgRestore *call)
{
	memset(&call->options, 0, sizeof(DgRowsOptions));
	call->options.on_conflict = call->on_conflict;
	call->options.displace = dg_capture_displaced;
	call->options.dry_run = call->dry_run;
	call->options.fire_triggers = call->fire_triggers;
	call->options.missing = call->on_conflict == DG_ON_CONFLICT_SKIP ? dg_rows_missing_make() : NULL;
	call->options.tell = note_problem;
	call->options.same = call->as != NULL ? NULL : dg_rehydrate_links_make_same;
	call->options.anothers = call->as != NULL ? dg_capture_is_anothers : NULL;
	call->options.outside = call->as != NULL ? dg_rehydrate_as_tenant_outside : NULL;
	call->options.conflict_hint = call->as == NULL ? NULL : call->renumber ? HINT_RENUMBERED : HINT_TO_RENUMBER;
	call->options.alias = dg_rehydrate_links_take;
	call->options.settle = count_row_outcome;
	call->options.arg = call;
	call->options.hint = hint_of(call);
}

static void
restore_from_archive(void *arg)
{
	DgRestore  *call = arg;
	int			ntables = dg_archive_table_count(call->archive->archive);
	int			level = dg_extract_settings();
	CommandId	since = GetCurrentCommandId(false);

	call->targets = palloc0(sizeof(DgRowsTarget *) * ntables * 2);
	call->by_source = palloc0(sizeof(DgDestination *) * ntables * 2);
	if (call->into_schema != NULL)
		create_schema(call);
	if (call->with_referenced)
		call->references = dg_rehydrate_references_begin(call->archive, call->plan, false);
	if (call->choices != NIL)
		call->parents = dg_rehydrate_references_begin(call->archive, call->plan, true);
	call->writer = dg_rows_writer_begin(&call->options);
	open_destination_tables(call);
	dg_extract_progress_begin(call->archive, call->plan);
	dg_extract_read(call->archive, call->plan, write_row, call);
	dg_rehydrate_choices_check(call->choices);
	dg_rehydrate_check_left_out(call);
	if (call->with_referenced || call->choices != NIL)
		write_referenced_rows(call);
	dg_extract_progress_checking(call->archive);
	dg_rows_writer_settle(call->writer);
	if (call->as == NULL)
		dg_rehydrate_links_come_back(call, since);
	dg_rows_writer_end(call->writer);
	if (call->as != NULL)
		dg_rehydrate_as_tenant_end(call);
	dg_rehydrate_check_counts(call);
	if (!call->dry_run && call->into_schema == NULL)
		raise_sequences(call);
	dg_extract_progress_end(call->archive);
	AtEOXact_GUC(true, level);
}

/*
 * Does the live tenant table have one of the tenants? Then some of their rows
 * may well be there.
 */
static bool
some_tenant_is_live(DgRestore *call)
{
	Oid			tenant_table = dg_guard_tenant_table()->relid;
	bool		found = false;
	ListCell   *lc;

	if (!OidIsValid(tenant_table) || call->plan->tenants->nobody)
		return call->plan->tenants->nobody;
	SPI_connect();
	foreach(lc, dg_query_tables(tenant_table))
	{
		DgLiveQuery query;

		dg_extract_live_query(tenant_table, lfirst_oid(lc), &call->plan->finders, call->plan->tenants, "1", false, &query);
		found |= dg_query(psprintf("%s LIMIT 1", query.sql), DG_AS_OWNER, 1, &query.type, &query.tenants,
						  .table = lfirst_oid(lc)) > 0;
	}
	SPI_finish();
	return found;
}

static void
forget_archive_try(void *arg)
{
	DgRestore  *call = arg;

	dg_extract_abandon(call->archive);
	call->destinations = NIL;
	call->links = call->links_left = NIL;
	call->references = call->parents = NULL;
	dg_rehydrate_as_tenant_start_over(call);
}

/*
 * Restores all that the plan wants, or fails. A caller that wants something
 * done about conflicts expects some; in a schema of its own there are none.
 */
void
dg_rehydrate_restore_run(DgRestore *call)
{
	DgRowsWork	work = {.work = restore_from_archive,.start_over = forget_archive_try,.arg = call,.options = &call->options};

	if (call->as_tenant != NULL)
		dg_rehydrate_as_tenant_begin(call);
	set_writer_options(call);
	if (call->delete_extra)
		dg_rehydrate_extra_delete(call);
	if (call->into_schema != NULL)
	{
		call->options.expect_no_conflict = true;
		call->options.missing = NULL;
		restore_from_archive(call);
	}
	else
		dg_rows_try(&work, call->on_conflict == DG_ON_CONFLICT_ERROR && !some_tenant_is_live(call));
	if (call->delete_extra)
		dg_rehydrate_referrers_check(call);
}

static void
run_restore(void *call)
{
	dg_rehydrate_restore_run(call);
}

/*
 * Restores in a subtransaction that is rolled back, whatever happens; call->failure
 * is the error that it ended with.
 */
void
dg_rehydrate_restore_try(DgRestore *call)
{
	ErrorData  *error = dg_try(run_restore, call, false);

	if (error == NULL)
		return;
	dg_extract_abandon(call->archive);
	call->links_left = NIL;
	call->failure = error->detail == NULL ? error->message :
		psprintf("%s: %s", error->message, error->detail);
}
