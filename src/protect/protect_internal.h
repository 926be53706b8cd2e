/*
 * protect_internal.h
 *		What the files of protect/ share among themselves.
 */
#ifndef DG_PROTECT_INTERNAL_H
#define DG_PROTECT_INTERNAL_H

#include "catalog/objectaccess.h"
#include "executor/execdesc.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

#include "protect/protect.h"

/* protect_hooks.c */

#define DG_HOOK_EXECUTOR_START	0x01
#define DG_HOOK_EXECUTOR_RUN	0x02
#define DG_HOOK_EXECUTOR_FINISH	0x04
#define DG_HOOK_UTILITY			0x08
#define DG_HOOK_OBJECT_ACCESS	0x10

extern int	dg_protect_hooks_reached(void);

/* protect_object.c */

#define DG_DETAIL_GUARD	"Rows could then be deleted without going to the recycle bin."

extern void dg_protect_refuse_on_guarded(Oid relid, const char *what, const char *detail, const char *hint);
extern void dg_protect_refuse_departure(Oid relid, const char *what);
extern void dg_protect_refuse_drop(Oid relid);
extern void dg_protect_refuse_unlogged(Oid relid);
extern void dg_protect_check_drop(Oid classid, Oid objid, int subid);
extern void dg_protect_check_trigger(Oid trigid, bool created);
extern void dg_protect_check_altered(Oid relid);
extern bool dg_protect_has_rows(Oid relid);
extern void dg_protect_check_detach(Oid child, Oid parent);

/* protect_parse.c */
extern void dg_protect_check_utility(Node *parsetree);

/* protect_taken.c */
extern void dg_protect_check_taken(Oid relid);
extern void dg_protect_taken_finish(void);

/* protect_keep.c */
extern void dg_protect_keep_before(Node *parsetree);
extern int64 *dg_protect_keep_note(Relation rel, AttrNumber attnum);
extern bool dg_protect_keep_has(Oid relid, AttrNumber attnum, int64 *rows);
extern bool dg_protect_keep_may_go(Oid relid, int64 *kept);
extern void dg_protect_keep_chunk(Oid relid);
extern int64 dg_protect_keep_count(Oid relid, AttrNumber attnum);
extern void dg_protect_keep_init(void);

/* protect_column.c */
extern void dg_protect_keep_columns_before(Node *parsetree);

/* protect_command.c */

extern HeapTuple dg_protect_copy_object(Relation rel, Oid indexid, AttrNumber attnum, Oid objid,
										Snapshot snapshot);
extern void dg_protect_command_begin(Node *parsetree);
extern void dg_protect_command_init(void);

/* protect_access.c */
extern void dg_protect_access_check(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg);
extern bool dg_protect_access_judges_after(Node *parsetree);
extern void dg_protect_access_check_after(Node *parsetree);

/* protect_builtin.c */
extern void dg_protect_builtin_check_permissions(List *permissions);
extern void dg_protect_builtin_check_truncate(Oid relid);
extern void dg_protect_builtin_check_object(ObjectAccessType access, Oid classid, Oid objid, Oid relid);

/* protect_store.c */
extern bool dg_protect_store_at_stake(void);
extern bool dg_protect_store_drop_allowed(void);
pg_noreturn extern void dg_protect_store_refuse_drop(const char *what);
pg_noreturn extern void dg_protect_store_refuse(const char *what, const char *name);
extern DgCommand dg_protect_store_command(Node *parsetree);
extern void dg_protect_store_check_utility(Node *parsetree);

/* protect.c */
extern void dg_protect_check_query(PlannedStmt *stmt);
extern void dg_protect_check_permissions(List *permissions);
extern void dg_protect_check_truncate(Oid relid);

/* protect_schema.c */
extern void dg_protect_follow_schema(const char *old, const char *new);
extern void dg_protect_follow_new_schema(const char *name);
extern void dg_protect_guard_future_table(Oid relid);
extern void dg_protect_check_moved(AlterObjectSchemaStmt *stmt);

#endif							/* DG_PROTECT_INTERNAL_H */
