/*
 * guard_textset.c
 *		A set of strings, or of tenants, that remembers in which order they came.
 *
 * Two spellings of one tenant are one member, as it was spelled first
 * (guard_tenant.c). A few members are compared one by one; a hash table is made
 * when there are more, so that a set of one costs next to nothing.
 */
#include "postgres.h"

#include "guard/guard_internal.h"

#define MAX_LINEAR 8

/* Which texts may be the same member. */
typedef struct TextEntry
{
	uint64		key;			/* one of their hashes */
	char		status;
	List	   *places;			/* in DgTextSet.texts; may be of texts that
								 * were forgotten */
} TextEntry;

#define SH_PREFIX texts
#define SH_ELEMENT_TYPE TextEntry
#define SH_KEY_TYPE uint64
#define SH_KEY key
#define SH_HASH_KEY(tb, key) ((uint32) (key) ^ (uint32) ((key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct DgTextSet
{
	MemoryContext context;
	bool		tenants;		/* it is one of tenants */
	Oid			relid;			/* whose rows say which tenants are the same;
								 * InvalidOid: any */
	int64		ntexts;
	int64		size;
	char	  **texts;			/* in the order they came */
	texts_hash *hash;			/* NULL: few enough without */
	uint64		generation;		/* of tenants, that the hash was made in */
};

/*
 * An empty set of strings that lives in a memory context.
 */
DgTextSet *
dg_guard_textset_create(MemoryContext context)
{
	DgTextSet  *set = MemoryContextAllocZero(context, sizeof(DgTextSet));

	set->context = context;
	set->size = MAX_LINEAR;
	set->texts = MemoryContextAlloc(context, sizeof(char *) * set->size);
	return set;
}

/*
 * An empty set of tenants that lives in a memory context. Those that are one in
 * rows of a guarded table are one member; InvalidOid: in rows of any.
 */
DgTextSet *
dg_guard_textset_of_tenants(MemoryContext context, Oid relid)
{
	DgTextSet  *set = dg_guard_textset_create(context);

	set->tenants = true;
	set->relid = relid;
	return set;
}

/*
 * Numbers of which all texts of one member have one in common; palloc'd.
 */
static uint64 *
hashes_of(const DgTextSet *set, const char *text, int *n)
{
	uint64	   *hash;

	if (set->tenants)
		return dg_guard_tenant_hashes(text, n);
	hash = palloc(sizeof(uint64));
	*hash = dg_guard_tenant_text_hash(text);
	*n = 1;
	return hash;
}

static bool
is_member(const DgTextSet *set, int64 place, const char *text)
{
	if (!set->tenants)
		return strcmp(set->texts[place], text) == 0;
	return OidIsValid(set->relid) ? dg_guard_tenant_equal_in(set->relid, set->texts[place], text) :
		dg_guard_tenant_equal(set->texts[place], text);
}

static void
add_to_hash(DgTextSet *set, int64 place)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	int			n;
	uint64	   *hashes = hashes_of(set, set->texts[place], &n);

	for (int i = 0; i < n; i++)
	{
		bool		found;
		TextEntry  *entry = texts_insert(set->hash, hashes[i], &found);

		entry->places = lappend_int(found ? entry->places : NIL, (int) place);
	}
	pfree(hashes);
	MemoryContextSwitchTo(old);
}

static void
make_hash(DgTextSet *set)
{
	if (set->hash != NULL)
		texts_destroy(set->hash);
	set->generation = set->tenants ? dg_guard_tenant_generation() : 0;
	set->hash = texts_create(set->context, 4 * MAX_LINEAR, NULL);
	for (int64 i = 0; i < set->ntexts; i++)
		add_to_hash(set, i);
}

static int64
look_up_member(DgTextSet *set, const char *text)
{
	int			n;
	uint64	   *hashes;
	int64		place = -1;

	if (set->tenants && set->generation != dg_guard_tenant_generation())
		make_hash(set);
	hashes = hashes_of(set, text, &n);
	for (int i = 0; i < n && place < 0; i++)
	{
		TextEntry  *entry = texts_lookup(set->hash, hashes[i]);
		ListCell   *lc;

		foreach(lc, entry != NULL ? entry->places : NIL)
		{
			if (place < 0 && lfirst_int(lc) < set->ntexts && is_member(set, lfirst_int(lc), text))
				place = lfirst_int(lc);
		}
	}
	pfree(hashes);
	return place;
}

/*
 * As which number the member came, from 0; -1 if it did not.
 */
int64
dg_guard_textset_find(DgTextSet *set, const char *text)
{
	if (set->hash != NULL)
		return look_up_member(set, text);
	for (int64 i = 0; i < set->ntexts; i++)
	{
		if (is_member(set, i, text))
			return i;
	}
	return -1;
}

/*
 * Is the text in the set?
 */
bool
dg_guard_textset_has(DgTextSet *set, const char *text)
{
	return dg_guard_textset_find(set, text) >= 0;
}

/*
 * Adds a copy of a text; false if the set had the member.
 */
bool
dg_guard_textset_add(DgTextSet *set, const char *text)
{
	if (dg_guard_textset_has(set, text))
		return false;
	if (set->ntexts == set->size)
	{
		set->size *= 2;
		set->texts = repalloc_huge(set->texts, sizeof(char *) * set->size);
		if (set->hash == NULL)
			make_hash(set);
	}
	set->texts[set->ntexts] = MemoryContextStrdup(set->context, text);
	set->ntexts++;
	if (set->hash != NULL)
		add_to_hash(set, set->ntexts - 1);
	return true;
}

/*
 * Forgets all but the first n members. May be called when the transaction has
 * failed: hashes cannot be asked for then.
 */
void
dg_guard_textset_truncate(DgTextSet *set, int64 n)
{
	while (set->ntexts > n)
		pfree(set->texts[--set->ntexts]);
}

/*
 * How many texts are in the set.
 */
int64
dg_guard_textset_count(DgTextSet *set)
{
	return set->ntexts;
}

/*
 * The member that came as number i, from 0.
 */
const char *
dg_guard_textset_get(DgTextSet *set, int64 i)
{
	Assert(i >= 0 && i < set->ntexts);
	return set->texts[i];
}
