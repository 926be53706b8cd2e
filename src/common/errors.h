/*
 * errors.h
 *		SQLSTATEs of deletion_guard, class TG.
 *
 * An application may branch on these. A code never changes its meaning. What
 * PostgreSQL already has a code for (a missing table, a wrong object type, a lack
 * of privilege) keeps PostgreSQL's. Before each group: the rooms that raise them.
 * Before each code: its cause, and behind "Do:" what to do about it, as
 * doc/reference.md prints it (make reference).
 */
#ifndef DG_ERRORS_H
#define DG_ERRORS_H

#define DG_ERRCODE(c3, c4, c5) MAKE_SQLSTATE('T', 'G', c3, c4, c5)

/* --- deleting: capture/, protect/ --- */

/*
 * A statement deletes more than a ceiling allows: max_rows, max_tenants, tenant_wipes_per_hour.
 * Nothing was deleted.
 * Do: Look with preview() at what it would delete. If that is right, delete in smaller portions, or
 * have the ceiling raised by a role that may.
 */
#define DG_ERRCODE_LIMIT_EXCEEDED			DG_ERRCODE('0', '0', '1')

/*
 * A row of a tenant that the session did not name in expect_tenants was to be deleted. Nothing was
 * deleted.
 * Do: Most often the statement is wrong, or its ids are of another kind. If not, name all tenants in
 * expect_tenants.
 */
#define DG_ERRCODE_UNEXPECTED_TENANT		DG_ERRCODE('0', '0', '2')

/*
 * DDL would take rows from a guarded table past the bin, or its guard from it.
 * Do: Delete the rows first, set ddl to keep where that is granted, or call unguard_table(); the hint
 * names the one that helps here.
 */
#define DG_ERRCODE_GUARDED_OBJECT			DG_ERRCODE('0', '0', '3')

/*
 * Something would write to, drop or change what the extension keeps: bins, records, ledger, its
 * functions, or catalogs.
 * Do: Use the extension's functions. To restore a dump, see the setting restoring.
 */
#define DG_ERRCODE_PROTECTED_STORE			DG_ERRCODE('0', '0', '4')

/*
 * A row cannot be kept, so it is not deleted; or more rows went than were kept.
 * Do: The detail says why: a missing foreign key of a tenant path, another table kind, a library of
 * another version. Call verify().
 */
#define DG_ERRCODE_CANNOT_CAPTURE			DG_ERRCODE('0', '0', '5')

/* --- writing rows back: rows/, undelete/, rehydrate/ --- */

/*
 * A live row has the key of one that is to come back, and other content.
 * Do: Choose with on_conflict: skip leaves the live row, replace puts it into the bin. A dry run shows
 * how many there are.
 */
#define DG_ERRCODE_ROW_CONFLICT				DG_ERRCODE('0', '1', '0')

/*
 * Rows do not fit any more: a table or column that held values is gone or of another kind, or nothing
 * tells whose they are. (Where a constraint is in the way, the code is the server's: 23502, 23503,
 * 23514.)
 * Do: The detail names table, column and row; the hint what to make again, or to map.
 */
#define DG_ERRCODE_CANNOT_RESTORE			DG_ERRCODE('0', '1', '1')

/*
 * The bin has nothing of what was asked for: all is restored or purged, or there is no such deletion.
 * Do: Look at the view deletion, and at state. What was purged may be in a backup: rehydrate().
 */
#define DG_ERRCODE_NOTHING_TO_RESTORE		DG_ERRCODE('0', '1', '2')

/*
 * What was written is not what was read; all was taken back.
 * Do: A trigger or rule of the table changes rows, or a file is damaged. Nothing is lost; report it if
 * neither is so.
 */
#define DG_ERRCODE_VERIFICATION_FAILED		DG_ERRCODE('0', '1', '3')

/* --- tokens, one for each refusal: purge/ --- */

/*
 * It is no token: not three parts of base64url, or no JSON in them.
 * Do: Pass what the signing tool has printed, whole, and as a parameter.
 */
#define DG_ERRCODE_TOKEN_MALFORMED			DG_ERRCODE('0', '2', '0')

/*
 * The token names an authority (kid) that is not enrolled.
 * Do: Sign with --kid and the name that add_authority() was given.
 */
#define DG_ERRCODE_TOKEN_UNKNOWN_AUTHORITY	DG_ERRCODE('0', '2', '1')

/*
 * The authority that the token names has been retired.
 * Do: Have another authority sign.
 */
#define DG_ERRCODE_TOKEN_RETIRED_AUTHORITY	DG_ERRCODE('0', '2', '2')

/*
 * The token's algorithm is not that of the authority's key.
 * Do: Sign with EdDSA for Ed25519 keys, ES256 for P-256.
 */
#define DG_ERRCODE_TOKEN_WRONG_ALGORITHM	DG_ERRCODE('0', '2', '3')

/*
 * The signature is not by the key of the authority.
 * Do: Sign with that key; compare fingerprints (deletion_guard_sign fingerprint, table authority).
 */
#define DG_ERRCODE_TOKEN_BAD_SIGNATURE		DG_ERRCODE('0', '2', '4')

/*
 * The token is for another server or database (aud), as after a restore or a rename.
 * Do: Request anew here, and sign that.
 */
#define DG_ERRCODE_TOKEN_WRONG_DATABASE		DG_ERRCODE('0', '2', '5')

/*
 * The token is not valid yet (nbf, iat).
 * Do: Wait, or set the signing machine's clock right; see clock_skew.
 */
#define DG_ERRCODE_TOKEN_NOT_YET_VALID		DG_ERRCODE('0', '2', '6')

