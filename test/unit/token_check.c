/*-------------------------------------------------------------------------
 *
 * token_check.c
 *	  Judges one token from standard input, for tests with other programs.
 *
 * Usage: token_check PUBLIC-KEY-FILE AUDIENCE [NOW] < token
 *
 * Prints the reason ("ok" or why not), and the claim or parameter concerned if
 * there is one.  The exit status is 0 for a good token, 1 for a bad one, 2 if
 * nothing could be judged.
 *
 * test/unit/token_check.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "token/token.h"

/*
 * Read at most size bytes, and drop one final newline.
 */
static size_t
read_all(FILE *file, char *buffer, size_t size)
{
	size_t		len = fread(buffer, 1, size, file);

	if (len > 0 && buffer[len - 1] == '\n')
		len--;
	return len;
}

/*
 * Judge the token with the key's bytes in "pem".
 */
static DgTokenStatus
judge(const char *pem, size_t pem_len, const char *token, size_t len,
	  const DgTokenContext *ctx, DgTokenDetail *detail)
{
	DgTokenKey *key;
	DgTokenClaims claims;
	char		kid[DG_TOKEN_MAX_NAME + 1];
	DgTokenStatus status;

	status = dg_token_key_parse(pem, pem_len, &key, detail);
	if (status != DG_TOKEN_OK)
		return status;
	status = dg_token_peek_kid(token, len, kid, sizeof(kid));
	if (status == DG_TOKEN_OK)
		status = dg_token_verify(token, len, key, ctx, &claims, detail);
	dg_token_key_free(key);
	return status;
}

int
main(int argc, char **argv)
{
	static char pem[DG_TOKEN_MAX_KEY_LENGTH + 2];
	static char token[DG_TOKEN_MAX_LENGTH + 2];
	DgTokenContext ctx = {0};
	DgTokenDetail detail = {0};
	DgTokenStatus status;
	FILE	   *file;
	size_t		pem_len;
	size_t		len;

	if (argc < 3 || argc > 4 || (file = fopen(argv[1], "r")) == NULL)
	{
		fprintf(stderr, "usage: token_check PUBLIC-KEY-FILE AUDIENCE [NOW] < token\n");
		return 2;
	}
	pem_len = read_all(file, pem, sizeof(pem));
	fclose(file);
	len = read_all(stdin, token, sizeof(token));

	ctx.audience = argv[2];
	ctx.now = argc > 3 ? strtoll(argv[3], NULL, 10) : (int64_t) time(NULL);
	ctx.clock_skew = DG_TOKEN_DEFAULT_CLOCK_SKEW;
	status = judge(pem, pem_len, token, len, &ctx, &detail);
	printf("%s%s%s\n", dg_token_status_reason(status),
		   detail.name != NULL ? " " : "",
		   detail.name != NULL ? detail.name : "");
	return status == DG_TOKEN_OK ? 0 : 1;
}
