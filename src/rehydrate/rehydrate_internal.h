/*
 * rehydrate_internal.h
 *		What the files of rehydrate/ share among themselves.
 */
#ifndef DG_REHYDRATE_INTERNAL_H
#define DG_REHYDRATE_INTERNAL_H

#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "common/deletion_guard.h"
#include "archive/archive.h"
#include "purge/purge.h"
#include "rows/rows.h"
#include "server/server.h"

/* extract_archive.c */

typedef struct DgRehydrateArchive
{
	DgArchive  *archive;
	const DgArchiveInfo *info;
	char	   *path;
	int			encoding;		/* of all of its text */
	bool		convert;		/* it is not the database's */
	MemoryContext context;		/* closes the archive when deleted */
	DgServer   *server;			/* what a running copy is read through, or
								 * NULL */
	DgArchiveRows *rows;		/* being read, or NULL */
	bool		narrowed;		/* a copy sends only those that were asked for */
	struct DgRehydrateProgress *progress;	/* NULL: not reported */
} DgRehydrateArchive;

extern DgRehydrateArchive *dg_rehydrate_open(const char *path);
extern void dg_rehydrate_rows_open(DgRehydrateArchive *archive, int index, const DgServerCondition *condition);
extern bool dg_rehydrate_rows_next(DgRehydrateArchive *archive, DgArchiveRow *row);
extern void dg_rehydrate_abandon(DgRehydrateArchive *archive);
extern void dg_rehydrate_close(DgRehydrateArchive *archive);
pg_noreturn extern void dg_rehydrate_fail(const DgRehydrateArchive *archive, const DgArchiveError *error);
extern char *dg_rehydrate_text(const DgRehydrateArchive *archive, const char *text);
extern char *dg_rehydrate_table_name(const DgRehydrateArchive *archive, const DgArchiveTable *table);
extern Oid	dg_rehydrate_live_name(const DgRehydrateArchive *archive, const char *schema, const char *name);
extern char *dg_rehydrate_of_database(const DgRehydrateArchive *archive);
extern void dg_rehydrate_tell(const DgRehydrateArchive *archive);

/* extract_keytable.c */

/* longest string that is kept in its entry */
#define DG_INLINE_KEY	12

typedef struct DgKeyEntry
{
	uint32		hash;
	int32		tenant;			/* DG_KEY_ABSENT: the entry is free */
	uint32		len;
	union
	{
		char		bytes[DG_INLINE_KEY];
		char	   *ptr;
	}			key;
} DgKeyEntry;

static inline const char *
dg_keytable_key(const DgKeyEntry *entry)
{
	return entry->len <= DG_INLINE_KEY ? entry->key.bytes : entry->key.ptr;
}

static inline uint32
dg_keytable_hash(const char *key, size_t len)
{
	return hash_bytes((const unsigned char *) key, (int) len);
}


typedef struct DgKeyTable
{
	DgKeyEntry *entries;
	uint32		mask;
	int64		count;
	MemoryContext context;		/* of entries and long strings */
} DgKeyTable;

extern void dg_rehydrate_keytable_init(DgKeyTable *table, MemoryContext context);
extern DgKeyEntry *dg_rehydrate_keytable_look(const DgKeyTable *table, uint32 hash, const char *key, size_t len);
extern void dg_rehydrate_keytable_put(DgKeyTable *table, const char *key, size_t len, int32 number);
extern int32 dg_rehydrate_keytable_find(const DgKeyTable *table, const char *key, size_t len);

/* extract_keymap.c */

/* Found instead of a tenant. */
#define DG_KEY_ABSENT	(-1)
#define DG_KEY_UNSURE	(-2)	/* by a look-up that may not throw */
#define DG_KEY_OTHER_TENANT	(-3)	/* it is there, and of none of the tenants */
#define DG_KEY_ELSEWHERE	(-4)	/* not in the part at hand */


