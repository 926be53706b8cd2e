/*
 * archive_stream.c
 *		Decoded bytes of a source in a sliding window.
 *
 * Readers look at window[start .. end) and advance start; when they need more
 * than is there, dg_archive_stream_fill() moves what is left to the front and
 * decodes behind it.  Pointers into the window are good until then.  The
 * window only grows when it is full of one unfinished row, so its size follows
 * the data that has arrived.
 *
 * A file that was compressed as a whole is read as one such stream, and is a file
 * to everybody else.
 *
 * The end is reported only once the source is used up and the codec has seen
 * the end of its last frame, with the checksum the frame carries.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

/*
 * Prepares the stream; the caller sets up its source next.  Also after a
 * failure the stream is to be freed.
 */
bool
dg_archive_stream_init(DgArchiveStream *stream, DgArchive *archive,
					   DgArchiveCompression compression,
					   DgArchiveFraming framing, DgArchiveError *err)
{
	memset(stream, 0, sizeof(*stream));
	stream->archive = archive;
	stream->framing = framing;
	stream->codec = dg_archive_codec_choose(archive, compression);
	stream->cap = DG_ARCHIVE_WINDOW_SIZE;
	stream->window = malloc(stream->cap);
	if (stream->window == NULL)
		return dg_archive_no_memory(err);
	if (stream->codec == NULL)
		return true;
	stream->in = malloc(DG_ARCHIVE_INPUT_SIZE);
	stream->codec_state = stream->codec->create(framing);
	if (stream->in == NULL || stream->codec_state == NULL)
		return dg_archive_no_memory(err);
	return true;
}

/*
 * Frees a stream, but not the place that it is in; one that was never begun must be
 * zero.
 */
void
dg_archive_stream_free(DgArchiveStream *stream)
{
	if (stream->codec_state != NULL)
		stream->codec->destroy(stream->codec_state);
	dg_archive_source_free(&stream->source);
	free(stream->in);
	free(stream->window);
	memset(stream, 0, sizeof(*stream));
}

/* Decoded bytes before the next unread one. */
uint64_t
dg_archive_stream_tell(const DgArchiveStream *stream)
{
	return stream->base + stream->start;
}

/*
 * File offset that the next unread byte stems from: exact where stored as is
 * in an extent, otherwise that of the input used so far.
 */
uint64_t
dg_archive_stream_stored(const DgArchiveStream *stream)
{
	if (stream->codec == NULL && !stream->source.chunked)
		return stream->source.pos - (stream->end - stream->start);
	return stream->source.pos;
}

/*
 * Fills in err with the place that the stream is at, and returns false.
 */
bool
dg_archive_stream_fail(const DgArchiveStream *stream, DgArchiveStatus code, DgArchiveError *err,
					   const char *fmt,...)
{
	char		detail[200];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	return dg_archive_fail(err, code, stream->source.file == NULL ? NULL : stream->source.file->name,
						   dg_archive_stream_stored(stream), "%s", detail);
}

/*
 * Refills the empty input buffer.  *more is false at the end of the source.
 */
static bool
fill_input(DgArchiveStream *stream, bool *more, DgArchiveError *err)
{
	size_t		got;

	if (!dg_archive_source_read(&stream->source, stream->in,
								DG_ARCHIVE_INPUT_SIZE, &got, err))
		return false;
	stream->in_start = 0;
	stream->in_end = got;
	*more = got > 0;
	return true;
}

/*
 * At the end of the source: is that an end of the stream?
 */
static bool
finish_input(DgArchiveStream *stream, DgArchiveError *err)
{
	if (stream->in_frame || !stream->any_frame)
		return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED,
							   stream->source.file->name, stream->source.pos,
							   "%s data ends too early", stream->codec->name);
	stream->ended = true;
	return true;
}

/*
 * Between frames: decides whether another one may begin.
 */
static bool
begin_frame(DgArchiveStream *stream, DgArchiveError *err)
{
	if (stream->any_frame)
	{
		if (stream->framing == DG_ARCHIVE_FRAME_ZLIB &&
			stream->codec->single_zlib)
			return dg_archive_fail(err, DG_ARCHIVE_CORRUPT,
								   stream->source.file->name, stream->source.pos,
								   "data after the end of the %s stream",
								   stream->codec->name);
		if (!stream->codec->reset(stream->codec_state))
			return dg_archive_no_memory(err);
	}
	stream->in_frame = true;
	return true;
}

