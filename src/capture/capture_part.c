/*
 * capture_part.c
 *		Parts: how many rows of which tenant a capture took from one table, and
 *		where in the bin they are.
 *
 * A capture counts its rows into parts and writes these down when it ends.
 *
 * A part is found by the bytes of the tenant column's value. Where other bytes
 * may be the same tenant (guard_tenant.c), several of them lead to one part, under
 * the spelling of the tenant table. A tenant that is not there goes by the
 * spelling that the deletion came to first.
 *
 * Where captures of one statement follow each other, parts stay open for the
 * next one (capture_open.c).
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "bin/bin.h"
#include "capture/capture_internal.h"
#include "common/tables.h"
#include "guard/guard.h"

typedef struct TenantType
{
	int16		len;
	bool		byval;
} TenantType;

static inline uint32
hash_tenant(const TenantType *type, Datum tenant)
{
	if (type->byval)
		return murmurhash32((uint32) tenant ^ (uint32) ((uint64) tenant >> 32));
	return datum_image_hash(tenant, false, type->len);
}

static inline bool
same_tenant(const TenantType *type, Datum a, Datum b)
{
	return a == b || (!type->byval && datum_image_eq(a, b, false, type->len));
}

typedef struct TenantEntry
{
	Datum		tenant;			/* hash key */
	uint32		hash;
	char		status;
	DgPart	   *part;
} TenantEntry;

#define SH_PREFIX tenants
#define SH_ELEMENT_TYPE TenantEntry
#define SH_KEY_TYPE Datum
#define SH_KEY tenant
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) hash_tenant(tb->private_data, key)
#define SH_EQUAL(tb, a, b) same_tenant(tb->private_data, a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct DgParts
{
	MemoryContext context;		/* of the parts */
	int64		deletion;
	int32		bin_id;
	Oid			filenode;		/* of the bin table */
	AttrNumber	name_attnum;	/* see DgBinPlan */
	AttrNumber	contact_attnum;
	TenantType	type;
	tenants_hash *tenants;		/* NULL: the table has no tenant source */
	TenantEntry *last;			/* of the row before; tenants rarely alternate */
	DgPart	   *no_tenant;		/* rows whose tenant is null, or that have
								 * none; NULL: no such rows */
	DgPart	  **list;			/* all of them, in the order they came */
	int			nparts;
	int			size;
	Oid			root;			/* the table that was enrolled */
	bool		plain;			/* other texts are other tenants */
	bool		of_tenants;		/* these are rows of the tenant table */
	DgTextSet  *spellings;		/* if not plain, of the deletion so far; NULL:
								 * none yet */
	DgPart	  **by_place;		/* of each of them, NULL: none in this capture */
	int64		nplaces;
	bool		stay_open;
};

/*
 * The parts of one capture; resolver is NULL for a table without tenants.
 * With stay_open they are shared with other captures.
 */
DgParts *
dg_capture_parts_begin(const DgBinPlan *plan, DgTenantResolver *resolver, int64 deletion, Oid filenode,
					   bool stay_open)
{
	DgParts    *parts = palloc0(sizeof(DgParts));

	parts->context = CurrentMemoryContext;
	parts->deletion = deletion;
	parts->stay_open = stay_open;
	parts->bin_id = plan->bin_id;
	parts->filenode = filenode;
	parts->root = plan->root;
	parts->plain = plan->plain;
	parts->of_tenants = plan->of_tenants;
	parts->name_attnum = plan->name_attnum;
	parts->contact_attnum = plan->contact_attnum;
	if (resolver != NULL)
	{
		dg_capture_tenant_resolver_type(resolver, &parts->type.len, &parts->type.byval);
		parts->tenants = tenants_create(parts->context, 16, &parts->type);
	}
	return parts;
}

static char *
column_text(TupleTableSlot *slot, AttrNumber attnum)
{
	bool		isnull;
	Datum		value;

	if (attnum == InvalidAttrNumber)
		return NULL;
	value = slot_getattr(slot, attnum, &isnull);
	return isnull ? NULL : dg_value_text(TupleDescAttr(slot->tts_tupleDescriptor, attnum - 1)->atttypid, value);
}