/* One value of a key, as text in the database's encoding. */
typedef struct DgKeyText
{
	const char *ptr;
	size_t		len;
} DgKeyText;

typedef struct DgKeyMap DgKeyMap;

extern DgKeyMap *dg_rehydrate_keymap_create(int ncolumns);
extern void dg_rehydrate_keymap_set_column(DgKeyMap *map, int column, Oid type, Oid collation, Oid owner);
extern DgKeyMap *dg_rehydrate_keymap_of_columns(Oid relid, const AttrNumber *attnums, int n);
extern void dg_rehydrate_keymap_put(DgKeyMap *map, const DgKeyText *key, int tenant);
extern int	dg_rehydrate_keymap_find(DgKeyMap *map, const DgKeyText *key);
extern int	dg_rehydrate_keymap_guess(DgKeyMap *map, const char *text, size_t len);
extern bool dg_rehydrate_keymap_is_exact(const DgKeyMap *map);
extern void dg_rehydrate_keymap_may_spill(DgKeyMap *map);
extern int	dg_rehydrate_keymap_parts(DgKeyMap *map);
extern void dg_rehydrate_keymap_load(DgKeyMap *map, int part);
extern void dg_rehydrate_keymap_clear(DgKeyMap *map);

typedef struct DgKeySpill DgKeySpill;
typedef void (*DgSpillSink) (void *arg, const char *key, size_t len, int tenant);

extern DgKeySpill *dg_rehydrate_spill_create(void);
extern bool dg_rehydrate_spill_double(DgKeySpill *spill);
extern int	dg_rehydrate_spill_parts(const DgKeySpill *spill);
extern int	dg_rehydrate_spill_part(const DgKeySpill *spill, uint32 hash);
extern void dg_rehydrate_spill_write(DgKeySpill *spill, int part, const char *key, size_t len, int tenant);
extern void dg_rehydrate_spill_read(DgKeySpill *spill, int part, DgSpillSink sink, void *arg);
extern void dg_rehydrate_spill_free(DgKeySpill *spill);

/* extract_finder.c */

/* The tenants that are wanted. */
typedef struct DgTenants
{
	int			n;
	char	  **keys;			/* in the tenant table's spelling */
	bool		exact;			/* which is the only one */
	bool		nobody;			/* it is nobody, whose rows have no tenant */
	struct DgTextSet *all;		/* not NULL: all that the archive has, which
								 * are added as they are found */
} DgTenants;

/* Tells the tenant of rows of one table. */
typedef struct DgFinder
{
	Oid			relid;
	List	   *paths;			/* as dg_guard_paths() has them: a column
								 * tells, or they lead to the parents */
	int			length;			/* of the longest */
	int			tenant;			/* without columns: whose all rows are */
	int			ncolumns;
	const char **columns;		/* live columns of relid that tell the tenant */
	DgKeyMap   *keys;
	List	   *texts;			/* char **: those of the map, but for keys of
								 * parents */
	List	   *parents;		/* of DgFinder: they find the parents that the
								 * keys are of; several, if the last of the
								 * columns has their type */
	bool		typed;			/* it has */
	List	   *feeds;			/* of DgFeed: who waits for the rows it finds */
	bool		needed;
	bool		nobody;			/* finds rows without a tenant, as tenant 0 */
	DgTenants  *learned;		/* not NULL: a key that is not there is of a
								 * tenant that is new to these */
	bool		overrides;		/* live rows were asked before: also tells
								 * whose are not */
	bool		knows_all;		/* live rows were asked for parents: a key
								 * that is not there has none */
} DgFinder;

/* Rows that a finder finds are the parents of those that another looks for. */
typedef struct DgFeed
{
	DgFinder   *finder;
	int			ncolumns;
	const char **columns;		/* of the parent */
	const char *type;			/* NULL, or what comes behind them in the key */
} DgFeed;

