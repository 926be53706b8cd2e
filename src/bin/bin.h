/*
 * bin.h
 *		Where deleted rows lie: bin tables, their shapes, writing to them and reading them.
 */
#ifndef DG_BIN_H
#define DG_BIN_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "common/deletion_guard.h"
#include "common/own_tables.h"
#include "guard/guard.h"

#define Anum_bin_deletion	1
#define Anum_bin_part		2
#define Anum_bin_row		3
#define DG_BIN_COLUMNS		3

/* bin_plan.c */

/* How rows of one guarded table go into its present bin table. */
typedef struct DgBinPlan
{
	Oid			bin_table;
	int32		bin_id;
	TupleDesc	desc;			/* of the rows as they come */
	int			nattrs;			/* columns of the guarded table in the bin */
	AttrNumber *source;			/* for each of them: attribute number in desc */
	bool		spliced;		/* all of desc's columns, in order, are in the
								 * bin */
	AttrNumber	tenant_attnum;	/* 0: no tenant column */
	Oid			root;			/* the table that was enrolled */
	bool		plain;			/* other texts are other tenants */
	bool		of_tenants;		/* these are rows of the tenant table */
	AttrNumber	name_attnum;	/* of the tenant table's name column, or 0 */
	AttrNumber	contact_attnum;
	struct DgKeptPath *path;	/* private to capture_tenant.c */
} DgBinPlan;

extern DgBinPlan *dg_bin_capture_plan(DgGuard *guard, Relation rel);
extern DgBinPlan *dg_bin_last_plan(DgGuard *guard, Relation rel);

/* bin_shape.c */
extern void dg_bin_shape_init(void);

/* bin_storage.c */
extern bool dg_bin_is_heap(Relation rel);

/* bin_column.c */
extern DgBinPlan *dg_bin_column_plan(DgGuard *guard, Relation rel, Relation root, AttrNumber attnum,
									 const DgBinPlan *other);
extern void dg_bin_rename_column(Oid relid, const char *old, const char *new);

/* bin_type.c */
extern void dg_bin_give_up_type(Oid type);

/* bin_row_security.c */
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

/* A part, and where its record says that its rows are. */
typedef struct DgPlacedPart
{
	int64		deletion;
	int32		part;
	Oid			filenode;		/* of the bin table then */
	bytea	   *blocks;			/* ranges, packed */
	int64		rows;			/* that are there */
	int64		found;			/* for the reader to count */
} DgPlacedPart;

extern bytea *dg_bin_blocks_pack(const DgBlocks *blocks);
extern HeapTuple dg_bin_blocks_forget(HeapTuple part, TupleDesc desc);

/* bin_moved.c */
extern void dg_bin_moved_init(void);

/* bin_rename.c */
extern List *dg_bin_renames_read(void);
extern const char *dg_bin_renamed_key(List *renames, int64 deletion, const char *key);
extern bool dg_bin_any_renamed(void);
extern char *dg_bin_renamed_tenant(const char *tenant);
extern List *dg_bin_former_keys(const char *tenant);
extern void dg_bin_forget_renames(const char *tenant);

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
 * parameters that dg_bin_tenants_in_bin() makes.
 */
#define DG_OF_TENANTS(tenants, bins) \
	"(p.tenant_hash = ANY (ARRAY(SELECT hashtextextended(s, 0) FROM unnest(" tenants ") s))" \
	" AND EXISTS (SELECT FROM unnest(" tenants ", " bins ") s (tenant, bin_id)" \
	" WHERE s.tenant = p.tenant AND s.bin_id IN (0, p.bin_id)))"


typedef void (*DgPartAction) (DgOwnScan *scan, void *arg);

extern void dg_bin_tenant_each_part(const char *tenant, LOCKMODE lockmode, DgPartAction action, void *arg);
extern Datum dg_bin_tenants_in_bin(List *tenants, Datum *bins);
extern int	dg_bin_tenant_live(const char *tenant, Snapshot snapshot, DgTenantRow *row);
extern bool dg_bin_tenant_deleted(const char *tenant, Snapshot snapshot, DgTenantRow *row);
extern char *dg_bin_tenant_spelling(const char *tenant);
extern List *dg_bin_tenants_present(List *tenants);
extern List *dg_bin_tenants_known_by(List *tenants);

/* bin_writer.c */

typedef struct DgBinWriter DgBinWriter;

extern DgBinWriter *dg_bin_writer_begin(DgBinPlan *plan, int64 deletion);
extern Oid	dg_bin_writer_file(DgBinWriter *writer);
extern void dg_bin_writer_put(DgBinWriter *writer, TupleTableSlot *slot, int32 part, int32 row,
							  DgBlocks *blocks);
extern void dg_bin_writer_end(DgBinWriter *writer);

/* bin_scan.c */

typedef struct DgBinScan DgBinScan;

/* A part of a deletion. */
typedef struct DgPartId
{
	int64		deletion;
	int32		part;
} DgPartId;

extern int	dg_bin_compare_parts(const DgPartId *x, const DgPartId *y);
extern DgBinScan *dg_bin_scan_begin(Oid bin_table, LOCKMODE lockmode, const DgPartId *parts, int nparts);
extern DgBinScan *dg_bin_scan_begin_placed(Oid bin_table, DgPlacedPart *parts, int64 nparts, Snapshot snapshot);
extern TupleTableSlot *dg_bin_scan_next(DgBinScan *scan);
extern DgPartId dg_bin_scan_part(DgBinScan *scan);
extern DgPlacedPart *dg_bin_scan_placed(DgBinScan *scan);
extern void dg_bin_scan_delete(DgBinScan *scan);
extern void dg_bin_delete_row(Oid bin_table, int64 address);
extern void dg_bin_scan_end(DgBinScan *scan);

/* is told of a row of the bin, and says whether it goes */
typedef bool (*DgBinRowCallback) (TupleTableSlot *slot, void *arg);
extern void dg_bin_purge_parts(Oid bin_table, const DgPartId *parts, int nparts, DgBinRowCallback callback, void *arg);

#endif							/* DG_BIN_H */
