/*
 * compat.h
 *		Differences between the supported major versions of PostgreSQL, 15 to 19.
 *
 * Nothing outside this file tests PG_VERSION_NUM.
 */
#ifndef DG_COMPAT_H
#define DG_COMPAT_H

#include "postgres.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "storage/lock.h"
#include "utils/guc_tables.h"
#include "utils/hsearch.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "deletion_guard supports PostgreSQL 15 to 19"
#endif

/*
 * Minor releases before these leave rows that a MERGE deletes out of
 * transition tables, where others of the table are deleted with them, and
 * keep tables with statement triggers out of inheritance trees.
 */
#if PG_VERSION_NUM >= 190000
#define DG_MERGE_MINOR 0
#elif PG_VERSION_NUM >= 180000
#define DG_MERGE_MINOR 2
#elif PG_VERSION_NUM >= 170000
#define DG_MERGE_MINOR 8
#elif PG_VERSION_NUM >= 160000
#define DG_MERGE_MINOR 12
#else
#define DG_MERGE_MINOR 16
#endif

/* 16: workers of logical replication that apply one large transaction each */
#if PG_VERSION_NUM < 160000
#define IsLogicalParallelApplyWorker() false
#endif

/* 16: EnableDisableTrigger() knows of clones, and may leave partitions alone */
#if PG_VERSION_NUM >= 160000
#define dg_enable_disable_trigger(rel, name, state, lockmode) \
	EnableDisableTrigger(rel, name, InvalidOid, state, false, false, lockmode)
#else
#define dg_enable_disable_trigger(rel, name, state, lockmode) \
	EnableDisableTriggerNew2(rel, name, InvalidOid, state, false, false, lockmode)
#endif

/* 17: extensions name what they wait for */
#if PG_VERSION_NUM >= 170000
#define dg_wait_event(name) WaitEventExtensionNew(name)
#else
#define dg_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 18: pg_noreturn, in front of a declaration, replaced pg_attribute_noreturn() */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 16: ExecInsertIndexTuples() learned onlySummarizing */
#if PG_VERSION_NUM >= 190000
#define dg_exec_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples(rri, estate, 0, slot, NIL, NULL)
#elif PG_VERSION_NUM >= 160000
#define dg_exec_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples(rri, slot, estate, false, false, NULL, NIL, false)
#else
#define dg_exec_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples(rri, slot, estate, false, false, NULL, NIL)
#endif

/* 16: an update tells which indexes want new entries */
#if PG_VERSION_NUM >= 190000
typedef TU_UpdateIndexes DgUpdateIndexes;
#define dg_exec_update_index_tuples(rri, slot, estate, indexes) \
	((indexes) == TU_None ? NIL : \
	 ExecInsertIndexTuples(rri, estate, EIIT_IS_UPDATE | ((indexes) == TU_Summarizing ? EIIT_ONLY_SUMMARIZING : 0), slot, NIL, NULL))
#elif PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes DgUpdateIndexes;
#define dg_exec_update_index_tuples(rri, slot, estate, indexes) \
	((indexes) == TU_None ? NIL : \
	 ExecInsertIndexTuples(rri, slot, estate, true, false, NULL, NIL, (indexes) == TU_Summarizing))
#else
typedef bool DgUpdateIndexes;
#define dg_exec_update_index_tuples(rri, slot, estate, indexes) \
	((indexes) ? ExecInsertIndexTuples(rri, slot, estate, true, false, NULL, NIL) : NIL)
#endif

/* 18: ExecCheckIndexConstraints() learned tupleid */
#if PG_VERSION_NUM >= 180000
#define dg_exec_check_index_constraints(rri, slot, estate, tid, arbiters) \
	ExecCheckIndexConstraints(rri, slot, estate, tid, NULL, arbiters)
#else
#define dg_exec_check_index_constraints(rri, slot, estate, tid, arbiters) \
	ExecCheckIndexConstraints(rri, slot, estate, tid, arbiters)
#endif