/*
 * A part, in the current memory context. Its text may be in another.
 */
static DgPart *
make_part(const DgPart *like, const DgParts *parts, TupleTableSlot *slot)
{
	DgPart	   *part = palloc(sizeof(DgPart));

	*part = *like;
	part->part = dg_capture_deletion_next_part();
	part->blocks = palloc0(sizeof(DgBlocks));
	part->blocks->context = CurrentMemoryContext;
	part->name = column_text(slot, parts->name_attnum);
	part->contact = column_text(slot, parts->contact_attnum);
	return part;
}

static DgPart *
open_part(DgPart *like, const DgParts *parts, TupleTableSlot *slot)
{
	DgPart	   *part = dg_capture_open_find(like);
	MemoryContext old;

	if (part != NULL)
		return part;
	old = MemoryContextSwitchTo(dg_capture_open_context());
	part = make_part(like, parts, slot);
	if (like->text != NULL)
		part->text = pstrdup(like->text);
	MemoryContextSwitchTo(old);
	dg_capture_open_add(part);
	return part;
}

static DgPart *
begin_part(DgParts *parts, TupleTableSlot *slot, char *text)
{
	DgPart		like = {.deletion = parts->deletion,.bin_id = parts->bin_id,.filenode = parts->filenode,.text = text};
	DgPart	   *part = parts->stay_open ? open_part(&like, parts, slot) : make_part(&like, parts, slot);

	if (parts->nparts == parts->size)
	{
		parts->size = Max(parts->size * 2, 4);
		parts->list = parts->list == NULL ? palloc(sizeof(DgPart *) * parts->size) :
			repalloc_huge(parts->list, sizeof(DgPart *) * parts->size);
	}
	parts->list[parts->nparts++] = part;
	return part;
}

/*
 * How the tenant table spells a tenant's key, as the deleting statement sees it or
 * as it is now; NULL if the tenant is not there. A cascade has deleted its row by
 * now, and rows may wait for a deferred key longer than for this statement.
 */
static char *
spelling_in_table(const char *text)
{
	DgTenantRow row;

	if ((ActiveSnapshotSet() && dg_bin_tenant_live(text, GetActiveSnapshot(), &row) > 0) ||
		dg_bin_tenant_live(text, GetLatestSnapshot(), &row) > 0)
		return row.tenant;
	return NULL;
}

/*
 * The place in parts->spellings of the text that stands for a tenant in this
 * deletion.
 */
static int64
find_spelling(DgParts *parts, const char *text)
{
	const char *spelling = NULL;
	int64		place;

	if (parts->spellings == NULL)
	{
		DgTotal    *total = dg_capture_total_begin(parts->root);

		if (dg_capture_deletion_has_parts())
			dg_capture_total_add_deletion(total, parts->deletion);
		parts->spellings = total->tenants;
	}
	place = dg_guard_textset_find(parts->spellings, text);
	if (place >= 0)
		return place;
	if (!parts->of_tenants)
		spelling = spelling_in_table(text);
	(void) dg_guard_textset_add(parts->spellings, spelling != NULL ? spelling : text);
	return dg_guard_textset_count(parts->spellings) - 1;
}

/*
 * The part of a tenant, which may have come under another spelling before.
 */
static DgPart *
part_of_spelling(DgParts *parts, TupleTableSlot *slot, const char *text)
{
	int64		place = find_spelling(parts, text);

	if (place >= parts->nplaces)
	{
		int64		n = dg_guard_textset_count(parts->spellings) * 2;

		parts->by_place = parts->by_place == NULL ? palloc0(sizeof(DgPart *) * n) :
			repalloc_huge(parts->by_place, sizeof(DgPart *) * n);
		memset(parts->by_place + parts->nplaces, 0, sizeof(DgPart *) * (n - parts->nplaces));
		parts->nplaces = n;
	}
	if (parts->by_place[place] == NULL)
		parts->by_place[place] = begin_part(parts, slot, pstrdup(dg_guard_textset_get(parts->spellings, place)));
	return parts->by_place[place];
}

