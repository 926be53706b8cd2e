/*
 * capture_limit.c
 *		Ceilings: how much one statement may delete.
 *
 * What counts is what was really deleted, so the ceilings are looked at while
 * rows are captured, and a statement that runs into one is undone as a whole.
 * As soon as it does, nothing more goes into the bin; the rest of its rows is
 * only counted, for the message.
 *
 * Counts are kept for one top-level statement, over all tables, with the
 * transactions that it commits. Where a subtransaction is rolled back, they go
 * back to what they were when it first captured something.
 *
 * In the apply of logical replication a ceiling warns only: the rows are gone
 * from the publisher, refusing them here would end the replication and bring
 * nothing back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "replication/logicalworker.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "capture/capture_internal.h"
#include "guard/guard.h"

/* What the counts were before a subtransaction captured anything. */
typedef struct Mark
{
	struct Mark *outer;
	SubTransactionId subid;
	int64		rows;
	int64		tenants;
} Mark;

struct DgLimitState
{
	uint64		statement;		/* serial of the top-level statement */
	LocalTransactionId lxid;
	int64		rows;
	int64		rows_committed; /* by earlier transactions of the statement */
	int64		tenants_committed;
	int			warned;			/* ceilings that it was told of */
	Mark	   *marks;			/* of the subtransactions that are open,
								 * innermost first */
	MemoryContext context;		/* of tenants; NULL: there are none */
	DgTextSet  *tenants;
	int		   *observed;		/* not NULL: ceilings are noted here and do
								 * not apply */
};

static DgLimitState state;

static int64
count_tenants(void)
{
	return state.context == NULL ? 0 : dg_guard_textset_count(state.tenants);
}

static void
go_back(int64 rows, int64 tenants)
{
	state.rows = rows;
	if (state.context != NULL)
		dg_guard_textset_truncate(state.tenants, tenants);
}

/* ----------------------------------------------------------------------
 * Transactions
 * ----------------------------------------------------------------------
 */

static void
limit_at_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	Mark	   *mark = state.marks;

	if (mark == NULL || mark->subid != mySubid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		go_back(mark->rows, mark->tenants);
		state.marks = mark->outer;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/* what it captured is its parent's now */
		if (parentSubid == TopSubTransactionId ||
			(mark->outer != NULL && mark->outer->subid == parentSubid))
			state.marks = mark->outer;
		else
			mark->subid = parentSubid;
	}
}

static void
limit_at_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			state.rows_committed = state.rows;
			state.tenants_committed = count_tenants();
			break;
		case XACT_EVENT_ABORT:
			go_back(state.rows_committed, state.tenants_committed);
			break;
		default:
			return;
	}
	/* the marks were in the transaction's memory */
	state.marks = NULL;
}

/*
 * Makes ready, as the library is loaded, to forget at the end of a transaction what
 * it counted against the ceilings.
 */
void
dg_capture_limit_init(void)
{
	RegisterSubXactCallback(limit_at_subxact, NULL);
	RegisterXactCallback(limit_at_xact, NULL);
}

/*
 * Forgets what an earlier statement deleted.
 */
static void
begin_statement(void)
{
	int		   *observed = state.observed;
	MemoryContext context = state.context;

	/* replication applies one transaction after the other without statements */
	if (state.statement == dg_guard_statement_serial() &&
		(state.lxid == DG_MY_LXID || !(IsLogicalWorker() || dg_guard_statement_none())))
		return;
	memset(&state, 0, sizeof(state));
	state.statement = dg_guard_statement_serial();
	state.lxid = DG_MY_LXID;
	state.observed = observed;
	if (context != NULL)
		MemoryContextDelete(context);
}

/*
 * Counts are about to change: remembers them if they may have to go back.
 */
static void
mark_subxact(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	Mark	   *mark;

	if (subid == TopSubTransactionId || (state.marks != NULL && state.marks->subid == subid))
		return;
	mark = MemoryContextAlloc(TopTransactionContext, sizeof(Mark));
	mark->outer = state.marks;
	mark->subid = subid;
	mark->rows = state.rows;
	mark->tenants = count_tenants();
	state.marks = mark;
}

/* ----------------------------------------------------------------------
 * One capture
 * ----------------------------------------------------------------------
 */

/*
 * How many rows this capture may take before it has to look at ceilings.
 */
static int64
rows_without_question(const DgLimit *limit)
{
	int64		rows = PG_INT64_MAX;

	if (dg_max_rows > 0 && !((limit->exceeded | state.warned) & DG_CEILING_ROWS))
		rows = dg_max_rows - state.rows;
	if (limit->wipes && dg_tenant_wipes_per_hour > 0 &&
		!((limit->exceeded | state.warned) & DG_CEILING_WIPES))
		rows = Min(rows, dg_tenant_wipes_per_hour - limit->wiped);
	return rows;
}

/*
 * Does the capture have to stop, now that it has run into something?
 */
static bool
must_stop(const DgLimit *limit)
{
	if (limit->exceeded == 0 || state.observed != NULL)
		return false;
	if (limit->exceeded & DG_CEILING_EXPECTED)
		return true;
	return dg_limit_action == DG_LIMIT_ERROR && !IsLogicalWorker();
}

