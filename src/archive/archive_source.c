/*
 * archive_source.c
 *		The stored bytes of one stream, whatever they are framed in.
 *
 * An extent is a range of a file and is read directly into the caller's
 * buffer.  A custom archive's data block is a list of chunks, each a length
 * and that many bytes, ended by a length of zero; writers use anything from
 * one byte to 128 KiB, so it is read ahead and the lengths are taken out here.
 *
 * Invariant: pos is the file offset of the next byte that was not handed out;
 * of chunks, raw[raw_start .. raw_end) are the bytes from pos on.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

/*
 * A source of the bytes of a file from start to end. It is to be freed; the file
 * stays open.
 */
void
dg_archive_source_extent(DgArchiveSource *source, DgArchiveFile *file,
						 uint64_t start, uint64_t end)
{
	memset(source, 0, sizeof(*source));
	source->file = file;
	source->start = start;
	source->pos = start;
	source->end = end;
	source->open_ended = !file->size_known && end == file->size;
}

/*
 * block is where the block begins (for the record), body where its first
 * chunk does.
 */
bool
dg_archive_source_chunks(DgArchiveSource *source, DgArchiveFile *file,
						 uint64_t block, uint64_t body, int int_size,
						 DgArchiveError *err)
{
	dg_archive_source_extent(source, file, body, file->size);
	source->start = block;
	source->chunked = true;
	source->int_size = int_size;
	source->raw = malloc(DG_ARCHIVE_INPUT_SIZE);
	if (source->raw == NULL)
		return dg_archive_no_memory(err);
	return true;
}

/*
 * Frees what the source has read ahead.
 */
void
dg_archive_source_free(DgArchiveSource *source)
{
	free(source->raw);
	memset(source, 0, sizeof(*source));
}

/*
 * Makes at least want bytes (at most half the buffer) available without using
 * them up; fewer at the end of the file.
 */
bool
dg_archive_source_peek(DgArchiveSource *source, size_t want,
					   const unsigned char **data, size_t *got,
					   DgArchiveError *err)
{
	while (source->raw_end - source->raw_start < want)
	{
		size_t		have = source->raw_end - source->raw_start;
		size_t		n;

		if (have > 0 && source->raw_start > 0)
			memmove(source->raw, source->raw + source->raw_start, have);
		source->raw_start = 0;
		source->raw_end = have;
		if (!dg_archive_file_some(source->file, source->pos + have,
								  source->raw + have,
								  DG_ARCHIVE_INPUT_SIZE - have, &n, err))
			return false;
		if (n == 0)
			break;
		source->raw_end += n;
	}
	*data = source->raw + source->raw_start;
	*got = source->raw_end - source->raw_start;
	return true;
}

static void
use_raw(DgArchiveSource *source, uint64_t len)
{
	size_t		have = source->raw_end - source->raw_start;

	if (len <= have)
		source->raw_start += (size_t) len;
	else
		source->raw_start = source->raw_end = 0;
	source->pos += len;
}

static bool
fail_short(DgArchiveSource *source, DgArchiveError *err)
{
	return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, source->file->name,
						   source->pos, "data block ends too early");
}

/*
 * Reads an integer as pg_dump writes it: a sign byte, then int_size bytes
 * with the lowest first, of which only 32 bits may be used.
 */
bool
dg_archive_source_int(DgArchiveSource *source, int64_t *value, DgArchiveError *err)
{
	const unsigned char *p;
	size_t		got;
	size_t		len = (size_t) source->int_size + 1;
	int64_t		result = 0;
	size_t		i;

	if (!dg_archive_source_peek(source, len, &p, &got, err))
		return false;
	if (got < len)
		return fail_short(source, err);
	for (i = 1; i < len; i++)
	{
		if (i > 4 && p[i] != 0)
			return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, source->file->name,
								   source->pos, "integer out of range");
		if (i <= 4)
			result |= (int64_t) p[i] << (8 * (i - 1));
	}
	if (p[0] > 1)
		return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, source->file->name,
							   source->pos, "integer has invalid sign byte %d", p[0]);
	*value = p[0] == 1 ? -result : result;
	use_raw(source, len);
	return true;
}

/*
 * Reads the next chunk's length; sets at_end at the terminator.
 */
static bool
next_chunk(DgArchiveSource *source, DgArchiveError *err)
{
	int64_t		len = 0;
	uint64_t	at = source->pos;

	if (!dg_archive_source_int(source, &len, err))
		return false;
	if (len < 0)
		return dg_archive_fail(err, DG_ARCHIVE_CORRUPT, source->file->name, at,
							   "negative chunk length");
	if (len == 0)
		source->at_end = true;
	else if (source->file->size_known &&
			 (uint64_t) len > source->file->size - source->pos)
		return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, source->file->name, at,
							   "chunk of %lld bytes reaches beyond the end of the file",
							   (long long) len);
	source->chunk_left = (uint64_t) len;
	return true;
}

static bool
read_chunks(DgArchiveSource *source, unsigned char *buf, size_t cap, size_t *got,
			DgArchiveError *err)
{
	while (*got < cap)
	{
		const unsigned char *data;
		size_t		avail;
		size_t		n = cap - *got;

		if (source->chunk_left == 0)
		{
			if (!next_chunk(source, err))
				return false;
			if (source->at_end)
				break;
		}
		if (!dg_archive_source_peek(source, 1, &data, &avail, err))
			return false;
		if (avail == 0)
			return fail_short(source, err);
		if (n > avail)
			n = avail;
		if (n > source->chunk_left)
			n = (size_t) source->chunk_left;
		memcpy(buf + *got, data, n);
		use_raw(source, n);
		source->chunk_left -= n;
		*got += n;
	}
	return true;
}

/*
 * Reads up to cap bytes.  *got is 0 only at the end of the stream.
 */
bool
dg_archive_source_read(DgArchiveSource *source, void *buf, size_t cap,
					   size_t *got, DgArchiveError *err)
{
	*got = 0;
	if (source->at_end)
		return true;
	if (source->chunked)
		return read_chunks(source, buf, cap, got, err);
	if (source->pos >= source->end)
	{
		source->at_end = true;
		return true;
	}
	if (cap > source->end - source->pos)
		cap = (size_t) (source->end - source->pos);
	if (!dg_archive_file_some(source->file, source->pos, buf, cap, got, err))
		return false;
	if (*got == 0)
	{
		if (!source->open_ended)
			return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, source->file->name,
								   source->pos, "unexpected end of file");
		source->at_end = true;
	}
	source->pos += *got;
	return true;
}

/*
 * Hops over chunks to behind the terminator, without reading more of them
 * than the read-ahead happens to.  *empty: there was no chunk at all.
 */
bool
dg_archive_source_skip_chunks(DgArchiveSource *source, bool *empty,
							  DgArchiveError *err)
{
	*empty = true;
	source->at_end = false;
	for (;;)
	{
		if (!next_chunk(source, err))
			return false;
		if (source->at_end)
			return true;
		*empty = false;
		use_raw(source, source->chunk_left);
	}
}