/* For the live rows of tenants in a table whose column tells them. */
typedef struct DgLiveQuery
{
	char	   *sql;
	int			nparams;		/* 1 or, if it is for all rows, none */
	Oid			type;
	Datum		tenants;
	DgKeyMap   *keys;			/* knows the last column's text */
} DgLiveQuery;

extern DgTenants *dg_rehydrate_tenants_make(int n, char **keys);
extern DgTenants *dg_rehydrate_tenants_of_array(ArrayType *array);
extern List *dg_rehydrate_tenant_list(const DgTenants *tenants);
extern int	dg_rehydrate_tenant_find(const DgTenants *tenants, const char *tenant);
extern DgTenants *dg_rehydrate_tenants_nobody(void);
extern DgTenants *dg_rehydrate_tenants_all(void);
extern int	dg_rehydrate_finder_learn(DgFinder *finder, const DgKeyText *key);
extern DgFinder *dg_rehydrate_finder_get(List **finders, Oid relid, List *paths, const DgTenants *tenants);
extern char *dg_rehydrate_finder_parents(const DgFinder *finder);
extern const char **dg_rehydrate_column_names(Oid relid, const AttrNumber *attnums, int n);
extern TupleDesc dg_rehydrate_finder_keys_desc(const ForeignKeyCacheInfo *fkey, bool with_tenant);
extern void dg_rehydrate_finder_live_query(Oid relid, Oid from, List **finders, const DgTenants *tenants,
										   const char *select, DgLiveQuery *query);

typedef void (*DgLiveSink) (void *arg, HeapTuple tuple, TupleDesc desc, int tenant);
extern void dg_rehydrate_finder_live_rows(DgFinder *finder, List **finders, const DgTenants *tenants,
										  const char *select, DgLiveSink sink, void *arg);

extern bool dg_rehydrate_finder_is_hidden(const DgFinder *finder);
extern void dg_rehydrate_finder_live_twins(DgFinder *finder, List **finders, const DgTenants *tenants,
										   const char *select, DgLiveSink sink, void *arg);
extern void dg_rehydrate_finder_read_live(DgFinder *finder, List **finders, const DgTenants *tenants);

/* extract_mapping.c */

typedef struct DgColumnMapping
{
	char	   *from;
	char	   *to;				/* NULL: left out */
	bool		constant;		/* rows get a value, whatever they had: */
	char	   *value;			/* as text, or NULL */
	bool		used;
} DgColumnMapping;

typedef struct DgTableMapping
{
	char	   *name;			/* in the archive */
	bool		left_out;		/* it is mapped to null */
	Oid			relation;		/* InvalidOid: the one of the same name */
	List	   *columns;		/* of DgColumnMapping */
	bool		used;
} DgTableMapping;

extern List *dg_rehydrate_mapping_parse(Jsonb *mapping);
extern DgTableMapping *dg_rehydrate_mapping_find(List *mapping, const char *name);
extern DgColumnMapping *dg_rehydrate_mapping_column(List *tables, const char *name);
extern void dg_rehydrate_mapping_check_used(List *mapping);

/* extract_place.c */

typedef struct DgPlace
{
	Oid			relid;			/* InvalidOid: not known */
	bool		inherited;		/* relid is what the table inherited from */
	bool		mapped;			/* the caller has said so, */
	bool		left_out;		/* or that its rows are not wanted */
	List	   *mappings;		/* of DgTableMapping: of the columns, the
								 * nearest first */
} DgPlace;

extern bool dg_rehydrate_tenant_source(Oid relid, Oid *root, List **paths);
extern char *dg_rehydrate_tenant_source_text(Oid relid);
extern bool dg_rehydrate_may_be_nobodys(Oid relid);
extern bool dg_rehydrate_is_others(Oid relid, const DgTenants *tenants);
extern DgPlace dg_rehydrate_place(const DgRehydrateArchive *archive, const DgArchiveTable *table,
								  List *mappings);

/* extract_source.c */

typedef struct DgSourceTypes DgSourceTypes;