/* 18: index_beginscan() counts searches */
#if PG_VERSION_NUM >= 190000
#define dg_index_beginscan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, NULL, nkeys, 0, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define dg_index_beginscan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define dg_index_beginscan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 16: the map from the routing root to a partition is made on demand */
#if PG_VERSION_NUM >= 160000
#define dg_root_to_child_map(rri, estate) ExecGetRootToChildMap(rri, estate)
#define dg_make_root_to_child_map(rri) ((void) 0)
#else
#define dg_make_root_to_child_map(rri) \
	((rri)->ri_RootToPartitionMap = convert_tuples_by_name(RelationGetDescr((rri)->ri_RootResultRelInfo->ri_RelationDesc), \
														   RelationGetDescr((rri)->ri_RelationDesc)))
#define dg_root_to_child_map(rri, estate) ((rri)->ri_RootToPartitionMap)
#endif

/* 18: the executor's run hook lost execute_once; 17 and 18 changed fields below */
#if PG_VERSION_NUM >= 180000
#define DG_EXECUTOR_RUN_PARAMS QueryDesc *query, ScanDirection direction, uint64 count
#define DG_EXECUTOR_RUN_ARGS query, direction, count
#else
#define DG_EXECUTOR_RUN_PARAMS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define DG_EXECUTOR_RUN_ARGS query, direction, count, execute_once
#endif

/* 16: a type's name is parsed with or without throwing */
#if PG_VERSION_NUM >= 160000
#define dg_parse_type(name, type, typmod) ((void) parseTypeString(name, type, typmod, NULL))
#else
#define dg_parse_type(name, type, typmod) parseTypeString(name, type, typmod, false)
#endif

/* 16: what a plan asks permission for moved out of the range table */
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
typedef RTEPermissionInfo DgPermissions;
#define DG_CHECK_PERMS_PARAMS List *rtable, List *permissions, bool ereport_on_violation
#define DG_CHECK_PERMS_ARGS rtable, permissions, ereport_on_violation
#else
typedef RangeTblEntry DgPermissions;
#define DG_CHECK_PERMS_PARAMS List *permissions, bool ereport_on_violation
#define DG_CHECK_PERMS_ARGS permissions, ereport_on_violation
#endif

/* 16: permission checks of objects became generic */
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#define dg_class_ownercheck(relid, roleid) object_ownercheck(RelationRelationId, relid, roleid)
#define dg_namespace_ownercheck(nspid, roleid) object_ownercheck(NamespaceRelationId, nspid, roleid)
#define dg_type_ownercheck(typid, roleid) object_ownercheck(TypeRelationId, typid, roleid)
#else
#define dg_class_ownercheck(relid, roleid) pg_class_ownercheck(relid, roleid)
#define dg_namespace_ownercheck(nspid, roleid) pg_namespace_ownercheck(nspid, roleid)
#define dg_type_ownercheck(typid, roleid) pg_type_ownercheck(typid, roleid)
#endif

/* 17: lxid moved */
#if PG_VERSION_NUM >= 170000
#define DG_MY_LXID (MyProc->vxid.lxid)
#else
#define DG_MY_LXID (MyProc->lxid)
#endif

/* 16: relfilenodes are called locators */
#if PG_VERSION_NUM >= 160000
#define DG_XL_SEQ_LOCATOR locator
#define DG_RD_LOCATOR rd_locator
typedef RelFileLocator DgFileLocator;
#define DG_SAME_FILE(a, b) RelFileLocatorEquals(a, b)
#define DG_SET_NEW_FILE relation_set_new_filelocator
#define DG_RELFILENUMBER(rel) ((rel)->rd_locator.relNumber)
#else
#define DG_XL_SEQ_LOCATOR node
#define DG_RD_LOCATOR rd_node
typedef RelFileNode DgFileLocator;
#define DG_SAME_FILE(a, b) RelFileNodeEquals(a, b)
#define DG_SET_NEW_FILE relation_set_new_filenode
#define DG_RELFILENUMBER(rel) ((rel)->rd_node.relNode)
#endif

/* 16: a table's statistics of the transaction name it by another field */
#if PG_VERSION_NUM >= 160000
#define DG_COUNTED_RELID(counts) ((counts)->parent->id)
#define DG_NEW_FILE_SUBID(rel) ((rel)->rd_firstRelfilelocatorSubid)
#else
#define DG_COUNTED_RELID(counts) ((counts)->parent->t_id)
#define DG_NEW_FILE_SUBID(rel) ((rel)->rd_firstRelfilenodeSubid)
#endif