/*
 * Runs the codec once over what input there is.  *progress: it used or made
 * bytes.
 */
static bool
decode_once(DgArchiveStream *stream, bool *progress, DgArchiveError *err)
{
	DgArchiveCodecIO io;
	size_t		in_len = stream->in_end - stream->in_start;
	size_t		out_len = stream->cap - stream->end;

	memset(&io, 0, sizeof(io));
	io.in = stream->in + stream->in_start;
	io.in_len = in_len;
	io.out = (unsigned char *) stream->window + stream->end;
	io.out_len = out_len;
	if (!stream->codec->decode(stream->codec_state, &io))
		return dg_archive_fail(err, io.status, stream->source.file->name,
							   stream->source.pos - in_len, "%s data: %s",
							   stream->codec->name, io.detail);
	stream->in_start += in_len - io.in_len;
	stream->end += out_len - io.out_len;
	*progress = io.in_len < in_len || io.out_len < out_len || io.frame_end;
	if (io.frame_end)
	{
		stream->in_frame = false;
		stream->any_frame = true;
	}
	return true;
}

static bool
fill_decoded(DgArchiveStream *stream, DgArchiveError *err)
{
	while (stream->end < stream->cap && !stream->ended)
	{
		bool		progress = false;

		if (stream->in_frame && !decode_once(stream, &progress, err))
			return false;
		if (progress)
			continue;
		if (stream->in_start == stream->in_end)
		{
			bool		more;

			if (!fill_input(stream, &more, err))
				return false;
			if (!more)
				return finish_input(stream, err);
		}
		else if (stream->in_frame)
			return dg_archive_fail(err, DG_ARCHIVE_CORRUPT,
								   stream->source.file->name, stream->source.pos,
								   "%s data makes no progress", stream->codec->name);
		if (!stream->in_frame && !begin_frame(stream, err))
			return false;
	}
	return true;
}

static bool
fill_stored(DgArchiveStream *stream, DgArchiveError *err)
{
	while (stream->end < stream->cap && !stream->ended)
	{
		size_t		got;

		if (!dg_archive_source_read(&stream->source, stream->window + stream->end,
									stream->cap - stream->end, &got, err))
			return false;
		stream->end += got;
		stream->ended = got == 0;
	}
	return true;
}

/*
 * Gets more bytes into the window.  1: there are more than before, 0: the
 * stream has ended, -1: error.
 */
int
dg_archive_stream_fill(DgArchiveStream *stream, DgArchiveError *err)
{
	size_t		have = stream->end - stream->start;

	if (stream->ended)
		return 0;
	if (dg_archive_interrupted(stream->archive, err))
		return -1;
	if (stream->start > 0)
	{
		if (have > 0)
			memmove(stream->window, stream->window + stream->start, have);
		stream->base += stream->start;
		stream->start = 0;
		stream->end = have;
	}
	else if (have == stream->cap)
	{
		if (have >= DG_ARCHIVE_MAX_ROW)
		{
			dg_archive_fail(err, DG_ARCHIVE_TOO_LARGE, stream->source.file->name,
							stream->source.pos, "row of more than %zu bytes",
							DG_ARCHIVE_MAX_ROW);
			return -1;
		}
		if (!dg_archive_grow(&stream->window, &stream->cap, have * 2, 1))
		{
			dg_archive_no_memory(err);
			return -1;
		}
	}
	if (!(stream->codec != NULL ? fill_decoded(stream, err) : fill_stored(stream, err)))
		return -1;
	return stream->end > have ? 1 : 0;
}

/*
 * Gets more bytes into the window, or fails at the end of the stream.
 */
static bool
fill_or_fail(DgArchiveStream *stream, DgArchiveError *err)
{
	int			rc = dg_archive_stream_fill(stream, err);

	if (rc == 0)
		return dg_archive_fail(err, DG_ARCHIVE_TRUNCATED, stream->source.file->name,
							   stream->source.pos, "unexpected end of file");
	return rc > 0;
}

/*
 * Copies len bytes out, or fails at the end of the stream.
 */
