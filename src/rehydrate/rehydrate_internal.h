/*
 * rehydrate_internal.h
 *		What the files of rehydrate/ share among themselves.
 */
#ifndef DG_REHYDRATE_INTERNAL_H
#define DG_REHYDRATE_INTERNAL_H

#include "compare/compare.h"
#include "extract/extract.h"
#include "rows/rows.h"

/* rehydrate_chosen.c */
extern List *dg_rehydrate_choices(Jsonb *rows);
extern bool dg_rehydrate_is_chosen(List *choices, const DgSource *source, const Datum *values, const bool *nulls);
extern void dg_rehydrate_choices_check(List *choices);

/* rehydrate_referenced.c */

typedef struct DgReferences DgReferences;

extern DgReferences *dg_rehydrate_references_begin(DgExtractArchive *archive, DgExtractPlan *plan, bool own);
extern void dg_rehydrate_references_note(DgReferences *references, const DgSource *source, Datum *values, bool *nulls);
extern bool dg_rehydrate_references_read(DgReferences *references, DgRowSink sink, void *arg);

/* rehydrate_keyclass.c */

/* Columns that references connect: equal values in them are one key. */
typedef struct DgKeyClass
{
	bool		tenant;			/* the tenant's */
	bool		given;			/* what replaces values was said, not drawn */
	struct DgKeyColumn *column; /* whose type counts */
	List	   *made;			/* of DgKeyColumn: their table makes the keys */
	DgKeyMap   *old;			/* values that are replaced, to numbers of */
	Datum	   *fresh;			/* what replaces them; NULL: none */
	int			n;
	int			room;
	Oid			type;			/* of the column */
	int16		len;
	bool		byval;
	FmgrInfo	output;
} DgKeyClass;

typedef struct DgKeyColumn
{
	struct
	{
		Oid			relid;
		int			attnum;
	}			id;				/* hash key */
	struct DgKeyColumn *group;	/* leads to one column of its class */
	DgKeyClass *class;
	bool		tenant;			/* tells whose the row is */
	bool		refers;			/* to another column */
	bool		everywhere;		/* it is unique among all tenants' rows */
	ExprState  *made;			/* makes a key; NULL: the table does not */
	Tuplestorestate *found;		/* the archive's values, if it is made */
} DgKeyColumn;

/* A reference of those rows that have a certain type. */
typedef struct DgTypedReference
{
	DgKeyColumn *column;
	DgKeyColumn *key;			/* that it refers to */
	AttrNumber	type;
	const char *value;
} DgTypedReference;

/* A column of a source with made keys. */
typedef struct DgKeyPlace
{
	int			field;
	DgKeyColumn *column;
} DgKeyPlace;

typedef struct DgKeys
{
	MemoryContext context;
	const char *tenant;			/* whom the rows go to */
	List	   *relids;
	HTAB	   *columns;		/* of DgKeyColumn */
	List	   *classes;		/* of DgKeyClass */
	List	   *typed;			/* of DgTypedReference */
	List	   *steps;			/* declared ones, as ForeignKeyCacheInfo */
	TupleDesc	desc;			/* of collected values */
	const DgSource *source;		/* the last that was collected from, */
	List	   *places;			/* and its DgKeyPlaces */
} DgKeys;

extern DgKeys *dg_rehydrate_keys_make(List *relids);
extern List *dg_rehydrate_keys_of_table(const DgKeys *keys, Oid relid);
extern DgKeyColumn *dg_rehydrate_keys_column(const DgKeys *keys, Oid relid, AttrNumber attnum);

/* rehydrate_renumber.c */
extern void dg_rehydrate_keys_collect(DgKeys *keys, const DgSource *source, const Datum *values, const bool *nulls);
extern bool dg_rehydrate_keys_find(DgKeyClass *class, const char *text, Datum *value);
extern void dg_rehydrate_keys_set(DgKeys *keys, DgKeyClass *class, const char *text, const char *by);
extern void dg_rehydrate_keys_renumber(DgKeys *keys);

/* rehydrate_restore.c */

/* What became of one tenant's rows of one table. */
typedef struct DgCount
{
	int64		found;
	int64		restored;
	int64		identical;
	int64		skipped;
	int64		purged;			/* of the skipped: as purged, */
	int64		suppressed;		/* by triggers, */
	int64		relinked;		/* of the identical: had lost links */
	int64		orphaned;		/* as what they refer to is nowhere, */
	int64		merged;			/* and as the other tenant has its own */
	int64		renumbered;		/* of those written: have another key */
	char	   *note;			/* or NULL */
	DgObjectCount objects;
} DgCount;

/* A table that rows go to. */
typedef struct DgDestination
{
	Oid			relid;			/* the table that the rows belong to */
	Oid			written;		/* the one they are written to */
	bool		shared;			/* rows of no tenant, counted as the first
								 * one's */
	DgCount    *counts;			/* one for each tenant */
	int64		restored;
	struct DgPurgeSubtract *subtract;	/* knows rows that were purged */
	struct DgPurgeSubtract *subtract_as;	/* or as another tenant's */
	struct DgAsTable *as;		/* what to change in rows, or NULL */
	bool		links_known;
	List	   *lost_links;		/* of live rows, by set (undelete_lost.c) */
	List	   *purges;			/* int64 *: those that rows were of */
	int64		differences;	/* drill(): rows unlike the archive's, */
	char	   *uncompared;		/* and columns that could not be compared, or
								 * NULL */
} DgDestination;