/* 16: rows that are inserted together make room for all of them at once */
#define DG_EXTENDS_BY_PAGE (PG_VERSION_NUM < 160000)

/* 18: generated columns that are not stored */
#if PG_VERSION_NUM < 180000
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

/* 18: foreign keys over periods, and foreign keys that are not enforced */
#if PG_VERSION_NUM >= 180000
#define DG_CONSTRAINT_IS_PLAIN(con) ((con)->conenforced && !(con)->conperiod)
#else
#define DG_CONSTRAINT_IS_PLAIN(con) true
#endif

/* 18: checks that are not enforced, and generated columns in them that are not stored */
#if PG_VERSION_NUM >= 180000
#define DG_CHECK_IS_ENFORCED(check) ((check)->ccenforced)
#define dg_check_expression(node, rel) expand_generated_columns_in_expr(node, rel, 1)
#else
#define DG_CHECK_IS_ENFORCED(check) true
#define dg_check_expression(node, rel) (node)
#endif

/* 18: a deferrable primary key is asked for explicitly */
#if PG_VERSION_NUM >= 180000
#define dg_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel, false)
#else
#define dg_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* 16: a setting is looked up by its name; before, in the list of all of them */
#if PG_VERSION_NUM >= 160000
#define dg_find_setting(name) find_option(name, false, true, DEBUG1)
#else
static inline struct config_generic *
dg_find_setting(const char *name)
{
	for (int i = 0; i < GetNumConfigOptions(); i++)
	{
		if (pg_strcasecmp(get_guc_variables()[i]->name, name) == 0)
			return get_guc_variables()[i];
	}
	return NULL;
}
#endif

/* 19: scans and deletions take flags, and a row type made by hand is finished */
#if PG_VERSION_NUM >= 190000
#define dg_table_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL, SO_NONE)
#define dg_table_beginscan_tidrange(rel, snapshot, first, last) \
	table_beginscan_tidrange(rel, snapshot, first, last, SO_NONE)
#define dg_tupdesc_finalize(desc) TupleDescFinalize(desc)
#define dg_table_tuple_move_out(rel, tid, cid, snapshot, failure) \
	table_tuple_delete(rel, tid, cid, TABLE_DELETE_CHANGING_PARTITION, snapshot, InvalidSnapshot, true, failure)
#else
#define dg_table_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)
#define dg_table_beginscan_tidrange(rel, snapshot, first, last) \
	table_beginscan_tidrange(rel, snapshot, first, last)
#define dg_tupdesc_finalize(desc) ((void) 0)
#define dg_table_tuple_move_out(rel, tid, cid, snapshot, failure) \
	table_tuple_delete(rel, tid, cid, snapshot, InvalidSnapshot, true, failure, true)
#endif

/* 19: planning tells EXPLAIN, and which relations a plan writes to is a set */
#if PG_VERSION_NUM >= 190000
#define DG_PLANNER_PARAMS \
	Query *query, const char *queryString, int cursorOptions, ParamListInfo params, struct ExplainState *explain
#define DG_PLANNER_ARGS query, queryString, cursorOptions, params, explain
#define dg_plan_query(query, sql) pg_plan_query(query, sql, 0, NULL, NULL)
#define dg_result_relations(stmt) dg_members((stmt)->resultRelationRelids)

static inline List *
dg_members(const Bitmapset *set)
{
	List	   *members = NIL;

	for (int i = -1; (i = bms_next_member(set, i)) >= 0;)
		members = lappend_int(members, i);
	return members;
}
#else
#define DG_PLANNER_PARAMS Query *query, const char *queryString, int cursorOptions, ParamListInfo params
#define DG_PLANNER_ARGS query, queryString, cursorOptions, params
#define dg_plan_query(query, sql) pg_plan_query(query, sql, 0, NULL)
#define dg_result_relations(stmt) ((stmt)->resultRelations)
#endif

/* 19: CLUSTER is a kind of REPACK */
#if PG_VERSION_NUM >= 190000
#define T_ClusterStmt T_RepackStmt
#endif

/* 19: the WAL of sequences has a header of its own */
#if PG_VERSION_NUM >= 190000
#include "commands/sequence_xlog.h"
#endif

#endif							/* DG_COMPAT_H */