static bool
go_on(DgLimit *limit)
{
	limit->stopped = must_stop(limit);
	limit->free_rows = limit->stopped ? 0 : rows_without_question(limit);
	return !limit->stopped;
}

/*
 * Begins to capture rows of a table that was enrolled as root. Rows that are
 * replaced rather than deleted are exempt.
 */
void
dg_capture_limit_begin(DgLimit *limit, Oid root, bool exempt)
{
	begin_statement();
	memset(limit, 0, sizeof(DgLimit));
	limit->exempt = exempt;
	limit->root = root;
	limit->rows_before = state.rows;
	limit->free_rows = PG_INT64_MAX;
	if (exempt)
		return;
	limit->wipes = (dg_guard_tenant_table()->relid == root);
	if (limit->wipes)
		limit->wiped = dg_capture_wipe_begin();
	limit->tenants = dg_max_tenants > 0 || dg_expecting();
	limit->free_rows = rows_without_question(limit);
}

/*
 * The capture has come to a tenant, NULL: to rows whose tenant is not known.
 * To be called if limit->tenants is set, once for each tenant.
 */
void
dg_capture_limit_tenant(DgLimit *limit, const char *tenant)
{
	if (limit->stopped)
		return;
	if (dg_expecting() && (tenant == NULL || !dg_capture_expects_tenant(tenant)) &&
		!(limit->exceeded & DG_CEILING_EXPECTED))
	{
		limit->exceeded |= DG_CEILING_EXPECTED;
		limit->unexpected = tenant != NULL ? pstrdup(tenant) : NULL;
	}
	if (dg_max_tenants > 0 && tenant != NULL && !(state.warned & DG_CEILING_TENANTS))
	{
		mark_subxact();
		if (state.context == NULL)
		{
			MemoryContext context = AllocSetContextCreate(TopMemoryContext,
														  "deletion_guard tenants",
														  ALLOCSET_SMALL_SIZES);

			state.tenants = dg_guard_textset_of_tenants(context, InvalidOid);
			state.context = context;
		}
		if (dg_guard_textset_add(state.tenants, tenant) && count_tenants() > dg_max_tenants)
			limit->exceeded |= DG_CEILING_TENANTS;
	}
	(void) go_on(limit);
}

/*
 * The capture has counted a row that is not covered by limit->free_rows. False
 * if the row must not be kept, as the statement will be refused.
 */
bool
dg_capture_limit_row(DgLimit *limit)
{
	if (limit->stopped)
		return false;
	if (dg_max_rows > 0 && state.rows + limit->rows > dg_max_rows &&
		!(state.warned & DG_CEILING_ROWS))
		limit->exceeded |= DG_CEILING_ROWS;
	if (limit->wipes && dg_tenant_wipes_per_hour > 0 &&
		limit->wiped + limit->rows > dg_tenant_wipes_per_hour &&
		!(state.warned & DG_CEILING_WIPES))
		limit->exceeded |= DG_CEILING_WIPES;
	return go_on(limit);
}

/*
 * Ends a capture that was not refused.
 */
void
dg_capture_limit_end(DgLimit *limit, int64 deletion)
{
	if (limit->exempt)
		return;
	mark_subxact();
	state.rows += limit->rows;
	if (limit->exceeded != 0 && state.observed != NULL)
		*state.observed |= limit->exceeded;
	else if (limit->exceeded != 0)
	{
		state.warned |= limit->exceeded;
		dg_capture_announce(deletion, limit->exceeded);
	}
	if (limit->wipes)
	{
		dg_capture_wipe_end(deletion, limit->rows);
		if (!dg_capture_limit_observing())
			dg_capture_announce(deletion, DG_ANNOUNCE_WIPE);
	}
}

/*
 * Adds the tenants that were counted for the statement so far to a set.
 */
void
dg_capture_limit_add_known(DgTextSet *tenants)
{
	for (int64 i = 0; i < count_tenants(); i++)
		(void) dg_guard_textset_add(tenants, dg_guard_textset_get(state.tenants, i));
}

/*
 * Are ceilings only noted, for a preview?
 */
bool
dg_capture_limit_observing(void)
{
	return state.observed != NULL;
}

/* ----------------------------------------------------------------------
 * Previews
 * ----------------------------------------------------------------------
 */

/*
 * Counts from nothing, and notes the ceilings that are reached in *observed
 * instead of applying them, until dg_capture_limit_resume().
 */
DgLimitState *
dg_capture_limit_suspend(int *observed)
{
	DgLimitState *saved = palloc(sizeof(DgLimitState));

	begin_statement();
	*saved = state;
	memset(&state, 0, sizeof(state));
	state.statement = saved->statement;
	state.lxid = saved->lxid;
	state.observed = observed;
	return saved;
}

/*
 * The subtransaction in which dg_capture_limit_suspend() was called has been rolled
 * back.
 */
void
dg_capture_limit_resume(DgLimitState *saved)
{
	if (state.context != NULL)
		MemoryContextDelete(state.context);
	state = *saved;
	pfree(saved);
}
