/*
 * errors.h
 *		SQLSTATEs of deletion_guard, class TG.
 *
 * An application may branch on these; this is the list that README.md refers to.
 * A code never changes its meaning. What PostgreSQL already has a code for (a
 * missing table, a wrong object type, a lack of privilege) keeps PostgreSQL's.
 * Behind each group: the rooms that raise them.
 */
#ifndef DG_ERRORS_H
#define DG_ERRORS_H

#define DG_ERRCODE(c3, c4, c5) MAKE_SQLSTATE('T', 'G', c3, c4, c5)

/* deleting: capture/, protect/ */
#define DG_ERRCODE_LIMIT_EXCEEDED			DG_ERRCODE('0', '0', '1')	/* max_rows,
																		 * max_tenants,
																		 * tenant_wipes_per_hour */
#define DG_ERRCODE_UNEXPECTED_TENANT		DG_ERRCODE('0', '0', '2')	/* expect_tenants */
#define DG_ERRCODE_GUARDED_OBJECT			DG_ERRCODE('0', '0', '3')	/* DDL on a guarded
																		 * table or its triggers */
#define DG_ERRCODE_PROTECTED_STORE			DG_ERRCODE('0', '0', '4')	/* writing to the bin,
																		 * ledger or registries */
#define DG_ERRCODE_CANNOT_CAPTURE			DG_ERRCODE('0', '0', '5')	/* a row cannot be kept,
																		 * so it is not deleted */

/* writing rows back: rows/, undelete/, rehydrate/ */
#define DG_ERRCODE_ROW_CONFLICT				DG_ERRCODE('0', '1', '0')	/* a live row has the
																		 * key */
#define DG_ERRCODE_CANNOT_RESTORE			DG_ERRCODE('0', '1', '1')	/* the table has
																		 * changed, or a parent
																		 * is missing */
#define DG_ERRCODE_NOTHING_TO_RESTORE		DG_ERRCODE('0', '1', '2')
#define DG_ERRCODE_VERIFICATION_FAILED		DG_ERRCODE('0', '1', '3')	/* rows written and rows
																		 * read differ */

/* tokens, one for each refusal: purge/ */
#define DG_ERRCODE_TOKEN_MALFORMED			DG_ERRCODE('0', '2', '0')
#define DG_ERRCODE_TOKEN_UNKNOWN_AUTHORITY	DG_ERRCODE('0', '2', '1')
#define DG_ERRCODE_TOKEN_RETIRED_AUTHORITY	DG_ERRCODE('0', '2', '2')
#define DG_ERRCODE_TOKEN_WRONG_ALGORITHM	DG_ERRCODE('0', '2', '3')
#define DG_ERRCODE_TOKEN_BAD_SIGNATURE		DG_ERRCODE('0', '2', '4')
#define DG_ERRCODE_TOKEN_WRONG_DATABASE		DG_ERRCODE('0', '2', '5')
#define DG_ERRCODE_TOKEN_NOT_YET_VALID		DG_ERRCODE('0', '2', '6')
#define DG_ERRCODE_TOKEN_EXPIRED			DG_ERRCODE('0', '2', '7')
#define DG_ERRCODE_TOKEN_USED				DG_ERRCODE('0', '2', '8')
#define DG_ERRCODE_TOKEN_WRONG_ACT			DG_ERRCODE('0', '2', '9')
#define DG_ERRCODE_TOKEN_BAD_CLAIM			DG_ERRCODE('0', '2', 'A')
#define DG_ERRCODE_TOKEN_REQUIRED			DG_ERRCODE('0', '2', 'B')
#define DG_ERRCODE_BAD_KEY					DG_ERRCODE('0', '2', 'C')
#define DG_ERRCODE_AUTHORITIES_FILE			DG_ERRCODE('0', '2', 'D')	/* missing, damaged, or
																		 * open to others */

/* purging: purge/ */
#define DG_ERRCODE_TENANT_MISMATCH			DG_ERRCODE('0', '3', '0')	/* key and name do not
																		 * both match */
#define DG_ERRCODE_NO_SUCH_REQUEST			DG_ERRCODE('0', '3', '1')
#define DG_ERRCODE_PLAN_CHANGED				DG_ERRCODE('0', '3', '2')
#define DG_ERRCODE_TENANT_ON_HOLD			DG_ERRCODE('0', '3', '3')
#define DG_ERRCODE_RETENTION				DG_ERRCODE('0', '3', '4')
#define DG_ERRCODE_MORE_APPROVALS			DG_ERRCODE('0', '3', '5')
#define DG_ERRCODE_NOTHING_TO_PURGE			DG_ERRCODE('0', '3', '6')
#define DG_ERRCODE_LEDGER_BROKEN			DG_ERRCODE('0', '3', '7')
#define DG_ERRCODE_LAST_AUTHORITY			DG_ERRCODE('0', '3', '8')

/* archives: rehydrate/, from what archive/ says */
#define DG_ERRCODE_NOT_AN_ARCHIVE			DG_ERRCODE('0', '4', '0')
#define DG_ERRCODE_ARCHIVE_VERSION			DG_ERRCODE('0', '4', '1')
#define DG_ERRCODE_ARCHIVE_DAMAGED			DG_ERRCODE('0', '4', '2')
#define DG_ERRCODE_ARCHIVE_UNSUPPORTED		DG_ERRCODE('0', '4', '3')
#define DG_ERRCODE_TENANT_NOT_IN_ARCHIVE	DG_ERRCODE('0', '4', '4')

#endif							/* DG_ERRORS_H */
