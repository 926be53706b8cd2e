/*
 * textset.c
 *		A set of strings that remembers in which order they came.
 *
 * A few strings are compared one by one; a hash table is made when there are
 * more, so that a set of one string costs next to nothing.
 */
#include "deletion_guard.h"

#include "common/hashfn.h"

#define MAX_LINEAR 8

typedef struct TextEntry
{
	const char *text;			/* hash key */
	uint32		hash;
	char		status;
} TextEntry;

#define SH_PREFIX texts
#define SH_ELEMENT_TYPE TextEntry
#define SH_KEY_TYPE const char *
#define SH_KEY text
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) key, strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct DgTextSet
{
	MemoryContext context;
	int64		ntexts;
	int64		size;
	char	  **texts;			/* in the order they came */
	texts_hash *hash;			/* NULL: few enough without */
};

/*
 * An empty set that lives in a memory context.
 */
DgTextSet *
dg_textset_create(MemoryContext context)
{
	DgTextSet  *set = MemoryContextAllocZero(context, sizeof(DgTextSet));

	set->context = context;
	set->size = MAX_LINEAR;
	set->texts = MemoryContextAlloc(context, sizeof(char *) * set->size);
	return set;
}

bool
dg_textset_has(DgTextSet *set, const char *text)
{
	if (set->hash != NULL)
		return texts_lookup(set->hash, text) != NULL;
	for (int64 i = 0; i < set->ntexts; i++)
	{
		if (strcmp(set->texts[i], text) == 0)
			return true;
	}
	return false;
}

static void
make_hash(DgTextSet *set)
{
	bool		found;

	set->hash = texts_create(set->context, 4 * MAX_LINEAR, NULL);
	for (int64 i = 0; i < set->ntexts; i++)
		(void) texts_insert(set->hash, set->texts[i], &found);
}

/*
 * Adds a copy of a string; false if the set had it.
 */
bool
dg_textset_add(DgTextSet *set, const char *text)
{
	bool		found;

	if (dg_textset_has(set, text))
		return false;
	if (set->ntexts == set->size)
	{
		set->size *= 2;
		set->texts = repalloc_huge(set->texts, sizeof(char *) * set->size);
		if (set->hash == NULL)
			make_hash(set);
	}
	set->texts[set->ntexts] = MemoryContextStrdup(set->context, text);
	if (set->hash != NULL)
		(void) texts_insert(set->hash, set->texts[set->ntexts], &found);
	set->ntexts++;
	return true;
}

/*
 * Forgets all but the first n strings.
 */
void
dg_textset_truncate(DgTextSet *set, int64 n)
{
	while (set->ntexts > n)
	{
		char	   *text = set->texts[--set->ntexts];

		if (set->hash != NULL)
			(void) texts_delete(set->hash, text);
		pfree(text);
	}
}

int64
dg_textset_count(DgTextSet *set)
{
	return set->ntexts;
}

/*
 * The string that came as number i, from 0.
 */
const char *
dg_textset_get(DgTextSet *set, int64 i)
{
	Assert(i >= 0 && i < set->ntexts);
	return set->texts[i];
}