/* A table of the archive that holds rows of tenants. */
typedef struct DgSource
{
	int			index;			/* in the archive */
	char	   *name;			/* "schema.table", quoted */
	Oid			relid;			/* the live table of that name */
	Oid			target;			/* where its rows go: relid, or a root of it */
	List	   *covers;			/* OIDs: relid and all tables it is a
								 * partition of */
	DgFinder   *finder;			/* tells the tenant of its rows, NULL: nothing
								 * does */
	bool		wanted;			/* its rows are, not just its keys */
	bool		inherited;		/* the table is gone, relid is what it
								 * inherited from, */
	bool		gone;			/* or one with a tenant column of the same
								 * name: */
	bool		counted;		/* so the tenants' rows are counted only */
	int64		left_rows;		/* of which there were so many */
	bool		known;			/* the archive tells its columns */
	int			nfields;		/* of a row */
	int			ncolumns;		/* of them that are not left out */
	DgSourceColumn *columns;	/* under their live names */
	DgSourceTypes *types;		/* NULL: not looked at yet */
	int		   *fields;			/* where they are in a row; -1: they have a
								 * constant */
	char	  **constants;		/* as text, or NULL */
	int			nhidden;		/* columns that tell tenants only: mapping
								 * leaves them out */
	const char **hidden;
	int		   *hidden_fields;
	int			nobjects;		/* columns that may refer to large objects */
	int		   *objects;
} DgSource;

/* A reading of one table. */
typedef struct DgPass
{
	DgSource   *source;			/* NULL: the finder's table in the database */
	DgFinder   *finder;
	bool		emit;			/* the rows are wanted */
	DgServerCondition *condition;	/* what is asked of a copy, or NULL */
	int64		orphans;		/* rows whose parents are neither in the
								 * archive nor live */
	char	   *orphan;			/* the first one's key, for messages */
	int64		undeclared;		/* rows of types that the path does not
								 * declare, */
	char	   *undeclared_type;	/* the first one's */
} DgPass;

/* Why something of the archive is left out (extract_account.c). */
typedef enum DgLeftKind
{
	DG_LEFT_CHOSEN,
	DG_LEFT_SHARED,
	DG_LEFT_ABSENT,
	DG_LEFT_EXCLUDED,
	DG_LEFT_UNKNOWN,
	DG_LEFT_CERTAIN
} DgLeftKind;

typedef struct DgLeftOut
{
	Oid			relid;			/* InvalidOid: there is no such table */
	DgLeftKind	kind;
	char	   *problem;
} DgLeftOut;

/* A table of the archive that does not exist here, and all of whose rows are a tenant's. */
typedef struct DgLostTable
{
	char	   *name;
	char	   *schema;
	char	   *tenant;
} DgLostTable;

typedef struct DgRehydratePlan
{
	DgTenants  *tenants;
	List	   *mapping;		/* of DgTableMapping */
	List	   *sources;		/* of DgSource */
	List	   *finders;		/* of DgFinder */
	List	   *passes;			/* of DgPass, in order */
	List	   *targets;		/* OIDs of the tables whose rows are wanted */
	List	   *left_out;		/* of DgLeftOut, as known before reading */
	List	   *unwanted;		/* OIDs of tenants' tables that mapping leaves
								 * out */
	List	   *absent;			/* and of those that the archive lacks, */
	List	   *defined;		/* among them those that it defines */
	List	   *lost;			/* of DgLostTable */
	bool		server;			/* they are read from a running copy */
	bool		chosen;			/* the caller has said which tables */
	bool		report;			/* what is left out is no error */
} DgRehydratePlan;

extern DgSource *dg_rehydrate_source_make(DgRehydrateArchive *archive, DgRehydratePlan *plan, int index, List *mappings);
extern List *dg_rehydrate_sources(DgRehydrateArchive *archive, Oid relid, List *mapping);
extern bool dg_rehydrate_source_find_columns(const DgSource *source, int ncolumns, const char **columns,
											 int *fields);
