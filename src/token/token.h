/*-------------------------------------------------------------------------
 *
 * token.h
 *	  Signed permissions: bytes in, verdict out.
 *
 * A token is a JWT in compact form (RFC 7519, RFC 7515), signed with Ed25519
 * or ES256 by an authority whose public key the caller has.  This library
 * decides whether it is genuine, well formed, meant for this database and
 * valid now.  Whether it has been used before, and whether what it permits
 * is still what was reviewed, is for the caller to decide.
 *
 * Invariants:
 *	- Nothing here throws, prints, logs or reads a clock, a file or a setting;
 *	  no server header is included.  Every function may be called from code
 *	  that must not be left by longjmp.
 *	- The algorithm comes from the key, never from the token's header.
 *	- No claim is looked at before the signature has been verified.
 *	- The only memory that outlives a call is the DgTokenKey that
 *	  dg_token_key_parse() hands out on success.
 *	- Messages, reasons and details never contain bytes of a token or a key.
 *	- The OpenSSL error queue is empty when a function returns that used it.
 *
 * Text that comes out (claims, names) is valid UTF-8, NUL-terminated and
 * contains no NUL inside.  It may contain any other character.
 *
 * src/token/token.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DG_TOKEN_H
#define DG_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits, in bytes; those of strings do not count the final NUL. */
#define DG_TOKEN_MAX_LENGTH			16384	/* a whole token */
#define DG_TOKEN_MAX_KEY_LENGTH		8192	/* a key's PEM or JWK */
#define DG_TOKEN_MAX_NAME			63	/* kid, authority */
#define DG_TOKEN_MAX_AUD			256
#define DG_TOKEN_MAX_JTI			128
#define DG_TOKEN_MAX_TEXT			1024	/* tenant, tenant_name, reason */
#define DG_TOKEN_MAX_RELATION		512 /* a qualified, quoted name */
#define DG_TOKEN_MAX_RELATIONS		4096	/* some of them, with commas
											 * between */
#define DG_TOKEN_MAX_CHOICE			4096	/* rows, or deletions, some of
											 * many */
#define DG_TOKEN_MAX_MOMENT			40	/* a time, written out */
#define DG_TOKEN_DIGEST_SIZE		32	/* SHA-256 */

/* The greatest integer that every JSON library keeps exactly: 2^53 - 1. */
#define DG_TOKEN_MAX_INTEGER		INT64_C(9007199254740991)

/* The last second of the year 9999, in Unix time. */
#define DG_TOKEN_MAX_TIME			INT64_C(253402300799)

/* Approvals that an act can be made to need. */
#define DG_TOKEN_MAX_APPROVALS		16

/* In a file of authorities. */
#define DG_TOKEN_MAX_OID			INT64_C(4294967295)
#define DG_TOKEN_MAX_AUTHORITIES	32

/* Seconds by which two clocks may differ. */
#define DG_TOKEN_DEFAULT_CLOCK_SKEW 30
#define DG_TOKEN_MAX_CLOCK_SKEW		86400

/* Room for a canonical PEM, its NUL included. */
#define DG_TOKEN_PEM_SIZE			256

/*
 * Why something was refused.  token_status.c maps each to a message and a
 * short reason, in this order.
 */
