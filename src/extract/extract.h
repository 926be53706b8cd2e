/*
 * extract.h
 *		Tenants' rows of an archive, found and read.
 */
#ifndef DG_EXTRACT_H
#define DG_EXTRACT_H

#include "nodes/pg_list.h"
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "common/deletion_guard.h"
#include "archive/archive.h"
#include "rows/rows.h"
#include "server/server.h"

/* extract_archive.c */

typedef struct DgExtractArchive
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
	struct DgExtractProgress *progress; /* NULL: not reported */
} DgExtractArchive;

extern DgExtractArchive *dg_extract_open(const char *path);
extern void dg_extract_abandon(DgExtractArchive *archive);
extern void dg_extract_close(DgExtractArchive *archive);
extern char *dg_extract_text(const DgExtractArchive *archive, const char *text);

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

extern DgKeyMap *dg_extract_keymap_of_columns(Oid relid, const AttrNumber *attnums, int n);
extern void dg_extract_keymap_put(DgKeyMap *map, const DgKeyText *key, int tenant);
extern int	dg_extract_keymap_find(DgKeyMap *map, const DgKeyText *key);

/* extract_tenants.c */

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

extern DgTenants *dg_extract_tenants_make(int n, char **keys);
extern DgTenants *dg_extract_tenants_of_array(ArrayType *array);
extern List *dg_extract_tenant_list(const DgTenants *tenants);
extern DgTenants *dg_extract_tenants_nobody(void);

/* extract_finder.c */

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
	bool		soft;			/* by no foreign key: there may be no parent */
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

extern DgFinder *dg_extract_finder_get(List **finders, Oid relid, List *paths, const DgTenants *tenants);
extern const char **dg_extract_column_names(Oid relid, const AttrNumber *attnums, int n);

/* extract_live.c */

/* For the live rows of tenants in a table whose column tells them. */
typedef struct DgLiveQuery
{
	char	   *sql;
	int			nparams;		/* 1 or, if it is for all rows, none */
	Oid			type;
	Datum		tenants;
	DgKeyMap   *keys;			/* knows the last column's text */
} DgLiveQuery;

extern TupleDesc dg_extract_live_keys_desc(const ForeignKeyCacheInfo *fkey, bool with_tenant);
extern void dg_extract_live_query(Oid relid, Oid from, List **finders, const DgTenants *tenants,
								  const char *select, bool all_tenants, DgLiveQuery *query);

typedef void (*DgLiveSink) (void *arg, HeapTuple tuple, TupleDesc desc, int tenant);
extern void dg_extract_live_rows(DgFinder *finder, List **finders, const DgTenants *tenants,
								 const char *select, DgLiveSink sink, void *arg);
extern bool dg_extract_live_is_hidden(const DgFinder *finder);
extern void dg_extract_live_twins(DgFinder *finder, List **finders, const DgTenants *tenants,
								  const char *select, DgLiveSink sink, void *arg);

/* extract_mapping.c */
extern List *dg_extract_mapping_parse(Jsonb *mapping);

/* extract_place.c */
extern bool dg_extract_tenant_source(Oid relid, Oid *root, List **paths);
extern char *dg_extract_tenant_source_text(Oid relid);
extern bool dg_extract_may_be_nobodys(Oid relid);

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
	int64		dangling;		/* the same, where no foreign key sees to it
								 * that there are: they are nobody's */
	char	   *orphan;			/* the first one's key, for messages */
	int64		undeclared;		/* rows of types that the path does not
								 * declare, */
	char	   *undeclared_type;	/* the first one's */
	int			part;			/* of the finder's keys, that is looked for */
} DgPass;

/* Why something of the archive is left out (extract_account.c). */
typedef enum DgLeftKind
{
	DG_LEFT_CHOSEN,
	DG_LEFT_SHARED,
	DG_LEFT_NOBODYS,
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

typedef struct DgExtractPlan
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
} DgExtractPlan;

/* extract_plan.c */
extern DgExtractPlan *dg_extract_plan(DgExtractArchive *archive, DgTenants *tenants,
									  List *relations, List *mapping, bool report);
extern List *dg_extract_plan_tenants(const DgExtractPlan *plan);
extern List *dg_extract_relations_argument(FunctionCallInfo fcinfo, int n);

/* extract_account.c */

#define DG_DEFINED_TEXT	"the archive has the definition of this table, which holds tenants' rows here, and none of its data"
#define DG_ABSENT_TEXT	"the archive does not have this table, which holds tenants' rows here"

extern List *dg_extract_account(const DgExtractPlan *plan);
extern void dg_extract_account_check(const DgExtractPlan *plan);
extern void dg_extract_account_refuse_orphans(const DgExtractPlan *plan);
extern void dg_extract_account_append(StringInfo buf, Oid relid, const char *problem);
extern bool dg_extract_account_has_column(const DgExtractPlan *plan, Oid target, const char *name);
extern char *dg_extract_account_columns(const DgExtractPlan *plan, Relation rel);

/* extract_passes.c */
extern DgServerCondition *dg_extract_condition(const DgExtractPlan *plan, const DgSource *source, const DgFinder *finder);

/* extract_types.c */
extern void dg_extract_source_set_types(const DgExtractArchive *archive, DgSource *source);
extern void dg_extract_source_read_values(const DgSource *source, Datum *values, const bool *nulls);

/* extract_read.c */
extern int	dg_extract_settings(void);

/*
 * Gets each wanted row: tenant is an index into the plan's tenants, values are
 * C strings in the order of the source's columns, good until it returns.
 */
typedef void (*DgRowSink) (void *arg, DgSource *source, int tenant, Datum *values, bool *nulls);

extern void dg_extract_read(DgExtractArchive *archive, DgExtractPlan *plan,
							DgRowSink sink, void *arg);
extern void dg_extract_read_pass(DgExtractArchive *archive, DgPass *pass,
								 DgRowSink sink, void *arg);

typedef void (*DgKeySink) (void *arg, const char *key);

extern void dg_extract_read_column(DgExtractArchive *archive, Oid relid, const char *column,
								   List *mapping, DgKeySink sink, void *arg);

/* extract_source.c, of large objects */

/* References to large objects. */
typedef struct DgObjectCount
{
	int64		references;
	int64		missing;		/* of them */
	Oid			first_missing;
} DgObjectCount;

extern void dg_extract_source_count_objects(const DgSource *source, const Datum *values, const bool *nulls,
											DgObjectCount *count);
extern void dg_extract_append_objects(StringInfo buf, const DgObjectCount *count);

/* extract_progress.c */
extern void dg_extract_progress_begin(DgExtractArchive *archive, const DgExtractPlan *plan);
extern void dg_extract_progress_checking(DgExtractArchive *archive);
extern void dg_extract_progress_end(DgExtractArchive *archive);

#endif							/* DG_EXTRACT_H */
