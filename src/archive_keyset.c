/*
 * archive_keyset.c
 *		A set of byte strings with a look-up that costs next to nothing.
 *
 * Open addressing, at most half full.  Only what the caller added decides how
 * long probe sequences are; the strings looked up have no influence.  Keys of
 * up to eight bytes, as most are, lie in their slot and are compared as one
 * word.
 */
#include <stdlib.h>
#include <string.h>

#include "archive_internal.h"

typedef struct KeySlot
{
	uint32_t	hash;
	uint32_t	len;			/* plus 1; 0: the slot is free */
	union
	{
		uint64_t	word;		/* up to eight bytes, filled up with zeros */
		const char *key;
	}			u;
} KeySlot;

struct DgArchiveKeySet
{
	KeySlot    *slots;
	size_t		mask;			/* number of slots - 1; a power of two */
	size_t		count;
	DgArchiveArena arena;
};

#define FIRST_SLOTS		((size_t) 16)

/*
 * The last bytes of a key, fewer than nine, as a word.
 */
static inline uint64_t
load_tail(const char *key, size_t len)
{
	uint64_t	word = 0;

	while (len > 0)
		word = word << 8 | (unsigned char) key[--len];
	return word;
}

static inline uint32_t
mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * UINT64_C(0xc4ceb9fe1a85ec53);
	return (uint32_t) (h >> 32);
}

static uint32_t
hash_long(const char *key, size_t len)
{
	uint64_t	h = len * UINT64_C(0x9e3779b97f4a7c15);

	while (len > sizeof(uint64_t))
	{
		uint64_t	word;

		memcpy(&word, key, sizeof(word));
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
		key += sizeof(word);
		len -= sizeof(word);
	}
	return mix(h, load_tail(key, len));
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
find_short(const DgArchiveKeySet *set, uint64_t word, size_t len, uint32_t hash)
{
	size_t		i = hash & set->mask;

	while (set->slots[i].len != 0 &&
		   (set->slots[i].len != len + 1 || set->slots[i].u.word != word))
		i = (i + 1) & set->mask;
	return &set->slots[i];
}

static KeySlot *
find_long(const DgArchiveKeySet *set, const char *key, size_t len, uint32_t hash)
{
	size_t		i = hash & set->mask;

	while (set->slots[i].len != 0 &&
		   (set->slots[i].hash != hash || set->slots[i].len != len + 1 ||
			memcmp(set->slots[i].u.key, key, len) != 0))
		i = (i + 1) & set->mask;
	return &set->slots[i];
}

/*
 * The slot a key is in, or the free one where it belongs.
 */
static KeySlot *
find_slot(const DgArchiveKeySet *set, const char *key, size_t len, uint32_t *hash)
{
	if (len <= sizeof(uint64_t))
	{
		uint64_t	word = load_tail(key, len);

		*hash = mix(len * UINT64_C(0x9e3779b97f4a7c15), word);
		return find_short(set, word, len, *hash);
	}
	*hash = hash_long(key, len);
	return find_long(set, key, len, *hash);
}

/*
 * Doubles the slots.  Old keys are different from each other, so that each
 * goes to the first free slot.
 */
static bool
enlarge(DgArchiveKeySet *set)
{
	size_t		mask = set->mask * 2 + 1;
	KeySlot    *slots = calloc(mask + 1, sizeof(KeySlot));
	size_t		i;

	if (slots == NULL)
		return false;
	for (i = 0; i <= set->mask; i++)
	{
		size_t		k = set->slots[i].hash & mask;

		if (set->slots[i].len == 0)
			continue;
		while (slots[k].len != 0)
			k = (k + 1) & mask;
		slots[k] = set->slots[i];
	}
	free(set->slots);
	set->slots = slots;
	set->mask = mask;
	return true;
}

/*
 * Adds a key, given as plain text (not escaped).  False: no memory, or the
 * key is too long.
 */
bool
dg_archive_keyset_add(DgArchiveKeySet *set, const char *key, size_t len)
{
	uint32_t	hash;
	KeySlot    *slot;
	const char *copy;

	if (len >= UINT32_MAX || ((set->count + 1) * 2 > set->mask + 1 && !enlarge(set)))
		return false;
	slot = find_slot(set, key, len, &hash);
	if (slot->len != 0)
		return true;
	if (len > sizeof(uint64_t))
	{
		copy = dg_archive_strdup(&set->arena, key, len);
		if (copy == NULL)
			return false;
		slot->u.key = copy;
	}
	else
		slot->u.word = load_tail(key, len);
	slot->hash = hash;
	slot->len = (uint32_t) len + 1;
	set->count++;
	return true;
}

bool
dg_archive_keyset_has(const DgArchiveKeySet *set, const char *key, size_t len)
{
	uint32_t	hash;

	return len < UINT32_MAX && find_slot(set, key, len, &hash)->len != 0;
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