extern bool dg_rehydrate_source_has_columns(const DgSource *source, int ncolumns, const char **columns);

/* extract_lost.c */
extern bool dg_rehydrate_note_lost(DgRehydrateArchive *archive, DgRehydratePlan *plan, int index, const char *name);
extern void dg_rehydrate_check_lost_schemas(const DgRehydrateArchive *archive, const DgRehydratePlan *plan);

/* extract_plan.c */
extern DgRehydratePlan *dg_rehydrate_plan(DgRehydrateArchive *archive, DgTenants *tenants,
										  List *relations, List *mapping, bool report);
extern List *dg_rehydrate_plan_tenants(const DgRehydratePlan *plan);

/* extract_account.c */

#define DG_GONE_TEXT	"the archive has a table %s, which does not exist here; its rows were not looked at (mapping can say which table they are of now)"
#define DG_DEFINED_TEXT	"the archive has the definition of this table, which holds tenants' rows here, and none of its data"
#define DG_ABSENT_TEXT	"the archive does not have this table, which holds tenants' rows here"

extern void dg_rehydrate_account_leave(DgRehydratePlan *plan, Oid relid, DgLeftKind kind, char *problem);
extern bool dg_rehydrate_has_rows(DgRehydrateArchive *archive, int index);
extern void dg_rehydrate_account_tables(DgRehydrateArchive *archive, DgRehydratePlan *plan);
extern List *dg_rehydrate_account(const DgRehydratePlan *plan);
extern void dg_rehydrate_account_check(const DgRehydratePlan *plan);
extern void dg_rehydrate_account_refuse_orphans(const DgRehydratePlan *plan);
extern void dg_rehydrate_account_append(StringInfo buf, Oid relid, const char *problem);
extern bool dg_rehydrate_account_has_column(const DgRehydratePlan *plan, Oid target, const char *name);
extern char *dg_rehydrate_account_columns(const DgRehydratePlan *plan, Relation rel);

/* extract_passes.c */
extern void dg_rehydrate_plan_passes(DgRehydratePlan *plan);
extern DgServerCondition *dg_rehydrate_condition(const DgRehydratePlan *plan, const DgSource *source, const DgFinder *finder);

/* extract_types.c */
extern void dg_rehydrate_source_set_types(const DgRehydrateArchive *archive, DgSource *source);
extern void dg_rehydrate_source_read_values(const DgSource *source, Datum *values, const bool *nulls);

/* extract_read.c */
extern int	dg_rehydrate_settings(void);

/*
 * Gets each wanted row: tenant is an index into the plan's tenants, values are
 * C strings in the order of the source's columns, good until it returns.
 */
typedef void (*DgRowSink) (void *arg, DgSource *source, int tenant, Datum *values, bool *nulls);

extern void dg_rehydrate_read(DgRehydrateArchive *archive, DgRehydratePlan *plan,
							  DgRowSink sink, void *arg);
extern void dg_rehydrate_read_pass(DgRehydrateArchive *archive, DgPass *pass,
								   DgRowSink sink, void *arg);

typedef void (*DgKeySink) (void *arg, const char *key);

extern void dg_rehydrate_read_column(DgRehydrateArchive *archive, Oid relid, const char *column,
									 List *mapping, DgKeySink sink, void *arg);

/* rehydrate_referenced.c */

typedef struct DgReferences DgReferences;

extern DgReferences *dg_rehydrate_references_begin(DgRehydrateArchive *archive, DgRehydratePlan *plan, bool own);
extern void dg_rehydrate_references_note(DgReferences *references, const DgSource *source, Datum *values, bool *nulls);
extern List *dg_rehydrate_choices(Jsonb *rows);
extern bool dg_rehydrate_is_chosen(List *choices, const DgSource *source, const Datum *values, const bool *nulls);
extern void dg_rehydrate_choices_check(List *choices);
extern bool dg_rehydrate_references_read(DgReferences *references, DgRowSink sink, void *arg);

