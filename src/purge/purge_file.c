/*
 * purge_file.c
 *		Authorities out of a file: deletion_guard.authorities_file.
 *
 * Whoever may write the registry's files could enrol a key of his own; a file
 * that belongs to root, outside the data directory, is out of reach of SQL and
 * of the server itself. Where the setting names one, only its authorities
 * count, and a file that is missing, damaged, or open to others' writing stops
 * everything that takes a token.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "funcapi.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "purge/purge_internal.h"
#include "token/token.h"

PG_FUNCTION_INFO_V1(dg_authority_source);

#define MAX_FILE_SIZE	(64 * 1024)

#define HINT_FILE "Make deletion_guard.authorities_file a file of root's (or of the server's user) that nobody else may write, with the authorities' names and public keys as JSON."

bool
dg_authorities_in_file(void)
{
	return dg_authorities_file != NULL && dg_authorities_file[0] != '\0';
}

static bool
refuse_file(DgRefusal *refusal, const char *what)
{
	return dg_refusal_set(refusal, DG_ERRCODE_AUTHORITIES_FILE, "authorities_file", HINT_FILE,
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
bool
dg_authorities_read(List **list, DgRefusal *refusal)
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
		return dg_refusal_detail(refusal, "%s%s%s", dg_token_status_message(status),
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
	if (!dg_authorities_in_file())
		active = dg_authorities_active();
	else if (!dg_authorities_read(&authorities, &refusal))
		problem = refusal.message;
	else
	{
		active = list_length(authorities);
		problem = active == 0 ? "the authorities file lists no authority" : file_weakness();
	}
	values[0] = CStringGetTextDatum(dg_authorities_in_file() ? dg_authorities_file : "deletion_guard.authority");
	values[1] = Int64GetDatum(active);
	nulls[2] = problem == NULL;
	values[2] = problem == NULL ? (Datum) 0 : CStringGetTextDatum(problem);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
