/*-------------------------------------------------------------------------
 *
 * token_base64.c
 *	  Text encodings, strictly: base64url, base64 and hexadecimal.
 *
 * Invariant: a byte string has exactly one accepted spelling.  base64url has
 * no padding, base64 has all of it, unused bits are zero, hexadecimal is
 * lower case, and there is no white space.  So two spellings of one token
 * cannot exist, and nothing can be hidden in one.
 *
 * src/token/token_base64.c
 *
 *-------------------------------------------------------------------------
 */
#include "token/token_internal.h"

/*
 * The value of a digit, or -1.  Letters and figures are common to both
 * alphabets; the two others are given.
 */
static int
digit_value(char c, char digit62, char digit63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == digit62)
		return 62;
	if (c == digit63)
		return 63;
	return -1;
}

/*
 * Decode digits without padding.  False if a byte is no digit, the length is
 * impossible, unused bits are set or the result does not fit.
 */
static bool
decode_digits(const char *text, size_t len, char digit62, char digit63,
			  unsigned char *out, size_t outsize, size_t *outlen)
{
	uint32_t	bits = 0;
	int			nbits = 0;
	size_t		n = 0;
	size_t		i;

	if (len % 4 == 1)
		return false;
	for (i = 0; i < len; i++)
	{
		int			value = digit_value(text[i], digit62, digit63);

		if (value < 0)
			return false;
		bits = (bits << 6 | (uint32_t) value) & 0xffff;
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			if (n >= outsize)
				return false;
			out[n++] = (unsigned char) (bits >> nbits & 0xff);
		}
	}
	if ((bits & ((1u << nbits) - 1)) != 0)
		return false;
	*outlen = n;
	return true;
}

/*
 * Decode base64url without padding (RFC 7515, section 2).  False if the text
 * is not the canonical spelling of something that fits into outsize bytes.
 */
bool
dg_token_base64url_decode(const char *text, size_t len,
						  unsigned char *out, size_t outsize, size_t *outlen)
{
	return decode_digits(text, len, '-', '_', out, outsize, outlen);
}

/*
 * Decode base64 with padding (RFC 4648, section 4). False if the text is not
 * the canonical spelling of something that fits into outsize bytes.
 */
bool
dg_token_base64_decode(const char *text, size_t len,
					   unsigned char *out, size_t outsize, size_t *outlen)
{
	size_t		padding = 0;

	if (len % 4 != 0)
		return false;
	while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
		padding++;
	return decode_digits(text, len - padding, '+', '/', out, outsize, outlen);
}

/*
 * Encode as base64 with padding and a final NUL.  The number of characters,
 * or 0 if they and the NUL do not fit into outsize bytes.
 */
size_t
dg_token_base64_encode(const unsigned char *data, size_t len,
					   char *out, size_t outsize)
{
	static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t		n = 0;
	size_t		i;

	if (outsize == 0 || (outsize - 1) / 4 < (len + 2) / 3)
		return 0;
	for (i = 0; i < len; i += 3)
	{
		uint32_t	bits = (uint32_t) data[i] << 16;

		if (i + 1 < len)
			bits |= (uint32_t) data[i + 1] << 8;
		if (i + 2 < len)
			bits |= data[i + 2];
		out[n++] = digits[bits >> 18 & 63];
		out[n++] = digits[bits >> 12 & 63];
		out[n++] = i + 1 < len ? digits[bits >> 6 & 63] : '=';
		out[n++] = i + 2 < len ? digits[bits & 63] : '=';
	}
	out[n] = '\0';
	return n;
}

/*
 * Decode exactly outsize bytes from lower case hexadecimal digits.
 */
bool
dg_token_hex_decode(const char *text, size_t len,
					unsigned char *out, size_t outsize)
{
	size_t		i;

	if (len != outsize * 2)
		return false;
	for (i = 0; i < len; i++)
	{
		char		c = text[i];
		unsigned char value;

		if (c >= '0' && c <= '9')
			value = (unsigned char) (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = (unsigned char) (c - 'a' + 10);
		else
			return false;
		if (i % 2 == 0)
			out[i / 2] = (unsigned char) (value << 4);
		else
			out[i / 2] |= value;
	}
	return true;
}

/*
 * Write len bytes as 2 * len lower case hexadecimal digits and a NUL.
 */
void
dg_token_hex_encode(const unsigned char *data, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t		i;

	for (i = 0; i < len; i++)
	{
		out[i * 2] = digits[data[i] >> 4];
		out[i * 2 + 1] = digits[data[i] & 15];
	}
	out[len * 2] = '\0';
}
