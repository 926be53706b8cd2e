/*
 * archive_lz4.c
 *		LZ4 frames, of custom archives and of .lz4 files.
 *
 * pg_dump writes neither content nor block checksums; where a file was
 * compressed by something else that does, the library checks them.
 */
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive_internal.h"

static void *
lz4_create(DgArchiveFraming framing)
{
	LZ4F_dctx  *dctx;

	(void) framing;
	if (LZ4F_isError(LZ4F_createDecompressionContext(&dctx, LZ4F_VERSION)))
		return NULL;
	return dctx;
}

static bool
lz4_decode(void *state, DgArchiveCodecIO *io)
{
	size_t		in_len = io->in_len;
	size_t		out_len = io->out_len;
	size_t		rc;

	rc = LZ4F_decompress(state, io->out, &out_len, io->in, &in_len, NULL);
	if (LZ4F_isError(rc))
	{
		const char *name = LZ4F_getErrorName(rc);

		if (strstr(name, "allocation") != NULL)
			io->status = DG_ARCHIVE_NO_MEMORY;
		else if (strstr(name, "hecksum") != NULL)
			io->status = DG_ARCHIVE_CHECKSUM;
		else
			io->status = DG_ARCHIVE_CORRUPT;
		io->detail = io->status == DG_ARCHIVE_CHECKSUM ?
			"checksum does not match" : "invalid compressed data";
		return false;
	}
	io->in += in_len;
	io->in_len -= in_len;
	io->out += out_len;
	io->out_len -= out_len;
	/* also 0 before anything was fed in; that is no end of a frame */
	io->frame_end = rc == 0 && in_len > 0;
	return true;
}

static bool
lz4_reset(void *state)
{
	LZ4F_resetDecompressionContext(state);
	return true;
}

static void
lz4_destroy(void *state)
{
	LZ4F_freeDecompressionContext(state);
}

const DgArchiveCodec dg_archive_codec_lz4 = {
	"lz4", false, lz4_create, lz4_decode, lz4_reset, lz4_destroy
};
