/*
 * worker.c
 *		Background workers: starting one, and its transactions.
 *
 * A worker has no client and no portal, so that it begins and ends its
 * transactions itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"

#include "common/deletion_guard.h"

/*
 * Has a function of the library run in a process of its own: with arg and what it
 * finds in bgw_extra. False if there can be none.
 */
bool
dg_worker_start(const char *function, const char *name, const char *type, Datum arg,
				const void *extra, Size size)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "$libdir/deletion_guard", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, name, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, type, sizeof(worker.bgw_type));
	worker.bgw_main_arg = arg;
	if (size > 0)
		memcpy(worker.bgw_extra, extra, size);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/*
 * First in a worker: from then on it can be ended.
 */
void
dg_worker_unblock(void)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/*
 * Begins a transaction, with a snapshot.
 */
void
dg_worker_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * Commits what dg_worker_begin() began.
 */
void
dg_worker_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}