typedef enum DgTokenStatus
{
	DG_TOKEN_OK = 0,

	/* the outer form */
	DG_TOKEN_EMPTY,
	DG_TOKEN_TOO_LONG,
	DG_TOKEN_BAD_BASE64,		/* not canonical base64url */
	DG_TOKEN_NOT_COMPACT,		/* not three parts */

	/* JSON, of the header, the claims or a JWK */
	DG_TOKEN_BAD_JSON,
	DG_TOKEN_BAD_UTF8,
	DG_TOKEN_NUL_CHARACTER,
	DG_TOKEN_BAD_NUMBER,		/* not written as a plain integer, or too big */
	DG_TOKEN_TOO_DEEP,
	DG_TOKEN_TOO_MANY_VALUES,
	DG_TOKEN_NOT_OBJECT,
	DG_TOKEN_DUPLICATE_NAME,

	/* the header */
	DG_TOKEN_HEADER_CRIT,
	DG_TOKEN_HEADER_B64,
	DG_TOKEN_HEADER_KEY,		/* jwk, jku, x5u, x5c, x5t, x5t#S256 */
	DG_TOKEN_HEADER_UNKNOWN,
	DG_TOKEN_HEADER_TYP,
	DG_TOKEN_ALG_MISSING,
	DG_TOKEN_ALG_NONE,
	DG_TOKEN_ALG_HMAC,
	DG_TOKEN_ALG_UNSUPPORTED,
	DG_TOKEN_ALG_MISMATCH,		/* not the key's algorithm */
	DG_TOKEN_KID_MISSING,
	DG_TOKEN_KID_BAD,
	DG_TOKEN_KID_MISMATCH,		/* not the authority the caller asked for */

	/* the signature */
	DG_TOKEN_SIGNATURE_MISSING,
	DG_TOKEN_SIGNATURE_LENGTH,
	DG_TOKEN_BAD_SIGNATURE,

	/* the claims */
	DG_TOKEN_CLAIM_MISSING,
	DG_TOKEN_CLAIM_UNKNOWN,
	DG_TOKEN_CLAIM_TYPE,
	DG_TOKEN_CLAIM_VALUE,
	DG_TOKEN_CLAIM_TOO_LONG,
	DG_TOKEN_ACT_UNKNOWN,
	DG_TOKEN_WRONG_AUDIENCE,
	DG_TOKEN_TIME_RANGE,		/* iat, nbf or exp is no possible time */
	DG_TOKEN_TIME_ORDER,		/* ends before it begins */
	DG_TOKEN_ISSUED_IN_FUTURE,
	DG_TOKEN_NOT_YET_VALID,
	DG_TOKEN_EXPIRED,

	/* public keys */
	DG_TOKEN_KEY_EMPTY,
	DG_TOKEN_KEY_TOO_LONG,
	DG_TOKEN_KEY_FORMAT,		/* neither PEM SPKI nor JWK */
	DG_TOKEN_KEY_PRIVATE,
	DG_TOKEN_KEY_SYMMETRIC,
	DG_TOKEN_KEY_UNSUPPORTED,	/* RSA, another curve, ... */
	DG_TOKEN_KEY_MEMBER,		/* a JWK member is missing or wrong */
	DG_TOKEN_KEY_POINT,			/* not a point that may be a public key */

	/* not the input's fault */
	DG_TOKEN_BAD_ARGUMENT,
	DG_TOKEN_NO_MEMORY,
	DG_TOKEN_CRYPTO				/* OpenSSL does not offer the algorithm */
} DgTokenStatus;

#define DG_TOKEN_STATUS_COUNT (DG_TOKEN_CRYPTO + 1)

typedef enum DgTokenAlgorithm
{
	DG_TOKEN_ED25519 = 1,
	DG_TOKEN_ES256
} DgTokenAlgorithm;

typedef enum DgTokenAct
{
	DG_TOKEN_ACT_NONE = 0,
	DG_TOKEN_ACT_PURGE,
	DG_TOKEN_ACT_ANNUL_PURGE,
	DG_TOKEN_ACT_RELEASE_HOLD,
	DG_TOKEN_ACT_RETIRE_AUTHORITY,
	DG_TOKEN_ACT_ADD_AUTHORITY,
	DG_TOKEN_ACT_SET_APPROVALS,
	DG_TOKEN_ACT_UNGUARD,
	DG_TOKEN_ACT_PURGE_WITHOUT_TENANT,
	DG_TOKEN_ACT_PURGE_BY_AGE
} DgTokenAct;

/* A parsed public key. */
typedef struct DgTokenKey DgTokenKey;

/* What the caller expects of a token. */
typedef struct DgTokenContext
{
	const char *audience;		/* "aud" must be exactly this; not empty */
	const char *kid;			/* "kid" must be exactly this; NULL: any */
	int64_t		now;			/* Unix seconds */
	int64_t		clock_skew;		/* seconds, 0 to DG_TOKEN_MAX_CLOCK_SKEW */
} DgTokenContext;

/*
 * What a token says.  Members that its act has no claim for are zero or
 * empty.  Which claims each act has is in token_claims.c.
 */
