/*
 * archive_inflate.c
 *		zlib streams of custom archives and gzip files, through zlib or ISA-L.
 *
 * Both check the trailer: Adler-32 of a zlib stream, CRC-32 and length of a
 * gzip member.  They must give the same bytes and the same verdict, so ISA-L
 * (DG_HAVE_ISAL, about three times as fast) is only ever a matter of speed.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
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

const DgArchiveCodec dg_archive_codec_zlib = {
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

const DgArchiveCodec dg_archive_codec_isal = {
	"gzip", true, isal_create, isal_decode, isal_reset, isal_destroy
};

#endif							/* DG_HAVE_ISAL */
