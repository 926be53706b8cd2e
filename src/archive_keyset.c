/*
 * archive_keyset.c
 *		A set of byte strings with a look-up that costs next to nothing.
 *
 * Open addressing, at most half full.  Only what the caller added decides how
 * long probe sequences are; the strings looked up have no influence.
 */
#include <stdlib.h>
#include <string.h>

#include "archive_internal.h"

typedef struct KeySlot
{
	uint32_t	hash;
	uint32_t	len;
	const char *key;			/* NULL: free */
} KeySlot;

struct DgArchiveKeySet
{
	KeySlot    *slots;
	size_t		mask;			/* number of slots - 1; a power of two */
	size_t		count;
	DgArchiveArena arena;
};

#define FIRST_SLOTS		((size_t) 16)

static uint32_t
hash_key(const char *key, size_t len)
{
	uint64_t	h = len * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t	word;

	while (len >= sizeof(word))
	{
		memcpy(&word, key, sizeof(word));
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
		key += sizeof(word);
		len -= sizeof(word);
	}
	word = 0;
	while (len > 0)
		word = word << 8 | (unsigned char) key[--len];
	h = (h ^ word) * UINT64_C(0xc4ceb9fe1a85ec53);
	return (uint32_t) (h >> 32);
}

/* NULL if there is no memory. */
DgArchiveKeySet *
dg_archive_keyset_create(void)
{
	DgArchiveKeySet *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	set->mask = FIRST_SLOTS - 1;
	set->slots = calloc(FIRST_SLOTS, sizeof(KeySlot));
	if (set->slots == NULL)
	{
		free(set);
		return NULL;
	}
	return set;
}

static KeySlot *
find_slot(KeySlot *slots, size_t mask, const char *key, size_t len, uint32_t hash)
{
	size_t		i = hash & mask;

	while (slots[i].key != NULL &&
		   (slots[i].hash != hash || slots[i].len != len ||
			memcmp(slots[i].key, key, len) != 0))
		i = (i + 1) & mask;
	return &slots[i];
}

static bool
enlarge(DgArchiveKeySet *set)
{
	size_t		size = (set->mask + 1) * 2;
	KeySlot    *slots = calloc(size, sizeof(KeySlot));
	size_t		i;

	if (slots == NULL)
		return false;
	for (i = 0; i <= set->mask; i++)
	{
		KeySlot    *old = &set->slots[i];

		if (old->key != NULL)
			*find_slot(slots, size - 1, old->key, old->len, old->hash) = *old;
	}
	free(set->slots);
	set->slots = slots;
	set->mask = size - 1;
	return true;
}

/*
 * Adds a key, given as plain text (not escaped).  False: no memory, or the
 * key is too long.
 */
bool
dg_archive_keyset_add(DgArchiveKeySet *set, const char *key, size_t len)
{
	uint32_t	hash = hash_key(key, len);
	KeySlot    *slot;
	const char *copy;

	if (len > UINT32_MAX || ((set->count + 1) * 2 > set->mask + 1 && !enlarge(set)))
		return false;
	slot = find_slot(set->slots, set->mask, key, len, hash);
	if (slot->key != NULL)
		return true;
	copy = dg_archive_strdup(&set->arena, key, len);
	if (copy == NULL)
		return false;
	slot->hash = hash;
	slot->len = (uint32_t) len;
	slot->key = copy;
	set->count++;
	return true;
}

bool
dg_archive_keyset_has(const DgArchiveKeySet *set, const char *key, size_t len)
{
	return find_slot(set->slots, set->mask, key, len, hash_key(key, len))->key != NULL;
}

size_t
dg_archive_keyset_size(const DgArchiveKeySet *set)
{
	return set->count;
}

void
dg_archive_keyset_free(DgArchiveKeySet *set)
{
	if (set == NULL)
		return;
	dg_archive_arena_free(&set->arena);
	free(set->slots);
	free(set);
}
