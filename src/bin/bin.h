/*
 * bin.h
 *		The recycle bin: capturing rows, bin tables and their shapes, deletion
 *		records, and getting rows out again.
 *
 * A bin table has three columns of its own before those of the guarded table:
 * the deletion, the part (an integer that stands for one tenant of one table
 * within the deletion, see deletion_part), and the row within the part.
 */
#ifndef DG_BIN_H
#define DG_BIN_H

#include "deletion_guard.h"
#include "guard.h"
#include "rows.h"

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#define Anum_bin_deletion	1
#define Anum_bin_part		2
#define Anum_bin_row		3
#define DG_BIN_COLUMNS		3

/* bin_shape.c */

/* How rows of one guarded table go into its present bin table. */
typedef struct DgCapture
{
	Oid			bin_table;
	int32		bin_id;
	TupleDesc	desc;			/* of the rows as they come */
	int			nattrs;			/* columns of the guarded table in the bin */
	AttrNumber *source;			/* for each of them: attribute number in desc */
	bool		spliced;		/* all of desc's columns, in order, are in the bin */
	AttrNumber	tenant_attnum;	/* 0: no tenant column */
	Oid			root;			/* the table that was enrolled */
	bool		plain;			/* other texts are other tenants */
	bool		of_tenants;		/* these are rows of the tenant table */
	AttrNumber	name_attnum;	/* of the tenant table's name column, or 0 */
	AttrNumber	contact_attnum;
	struct DgKeptPath *path;	/* private to bin_tenant.c */
} DgCapture;

extern void dg_bin_shape_init(void);
extern bool dg_bin_is_sound(Relation bin);

/* bin_storage.c */
extern const struct TableAmRoutine *dg_bin_storage(void);
extern bool dg_is_heap(Relation rel);
extern DgCapture *dg_bin_capture_plan(DgGuard *guard, Relation rel);
extern void dg_bin_update_shape(Oid bin_table);
extern void dg_bin_rename_column(Oid relid, const char *old, const char *new);

/* bin_type.c */
extern void dg_bin_give_up_types(Node *parsetree);

/* bin_deletion.c */

/* The deletion that the current statement makes. */
typedef struct DgDeletion
{
	int64		id;				/* 0: none */
	uint64		statement;		/* serial of its top-level statement */
	SubTransactionId subid;		/* that began it */
	SubTransactionId recorded;	/* that wrote its record; invalid: none has */
	TimestampTz deleted_at;
	Oid			role;			/* that ran the statement */
	int32		parts;
} DgDeletion;

extern void dg_deletion_init(void);
extern DgDeletion dg_deletion_suspend(void);
extern void dg_deletion_resume(DgDeletion saved);
extern bool dg_deletion_exists(void);
extern bool dg_deletion_has_parts(void);
extern int64 dg_deletion_current(void);
extern void dg_deletion_record(void);
extern int32 dg_deletion_next_part(void);
extern void dg_deletion_add_part(int64 deletion, int32 part, int32 bin_id, const char *tenant,
								 const char *tenant_name, const char *contact, int64 rows,
								 Oid filenode, bytea *blocks);

/* bin_total.c */

/* Rows, and the tenants they belong to. */
typedef struct DgTotal
{
	int64		rows;
	DgTextSet  *tenants;		/* in the order they came */
} DgTotal;

extern DgTotal *dg_total_begin(Oid relid);
extern void dg_total_add(DgTotal *total, const char *tenant, int64 rows);
extern void dg_total_add_deletion(DgTotal *total, int64 deletion);

/* bin_adopt.c */
extern void dg_bin_forget_table(Oid relid);

/* bin_row_security.c */
extern void dg_bin_take_row_security(Oid bin_table, Oid relid);
extern void dg_bin_follow_row_security(Oid relid);

/* bin_blocks.c */

/* Where in a bin table the rows of one part are. */
typedef struct DgBlocks
{
	MemoryContext context;		/* of the ranges */
	int			nranges;
	int			size;
	struct
	{
		BlockNumber first;
		BlockNumber last;
	}		   *ranges;
} DgBlocks;

extern void dg_blocks_add(DgBlocks *blocks, BlockNumber block);
extern bytea *dg_blocks_pack(const DgBlocks *blocks);
extern HeapTuple dg_blocks_forget(HeapTuple part, TupleDesc desc);
extern HeapTuple dg_part_scan(Relation registry, Snapshot snapshot, int64 deletion, int32 part, SysScanDesc *scan);
extern DgBlocks dg_blocks_of_parts(Relation bin, int64 deletion, const int32 *parts, int nparts);

/* bin_moved.c */
extern void dg_moved_init(void);
extern const DgBlocks *dg_moved_part(Relation bin, int64 deletion, int32 part);

