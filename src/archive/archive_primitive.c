/*
 * archive_primitive.c
 *		What headers and tables of contents are made of: bytes, integers,
 *		strings, offsets.
 *
 * Read through a stream.  Strings are collected as their bytes arrive, so that
 * no length is believed before it has proved true.
 */
#include <string.h>

#include "archive/archive_internal.h"

#define MAX_NAME				((size_t) 64 * 1024)

/*
 * Reads one byte, as a number from 0 to 255.
 */
bool
dg_archive_read_byte(DgArchiveStream *s, int *value, DgArchiveError *err)
{
	unsigned char b;

	if (!dg_archive_stream_take(s, &b, 1, err))
		return false;
	*value = b;
	return true;
}

/*
 * A sign, then as many bytes as the header says, of which 31 bits may be used.
 */
bool
dg_archive_read_int(DgArchive *archive, DgArchiveStream *s, int *value, DgArchiveError *err)
{
	unsigned char b[33];
	uint32_t	n;
	int			i;

	if (!dg_archive_stream_take(s, b, (size_t) archive->int_size + 1, err))
		return false;
	for (i = 5; i <= archive->int_size; i++)
	{
		if (b[i] != 0)
			return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "integer out of range");
	}
	n = (uint32_t) b[1];
	for (i = 2; i <= 4 && i <= archive->int_size; i++)
		n |= (uint32_t) b[i] << (8 * (i - 1));
	if (b[0] > 1 || n > INT32_MAX)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "integer out of range");
	*value = b[0] == 1 ? -(int) n : (int) n;
	return true;
}

/*
 * Reads the length of a string; -1 stands for NULL.
 */
bool
dg_archive_read_length(DgArchive *archive, DgArchiveStream *s, int *len, DgArchiveError *err)
{
	if (!dg_archive_read_int(archive, s, len, err))
		return false;
	if (*len < -1)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "negative string length");
	if (s->codec == NULL && *len > 0 && s->source.file->size_known &&
		(uint64_t) *len > s->source.end - dg_archive_stream_stored(s))
		return dg_archive_stream_fail(s, DG_ARCHIVE_TRUNCATED, err,
									  "string reaches beyond the end of the file");
	return true;
}

/*
 * Passes a string that is of no interest.
 */
bool
dg_archive_skip_string(DgArchive *archive, DgArchiveStream *s, DgArchiveError *err)
{
	int			len;

	if (!dg_archive_read_length(archive, s, &len, err))
		return false;
	return len <= 0 || dg_archive_stream_skip(s, (uint64_t) len, err);
}

/*
 * Collects a string, of which more than limit bytes are dropped (buf->cut).
 */
bool
dg_archive_read_string(DgArchive *archive, DgArchiveStream *s, DgArchiveBuffer *buf,
					   size_t limit, DgArchiveError *err)
{
	int			len;
	size_t		left;

	if (!dg_archive_read_length(archive, s, &len, err))
		return false;
	buf->len = 0;
	buf->isnull = len < 0;
	buf->cut = len > 0 && (size_t) len > limit;
	left = len < 0 ? 0 : (size_t) len;
	while (left > 0)
	{
		size_t		n = s->end - s->start;
		size_t		keep;

		if (n == 0)
		{
			int			rc = dg_archive_stream_fill(s, err);

			if (rc < 0)
				return false;
			if (rc == 0)
				return dg_archive_stream_fail(s, DG_ARCHIVE_TRUNCATED, err, "unexpected end of file");
			continue;
		}
		n = n < left ? n : left;
		keep = n < limit - buf->len ? n : limit - buf->len;
		if (!dg_archive_buffer_add(buf, s->window + s->start, keep))
			return dg_archive_no_memory(err);
		s->start += n;
		left -= n;
	}
	if (!dg_archive_buffer_add(buf, "", 0))
		return dg_archive_no_memory(err);
	return true;
}

/*
 * Reads a name: like dg_archive_read_string(), but NUL bytes and endless names
 * are refused. *copy (if not NULL) is put into the arena; NULL reads as "".
 */
bool
dg_archive_read_name(DgArchive *archive, DgArchiveStream *s, DgArchiveBuffer *buf,
					 const char **copy, DgArchiveError *err)
{
	if (!dg_archive_read_string(archive, s, buf, MAX_NAME, err))
		return false;
	if (buf->cut)
		return dg_archive_stream_fail(s, DG_ARCHIVE_TOO_LARGE, err, "name is too long");
	if (buf->len > 0 && memchr(buf->data, '\0', buf->len) != NULL)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "name contains a NUL byte");
	if (copy == NULL)
		return true;
	*copy = dg_archive_strdup(&archive->arena, buf->data, buf->len);
	return *copy != NULL || dg_archive_no_memory(err);
}

/*
 * An offset: a flag, then off_size bytes of which 64 bits may be used.
 */
bool
dg_archive_read_offset(DgArchive *archive, DgArchiveStream *s, int *flag, uint64_t *offset,
					   DgArchiveError *err)
{
	unsigned char b[32];
	int			i;

	if (!dg_archive_read_byte(s, flag, err) ||
		!dg_archive_stream_take(s, b, (size_t) archive->off_size, err))
		return false;
	if (*flag < 1 || *flag > 3)
		return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "invalid offset flag");
	*offset = 0;
	for (i = 0; i < archive->off_size; i++)
	{
		if (i >= 8 && b[i] != 0)
			return dg_archive_stream_fail(s, DG_ARCHIVE_CORRUPT, err, "offset out of range");
		if (i < 8)
			*offset |= (uint64_t) b[i] << (8 * i);
	}
	return true;
}