typedef struct DgTokenClaims
{
	DgTokenAct	act;
	char		kid[DG_TOKEN_MAX_NAME + 1]; /* from the header */
	char		aud[DG_TOKEN_MAX_AUD + 1];
	char		jti[DG_TOKEN_MAX_JTI + 1];
	int64_t		iat;			/* Unix seconds, as are the next two */
	int64_t		nbf;
	int64_t		exp;
	char		reason[DG_TOKEN_MAX_TEXT + 1];

	/*
	 * purge, the last two where it is of some deletions or rows only;
	 * purge_without_tenant has relations instead of the first two, and
	 * purge_by_age also the two after it
	 */
	char		tenant[DG_TOKEN_MAX_TEXT + 1];
	char		tenant_name[DG_TOKEN_MAX_TEXT + 1];
	int64_t		request;
	int64_t		rows;
	unsigned char digest[DG_TOKEN_DIGEST_SIZE];
	char		relations[DG_TOKEN_MAX_RELATIONS + 1];
	char		deleted_before[DG_TOKEN_MAX_MOMENT + 1];
	int64_t		tenants;
	char		deletions[DG_TOKEN_MAX_CHOICE + 1];
	char		keys[DG_TOKEN_MAX_CHOICE + 1];

	int64_t		purge;			/* annul_purge: the purge's id */
	int64_t		hold;			/* release_hold: the hold's id */
	char		authority[DG_TOKEN_MAX_NAME + 1];	/* retire_, add_authority */
	unsigned char fingerprint[DG_TOKEN_DIGEST_SIZE];	/* add_authority: of its
														 * key */
	int64_t		approvals;		/* set_approvals */
	char		relation[DG_TOKEN_MAX_RELATION + 1];	/* unguard */
	int64_t		relation_id;	/* unguard; 0: not of a table */
} DgTokenClaims;

/* Where a refusal arose; safe to log. */
typedef struct DgTokenDetail
{
	const char *name;			/* our own constant: the claim, header
								 * parameter or JWK member concerned, or NULL */
} DgTokenDetail;

/* What a file of authorities says. */
typedef struct DgTokenAuthority
{
	char		name[DG_TOKEN_MAX_NAME + 1];
	DgTokenKey *key;
} DgTokenAuthority;

typedef struct DgTokenAuthorities
{
	int			count;
	DgTokenAuthority items[DG_TOKEN_MAX_AUTHORITIES];
} DgTokenAuthorities;

/* token_status.c */
extern const char *dg_token_status_message(DgTokenStatus status);
extern const char *dg_token_status_reason(DgTokenStatus status);

/* token_header.c */
extern bool dg_token_name_is_valid(const char *name, size_t len);
extern DgTokenStatus dg_token_peek_kid(const char *token, size_t len,
									   char *kid, size_t kidsize);

/* token_claims.c */
extern const char *dg_token_act_name(DgTokenAct act);

/* token_key.c */
extern DgTokenStatus dg_token_key_parse(const char *text, size_t len,
										DgTokenKey **key,
										DgTokenDetail *detail);
extern void dg_token_key_free(DgTokenKey *key);
extern DgTokenAlgorithm dg_token_key_algorithm(const DgTokenKey *key);
extern const char *dg_token_key_algorithm_name(const DgTokenKey *key);
extern const char *dg_token_key_pem(const DgTokenKey *key);
extern const char *dg_token_key_fingerprint(const DgTokenKey *key);
extern const unsigned char *dg_token_key_fingerprint_bytes(const DgTokenKey *key);

/* token_authorities.c */
extern DgTokenStatus dg_token_authorities_parse(const char *text, size_t len,
												DgTokenAuthorities **authorities,
												DgTokenDetail *detail);
extern void dg_token_authorities_free(DgTokenAuthorities *authorities);

/* token_verify.c */
extern DgTokenStatus dg_token_verify(const char *token, size_t len,
									 const DgTokenKey *key,
									 const DgTokenContext *ctx,
									 DgTokenClaims *claims,
									 DgTokenDetail *detail);
extern DgTokenStatus dg_token_payload(const char *token, size_t len,
									  char *json, size_t jsonsize);

#endif							/* DG_TOKEN_H */
