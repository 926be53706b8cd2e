/*
 * fkey.c
 *		The foreign keys of a table, as they were declared.
 *
 * Where a foreign key refers to a partitioned table, the server keeps a
 * constraint of the referring table for each partition, too. Taken for a
 * foreign key, such a one would want the row referred to in that partition.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "common/deletion_guard.h"

static Oid
parent_constraint(Oid constraint, Oid *relid)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Oid			parent;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	parent = ((Form_pg_constraint) GETSTRUCT(tuple))->conparentid;
	*relid = ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid;
	ReleaseSysCache(tuple);
	return parent;
}

/*
 * Does a constraint of a table stand for another one of the same table, for
 * one partition of what that refers to?
 */
static bool
refers_to_partition(Oid relid, Oid constraint)
{
	Oid			conrelid;
	Oid			parent = parent_constraint(constraint, &conrelid);

	if (!OidIsValid(parent))
		return false;
	(void) parent_constraint(parent, &conrelid);
	return conrelid == relid;
}

/*
 * A copy of the foreign keys (ForeignKeyCacheInfo) of an open table.
 */
List *
dg_foreign_keys(Relation rel)
{
	List	   *fkeys = NIL;
	ListCell   *lc;

	foreach(lc, copyObject(RelationGetFKeyList(rel)))
	{
		ForeignKeyCacheInfo *fkey = lfirst(lc);

		if (!refers_to_partition(RelationGetRelid(rel), fkey->conoid))
			fkeys = lappend(fkeys, fkey);
	}
	return fkeys;
}

/*
 * The constraint of relid that a constraint of it, or of one of its partitions,
 * is or stands for; InvalidOid if there is none. Their names may differ.
 */
Oid
dg_constraint_of(Oid constraint, Oid relid)
{
	while (OidIsValid(constraint))
	{
		Oid			conrelid;
		Oid			parent = parent_constraint(constraint, &conrelid);

		if (conrelid == relid)
			return constraint;
		constraint = parent;
	}
	return InvalidOid;
}

/*
 * A copy of the foreign key that a constraint is, or stands for.
 */
ForeignKeyCacheInfo *
dg_foreign_key_of(Oid constraint)
{
	ForeignKeyCacheInfo *fkey = NULL;
	Oid			relid;
	Oid			parent;
	Relation	rel;
	ListCell   *lc;

	while (OidIsValid(parent = parent_constraint(constraint, &relid)))
		constraint = parent;
	rel = table_open(relid, AccessShareLock);
	foreach(lc, dg_foreign_keys(rel))
	{
		if (((ForeignKeyCacheInfo *) lfirst(lc))->conoid == constraint)
			fkey = lfirst(lc);
	}
	table_close(rel, NoLock);
	if (fkey == NULL)
		elog(ERROR, "constraint %u is not a foreign key", constraint);
	return fkey;
}
