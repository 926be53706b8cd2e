/*
 * purge_authority.c
 *		Authorities: the public keys whose owners may approve a purge.
 *
 * They are enrolled in a registry (purge_enrol.c). Somebody who may write its
 * files could enrol a key of his own; a file that belongs to root, outside the
 * data directory, is out of reach of SQL and of the server itself. Where
 * deletion_guard.authorities_file names one, only its authorities count, and a
 * file that is missing, damaged, or open to others' writing stops everything
 * that takes a token.
 *
 * Locking: changes hold a self-conflicting lock on the registry until the end
 * of the transaction; a call that verifies tokens to act on them holds a shared
 * one, so an authority is not retired between a token's check and its use.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "funcapi.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "common/deletion_guard.h"
#include "purge/purge_internal.h"
#include "token/token.h"

PG_FUNCTION_INFO_V1(dg_authority_source);

#define MAX_FILE_SIZE	(64 * 1024)

#define HINT_FILE "Make deletion_guard.authorities_file a file of root's (or of the server's user) that nobody else may write, with the authorities' names and public keys as JSON."

/* ----------------------------------------------------------------------
 * Those of a file
 * ----------------------------------------------------------------------
 */

bool
dg_purge_authorities_in_file(void)
{
	return dg_authorities_file != NULL && dg_authorities_file[0] != '\0';
}

static bool
refuse_file(DgRefusal *refusal, const char *what)
{
	return dg_purge_refusal_set(refusal, DG_ERRCODE_AUTHORITIES_FILE, "authorities_file", HINT_FILE,
								"authorities file \"%s\" %s", dg_authorities_file, what);
}

/*
 * Is the open file one that could not have been written by others?
 */
static bool
check_file(int fd, DgRefusal *refusal)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return refuse_file(refusal, "cannot be read");
	if (!S_ISREG(st.st_mode))
		return refuse_file(refusal, "is not a regular file");
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return refuse_file(refusal, "belongs to another user than root and the server's own");
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return refuse_file(refusal, "may be written by others than its owner");
	if (st.st_size > MAX_FILE_SIZE)
		return refuse_file(refusal, "is too large");
	return true;
}

/*
 * Reads the file; palloc'd text, NULL and a refusal if it is not to be trusted.
 */
static char *
read_file(int *len, DgRefusal *refusal)
{
	int			fd = OpenTransientFile(dg_authorities_file, O_RDONLY | PG_BINARY);
	char	   *text;

	if (fd < 0)
	{
		refuse_file(refusal, errno == ENOENT ? "does not exist" : "cannot be read");
		return NULL;
	}
	if (!check_file(fd, refusal))
	{
		CloseTransientFile(fd);
		return NULL;
	}
	text = palloc(MAX_FILE_SIZE + 1);
	*len = read(fd, text, MAX_FILE_SIZE);
	CloseTransientFile(fd);
	if (*len < 0)
	{
		refuse_file(refusal, "cannot be read");
		return NULL;
	}
	text[*len] = '\0';
	return text;
}

static DgAuthority *
copy_authority(const DgTokenAuthority *item)
{
	DgAuthority *authority = palloc0(sizeof(DgAuthority));

	authority->name = pstrdup(item->name);
	authority->public_key = pstrdup(dg_token_key_pem(item->key));
	authority->fingerprint = pstrdup(dg_token_key_fingerprint(item->key));
	return authority;
}

/*
 * The file's authorities, a list of DgAuthority; false and a refusal if the
 * file is not to be trusted.
 */
static bool
read_authorities(List **list, DgRefusal *refusal)
{
	DgTokenAuthorities *volatile authorities = NULL;
	DgTokenAuthorities *parsed;
	DgTokenDetail detail = {0};
	DgTokenStatus status;
	int			len;
	char	   *text = read_file(&len, refusal);

	*list = NIL;
	if (text == NULL)
		return false;
	status = dg_token_authorities_parse(text, len, &parsed, &detail);
	if (status != DG_TOKEN_OK)
	{
		refuse_file(refusal, "does not list authorities");
		return dg_purge_refusal_detail(refusal, "%s%s%s", dg_token_status_message(status),
									   detail.name ? ", in " : "", detail.name ? detail.name : "");
	}
	authorities = parsed;
	PG_TRY();
	{
		for (int i = 0; i < authorities->count; i++)
			*list = lappend(*list, copy_authority(&authorities->items[i]));
	}
	PG_FINALLY();
	{
		dg_token_authorities_free(authorities);
	}
	PG_END_TRY();
	return true;
}

/* ----------------------------------------------------------------------
 * Those that count
 * ----------------------------------------------------------------------
 */

void
dg_purge_lock_authorities(LOCKMODE mode)
{
	dg_lock_object(dg_objects()->authority, 0, mode);
}

static char *
required_text(const DgOwnScan *scan, AttrNumber attnum)
{
	char	   *value = dg_own_text(scan, attnum);

	if (value == NULL)
		elog(ERROR, "unexpected null in column %d of a registry", attnum);
	return value;
}