/* extract_source.c, of large objects */

/* References to large objects. */
typedef struct DgObjectCount
{
	int64		references;
	int64		missing;		/* of them */
	Oid			first_missing;
} DgObjectCount;

extern void dg_rehydrate_source_set_objects(const DgRehydrateArchive *archive, DgSource *source);
extern void dg_rehydrate_source_count_objects(const DgSource *source, const Datum *values, const bool *nulls,
											  DgObjectCount *count);
extern void dg_rehydrate_append_objects(StringInfo buf, const DgObjectCount *count);

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
	int64		orphaned;		/* and as what they refer to is nowhere */
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
	bool		links_known;
	List	   *lost_links;		/* of live rows, by set (undelete_lost.c) */
	int64		purge;			/* the last one that a row was of */
	int64		differences;	/* dg_rehydrate_compare_copies(): rows unlike
								 * the archive's, */
	char	   *uncompared;		/* and columns that could not be compared, or
								 * NULL */
} DgDestination;

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
	MemoryContext context;		/* of the plan and the counts */
	DgRehydrateArchive *archive;
	DgRehydratePlan *plan;
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
	List	   *referrers;		/* private to rehydrate_extra.c */
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

/* compare_rowsort.c */

/* What is kept of a row to be compared. */
typedef struct DgHashedRow
{
	int			tenant;
	int64		key;
	int64		content;
	bool		purged;
	Oid			relid;			/* where a live row is, if that is asked for: */
	int64		address;		/* DG_TID_ADDRESS() */
	int64		uniques;		/* other unique values, if they are asked for */
	bool		in_the_way;		/* of a live row: it has others than the
								 * archive's, which is to come back */
} DgHashedRow;

typedef struct DgRowHash DgRowHash;

extern DgRowHash *dg_rehydrate_rowhash_make(Relation rel, const DgRehydratePlan *plan);
extern void dg_rehydrate_rowhash(DgRowHash *hash, TupleTableSlot *slot, DgHashedRow *row);
extern void dg_rehydrate_rowhash_uniques(DgRowHash *hash);
extern List *dg_rehydrate_rowhash_key(const DgRowHash *hash);
extern List *dg_rehydrate_rowhash_compared(const DgRowHash *hash);
extern List *dg_rehydrate_rowhash_differing(DgRowHash *hash, TupleTableSlot *a, TupleTableSlot *b);

typedef struct DgRowSort DgRowSort;

extern DgRowSort *dg_rehydrate_rowsort_begin(const DgRowHash *whole, int memory);
extern void dg_rehydrate_rowsort_put(DgRowSort *sort, const DgHashedRow *row, TupleTableSlot *values);
extern void dg_rehydrate_rowsort_perform(DgRowSort *sort);
extern bool dg_rehydrate_rowsort_next(DgRowSort *sort, DgHashedRow *row);
extern void dg_rehydrate_rowsort_row(DgRowSort *sort, TupleTableSlot *slot);
extern void dg_rehydrate_rowsort_end(DgRowSort *sort);
extern int	dg_rehydrate_rowsort_compare(const DgRowSort *sort_a, const DgHashedRow *a, const DgRowSort *sort_b, const DgHashedRow *b);

/* compare.c */

/* One tenant's rows of a table. */
typedef struct DgComparedCounts
{
	int64		in_archive;
	int64		live;
	int64		only_in_archive;
	int64		only_live;
	int64		different;
	int64		purged;			/* else only in the archive */
	int64		unlinked;		/* live ones that have lost links */
} DgComparedCounts;

