/*
 * lock.c
 *		Locks on what is not a table: registries, bins in the making, tenants.
 *
 * They are held until the end of the transaction. src/README.md says in which
 * order they are taken.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "common/deletion_guard.h"

/*
 * Locks something that is not a table, until the end of the transaction. The
 * class is the OID of the registry that lists such things, so that the locks
 * are nobody else's.
 */
void
dg_lock_object(Oid classid, Oid objid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, classid, objid, 0);
	(void) LockAcquire(&tag, mode, false, false);
}

typedef struct LockWanted
{
	Oid			classid;
	Oid			objid;
	LOCKMODE	mode;
	int			timeout;		/* milliseconds */
} LockWanted;

static void
lock_within_timeout(void *arg)
{
	LockWanted *wanted = arg;
	int			nestlevel = NewGUCNestLevel();

	/* the session's own, if that is shorter */
	if (LockTimeout == 0 || LockTimeout > wanted->timeout)
		(void) set_config_option("lock_timeout", psprintf("%d", wanted->timeout), PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	dg_lock_object(wanted->classid, wanted->objid, wanted->mode);
	AtEOXact_GUC(true, nestlevel);
}

/*
 * Like dg_lock_object(), but gives up after timeout milliseconds, or where waiting
 * is a deadlock. Returns whether the lock was taken.
 */
bool
dg_lock_object_within(Oid classid, Oid objid, LOCKMODE mode, int timeout)
{
	LockWanted	wanted = {classid, objid, mode, timeout};
	ErrorData  *error = dg_try(lock_within_timeout, &wanted, true);

	if (error != NULL && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	return error == NULL;
}