static DgAuthority *
find_in_file(const char *name, DgRefusal *refusal)
{
	List	   *authorities;
	ListCell   *lc;

	if (!read_authorities(&authorities, refusal))
		return NULL;
	foreach(lc, authorities)
	{
		DgAuthority *authority = lfirst(lc);

		if (strcmp(authority->name, name) == 0)
			return authority;
	}
	return NULL;
}

/*
 * Finds an authority, active or retired; NULL if there is none of that name,
 * with a refusal if nobody can tell.
 */
DgAuthority *
dg_purge_authority_find(const char *name, DgRefusal *refusal)
{
	DgAuthority *authority;
	DgOwnScan  *scan;

	if (dg_purge_authorities_in_file())
		return find_in_file(name, refusal);
	scan = dg_own_find(DG_OWN(authority), AccessShareLock,
					   DG_KEYS(dg_own_key_text(Anum_authority_name, name)));
	if (scan == NULL)
		return NULL;
	authority = palloc(sizeof(DgAuthority));
	authority->name = pstrdup(name);
	authority->public_key = required_text(scan, Anum_authority_public_key);
	authority->fingerprint = required_text(scan, Anum_authority_fingerprint);
	authority->retired = !dg_own_isnull(scan, Anum_authority_retired_at);
	dg_own_end(scan);
	return authority;
}

/*
 * How many authorities are enrolled, or of those active.
 */
static int
count_enrolled(bool active)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(authority), AccessShareLock, 0, NULL);
	int			count = 0;

	while (dg_own_next(scan))
		count += !active || dg_own_isnull(scan, Anum_authority_retired_at);
	dg_own_end(scan);
	return count;
}

/*
 * How many authorities can approve something now.
 */
int
dg_purge_authorities_active(void)
{
	List	   *authorities;
	DgRefusal	refusal = {0};

	if (!dg_purge_authorities_in_file())
		return count_enrolled(true);
	if (!read_authorities(&authorities, &refusal))
		dg_purge_refuse(&refusal, "authorities");
	return list_length(authorities);
}

/*
 * Was there ever an authority?
 */
bool
dg_purge_authorities_ever(void)
{
	if (dg_purge_authorities_in_file())
		return true;
	return count_enrolled(false) > 0;
}

/* ----------------------------------------------------------------------
 * How many must agree
 * ----------------------------------------------------------------------
 */

/*
 * How many the registry remembers that a purge needed.
 */
int
dg_purge_approvals_remembered(void)
{
	DgOwnScan  *scan = dg_own_scan(DG_OWN_ALL(approval_policy), AccessShareLock, 0, NULL);
	int			approvals = dg_own_next(scan) ? (int) dg_own_int64(scan, Anum_approval_policy_approvals) : 1;

	dg_own_end(scan);
	return approvals;
}

/*
 * What deletion_guard.approvals says: the session's value, or that of the
 * configuration, which SET does not change, whichever is more.
 */
static int
configured_approvals(void)
{
	const char *reset = GetConfigOptionResetString("deletion_guard.approvals");

	return Max(dg_approvals, reset != NULL ? atoi(reset) : 1);
}

/*
 * How many distinct authorities a purge needs.
 */
int
dg_purge_approvals_required(void)
{
	return Max(configured_approvals(), dg_purge_approvals_remembered());
}

/*
 * How many distinct authorities an act other than a purge needs: as many as a
 * purge does, or all where there are fewer.
 */
int
dg_purge_approvals_required_for_change(void)
{
	return Max(1, Min(dg_purge_approvals_required(), dg_purge_authorities_active()));
}

/* ----------------------------------------------------------------------
 * For people
 * ----------------------------------------------------------------------
 */

/*
 * What makes the file less than it could be: a superuser has the server write
 * what its user may write. NULL if nothing does.
 */
static const char *
file_weakness(void)
{
	char	   *directory = pstrdup(dg_authorities_file);

	get_parent_directory(directory);
	if (access(dg_authorities_file, W_OK) == 0)
		return "the server's user, and so any superuser, may write the authorities file";
	if (access(directory, W_OK) == 0)
		return "the server's user, and so any superuser, may replace the authorities file";
	return NULL;
}

/*
 * authority_source() -> (source text, active bigint, problem text): where the
 * authorities that count come from.
 */
Datum
dg_authority_source(PG_FUNCTION_ARGS)
{
	DgRefusal	refusal = {0};
	const char *problem = NULL;
	List	   *authorities;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	int64		active = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!dg_purge_authorities_in_file())
		active = dg_purge_authorities_active();
	else if (!read_authorities(&authorities, &refusal))
		problem = refusal.message;
	else
	{
		active = list_length(authorities);
		problem = active == 0 ? "the authorities file lists no authority" : file_weakness();
	}
	values[0] = CStringGetTextDatum(dg_purge_authorities_in_file() ? dg_authorities_file : "deletion_guard.authority");
	values[1] = Int64GetDatum(active);
	nulls[2] = problem == NULL;
	values[2] = problem == NULL ? (Datum) 0 : CStringGetTextDatum(problem);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