static TenantEntry *
entry_of_tenant(DgParts *parts, DgTenantResolver *resolver, Datum tenant, TupleTableSlot *slot)
{
	TenantEntry *entry = tenants_lookup(parts->tenants, tenant);
	char	   *text;
	DgPart	   *part;
	bool		found;

	if (entry != NULL)
		return entry;
	text = dg_capture_tenant_text(resolver, tenant);
	part = parts->plain || dg_guard_tenant_identity(parts->root) < 0 ? begin_part(parts, slot, text) :
		part_of_spelling(parts, slot, text);
	tenant = datumCopy(tenant, parts->type.byval, parts->type.len);
	entry = tenants_insert(parts->tenants, tenant, &found);
	entry->part = part;
	return entry;
}

/*
 * The part that a row belongs to, and whether it is a new one. Valid until the
 * parts end.
 */
DgPart *
dg_capture_parts_of_row(DgParts *parts, DgTenantResolver *resolver, TupleTableSlot *slot, bool *created)
{
	int			before = parts->nparts;
	Datum		tenant = (Datum) 0;
	bool		isnull = true;
	DgPart	   *part;
	MemoryContext old;

	*created = false;
	if (resolver != NULL)
		tenant = dg_capture_tenant_resolve(resolver, slot, &isnull);
	if (!isnull && parts->last != NULL && same_tenant(&parts->type, parts->last->tenant, tenant))
		return parts->last->part;
	if (isnull && parts->no_tenant != NULL)
		return parts->no_tenant;

	old = MemoryContextSwitchTo(parts->context);
	if (isnull)
		part = parts->no_tenant = begin_part(parts, slot, NULL);
	else
	{
		parts->last = entry_of_tenant(parts, resolver, tenant, slot);
		part = parts->last->part;
	}
	MemoryContextSwitchTo(old);
	*created = parts->nparts > before;
	return part;
}

/*
 * Ends a capture whose rows are all in the bin.
 */
void
dg_capture_parts_end(DgParts *parts)
{
	CommandId	cid = GetCurrentCommandId(true);

	/* a purge changes the record: not where another tenant's rows are counted */
	if (parts->nparts > 1 && !parts->stay_open)
		dg_capture_deletion_record(cid);
	for (int i = 0; i < parts->nparts; i++)
	{
		if (parts->list[i]->open)
			dg_capture_open_release(parts->list[i]);
		else
			dg_capture_deletion_add_part(parts->list[i], cid);
	}
}

/*
 * Adds the rows and tenants of a capture that has not ended, unless they are in
 * open parts, which dg_capture_open_add_to_total() adds.
 */
void
dg_capture_parts_add(DgTotal *total, DgParts *parts)
{
	for (int i = 0; i < parts->nparts; i++)
	{
		if (!parts->list[i]->open)
			dg_capture_total_add(total, parts->list[i]->text, parts->list[i]->rows);
	}
}

/*
 * Adds what is known of a deletion so far, by this transaction too. Parts that
 * were rolled back are not seen.
 */
void
dg_capture_total_add_deletion(DgTotal *total, int64 deletion)
{
	Relation	registry = table_open(dg_objects()->deletion_part, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(registry);
	Snapshot	snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyInit(&key, Anum_deletion_part_deletion_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(deletion));
	scan = systable_beginscan(registry, dg_objects()->deletion_part_pkey, true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		rows = heap_getattr(tuple, Anum_deletion_part_rows, desc, &isnull);
		Datum		tenant = heap_getattr(tuple, Anum_deletion_part_tenant, desc, &isnull);

		dg_capture_total_add(total, isnull ? NULL : TextDatumGetCString(tenant), DatumGetInt64(rows));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(registry, AccessShareLock);
	dg_capture_open_add_to_total(total, deletion);
}