/* bin_trail.c */
typedef struct DgTrailWalk DgTrailWalk;

extern DgTrailWalk *dg_trail_walk(Relation rel);
extern TupleTableSlot *dg_trail_next(DgTrailWalk *walk);
extern void dg_trail_end(DgTrailWalk *walk);

/* bin_capture.c */
extern void dg_bin_capture_trail(Relation rel);
extern bool dg_bin_capture_row(Relation rel, TupleTableSlot *slot, const char *tenant);

/* bin_link.c */
extern void dg_link_note_lost(Relation rel, TupleTableSlot *before, TupleTableSlot *after);
extern void dg_link_rename_column(Oid relid, const char *old, const char *new);

/* bin_lost.c */

/* A link that is still lost. */
typedef struct DgLink
{
	ItemPointerData tid;		/* of the row in deletion_link */
	int64		deletion;
	Oid			relation;
	List	   *key_columns;	/* of char * */
	List	   *key_values;		/* of char *, NULL where null */
	List	   *columns;
	List	   *before;
	List	   *after;
	char	   *row;			/* what its row has, equal for links that name the same row */
	bool		waiting;
	int64		waiting_since;	/* the last deletion then */

	/* for bin_relink.c */
	bool		live;			/* what it leads to is */
	bool		restored;
	bool		stale;			/* another undelete has marked it since it was read */

	bool		taken;			/* by one of several rows that it fits: dg_links_put() leaves it alone */
} DgLink;

/* Links of one table that name the same columns. */
typedef struct DgLinkSet
{
	char	   *name;
	Oid			relation;
	List	   *key_columns;
	List	   *columns;
	int			n;				/* of columns */
	AttrNumber *attnums;
	char	   *missing;		/* a column that the table has lost, without which they stay lost */
	List	   *links;
} DgLinkSet;

extern List *dg_links_read(const char *condition, int nargs, Oid *types, Datum *values);
extern List *dg_links_by_set(List *links);
extern List *dg_links_put(List *sets, Relation rel, int64 deletion, Datum *values, bool *nulls);
extern List *dg_links_of_table(Oid relid);

/* bin_relink.c */
extern int64 dg_restore_links(DgRowsWriter *writer, List *deletions, List *relids);
extern int64 dg_restore_these_links(DgRowsWriter *writer, List *links);

/* bin_undelete.c */

/* A part that has rows in the bin, of what is to be restored. */
typedef struct DgSavedPart
{
	int64		deletion;
	int32		part;
	int32		bin_id;
	Oid			relation;
	char	   *relation_name;
	Oid			bin_table;
	char	   *tenant;			/* or NULL */
	bool		orphan;			/* the table is gone */
	int64		rows;			/* still in the bin */
	int64		seen;
	int64		left;			/* of those, gone back */
	struct DgReport *report;
} DgSavedPart;

/* A line of the report. */
typedef struct DgReport
{
	Oid			relation;
	Oid			orphan;			/* bin table, where the relation is gone */
	char	   *relation_name;
	char	   *tenant;
	int			tag;			/* its place in the list */
	int64		restored;
	int64		identical;
	int64		skipped;
	int64		orphaned;		/* of the skipped: what they refer to is nowhere */
	char	   *note;			/* or NULL */
} DgReport;

typedef struct DgUndelete
{
	DgRowsOptions options;
	MemoryContext context;		/* of the parts and the report */
	List	   *parts;
	List	   *reports;
	HTAB	   *reports_by_name;	/* NULL: none yet */
	int64		rows;			/* that left the bin */
	int64		links;			/* that were put back */
	char	   *failure;		/* of a dry run */
} DgUndelete;

extern bool dg_table_is_gone(Oid relid);

/* bin_restore.c */
extern void dg_restore_settle(void *arg, const DgRow *row, DgRowOutcome outcome);
extern void dg_restore_parts(void *call);

/* bin_tenant.c */
typedef struct DgTenantResolver DgTenantResolver;

extern DgTenantResolver *dg_tenant_resolver_begin(DgGuard *guard, DgCapture *plan, Relation rel);
extern Datum dg_tenant_resolve(DgTenantResolver *resolver, TupleTableSlot *slot, bool *isnull);
extern void dg_tenant_resolver_type(DgTenantResolver *resolver, int16 *len, bool *byval);
extern char *dg_tenant_text(DgTenantResolver *resolver, Datum tenant);
extern void dg_tenant_resolver_end(DgTenantResolver *resolver);

/* bin_tenant_row.c */

/* Of a tenant, as text; NULL for null. */
typedef struct DgTenantRow
{
	char	   *tenant;			/* its key */
	char	   *name;
	char	   *contact;
} DgTenantRow;

/*
 * A condition on parts p of deletion_part: that they are these tenants', by the
 * parameters that dg_tenants_in_bin() makes.
 */