bool
dg_archive_stream_take(DgArchiveStream *stream, void *buf, size_t len,
					   DgArchiveError *err)
{
	while (len > 0)
	{
		size_t		n = stream->end - stream->start;

		if (n > len)
			n = len;
		memcpy(buf, stream->window + stream->start, n);
		stream->start += n;
		buf = (char *) buf + n;
		len -= n;
		if (len > 0 && !fill_or_fail(stream, err))
			return false;
	}
	return true;
}

/*
 * Passes over len bytes, or fails at the end of the stream.
 */
bool
dg_archive_stream_skip(DgArchiveStream *stream, uint64_t len, DgArchiveError *err)
{
	for (;;)
	{
		size_t		n = stream->end - stream->start;

		if (n >= len)
		{
			stream->start += (size_t) len;
			return true;
		}
		stream->start = stream->end;
		len -= n;
		if (!fill_or_fail(stream, err))
			return false;
	}
}

/* ---- a file that is such a stream ---- */

static void
free_packed(DgArchiveStream *stream)
{
	dg_archive_stream_free(stream);
	free(stream);
}

/*
 * Back to the first byte of an extent.
 */
static bool
rewind_stream(DgArchiveStream *stream, DgArchiveError *err)
{
	if (stream->codec != NULL && !stream->codec->reset(stream->codec_state))
		return dg_archive_no_memory(err);
	stream->source.pos = stream->source.start;
	stream->source.at_end = false;
	stream->in_start = stream->in_end = 0;
	stream->start = stream->end = 0;
	stream->base = 0;
	stream->in_frame = stream->any_frame = stream->ended = false;
	return true;
}

/*
 * Reads up to want bytes at offset of a packed file.
 */
static bool
read_packed(DgArchiveFile *file, uint64_t offset, void *buf, size_t want,
			size_t *got, DgArchiveError *err)
{
	DgArchiveStream *stream = file->packed;
	size_t		avail;

	*got = 0;
	if (offset < dg_archive_stream_tell(stream) &&
		!rewind_stream(stream, err))
		return false;
	for (;;)
	{
		uint64_t	here = dg_archive_stream_tell(stream);
		int			rc;

		avail = stream->end - stream->start;
		if (offset - here < avail)
			break;
		stream->start = stream->end;
		rc = dg_archive_stream_fill(stream, err);
		if (rc < 0)
			return false;
		if (rc == 0)
		{
			file->size = dg_archive_stream_tell(stream);
			file->size_known = true;
			return true;
		}
	}
	stream->start += offset - dg_archive_stream_tell(stream);
	avail = stream->end - stream->start;
	*got = avail < want ? avail : want;
	memcpy(buf, stream->window + stream->start, *got);
	return true;
}

/*
 * Makes a file of what another file, compressed as a whole, decompresses to.
 * Reading forward is cheap, going back starts over.
 */
DgArchiveFile *
dg_archive_file_packed(DgArchiveFile *inner, DgArchiveCompression compression,
					   DgArchiveError *err)
{
	DgArchiveFile *file = dg_archive_file_create(inner->archive, inner->name, err);

	if (file == NULL)
		return NULL;
	file->packed = calloc(1, sizeof(*file->packed));
	if (file->packed == NULL)
	{
		dg_archive_no_memory(err);
		return NULL;
	}
	file->read_packed = read_packed;
	file->free_packed = free_packed;
	file->size_known = false;
	file->size = UINT64_MAX;
	if (!dg_archive_stream_init(file->packed, inner->archive, compression,
								DG_ARCHIVE_FRAME_FILE, err))
		return NULL;
	dg_archive_source_extent(&file->packed->source, inner, 0, inner->size);
	return file;
}

/*
 * Reads what was not read yet of files that were compressed as a whole: what was
 * has a checksum only at the end.
 */
bool
dg_archive_finish(DgArchive *archive, DgArchiveError *err)
{
	DgArchiveFile *file;

	for (file = archive->files; file != NULL; file = file->next)
	{
		int			rc = 1;

		if (file->packed == NULL || file->size_known)
			continue;
		while (rc > 0)
		{
			file->packed->start = file->packed->end;
			rc = dg_archive_stream_fill(file->packed, err);
		}
		if (rc < 0)
			return false;
		file->size = dg_archive_stream_tell(file->packed);
		file->size_known = true;
	}
	return dg_archive_files_unchanged(archive, err);
}
