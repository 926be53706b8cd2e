/*
 * bin_internal.h
 *		What the files of bin/ share among themselves.
 */
#ifndef DG_BIN_INTERNAL_H
#define DG_BIN_INTERNAL_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "bin/bin.h"

/* bin_shape.c */
extern bool dg_bin_keeps_column(Form_pg_attribute att);
extern bool dg_bin_same_column(Form_pg_attribute a, Form_pg_attribute b);
extern bool dg_bin_is_sound(Relation bin);
extern Oid	dg_bin_create(Oid root, TupleDesc desc, int32 *bin_id);
extern Oid	dg_bin_find_or_create(Oid root, TupleDesc desc, int32 *bin_id);
extern void dg_bin_update_shape(Oid bin_table);

/* bin_plan.c */
extern void dg_bin_map_columns(DgBinPlan *plan, TupleDesc shape, DgGuard *guard, Relation rel);

/* bin_storage.c */
extern const struct TableAmRoutine *dg_bin_storage(void);

/* bin_row_security.c */
extern void dg_bin_take_row_security(Oid bin_table, Oid relid);

/* bin_blocks.c */
extern void dg_bin_blocks_add(DgBlocks *blocks, BlockNumber block);
extern HeapTuple dg_bin_part_scan(Relation registry, Snapshot snapshot, int64 deletion, int32 part, SysScanDesc *scan);

/* Where a part is whose bin table has got another file; NULL: nowhere. */
typedef const DgBlocks *(*DgMovedPart) (Relation bin, int64 deletion, int32 part);

extern DgBlocks dg_bin_blocks_of_parts(Relation bin, const DgPartId *parts, int nparts, DgMovedPart find_moved);
extern DgBlocks dg_bin_blocks_of_placed(Relation bin, const DgPlacedPart *parts, int64 nparts);

/* bin_moved.c */
extern const DgBlocks *dg_bin_moved_part(Relation bin, int64 deletion, int32 part);

/* bin_extend.c */

typedef struct DgExtension DgExtension;

#if DG_EXTENDS_BY_PAGE
extern DgExtension *dg_bin_extension_begin(Relation rel);
extern Buffer dg_bin_extension_next_page(DgExtension *extension, int64 written, BufferAccessStrategy strategy);
extern void dg_bin_extension_end(DgExtension *extension);
#else
#define dg_bin_extension_begin(rel) NULL
#define dg_bin_extension_next_page(extension, written, strategy) InvalidBuffer
#define dg_bin_extension_end(extension) ((void) 0)
#endif

#endif							/* DG_BIN_INTERNAL_H */
