/*
 * archive_memory.c
 *		Errors and memory of the archive reader.
 *
 * What lives as long as the archive (names, definitions) is taken from an
 * arena that dg_archive_close() frees as a whole.  The arena has a ceiling, so
 * that a table of contents made of nothing but names cannot exhaust memory.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

#define ARENA_BLOCK_SIZE	((size_t) 64 * 1024)

struct DgArchiveArenaBlock
{
	DgArchiveArenaBlock *next;
	size_t		used;
	size_t		size;
	max_align_t data[];
};

/*
 * Copies at most size - 1 bytes, with what would break a line or a terminal
 * replaced.
 */
static void
copy_printable(char *dst, size_t size, const char *src)
{
	size_t		i;

	for (i = 0; i + 1 < size && src[i] != '\0'; i++)
		dst[i] = ((unsigned char) src[i] < ' ' || src[i] == 0x7f) ? '?' : src[i];
	dst[i] = '\0';
}

/*
 * Fills in err (which may be NULL) and returns false, for "return fail(...)".
 * file may be NULL.
 */
bool
dg_archive_fail(DgArchiveError *err, DgArchiveStatus code, const char *file,
				uint64_t offset, const char *fmt,...)
{
	char		detail[300];
	va_list		args;

	if (err == NULL)
		return false;
	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->offset = offset;
	if (file != NULL)
	{
		char		full[sizeof(err->message)];

		copy_printable(err->file, sizeof(err->file), file);
		if (offset == 0)
			snprintf(full, sizeof(full), "%.300s (file \"%.120s\")", detail, err->file);
		else
			snprintf(full, sizeof(full), "%.300s (file \"%.120s\", byte %llu)",
					 detail, err->file, (unsigned long long) offset);
		copy_printable(err->message, sizeof(err->message), full);
	}
	else
		copy_printable(err->message, sizeof(err->message), detail);
	return false;
}

/*
 * Says in an error that was filled in what to do about it, where its code alone
 * does not tell. Returns false as well.
 */
bool
dg_archive_hint(DgArchiveError *err, const char *fmt,...)
{
	char		hint[sizeof(err->hint)];
	va_list		args;

	if (err == NULL)
		return false;
	va_start(args, fmt);
	vsnprintf(hint, sizeof(hint), fmt, args);
	va_end(args);
	copy_printable(err->hint, sizeof(err->hint), hint);
	return false;
}

/*
 * Fails for want of memory; always false.
 */
bool
dg_archive_no_memory(DgArchiveError *err)
{
	return dg_archive_fail(err, DG_ARCHIVE_NO_MEMORY, NULL, 0, "out of memory");
}

/*
 * Names the table in an error that a lower layer has filled in.
 */
void
dg_archive_error_table(DgArchiveError *err, const char *schema, const char *name)
{
	char		raw[sizeof(err->table)];
	char		tail[sizeof(err->table) + 20];
	size_t		used;

	if (err == NULL || err->code == DG_ARCHIVE_OK || err->table[0] != '\0')
		return;
	snprintf(raw, sizeof(raw), "%.75s%s%.75s", schema, schema[0] != '\0' ? "." : "", name);
	copy_printable(err->table, sizeof(err->table), raw);
	snprintf(tail, sizeof(tail), ", table \"%s\"", err->table);
	used = strlen(err->message);
	if (used + strlen(tail) < sizeof(err->message))
		strcpy(err->message + used, tail);
}

/*
 * Returns zeroed memory that lives as long as the arena, or NULL when there
 * is none or the ceiling is reached.
 */
void *
dg_archive_alloc(DgArchiveArena *arena, size_t size)
{
	DgArchiveArenaBlock *block = arena->blocks;
	void	   *result;

	if (size > DG_ARCHIVE_MAX_ARENA)
		return NULL;
	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (block == NULL || block->size - block->used < size)
	{
		size_t		want = size > ARENA_BLOCK_SIZE / 4 ? size : ARENA_BLOCK_SIZE;

		if (arena->total + want > DG_ARCHIVE_MAX_ARENA)
			return NULL;
		block = malloc(sizeof(*block) + want);
		if (block == NULL)
			return NULL;
		block->used = 0;
		block->size = want;
		arena->total += want;
		if (want != ARENA_BLOCK_SIZE && arena->blocks != NULL)
		{
			/* a block of its own: go on filling the current one */
			block->next = arena->blocks->next;
			arena->blocks->next = block;
		}
		else
		{
			block->next = arena->blocks;
			arena->blocks = block;
		}
	}
	result = (char *) block->data + block->used;
	block->used += size;
	memset(result, 0, size);
	return result;
}

/*
 * A copy of a text, with a zero behind it, for as long as the arena lasts; NULL if
 * there is no memory.
 */
char *
dg_archive_strdup(DgArchiveArena *arena, const char *s, size_t len)
{
	char	   *copy = dg_archive_alloc(arena, len + 1);

	if (copy != NULL && len > 0)
		memcpy(copy, s, len);
	return copy;
}

/*
 * Frees all that was allocated there.
 */
void
dg_archive_arena_free(DgArchiveArena *arena)
{
	DgArchiveArenaBlock *block = arena->blocks;

	while (block != NULL)
	{
		DgArchiveArenaBlock *next = block->next;

		free(block);
		block = next;
	}
	arena->blocks = NULL;
	arena->total = 0;
}

/*
 * Makes room for need items in *(T **) array, geometrically.  False: out of
 * memory, and the array is as it was.
 */
bool
dg_archive_grow(void *array, size_t *cap, size_t need, size_t item)
{
	void	   *old;
	void	   *new;
	size_t		want = *cap < 16 ? 16 : *cap;

	if (need <= *cap)
		return true;
	while (want < need)
		want *= 2;
	if (want > SIZE_MAX / 2 / item)
		return false;
	memcpy(&old, array, sizeof(old));
	new = realloc(old, want * item);
	if (new == NULL)
		return false;
	memcpy(array, &new, sizeof(new));
	*cap = want;
	return true;
}

/*
 * Appends an item to *(T **) array, which has *count of them.
 */
bool
dg_archive_append(void *array, size_t *count, size_t *cap, const void *item, size_t size, DgArchiveError *err)
{
	char	   *items;

	if (!dg_archive_grow(array, cap, *count + 1, size))
		return dg_archive_no_memory(err);
	memcpy(&items, array, sizeof(items));
	memcpy(items + (*count)++ * size, item, size);
	return true;
}

/*
 * Appends; the data is always followed by a NUL that is not counted.
 */
bool
dg_archive_buffer_add(DgArchiveBuffer *buf, const char *data, size_t len)
{
	if (!dg_archive_grow(&buf->data, &buf->cap, buf->len + len + 1, 1))
		return false;
	if (len > 0)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
	return true;
}

/*
 * Frees the contents. The buffer is empty, and may be used again.
 */
void
dg_archive_buffer_free(DgArchiveBuffer *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}
