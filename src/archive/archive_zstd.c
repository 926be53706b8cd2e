/*
 * archive_zstd.c
 *		Zstandard frames, of custom archives and of .zst files.
 *
 * The decoder's own limit on a frame's window (128 MiB) is what pg_dump's
 * "long" option needs.  It is reserved when a frame claims it, but touched
 * only as data arrives.
 */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "archive/archive_internal.h"

static void *
zstd_create(DgArchiveFraming framing)
{
	(void) framing;
	return ZSTD_createDStream();
}

static bool
zstd_decode(void *state, DgArchiveCodecIO *io)
{
	ZSTD_inBuffer in = {io->in, io->in_len, 0};
	ZSTD_outBuffer out = {io->out, io->out_len, 0};
	size_t		rc = ZSTD_decompressStream(state, &out, &in);

	if (ZSTD_isError(rc))
	{
		switch (ZSTD_getErrorCode(rc))
		{
			case ZSTD_error_memory_allocation:
				io->status = DG_ARCHIVE_NO_MEMORY;
				io->detail = "out of memory";
				break;
			case ZSTD_error_checksum_wrong:
				io->status = DG_ARCHIVE_CHECKSUM;
				io->detail = "checksum does not match";
				break;
			case ZSTD_error_frameParameter_windowTooLarge:
				io->status = DG_ARCHIVE_UNSUPPORTED;
				io->detail = "needs a window of more than 128 MiB";
				break;
			default:
				io->status = DG_ARCHIVE_CORRUPT;
				io->detail = "invalid compressed data";
				break;
		}
		return false;
	}
	io->in += in.pos;
	io->in_len -= in.pos;
	io->out += out.pos;
	io->out_len -= out.pos;
	io->frame_end = rc == 0;
	return true;
}

static bool
zstd_reset(void *state)
{
	return !ZSTD_isError(ZSTD_DCtx_reset(state, ZSTD_reset_session_only));
}

static void
zstd_destroy(void *state)
{
	ZSTD_freeDStream(state);
}

const DgArchiveCodec dg_archive_codec_zstd = {
	"zstd", false, zstd_create, zstd_decode, zstd_reset, zstd_destroy
};
