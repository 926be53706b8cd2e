/*
 * archive_codec.c
 *		Decompressors: zlib or ISA-L, LZ4, Zstandard.
 *
 * zlib streams of custom archives and gzip files are read through zlib or ISA-L.
 * Both check the trailer: Adler-32 of a zlib stream, CRC-32 and length of a
 * gzip member.  They must give the same bytes and the same verdict, so ISA-L
 * (DG_HAVE_ISAL, about three times as fast) is only ever a matter of speed.
 *
 * pg_dump writes neither content nor block checksums into LZ4 frames; where a
 * file was compressed by something else that does, the library checks them.
 *
 * Of Zstandard, the decoder's own limit on a frame's window (128 MiB) is what
 * pg_dump's "long" option needs.  It is reserved when a frame claims it, but
 * touched only as data arrives.
 */
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#ifdef DG_HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

#include "archive/archive_internal.h"

static bool
fail_io(DgArchiveCodecIO *io, DgArchiveStatus status, const char *detail)
{
	io->status = status;
	io->detail = detail;
	return false;
}

/* ---- zlib ---- */

static void *
zlib_create(DgArchiveFraming framing)
{
	z_stream   *z = calloc(1, sizeof(*z));

	if (z == NULL)
		return NULL;
	if (inflateInit2(z, framing == DG_ARCHIVE_FRAME_ZLIB ? 15 : 15 + 16) != Z_OK)
	{
		free(z);
		return NULL;
	}
	return z;
}

static bool
zlib_decode(void *state, DgArchiveCodecIO *io)
{
	z_stream   *z = state;
	int			rc;

	z->next_in = (unsigned char *) io->in;
	z->avail_in = (uInt) io->in_len;
	z->next_out = io->out;
	z->avail_out = io->out_len > INT32_MAX ? INT32_MAX : (uInt) io->out_len;
	io->out_len -= z->avail_out;
	rc = inflate(z, Z_NO_FLUSH);
	io->in = z->next_in;
	io->in_len = z->avail_in;
	io->out = z->next_out;
	io->out_len += z->avail_out;
	switch (rc)
	{
		case Z_OK:
		case Z_BUF_ERROR:		/* needs more input or more room */
			return true;
		case Z_STREAM_END:
			io->frame_end = true;
			return true;
		case Z_MEM_ERROR:
			return fail_io(io, DG_ARCHIVE_NO_MEMORY, "out of memory");
		case Z_DATA_ERROR:
			if (z->msg != NULL && (strcmp(z->msg, "incorrect data check") == 0 ||
								   strcmp(z->msg, "incorrect length check") == 0))
				return fail_io(io, DG_ARCHIVE_CHECKSUM, "checksum does not match");
			return fail_io(io, DG_ARCHIVE_CORRUPT, "invalid compressed data");
		default:
			return fail_io(io, DG_ARCHIVE_CORRUPT, "invalid compressed data");
	}
}

static bool
zlib_reset(void *state)
{
	return inflateReset(state) == Z_OK;
}

static void
zlib_destroy(void *state)
{
	inflateEnd(state);
	free(state);
}

static const DgArchiveCodec codec_zlib = {
	"gzip", true, zlib_create, zlib_decode, zlib_reset, zlib_destroy
};

/* ---- ISA-L ---- */

#ifdef DG_HAVE_ISAL

typedef struct IsalState
{
	struct inflate_state inflate;
	uint32_t	crc_flag;
} IsalState;

static bool
isal_reset(void *state)
{
	IsalState  *isal = state;

	isal_inflate_init(&isal->inflate);
	isal->inflate.crc_flag = isal->crc_flag;
	return true;
}

static void *
isal_create(DgArchiveFraming framing)
{
	IsalState  *isal = calloc(1, sizeof(*isal));

	if (isal == NULL)
		return NULL;
	isal->crc_flag = framing == DG_ARCHIVE_FRAME_ZLIB ? ISAL_ZLIB : ISAL_GZIP;
	isal_reset(isal);
	return isal;
}

static bool
isal_decode(void *state, DgArchiveCodecIO *io)
{
	IsalState  *isal = state;
	struct inflate_state *z = &isal->inflate;
	int			rc;

	z->next_in = (uint8_t *) io->in;
	z->avail_in = (uint32_t) io->in_len;
	z->next_out = io->out;
	z->avail_out = io->out_len > INT32_MAX ? INT32_MAX : (uint32_t) io->out_len;
	io->out_len -= z->avail_out;
	rc = isal_inflate(z);
	io->in = z->next_in;
	io->in_len = z->avail_in;
	io->out = z->next_out;
	io->out_len += z->avail_out;
	if (rc == ISAL_INCORRECT_CHECKSUM)
		return fail_io(io, DG_ARCHIVE_CHECKSUM, "checksum does not match");
	if (rc < 0 || rc == ISAL_NEED_DICT)
		return fail_io(io, DG_ARCHIVE_CORRUPT, "invalid compressed data");
	if (z->block_state == ISAL_BLOCK_FINISH)
	{
		/* whole bytes behind the trailer that it had already fetched */
		if (z->read_in_length >= 8)
			return fail_io(io, DG_ARCHIVE_CORRUPT,
						   "data after the end of the stream");
		io->frame_end = true;
	}
	return true;
}

static void
isal_destroy(void *state)
{
	free(state);
}

static const DgArchiveCodec codec_isal = {
	"gzip", true, isal_create, isal_decode, isal_reset, isal_destroy
};

#endif							/* DG_HAVE_ISAL */

/* ---- LZ4 ---- */

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
			return fail_io(io, DG_ARCHIVE_NO_MEMORY, "out of memory");
		if (strstr(name, "hecksum") != NULL)
			return fail_io(io, DG_ARCHIVE_CHECKSUM, "checksum does not match");
		return fail_io(io, DG_ARCHIVE_CORRUPT, "invalid compressed data");
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

static const DgArchiveCodec codec_lz4 = {
	"lz4", false, lz4_create, lz4_decode, lz4_reset, lz4_destroy
};

/* ---- Zstandard ---- */

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
				return fail_io(io, DG_ARCHIVE_NO_MEMORY, "out of memory");
			case ZSTD_error_checksum_wrong:
				return fail_io(io, DG_ARCHIVE_CHECKSUM, "checksum does not match");
			case ZSTD_error_frameParameter_windowTooLarge:
				return fail_io(io, DG_ARCHIVE_UNSUPPORTED, "needs a window of more than 128 MiB");
			default:
				return fail_io(io, DG_ARCHIVE_CORRUPT, "invalid compressed data");
		}
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

static const DgArchiveCodec codec_zstd = {
	"zstd", false, zstd_create, zstd_decode, zstd_reset, zstd_destroy
};

/* ---- which of them ---- */

/*
 * The decompressor of what is compressed so; NULL where nothing is.
 */
const DgArchiveCodec *
dg_archive_codec_choose(DgArchive *archive, DgArchiveCompression compression)
{
	switch (compression)
	{
		case DG_ARCHIVE_NONE:
			break;
		case DG_ARCHIVE_GZIP:
#ifdef DG_HAVE_ISAL
			if (!archive->options.force_zlib)
				return &codec_isal;
#else
			(void) archive;
#endif
			return &codec_zlib;
		case DG_ARCHIVE_LZ4:
			return &codec_lz4;
		case DG_ARCHIVE_ZSTD:
			return &codec_zstd;
	}
	return NULL;
}

/*
 * Is gzip read through ISA-L?
 */
bool
dg_archive_has_isal(void)
{
#ifdef DG_HAVE_ISAL
	return true;
#else
	return false;
#endif
}
