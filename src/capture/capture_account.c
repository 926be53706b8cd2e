/*
 * capture_account.c
 *		The two sides of the double entry: how many rows heap says were deleted, and
 *		how many the extension has kept or seen move.
 *
 * capture_balance.c compares them. The server's counts are those that it keeps
 * for its statistics, of each table in each subtransaction. Ours are kept in the
 * same way.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/pgstat_internal.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"

static DgAccount *accounts = NULL;	/* of the innermost subtransaction first */
static bool uncounted = false;	/* has the server not counted all the time? */

/* ----------------------------------------------------------------------
 * The server's side
 * ----------------------------------------------------------------------
 */

/*
 * The counts of one more table, those of its innermost subtransaction; NULL at
 * the end. Both are NULL to begin with.
 */
PgStat_TableXactStatus *
dg_capture_balance_next(PgStat_SubXactStatus **level, PgStat_TableXactStatus *counts)
{
	if (*level == NULL)
	{
		*level = pgstat_get_xact_stack_level(GetCurrentTransactionNestLevel());
		counts = (*level)->first;
	}
	else
		counts = counts->next;
	for (;;)
	{
		while (counts != NULL && counts->parent->trans != counts)
			counts = counts->next;
		if (counts != NULL || (*level)->prev == NULL)
			return counts;
		*level = (*level)->prev;
		counts = (*level)->first;
	}
}

/*
 * Rows that the transaction has deleted from a table and, if "written" is not
 * NULL, rows that it has inserted or updated, all since it last emptied it.
 */
int64
dg_capture_balance_deleted(const PgStat_TableXactStatus *counts, int64 *written)
{
	int64		deleted = 0;

	for (; counts != NULL; counts = counts->truncdropped ? NULL : counts->upper)
	{
		deleted += counts->tuples_deleted;
		if (written != NULL)
			*written += counts->tuples_inserted + counts->tuples_updated;
	}
	return deleted;
}

/*
 * Rows that the transaction has deleted from an open table since it last emptied it;
 * *written is set to those that it has inserted or updated.
 */
int64
dg_capture_balance_so_far(Relation rel, int64 *written)
{
	*written = 0;
	return pgstat_should_count_relation(rel) ? dg_capture_balance_deleted(rel->pgstat_info->trans, written) : 0;
}

/* ----------------------------------------------------------------------
 * Our side
 * ----------------------------------------------------------------------
 */

/*
 * The account of an enrolled table in the present subtransaction; begun if there is none.
 */
DgAccount *
dg_capture_account_of(Oid root)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	DgAccount  *account = accounts;

	while (account != NULL && account->subid == subid)
	{
		if (account->root == root)
			return account;
		account = account->next;
	}
	account = MemoryContextAllocZero(TopTransactionContext, sizeof(DgAccount));
	account->root = root;
	account->subid = subid;
	account->next = accounts;
	accounts = account;
	return account;
}

/*
 * All that is on an enrolled table's accounts.
 */
DgAccount
dg_capture_account_sum(Oid root)
{
	DgAccount	sum = {.root = root};

	for (const DgAccount *account = accounts; account != NULL; account = account->next)
	{
		if (account->root != root)
			continue;
		sum.kept += account->kept;
		sum.moved += account->moved;
		sum.corrected += account->corrected;
		sum.by_row += account->by_row;
	}
	return sum;
}

/*
 * How many deleted rows of an enrolled table the server is to have counted.
 */
int64
dg_capture_account_expected(Oid root)
{
	DgAccount	sum = dg_capture_account_sum(root);

	return sum.kept + sum.moved + sum.corrected;
}

/*
 * Deleted rows of an enrolled table are in its bin.
 */
void
dg_capture_balance_kept(Oid root, int64 rows)
{
	if (!pgstat_track_counts)
		uncounted = true;
	dg_capture_account_of(root)->kept += rows;
}

/*
 * One of these was put there by a row trigger that does not know whether the
 * statement trigger of the same query will fire.
 */
void
dg_capture_balance_row_kept(Oid root)
{
	dg_capture_account_of(root)->by_row++;
}

/*
 * How many rows were put there like that; begins anew.
 */
int64
dg_capture_balance_take_row_kept(Oid root)
{
	int64		rows = accounts == NULL ? 0 : dg_capture_account_sum(root).by_row;

	if (rows != 0)
		dg_capture_account_of(root)->by_row -= rows;
	return rows;
}

/*
 * A row has left a partition for another one.
 */
void
dg_capture_balance_moved(Oid root)
{
	if (!pgstat_track_counts)
		uncounted = true;
	dg_capture_account_of(root)->moved++;
}

/*
 * The server's count has changed, by so many rows, without any being deleted.
 */
void
dg_capture_balance_corrected(Oid root, int64 rows)
{
	if (rows != 0)
		dg_capture_account_of(root)->corrected += rows;
}

/*
 * What a subtransaction did is its parent's from now on.
 */
void
dg_capture_account_pass_on(SubTransactionId subid, SubTransactionId parent)
{
	DgAccount  *mine = accounts;

	while (accounts != NULL && accounts->subid == subid)
		accounts = accounts->next;
	while (mine != NULL && mine->subid == subid)
	{
		DgAccount  *next = mine->next;
		DgAccount  *other = accounts;

		while (other != NULL && other->subid == parent && other->root != mine->root)
			other = other->next;
		if (other == NULL || other->subid != parent)
		{
			mine->subid = parent;
			mine->next = accounts;
			accounts = mine;
		}
		else
		{
			other->kept += mine->kept;
			other->moved += mine->moved;
			other->corrected += mine->corrected;
			other->by_row += mine->by_row;
			pfree(mine);
		}
		mine = next;
	}
}

/*
 * Forgets what a subtransaction did that is rolled back.
 */
void
dg_capture_account_drop(SubTransactionId subid)
{
	while (accounts != NULL && accounts->subid == subid)
		accounts = accounts->next;
}

/*
 * Forgets everything: the transaction has ended.
 */
void
dg_capture_account_reset(void)
{
	accounts = NULL;
	uncounted = false;
}

/*
 * The first account, or NULL.
 */
DgAccount *
dg_capture_account_first(void)
{
	return accounts;
}

/*
 * Has the server counted all that this transaction did, so that accounts can be
 * compared?
 */
bool
dg_capture_account_is_counted(void)
{
	return pgstat_track_counts && !uncounted;
}
