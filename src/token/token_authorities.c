/*-------------------------------------------------------------------------
 *
 * token_authorities.c
 *	  A file of authorities: names and public keys, outside the database.
 *
 *		{"authorities": [{"name": "legal", "public_key": "-----BEGIN ..."}]}
 *
 * Nothing else may be in it.  Names and keys are unique, as they are in the
 * database's own registry.
 *
 * src/token/token_authorities.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "token/token_internal.h"

static DgTokenStatus
read_authority(const cJSON *item, DgTokenAuthority *authority, DgTokenDetail *detail)
{
	const cJSON *name = dg_token_json_member(item, "name");
	const cJSON *key = dg_token_json_member(item, "public_key");

	if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) != 2)
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "authorities", detail);
	if (!cJSON_IsString(name) ||
		!dg_token_name_is_valid(name->valuestring, strlen(name->valuestring)))
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "name", detail);
	if (!cJSON_IsString(key))
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "public_key", detail);
	memcpy(authority->name, name->valuestring, strlen(name->valuestring) + 1);
	return dg_token_key_parse(key->valuestring, strlen(key->valuestring), &authority->key, detail);
}

static bool
is_listed_already(const DgTokenAuthorities *authorities, const DgTokenAuthority *authority)
{
	int			i;

	for (i = 0; i < authorities->count; i++)
	{
		if (strcmp(authorities->items[i].name, authority->name) == 0 ||
			memcmp(dg_token_key_fingerprint_bytes(authorities->items[i].key),
				   dg_token_key_fingerprint_bytes(authority->key), DG_TOKEN_DIGEST_SIZE) == 0)
			return true;
	}
	return false;
}

static DgTokenStatus
read_authority_list(const cJSON *tree, DgTokenAuthorities *authorities, DgTokenDetail *detail)
{
	const cJSON *list = dg_token_json_member(tree, "authorities");
	const cJSON *item;

	if (!cJSON_IsArray(list) || cJSON_GetArraySize(tree) != 1 ||
		cJSON_GetArraySize(list) > DG_TOKEN_MAX_AUTHORITIES)
		return dg_token_refuse(DG_TOKEN_KEY_MEMBER, "authorities", detail);
	cJSON_ArrayForEach(item, list)
	{
		DgTokenAuthority *authority = &authorities->items[authorities->count];
		DgTokenStatus status = read_authority(item, authority, detail);

		if (status != DG_TOKEN_OK)
			return status;
		if (is_listed_already(authorities, authority))
		{
			dg_token_key_free(authority->key);
			return dg_token_refuse(DG_TOKEN_DUPLICATE_NAME, "authorities", detail);
		}
		authorities->count++;
	}
	return DG_TOKEN_OK;
}

/*
 * Read a file's text, which is NUL-terminated at len.  On success
 * *authorities is for the caller to free with dg_token_authorities_free().
 */
DgTokenStatus
dg_token_authorities_parse(const char *text, size_t len,
						   DgTokenAuthorities **authorities, DgTokenDetail *detail)
{
	cJSON	   *tree;
	DgTokenStatus status;

	*authorities = calloc(1, sizeof(DgTokenAuthorities));
	if (*authorities == NULL)
		return DG_TOKEN_NO_MEMORY;
	status = dg_token_json_parse(text, len, &tree);
	if (status == DG_TOKEN_OK)
	{
		status = read_authority_list(tree, *authorities, detail);
		cJSON_Delete(tree);
	}
	if (status != DG_TOKEN_OK)
	{
		dg_token_authorities_free(*authorities);
		*authorities = NULL;
	}
	return status;
}

/*
 * Frees the authorities and their keys; NULL is allowed.
 */
void
dg_token_authorities_free(DgTokenAuthorities *authorities)
{
	int			i;

	if (authorities == NULL)
		return;
	for (i = 0; i < authorities->count; i++)
		dg_token_key_free(authorities->items[i].key);
	free(authorities);
}