/* A live table that is compared. */
typedef struct DgCompared
{
	Oid			relid;
	Oid			copy;			/* compared instead, if valid: a copy with the
								 * tenant's rows only */
	Relation	rel;
	DgFinder   *finder;
	DgRowHash  *hash;
	bool		addresses;		/* see DgCompare */
	bool		absent;			/* from the archive */
	bool		told;			/* it has a line */
	bool		hidden;			/* the caller may not see all live rows */
	EState	   *estate;			/* for the map's expressions */
	TupleTableSlot *slot;		/* a row of the archive, as a live one */
	DgRowSort  *archive_rows;
	DgRowSort  *live_rows;
	struct DgPurgeSubtract *subtract;	/* knows rows that were purged */
	char	   *problem;		/* columns that are not compared, or NULL */
	List	   *lost_links;		/* of its live rows, by set */
	DgComparedCounts *counts;	/* by tenant */
} DgCompared;

typedef struct DgCompare
{
	DgRehydrateArchive *archive;
	DgRehydratePlan *plan;
	bool		whole;			/* the rows themselves are kept */
	bool		addresses;		/* live rows tell where they are, and whether
								 * they are in the way; they are read as the
								 * tables' owners */
	List	   *tables;			/* of DgCompared */
	struct DgCompareMapping **mappings; /* by the index of a source */
} DgCompare;

typedef enum DgDifference
{
	DG_DIFFERENCE_MISSING,
	DG_DIFFERENCE_PURGED,
	DG_DIFFERENCE_EXTRA,
	DG_DIFFERENCE_DIFFERENT
} DgDifference;

typedef void (*DgDifferenceSink) (void *arg, DgCompared *table, DgDifference what, const DgHashedRow *row);

extern void dg_rehydrate_compare_begin(DgCompare *compare, bool absent);
extern void dg_rehydrate_compare_table(DgCompare *compare, DgCompared *table, DgDifferenceSink sink, void *arg);
extern void dg_rehydrate_compare_end(DgCompare *compare);
extern char *dg_rehydrate_compare_problem(const DgCompared *table, int tenant);

/* compare_report.c */
extern void dg_rehydrate_compare_copies(DgRestore *call);

/* rehydrate_extra.c */
extern void dg_rehydrate_extra_delete(DgRestore *call);
extern void dg_rehydrate_extra_check(DgRestore *call);
extern int64 dg_rehydrate_extra_rows(const DgRestore *call, Oid relid, int tenant);

/* rehydrate_links.c */
extern bool dg_rehydrate_links_make_same(void *call, const DgRow *row, Relation rel, TupleTableSlot *stored, TupleTableSlot *live);
extern void dg_rehydrate_links_alias(DgRestore *call, DgDestination *destination, DgRowsTwins *twins, HeapTuple tuple, TupleDesc desc);
extern void dg_rehydrate_links_take(void *call, const DgRow *row, void *links);
extern void dg_rehydrate_links_come_back(DgRestore *call, CommandId since);

/* rehydrate.c */
extern bool dg_rehydrate_report_left_out(const char *left_out);
extern List *dg_rehydrate_relations_argument(FunctionCallInfo fcinfo, int n);

/* rehydrate_schema.c */
extern List *dg_rehydrate_schema_create(const char *schema, List *relations, bool any_name);

/* extract_progress.c */

typedef struct DgRehydrateProgress DgRehydrateProgress;

/* What a call is doing; known to the view rehydration_progress. */
#define DG_PHASE_FINDING	1	/* keys of parents, to know whose the rows are */
#define DG_PHASE_RESTORING	2
#define DG_PHASE_CHECKING	3

extern void dg_rehydrate_progress_begin(DgRehydrateArchive *archive, const DgRehydratePlan *plan);
extern void dg_rehydrate_progress_pass(DgRehydrateArchive *archive, const DgPass *pass);
extern void dg_rehydrate_progress_kept(DgRehydrateArchive *archive);
extern void dg_rehydrate_progress_update(DgRehydrateArchive *archive);
extern void dg_rehydrate_progress_pass_end(DgRehydrateArchive *archive, const DgPass *pass);
extern void dg_rehydrate_progress_checking(DgRehydrateArchive *archive);
extern void dg_rehydrate_progress_end(DgRehydrateArchive *archive);

#endif							/* DG_REHYDRATE_INTERNAL_H */
