/*
 * extract_internal.h
 *		What the files of extract/ share among themselves.
 */
#ifndef DG_EXTRACT_INTERNAL_H
#define DG_EXTRACT_INTERNAL_H

#include "common/hashfn.h"

#include "extract/extract.h"

/* extract_archive.c */
extern void dg_extract_rows_open(DgExtractArchive *archive, int index, const DgServerCondition *condition);
extern bool dg_extract_rows_next(DgExtractArchive *archive, DgArchiveRow *row);
pg_noreturn extern void dg_extract_fail(const DgExtractArchive *archive, const DgArchiveError *error);
extern char *dg_extract_table_name(const DgExtractArchive *archive, const DgArchiveTable *table);
extern Oid	dg_extract_live_name(const DgExtractArchive *archive, const char *schema, const char *name);
extern char *dg_extract_of_database(const DgExtractArchive *archive);
extern void dg_extract_tell(const DgExtractArchive *archive);

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

extern void dg_extract_keytable_init(DgKeyTable *table, MemoryContext context);
extern DgKeyEntry *dg_extract_keytable_look(const DgKeyTable *table, uint32 hash, const char *key, size_t len);
extern void dg_extract_keytable_put(DgKeyTable *table, const char *key, size_t len, int32 number);
extern int32 dg_extract_keytable_find(const DgKeyTable *table, const char *key, size_t len);

/* extract_keyvalue.c */

/* a value that no key in the map has */
#define DG_KEY_NO_VALUE	INT32_MAX

typedef struct DgKeyTyped DgKeyTyped;

/* A column of keys. */
typedef struct DgKeyMapColumn
{
	Oid			type;			/* under any domain */
	DgKeyTyped *typed;			/* NULL: its values are compared by the bytes
								 * of their text */
} DgKeyMapColumn;

extern void dg_extract_keyvalue_init(DgKeyMapColumn *column, Oid type, Oid collation, Oid owner, MemoryContext context);
extern bool dg_extract_keyvalue_is_written(Oid type, const char *text, size_t len);
extern DgKeyText dg_extract_keyvalue_anew(const DgKeyMapColumn *column, const DgKeyText *text);
extern int32 dg_extract_keyvalue_known(const DgKeyMapColumn *column, const char *text, size_t len);
extern int32 dg_extract_keyvalue_number(DgKeyMapColumn *column, const DgKeyText *text, bool add, MemoryContext scratch);

/* extract_keymap.c */
extern DgKeyMap *dg_extract_keymap_create(int ncolumns);
extern void dg_extract_keymap_set_column(DgKeyMap *map, int column, Oid type, Oid collation, Oid owner);
extern int	dg_extract_keymap_guess(DgKeyMap *map, const char *text, size_t len);
extern bool dg_extract_keymap_is_exact(const DgKeyMap *map);
extern void dg_extract_keymap_may_spill(DgKeyMap *map);
extern int	dg_extract_keymap_parts(DgKeyMap *map);
extern void dg_extract_keymap_load(DgKeyMap *map, int part);
extern void dg_extract_keymap_clear(DgKeyMap *map);

typedef struct DgKeySpill DgKeySpill;
typedef void (*DgSpillSink) (void *arg, const char *key, size_t len, int tenant);

extern DgKeySpill *dg_extract_spill_create(void);
extern bool dg_extract_spill_double(DgKeySpill *spill);
extern int	dg_extract_spill_parts(const DgKeySpill *spill);
extern int	dg_extract_spill_part(const DgKeySpill *spill, uint32 hash);
extern void dg_extract_spill_write(DgKeySpill *spill, int part, const char *key, size_t len, int tenant);
extern void dg_extract_spill_read(DgKeySpill *spill, int part, DgSpillSink sink, void *arg);
extern void dg_extract_spill_free(DgKeySpill *spill);

/* extract_tenants.c */
extern int	dg_extract_tenant_find(const DgTenants *tenants, const char *tenant);
extern Datum dg_extract_tenant_value(Oid relid, AttrNumber attnum, Oid type, int32 typmod, const char *tenant);
extern char *dg_extract_tenant_in_column(Oid relid, AttrNumber attnum, const char *tenant);
extern DgTenants *dg_extract_tenants_all(void);

/* extract_finder.c */

/* Rows that a finder finds are the parents of those that another looks for. */
typedef struct DgFeed
{
	DgFinder   *finder;
	int			ncolumns;
	const char **columns;		/* of the parent */
	const char *type;			/* NULL, or what comes behind them in the key */
} DgFeed;

extern int	dg_extract_finder_learn(DgFinder *finder, const DgKeyText *key);
extern char *dg_extract_finder_parents(const DgFinder *finder);

/* extract_live.c */
extern void dg_extract_live_feed(DgFinder *finder, List **finders, const DgTenants *tenants);

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

extern DgTableMapping *dg_extract_mapping_find(List *mapping, const char *name);
extern DgColumnMapping *dg_extract_mapping_column(List *tables, const char *name);
extern void dg_extract_mapping_check_used(List *mapping);

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

extern bool dg_extract_is_others(Oid relid, const DgTenants *tenants);
extern DgPlace dg_extract_place(const DgExtractArchive *archive, const DgArchiveTable *table,
								List *mappings);

/* extract_source.c */
extern DgSource *dg_extract_source_make(DgExtractArchive *archive, DgExtractPlan *plan, int index, List *mappings);
extern List *dg_extract_sources(DgExtractArchive *archive, Oid relid, List *mapping);
extern bool dg_extract_source_find_columns(const DgSource *source, int ncolumns, const char **columns,
										   int *fields);
extern bool dg_extract_source_has_columns(const DgSource *source, int ncolumns, const char **columns);

extern void dg_extract_source_set_objects(const DgExtractArchive *archive, DgSource *source);

/* extract_lost.c */

/* A table of the archive that does not exist here, and all of whose rows are a tenant's. */
typedef struct DgLostTable
{
	int			index;			/* in the archive */
	char	   *name;
	char	   *schema;
	char	   *tenant;
} DgLostTable;

extern bool dg_extract_note_lost(DgExtractArchive *archive, DgExtractPlan *plan, int index, const char *name);
extern void dg_extract_check_lost_schemas(const DgExtractArchive *archive, const DgExtractPlan *plan);

/* extract_account.c */

#define DG_GONE_TEXT	"the archive has a table %s, which does not exist here; its rows were not looked at (mapping can say which table they are of now)"

extern void dg_extract_account_leave(DgExtractPlan *plan, Oid relid, DgLeftKind kind, char *problem);
extern bool dg_extract_has_rows(DgExtractArchive *archive, int index);
extern void dg_extract_account_tables(DgExtractArchive *archive, DgExtractPlan *plan);

/* extract_passes.c */
extern void dg_extract_plan_passes(DgExtractPlan *plan);

/* extract_progress.c */

typedef struct DgExtractProgress DgExtractProgress;

/* What a call is doing; known to the view rehydration_progress. */
#define DG_PHASE_FINDING	1	/* keys of parents, to know whose the rows are */
#define DG_PHASE_RESTORING	2
#define DG_PHASE_CHECKING	3

extern void dg_extract_progress_pass(DgExtractArchive *archive, const DgPass *pass);
extern void dg_extract_progress_kept(DgExtractArchive *archive);
extern void dg_extract_progress_update(DgExtractArchive *archive);
extern void dg_extract_progress_pass_end(DgExtractArchive *archive, const DgPass *pass);

#endif							/* DG_EXTRACT_INTERNAL_H */
