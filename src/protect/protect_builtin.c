/*
 * protect_builtin.c
 *		What the server itself is made of stays as it is while the extension is
 *		installed: catalogs are not written by hand, and nothing that is built in
 *		is replaced, renamed, altered or moved.
 *
 * Which catalog could do harm to what is kept is not asked: the answer has been
 * wrong too often. Nor does it matter by which statement: permissions are
 * checked for all that write rows (DML, MERGE, COPY), object_access_hook is
 * called for TRUNCATE and for what is created, replaced, altered and dropped,
 * each time with the object's OID and after the lock on it has been waited for.
 *
 * A superuser may insist, with deletion_guard.ddl = allow where protection is
 * not locked, which goes to the server's log and the ledger: in catalogs that say
 * nothing about any object; and, as with DROP EXTENSION, where no table is guarded
 * and the bin is empty. The script of another extension is no exception: what
 * event triggers do meanwhile would pass for it.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_description.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_largeobject_metadata.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_seclabel.h"
#include "catalog/pg_shdescription.h"
#include "catalog/pg_shseclabel.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_statistic_ext_data.h"
#include "catalog/pg_tablespace.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "common/deletion_guard.h"
#include "ledger/ledger.h"
#include "protect/protect_internal.h"

/*
 * May a superuser insist? "harmless": what he is about to do can do no harm to any
 * object.
 */
static bool
may_insist(bool harmless)
{
	return harmless || (dg_installed() && !dg_protect_store_at_stake());
}

static bool
superuser_insists(bool harmless)
{
	return dg_ddl_allowed() && may_insist(harmless);
}

/*
 * A hint, palloc'd: advice, and how to insist where that is possible.
 */
static char *
way_to_insist(const char *advice, bool harmless)
{
	if (dg_locked || !may_insist(harmless))
		return pstrdup(advice);
	return psprintf("%s A superuser who means it sets deletion_guard.ddl to \"allow\", which is recorded.", advice);
}

static void
note_insistence(const char *what)
{
	ereport(LOG_SERVER_ONLY,
			(errmsg("deletion_guard.ddl allows to %s", what)));
	dg_ledger_append("change_catalog", psprintf("{\"what\": %s}", dg_json_string(what)));
}

/*
 * Catalogs that describe objects, or estimate what is in them, and no more.
 */
static bool
is_descriptive(Oid catalog)
{
	switch (catalog)
	{
		case StatisticRelationId:
		case StatisticExtDataRelationId:
		case DescriptionRelationId:
		case SharedDescriptionRelationId:
		case SecLabelRelationId:
		case SharedSecLabelRelationId:
			return true;
		default:
			return false;
	}
}

/*
 * A catalog is about to be written by hand.
 */
static void
check_catalog(Oid relid)
{
	char	   *what = psprintf("write the catalog \"%s\" by hand", get_rel_name(relid));

	if (dg_installing() || !dg_present())
		return;
	if (!superuser_insists(is_descriptive(relid)))
		ereport(ERROR,
				(errcode(DG_ERRCODE_GUARDED_OBJECT),
				 errmsg("cannot %s: deletion_guard is installed in this database", what),
				 errdetail("The catalogs say what guards tables against deletion, and what keeps their rows."),
				 errhint("%s", way_to_insist("Use the commands for it: CREATE, ALTER, DROP.", is_descriptive(relid)))));
	note_insistence(what);
}

/*
 * Does it only update the statistics in pg_class, as people do to see what the
 * planner would make of other ones?
 */
static bool
updates_statistics(const DgPermissions *permissions)
{
	int			column = -1;

	if (permissions->relid != RelationRelationId ||
		(permissions->requiredPerms & (ACL_INSERT | ACL_DELETE)) != 0)
		return false;
	while ((column = bms_next_member(permissions->updatedCols, column)) >= 0)
	{
		int			attnum = column + FirstLowInvalidHeapAttributeNumber;

		if (attnum != Anum_pg_class_reltuples && attnum != Anum_pg_class_relpages)
			return false;
	}
	return true;
}

/*
 * A statement asks for permission to write a catalog, not merely to lock its
 * rows: then it names no column to update.
 */
static bool
writes_catalog(const DgPermissions *permissions)
{
	AclMode		wanted = permissions->requiredPerms;

	if (!OidIsValid(permissions->relid) || permissions->relid >= FirstUnpinnedObjectId)
		return false;
	return (wanted & (ACL_INSERT | ACL_DELETE | ACL_TRUNCATE)) != 0 ||
		((wanted & ACL_UPDATE) != 0 && !bms_is_empty(permissions->updatedCols));
}

/*
 * What a statement that writes rows asks permission for.
 */