/*
 * The token is not valid any more (exp): ten minutes after signing, unless --expires said otherwise.
 * Do: Sign the same claims again.
 */
#define DG_ERRCODE_TOKEN_EXPIRED			DG_ERRCODE('0', '2', '7')

/*
 * The token was used before.
 * Do: Sign again for another act; one token is good for one.
 */
#define DG_ERRCODE_TOKEN_USED				DG_ERRCODE('0', '2', '8')

/*
 * The token permits another act, or this act on something else.
 * Do: Sign claims for this one.
 */
#define DG_ERRCODE_TOKEN_WRONG_ACT			DG_ERRCODE('0', '2', '9')

/*
 * A claim is missing, of the wrong type, or not what was requested.
 * Do: Sign the claims as they were returned, unchanged.
 */
#define DG_ERRCODE_TOKEN_BAD_CLAIM			DG_ERRCODE('0', '2', 'A')

/*
 * This takes a token, and none was given.
 * Do: The hint says which claims to sign.
 */
#define DG_ERRCODE_TOKEN_REQUIRED			DG_ERRCODE('0', '2', 'B')

/*
 * The public key cannot be read, or is of a kind that is not accepted.
 * Do: Give PEM or JWK, Ed25519 or P-256; deletion_guard_sign keygen makes one.
 */
#define DG_ERRCODE_BAD_KEY					DG_ERRCODE('0', '2', 'C')

/*
 * The file that authorities_file names is missing, damaged, or open to others.
 * Do: Repair it on the server; until then no token counts. verify() says what is wrong.
 */
#define DG_ERRCODE_AUTHORITIES_FILE			DG_ERRCODE('0', '2', 'D')

/* --- purging: purge/ --- */

/*
 * Key and name of the tenant do not both match, or there is no such tenant.
 * Do: Look at who it is. If the tenant was renamed since, request anew.
 */
#define DG_ERRCODE_TENANT_MISMATCH			DG_ERRCODE('0', '3', '0')

/*
 * There is no open request of this number.
 * Do: Look at the view purge_request; request anew.
 */
#define DG_ERRCODE_NO_SUCH_REQUEST			DG_ERRCODE('0', '3', '1')

/*
 * The bin is not what was reviewed: rows of the tenant were deleted, restored or purged since.
 * Do: Review again: withdraw_purge(), request_purge(), sign.
 */
#define DG_ERRCODE_PLAN_CHANGED				DG_ERRCODE('0', '3', '2')

/*
 * A hold forbids to purge this tenant.
 * Do: Find out why (table hold). release_hold() takes a signature.
 */
#define DG_ERRCODE_TENANT_ON_HOLD			DG_ERRCODE('0', '3', '3')

/*
 * Some of the rows must be kept for longer; the detail says until when.
 * Do: Wait until due_at (view purge_request). The time was stamped when they were deleted; no setting
 * shortens it.
 */
#define DG_ERRCODE_RETENTION				DG_ERRCODE('0', '3', '4')

/*
 * Fewer distinct authorities have signed than are needed (approvals, set_approvals()).
 * Do: Have others sign the same claims, and pass all tokens in one call.
 */
#define DG_ERRCODE_MORE_APPROVALS			DG_ERRCODE('0', '3', '5')

/*
 * The bin has nothing that the request would cover.
 * Do: Look at the view deletion_detail; check relations and deleted_before.
 */
#define DG_ERRCODE_NOTHING_TO_PURGE			DG_ERRCODE('0', '3', '6')

/*
 * The ledger does not agree with itself or with the records.
 * Do: Call verify_ledger(), compare with a head kept elsewhere, and find out who did it. Nothing is
 * purged meanwhile.
 */
#define DG_ERRCODE_LEDGER_BROKEN			DG_ERRCODE('0', '3', '7')

/*
 * It is the last authority; without one, nothing could be permitted any more.
 * Do: Enrol another first.
 */
#define DG_ERRCODE_LAST_AUTHORITY			DG_ERRCODE('0', '3', '8')

/*
 * Rows chosen for a purge are live, or rows in the bin that were not chosen refer to them.
 * Do: Delete the live ones first, and choose the others, too; the detail names them.
 */
#define DG_ERRCODE_ROWS_REMAIN				DG_ERRCODE('0', '3', '9')

/* --- archives: extract/, from what archive/ says --- */

/*
 * The file is no archive of pg_dump.
 * Do: Give the path of a file or directory that pg_dump wrote, on the server.
 */
#define DG_ERRCODE_NOT_AN_ARCHIVE			DG_ERRCODE('0', '4', '0')

/*
 * A version of pg_dump wrote it that is not known here.
 * Do: Versions from 12 on are. Take a newer deletion_guard, or restore it elsewhere and dump again.
 */
#define DG_ERRCODE_ARCHIVE_VERSION			DG_ERRCODE('0', '4', '1')

/*
 * The archive is cut off or damaged. Nothing was changed.
 * Do: Copy it again from where it was made, or use another one.
 */
#define DG_ERRCODE_ARCHIVE_DAMAGED			DG_ERRCODE('0', '4', '2')

/*
 * The archive has something that cannot be read here, such as another encoding or compression.
 * Do: The detail says what. Restore it elsewhere and dump again with -Fc.
 */
#define DG_ERRCODE_ARCHIVE_UNSUPPORTED		DG_ERRCODE('0', '4', '3')

/*
 * The archive has no row of the tenant.
 * Do: Take an older or newer archive; check the key with compare_tenant().
 */
#define DG_ERRCODE_TENANT_NOT_IN_ARCHIVE	DG_ERRCODE('0', '4', '4')

#endif							/* DG_ERRORS_H */
