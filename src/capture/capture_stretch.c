/*
 * capture_stretch.c
 *		Trails: where the rows are that queries came to, until a trigger takes them.
 *
 * A trail belongs to the table whose trigger will go along it, and to the query
 * at whose end that trigger fires. It has a stretch for each partition.
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"

#include "capture/capture_internal.h"

static DgTrail *trails = NULL;

static void
forget_trail(void *arg)
{
	DgTrail   **trail = &trails;

	while (*trail != NULL && *trail != arg)
		trail = &(*trail)->next;
	if (*trail != NULL)
		*trail = (*trail)->next;
}

/*
 * The trail of a query in a table, or in any table (InvalidOid); NULL if there is none.
 */
DgTrail *
dg_capture_trail_find(Oid relid, const EState *firing)
{
	DgTrail    *trail = trails;

	while (trail != NULL && (trail->firing != firing || (OidIsValid(relid) && trail->relid != relid)))
		trail = trail->next;
	return trail;
}

static DgTrail *
begin_trail(Oid relid, EState *firing)
{
	MemoryContext context = AllocSetContextCreate(firing->es_query_cxt, "deletion_guard trail",
												  ALLOCSET_SMALL_SIZES);
	DgTrail    *trail = MemoryContextAllocZero(context, sizeof(DgTrail));

	trail->relid = relid;
	trail->firing = firing;
	trail->context = context;
	trail->callback.func = forget_trail;
	trail->callback.arg = trail;
	MemoryContextRegisterResetCallback(context, &trail->callback);
	trail->next = trails;
	trails = trail;
	return trail;
}

/*
 * The trail of a query in a table; begun if there is none.
 */
DgTrail *
dg_capture_trail_of(Oid relid, EState *firing)
{
	DgTrail    *trail = dg_capture_trail_find(relid, firing);

	return trail != NULL ? trail : begin_trail(relid, firing);
}

/*
 * Where the rows of one partition on a trail are noted.
 */
DgTidLog *
dg_capture_trail_log(DgTrail *trail, Oid relid)
{
	ListCell   *lc;
	MemoryContext old;

	if (trail->last != NULL && trail->last->relid == relid)
		return trail->last->log;
	foreach(lc, trail->stretches)
	{
		trail->last = lfirst(lc);
		if (trail->last->relid == relid)
			return trail->last->log;
	}
	old = MemoryContextSwitchTo(trail->context);
	trail->last = palloc(sizeof(DgStretch));
	trail->last->relid = relid;
	trail->last->log = dg_tidlog_begin(trail->context);
	trail->stretches = lappend(trail->stretches, trail->last);
	MemoryContextSwitchTo(old);
	return trail->last->log;
}

/*
 * A row of a partition was deleted, by the present transaction and this command,
 * in the course of a query that is no DELETE: it goes on the trail in table relid.
 */
void
dg_capture_trail_add(Oid relid, EState *firing, Oid partition, CommandId cid, ItemPointer tid)
{
	DgTrail    *trail = dg_capture_trail_of(relid, firing);

	dg_tidlog_add(dg_capture_trail_log(trail, partition), cid, tid);
	trail->deleted++;
	trail->xid = GetCurrentTransactionIdIfAny();
}

/*
 * The trail that leads to the deleted rows of a table, for the trigger that
 * fires now; NULL if there is none. It is the caller's, who deletes its context.
 */
DgTrail *
dg_capture_trail_take(Oid relid)
{
	DgTrail    *trail = dg_capture_trail_find(relid, dg_frame->firing);

	if (trail != NULL)
		forget_trail(trail);
	return trail;
}