void
dg_protect_builtin_check_permissions(List *permissions)
{
	ListCell   *lc;

	foreach(lc, permissions)
	{
		DgPermissions *asked = lfirst(lc);

		if (writes_catalog(asked) && !updates_statistics(asked))
			check_catalog(asked->relid);
	}
}

/*
 * Refuses TRUNCATE of a catalog.
 */
void
dg_protect_builtin_check_truncate(Oid relid)
{
	if (relid < FirstUnpinnedObjectId)
		check_catalog(relid);
}

/*
 * Is an object part of the server? What bears a low OID, but for what databases,
 * roles and text search are set up with. OIDs in some classes are not of objects.
 * The views and functions that SQL scripts make in pg_catalog count as well,
 * though they may be dropped, as those of PL/pgSQL are.
 */
static bool
is_built_in(ObjectAccessType access, Oid classid, Oid objid)
{
	if (!OidIsValid(objid) || objid >= FirstNormalObjectId)
		return false;
	switch (classid)
	{
		case AuthIdRelationId:
		case DatabaseRelationId:
		case TableSpaceRelationId:
		case DbRoleSettingRelationId:
		case LargeObjectRelationId:
		case LargeObjectMetadataRelationId:
		case TSConfigRelationId:
		case TSDictionaryRelationId:
			return false;
		case NamespaceRelationId:
			return objid == PG_CATALOG_NAMESPACE || objid == PG_TOAST_NAMESPACE;
		case RelationRelationId:
			return objid < FirstUnpinnedObjectId || get_rel_namespace(objid) == PG_CATALOG_NAMESPACE;
		case ProcedureRelationId:
			return objid < FirstUnpinnedObjectId ||
				(access != OAT_DROP && get_func_namespace(objid) == PG_CATALOG_NAMESPACE);
		default:
			return objid < FirstUnpinnedObjectId;
	}
}

/*
 * The built-in operator family to which a new operator or support function was
 * added by which it treats built-in types; InvalidOid if it is not so. Families
 * are extended for new types; what there is of old ones is complete.
 */
static Oid
family_extended(Oid classid, Oid objid)
{
	bool		operator = (classid == AccessMethodOperatorRelationId);
	Relation	rel = table_open(classid, AccessShareLock);
	HeapTuple	tuple = operator ?
	dg_protect_copy_object(rel, AccessMethodOperatorOidIndexId, Anum_pg_amop_oid, objid, SnapshotSelf) :
	dg_protect_copy_object(rel, AccessMethodProcedureOidIndexId, Anum_pg_amproc_oid, objid, SnapshotSelf);
	Oid			family = InvalidOid;
	Oid			left = InvalidOid;
	Oid			right = InvalidOid;

	table_close(rel, AccessShareLock);
	if (tuple == NULL)
		return InvalidOid;
	if (operator)
	{
		Form_pg_amop form = (Form_pg_amop) GETSTRUCT(tuple);

		family = form->amopfamily;
		left = form->amoplefttype;
		right = form->amoprighttype;
	}
	else
	{
		Form_pg_amproc form = (Form_pg_amproc) GETSTRUCT(tuple);

		family = form->amprocfamily;
		left = form->amproclefttype;
		right = form->amprocrighttype;
	}
	return family < FirstUnpinnedObjectId && left < FirstUnpinnedObjectId && right < FirstUnpinnedObjectId ?
		family : InvalidOid;
}

/*
 * An object was created, replaced or altered, or is about to be dropped. relid:
 * the table that it belongs to, or InvalidOid.
 */
void
dg_protect_builtin_check_object(ObjectAccessType access, Oid classid, Oid objid, Oid relid)
{
	ObjectAddress object = {.classId = classid,.objectId = objid};
	char	   *description;
	char	   *what;

	if (access == OAT_POST_CREATE &&
		(classid == AccessMethodOperatorRelationId || classid == AccessMethodProcedureRelationId))
		ObjectAddressSet(object, OperatorFamilyRelationId, family_extended(classid, objid));
	if (!is_built_in(access, object.classId, object.objectId) &&
		!(relid != objid && is_built_in(access, RelationRelationId, relid)))
		return;
	if (dg_frame->command == DG_COMMAND_MAINTENANCE || dg_installing() || !dg_present())
		return;
	/* what is new is not seen yet: then the table that it is of */
	description = getObjectDescription(&object, true);
	if (description == NULL)
	{
		ObjectAddressSet(object, RelationRelationId, relid);
		description = getObjectDescription(&object, true);
	}
	what = psprintf("change %s", description);
	if (!superuser_insists(false))
		ereport(ERROR,
				(errcode(DG_ERRCODE_GUARDED_OBJECT),
				 errmsg("cannot %s: it is built in, and deletion_guard is installed in this database", what),
				 errdetail("What guards tables against deletion, and decides what may be purged, rests on it."),
				 errhint("%s", way_to_insist("Make one of your own, in another schema.", false))));
	note_insistence(what);
}
