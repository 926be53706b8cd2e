/*
 * server_options.c
 *		How to reach a server, and who may: what CREATE SERVER and CREATE USER
 *		MAPPING say, under the rules of postgres_fdw.
 *
 * The caller needs USAGE on the server and a mapping. Who is no superuser must not
 * connect with what the server's operating system user would be let in with: the
 * mapping has a password, and the other side has asked for it, or a superuser has
 * said in the mapping that none is required.
 */
#include "postgres.h"

#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "catalog/dependency.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

#include "server/server_internal.h"

#define CREATE_HINT "CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '...', port '...', dbname '...'); CREATE USER MAPPING FOR %s SERVER %s OPTIONS (user '...', password '...')."

/*
 * For what is allocated outside of the server's memory.
 */
void
dg_server_require_memory(bool enough)
{
	if (!enough)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

/*
 * The wrapper's validator sees to it that only a superuser says that no password
 * is required.
 */
static bool
is_postgres_fdw(const ForeignServer *server)
{
	Oid			extension = getExtensionOfObject(ForeignDataWrapperRelationId, server->fdwid);
	char	   *name = OidIsValid(extension) ? get_extension_name(extension) : NULL;

	return name != NULL && strcmp(name, "postgres_fdw") == 0;
}

static bool
has_mapping(Oid role, Oid server)
{
	return SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role), ObjectIdGetDatum(server));
}

static ForeignServer *
find_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	const char *quoted = quote_identifier(name);
	const char *role = quote_identifier(GetUserNameFromId(GetUserId(), false));

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint(CREATE_HINT, quoted, role, quoted)));
	if (!is_postgres_fdw(server))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not one of postgres_fdw", name),
				 errdetail("Its foreign-data wrapper is \"%s\".", GetForeignDataWrapper(server->fdwid)->fdwname),
				 errhint("Give the copy of the database a server of its own: CREATE EXTENSION postgres_fdw; CREATE SERVER ... FOREIGN DATA WRAPPER postgres_fdw.")));
	if (!DatumGetBool(DirectFunctionCall2(has_server_privilege_id, ObjectIdGetDatum(server->serverid), CStringGetTextDatum("USAGE"))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", name),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO %s.", quoted, role)));
	if (!has_mapping(GetUserId(), server->serverid) && !has_mapping(InvalidOid, server->serverid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" has no user mapping for \"%s\"", name, GetUserNameFromId(GetUserId(), false)),
				 errhint("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (user '...', password '...').", role, quoted)));
	return server;
}

/*
 * Is it an option of connections, and one that is not ours to set?
 */
static bool
is_connection_option(const PQconninfoOption *known, const char *name)
{
	if (strcmp(name, "client_encoding") == 0 || strcmp(name, "fallback_application_name") == 0 ||
		strcmp(name, "replication") == 0)
		return false;
	for (; known->keyword != NULL; known++)
	{
		if (strcmp(known->keyword, name) == 0)
			return strchr(known->dispchar, 'D') == NULL;
	}
	return false;
}

static void
add_option(DgServerOptions *options, int *n, const char *keyword, const char *value)
{
	options->keywords[*n] = keyword;
	options->values[(*n)++] = value;
}

static bool
requires_password(const UserMapping *mapping)
{
	ListCell   *lc;

	foreach(lc, mapping->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "password_required") == 0)
			return defGetBoolean(option);
	}
	return true;
}

static void
refuse_without_password(const char *name, const DgServerOptions *options)
{
	for (int i = 0; options->keywords[i] != NULL; i++)
	{
		if (strcmp(options->keywords[i], "password") == 0 && options->values[i][0] != '\0')
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("password is required to read server \"%s\"", name),
			 errdetail("Who is no superuser must give one in the user mapping."),
			 errhint("ALTER USER MAPPING FOR %s SERVER %s OPTIONS (ADD password '...').",
					 quote_identifier(GetUserNameFromId(GetUserId(), false)), quote_identifier(name))));
}

/*
 * What to connect to a server with, as the caller.
 */
DgServerOptions
dg_server_options(const char *name)
{
	ForeignServer *server = find_server(name);
	UserMapping *mapping = GetUserMapping(GetUserId(), server->serverid);
	List	   *all = list_concat_copy(server->options, mapping->options);
	PQconninfoOption *known = PQconndefaults();
	DgServerOptions options = {0};
	int			n = 0;
	ListCell   *lc;

	dg_server_require_memory(known != NULL);
	options.keywords = palloc0(sizeof(char *) * (list_length(all) + 3));
	options.values = palloc0(sizeof(char *) * (list_length(all) + 3));
	foreach(lc, all)
	{
		DefElem    *option = lfirst(lc);

		if (!is_connection_option(known, option->defname))
			continue;
		add_option(&options, &n, option->defname, defGetString(option));
		if (strcmp(option->defname, "connect_timeout") == 0)
			options.timeout = atoi(defGetString(option));
	}
	PQconninfoFree(known);
	add_option(&options, &n, "fallback_application_name", "deletion_guard");
	add_option(&options, &n, "client_encoding", GetDatabaseEncodingName());
	options.needs_password = !superuser() && requires_password(mapping);
	if (options.needs_password)
		refuse_without_password(name, &options);
	return options;
}