extern char *dg_rehydrate_purges_text(const DgDestination *destination, const char *before, const char *after);

typedef struct DgRestore
{
	DgRowsOptions options;		/* what of them dg_rehydrate_restore_run()
								 * does not set */
	DgOnConflict on_conflict;
	char	   *into_schema;	/* or NULL */
	bool		any_name;		/* of tables in it will do */
	bool		dry_run;
	bool		with_referenced;
	bool		report;			/* what is left out is no error */
	bool		fire_triggers;
	char	   *as_tenant;		/* whose the rows become, or NULL */
	bool		renumber;
	struct DgAsTenant *as;		/* as whom, or NULL */
	MemoryContext context;		/* of the plan and the counts */
	DgExtractArchive *archive;
	DgExtractPlan *plan;
	List	   *destinations;	/* in the order of the plan's targets */
	List	   *links;			/* lost by live rows that are otherwise the
								 * archive's */
	int64		links_missing;	/* of them, not put back */
	List	   *links_left;		/* of DgLeftOut: other rows' links, lost to
								 * rows that are back */
	DgReferences *references;	/* with_referenced: what tenants' rows refer
								 * to */
	DgRowsWriter *writer;
	DgRowsTarget **targets;		/* by the index of a source; behind them those
								 * of shared rows */
	DgDestination **by_source;	/* the same */
	char	   *failure;		/* of a dry run */

	List	   *choices;		/* only these rows; NIL: all */
	DgReferences *parents;		/* what they refer to of the tenants' rows */
	bool		delete_extra;	/* live rows that the archive lacks */
	List	   *extras;			/* of DgExtra */
	List	   *referrers;		/* private to rehydrate_referrer.c */
	int64		deletion;		/* that has taken them; 0: there were none */
} DgRestore;

/* Live rows of a table that the archive did not have. */
typedef struct DgExtra
{
	Oid			relid;
	int			distance;		/* length of the path to their tenant */
	int64	   *deleted;		/* by tenant */
} DgExtra;

extern void dg_rehydrate_restore_run(DgRestore *call);
extern void dg_rehydrate_restore_try(DgRestore *call);

/* rehydrate_check.c */
extern void dg_rehydrate_check_left_out(const DgRestore *call);
extern void dg_rehydrate_check_counts(const DgRestore *call);

/* rehydrate_referrer.c */
extern List *dg_rehydrate_referrers_add(List *referrers, Relation rel);
extern void dg_rehydrate_referrers_returning(StringInfo buf, List *referrers);
extern void dg_rehydrate_referrers_keep(List *referrers);
extern void dg_rehydrate_referrers_check(const DgRestore *call);

/* rehydrate_extra.c */
extern void dg_rehydrate_extra_delete(DgRestore *call);
extern int64 dg_rehydrate_extra_rows(const DgRestore *call, Oid relid, int tenant);

/* rehydrate_links.c */
extern bool dg_rehydrate_links_make_same(void *call, const DgRow *row, Relation rel, TupleTableSlot *stored, TupleTableSlot *live);
extern void dg_rehydrate_links_alias(DgRestore *call, DgDestination *destination, DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc);
extern void dg_rehydrate_links_take(void *call, const DgRow *row, void *links);
extern void dg_rehydrate_links_come_back(DgRestore *call, CommandId since);

/* rehydrate_as_tenant.c */

typedef struct DgAsTenant
{
	const char *old;			/* its key */
	DgKeys	   *keys;
	Oid			table;			/* that lists the tenants, or InvalidOid */
	bool		merged;			/* it has the new one */
	char	  **row;			/* what the old one's row has in columns with
								 * keys, by attribute number, or NULL */
	const DgSource *source;		/* that was read last */
	List	   *references;		/* of DgReference */
} DgAsTenant;

extern void dg_rehydrate_as_tenant_arguments(DgRestore *call);
extern void dg_rehydrate_as_tenant_begin(DgRestore *call);
extern bool dg_rehydrate_as_tenant_stays_out(const DgRestore *call, const DgSource *source);

/* rehydrate_replace.c */

typedef struct DgAsTable DgAsTable;

extern DgAsTable *dg_rehydrate_as_tenant_table(DgRestore *call, Oid relid);
extern void dg_rehydrate_as_tenant_change(DgAsTable *table, TupleTableSlot *slot);
extern bool dg_rehydrate_as_tenant_renumbered(const DgAsTable *table);

/* rehydrate_stray.c */

/* Where rows of a table refer to, by a step without a foreign key. */
typedef struct DgReference
{
	const ForeignKeyCacheInfo *step;
	AttrNumber	type;			/* only if this column, */
	const char *value;			/* has this for its text; or 0 */
	FmgrInfo	type_output;
	Tuplestorestate *keys;
	TupleDesc	desc;
} DgReference;

extern void dg_rehydrate_as_tenant_outside(void *call, const ForeignKeyCacheInfo *fkey, Tuplestorestate *keys, TupleDesc desc);
extern void dg_rehydrate_as_tenant_end(DgRestore *call);
extern void dg_rehydrate_as_tenant_start_over(DgRestore *call);

/* rehydrate.c */
extern bool dg_rehydrate_report_left_out(const char *left_out);

/* rehydrate_schema.c */
extern List *dg_rehydrate_schema_create(const char *schema, List *relations, bool any_name);

#endif							/* DG_REHYDRATE_INTERNAL_H */
