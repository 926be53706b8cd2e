/*
 * subxact.c
 *		Work that may fail, in a subtransaction of its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/resowner.h"

#include "common/deletion_guard.h"

/*
 * Runs work(arg) in a subtransaction, which is committed if the work returns
 * and "keep" is true, and rolled back otherwise. Returns NULL if it returned,
 * else its error, palloc'd in the caller's memory context. That the query was
 * cancelled is thrown on.
 */
ErrorData *
dg_try(void (*work) (void *arg), void *arg, bool keep)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return error;
}