#define DG_OF_TENANTS(tenants, bins) \
	"(p.tenant_hash = ANY (ARRAY(SELECT hashtextextended(s, 0) FROM unnest(" tenants ") s))" \
	" AND EXISTS (SELECT FROM unnest(" tenants ", " bins ") s (tenant, bin_id)" \
	" WHERE s.tenant = p.tenant AND s.bin_id IN (0, p.bin_id)))"

extern List *dg_tenant_spellings(const char *tenant);
extern bool dg_tenant_has_part(const char *tenant, int32 bin_id, const char *spelling);
extern Datum dg_tenants_in_bin(List *tenants, Datum *bins);
extern int	dg_tenant_live(const char *tenant, Snapshot snapshot, DgTenantRow *row);
extern bool dg_tenant_deleted(const char *tenant, Snapshot snapshot, DgTenantRow *row);
extern char *dg_tenant_spelling(const char *tenant);
extern List *dg_tenants_present(List *tenants);

/* bin_rename.c */
typedef struct DgRenamedColumns DgRenamedColumns;

extern void dg_rename_init(void);
extern int64 dg_deletion_draw_number(void);
extern bool dg_any_renamed(void);
extern char *dg_renamed_tenant(const char *tenant);
extern List *dg_former_keys(const char *tenant);
extern void dg_forget_renames(const char *tenant);
extern DgRenamedColumns *dg_renamed_columns(Relation rel, TupleDesc desc);
extern void dg_rename_values(DgRenamedColumns *columns, int64 deletion, Datum *values, const bool *nulls);

/* bin_part.c */

/* The rows of one tenant in one capture. */
typedef struct DgPart
{
	int32		part;
	int32		rows;
	char	   *text;			/* the tenant's key, or NULL */
	char	   *name;
	char	   *contact;
	DgBlocks   *blocks;
} DgPart;

typedef struct DgParts DgParts;

extern DgParts *dg_parts_begin(const DgCapture *plan, DgTenantResolver *resolver,
							   int64 deletion, Oid filenode);
extern DgParts *dg_parts_share(Oid relid, const DgCapture *plan, DgTenantResolver *resolver,
							   int64 deletion, Oid filenode);
extern DgPart *dg_parts_of_row(DgParts *parts, DgTenantResolver *resolver,
							   TupleTableSlot *slot, bool *created);
extern void dg_parts_end(DgParts *parts);
extern void dg_parts_add(DgTotal *total, DgParts *parts);
extern void dg_parts_add_open(DgTotal *total, int64 deletion);
extern bool dg_parts_wait(void);
extern int	dg_parts_enter(void);
extern void dg_parts_write_open(void);
extern void dg_parts_leave(int saved);
extern void dg_parts_during(void (*work) (void *arg), void *arg);
extern void dg_parts_init(void);

/* bin_extend.c */
typedef struct DgExtension DgExtension;

#if DG_EXTENDS_BY_PAGE
extern DgExtension *dg_extension_begin(Relation rel);
extern Buffer dg_extension_next_page(DgExtension *extension, int64 written, BufferAccessStrategy strategy);
extern void dg_extension_end(DgExtension *extension);
#else
#define dg_extension_begin(rel) NULL
#define dg_extension_next_page(extension, written, strategy) InvalidBuffer
#define dg_extension_end(extension) ((void) 0)
#endif

/* bin_writer.c */
typedef struct DgBinWriter DgBinWriter;

extern DgBinWriter *dg_bin_writer_begin(DgCapture *plan, int64 deletion);
extern Oid	dg_bin_writer_file(DgBinWriter *writer);
extern void dg_bin_writer_put(DgBinWriter *writer, TupleTableSlot *slot, int32 part, int32 row,
							  DgBlocks *blocks);
extern void dg_bin_writer_end(DgBinWriter *writer);

/* bin_scan.c */
typedef struct DgBinScan DgBinScan;

extern DgBinScan *dg_bin_scan_begin(Oid bin_table, LOCKMODE lockmode, int64 deletion,
									const int32 *parts, int nparts);
extern TupleTableSlot *dg_bin_scan_next(DgBinScan *scan);
extern int32 dg_bin_scan_part(DgBinScan *scan);
extern void dg_bin_scan_delete(DgBinScan *scan);
extern void dg_bin_delete_row(Oid bin_table, int64 address);
extern void dg_bin_scan_end(DgBinScan *scan);

typedef void (*DgBinRowCallback) (TupleTableSlot *slot, int32 part, void *arg);
extern void dg_bin_purge_parts(Oid bin_table, int64 deletion, const int32 *parts, int nparts,
							   DgBinRowCallback callback, void *arg);

#endif							/* DG_BIN_H */
