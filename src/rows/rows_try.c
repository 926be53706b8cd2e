/*
 * rows_try.c
 *		Writing rows that may not be there yet: tries of one call.
 *
 * Usually no live row has the key of one that comes back, and then no index
 * need be asked before each row, which takes a third of the time: that is
 * tried first, in a subtransaction. Where rows are to be left out as what they
 * refer to is nowhere, each try tells the next one more of those (rows_missing.c).
 */
#include "postgres.h"

#include "rows/rows_internal.h"

/*
 * Does the work, or fails; with "optimistically" first in the hope of no
 * conflict. The work goes by its options.
 */
void
dg_rows_try(DgRowsWork *work, bool optimistically)
{
	DgRowsOptions *options = work->options;
	ErrorData  *error;

	if (optimistically)
	{
		options->expect_no_conflict = true;
		error = dg_try(work->work, work->arg, true);
		options->expect_no_conflict = false;
		if (error == NULL)
			return;
		work->start_over(work->arg);
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION &&
			error->sqlerrcode != ERRCODE_EXCLUSION_VIOLATION)
			ReThrowError(error);
	}
	if (options->missing == NULL)
	{
		work->work(work->arg);
		return;
	}
	while ((error = dg_try(work->work, work->arg, true)) != NULL)
	{
		work->start_over(work->arg);
		if (!dg_rows_missing_grown(options->missing))
			ReThrowError(error);
	}
}
