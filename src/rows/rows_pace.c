/*
 * rows_pace.c
 *		No faster than deletion_guard.restore_rate, for the calm of others.
 *
 * Rows are written as fast as the disk takes them, which others who use it feel.
 * A restore that may take longer waits after each batch, until as much time has
 * passed as its rows may take. It keeps its locks meanwhile.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "rows/rows_internal.h"

/* what was not used for as long as this may not be made up for */
#define CREDIT		USECS_PER_SEC

static void
wait_until(TimestampTz due)
{
	static uint32 wait_event = 0;
	long		ms;

	if (wait_event == 0)
		wait_event = dg_wait_event("DeletionGuardRestoreRate");
	while ((ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * So many rows were written: waits if that was too fast.
 */
void
dg_rows_keep_pace(DgRowsPace *pace, int nrows)
{
	TimestampTz now;

	if (dg_restore_rate == 0 || nrows == 0)
		return;
	now = GetCurrentTimestamp();
	if (now > pace->due + CREDIT)
		pace->due = now;
	pace->due += nrows * USECS_PER_SEC / dg_restore_rate;
	wait_until(pace->due);
}
