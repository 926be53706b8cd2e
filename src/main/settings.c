/*
 * settings.c
 *		The settings of the extension, deletion_guard.*.
 *
 * The right to set them is part of the protection: an ordinary session may
 * describe a deletion (reason, actor, expect_tenants), but ceilings and
 * retention belong to superusers and to roles that were granted SET on them.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "capture/capture.h"
#include "token/token.h"
#include "main/main_internal.h"

static char *drill_interval = NULL; /* read by verify() */
static char *retention = NULL;

static const struct config_enum_entry limit_action_options[] = {
	{"error", DG_LIMIT_ERROR, false},
	{"warning", DG_LIMIT_WARNING, false},
	{NULL, 0, false}
};

static const struct config_enum_entry ddl_options[] = {
	{"refuse", DG_DDL_REFUSE, false},
	{"keep", DG_DDL_KEEP, false},
	{"allow", DG_DDL_ALLOW, false},
	{NULL, 0, false}
};

static const struct config_enum_entry publication_options[] = {
	{"refuse", DG_DDL_REFUSE, false},
	{"allow", DG_DDL_ALLOW, false},
	{NULL, 0, false}
};

/*
 * Seconds in a duration: "30 days", "30d", "12h", a number of seconds. -1, as
 * a blank value, means for ever, or never. Returns false if it is none of these.
 */
static bool
parse_duration(const char *value, int64 *seconds)
{
	static const struct
	{
		const char *name;
		int64		seconds;
	}			units[] = {
		{"", 1}, {"s", 1}, {"sec", 1}, {"second", 1}, {"seconds", 1},
		{"min", 60}, {"minute", 60}, {"minutes", 60},
		{"h", 3600}, {"hour", 3600}, {"hours", 3600},
		{"d", 86400}, {"day", 86400}, {"days", 86400},
		{"week", 604800}, {"weeks", 604800},
	};
	long long	number;
	char	   *end;

	value += strspn(value, " \t\n");
	if (*value == '\0')
	{
		*seconds = -1;
		return true;
	}

	errno = 0;
	number = strtoll(value, &end, 10);
	if (end == value || errno != 0)
		return false;
	end += strspn(end, " ");
	if (number == -1 && *end == '\0')
	{
		*seconds = -1;
		return true;
	}

	/* a thousand years is as far as a timestamp need go */
	for (int i = 0; i < lengthof(units); i++)
	{
		if (pg_strcasecmp(end, units[i].name) == 0)
		{
			if (number < 0 || number > INT64CONST(31557600000) / units[i].seconds)
				return false;
			*seconds = number * units[i].seconds;
			return true;
		}
	}
	return false;
}

static bool
check_retention(char **newval, void **extra, GucSource source)
{
	int64		seconds;

	if (*newval == NULL || parse_duration(*newval, &seconds))
		return true;
	GUC_check_errhint("Give a duration such as \"30 days\" or \"12 h\"; -1 or an empty value keeps deleted rows for ever.");
	return false;
}

static bool
check_drill_interval(char **newval, void **extra, GucSource source)
{
	int64		seconds;

	if (*newval == NULL || parse_duration(*newval, &seconds))
		return true;
	GUC_check_errhint("Give a duration such as \"30 days\" or \"12 h\"; -1 or an empty value expects no drills.");
	return false;
}

static void
assign_retention(const char *newval, void *extra)
{
	if (newval == NULL || !parse_duration(newval, &dg_retention))
		dg_retention = -1;
}

static bool
check_absolute(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL || **newval == '\0' || is_absolute_path(*newval))
		return true;
	GUC_check_errdetail("The path must be absolute.");
	return false;
}

/*
 * Settings that SQL cannot change. Where the library is preloaded they take a
 * restart; elsewhere the server's configuration file decides, and ALTER SYSTEM
 * is refused.
 */
static void
define_server_settings(void)
{
	GucContext	context = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	dg_preloaded = process_shared_preload_libraries_in_progress;
	DefineCustomBoolVariable("deletion_guard.locked",
							 "Whether giving up protection takes a token: unguard_table(), DROP EXTENSION, dropping tables of the bin.",
							 "A database in use takes no rows from a restore either.",
							 &dg_locked, false, context, GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomStringVariable("deletion_guard.authorities_file",
							   "File with the only authorities whose tokens count.",
							   "Empty: those enrolled in the database.",
							   &dg_authorities_file, "", context, GUC_DISALLOW_IN_AUTO_FILE,
							   check_absolute, NULL, NULL);
}

static void
define_session_settings(void)
{
	DefineCustomStringVariable("deletion_guard.reason",
							   "Why rows are being deleted; kept with each deletion.",
							   NULL, &dg_reason, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("deletion_guard.actor",
							   "The application's user on whose behalf rows are deleted; kept with each deletion.",
							   NULL, &dg_actor, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("deletion_guard.expect_tenants",
							   "Comma-separated tenant keys; deleting a row of any other tenant is an error.",
							   "Empty: no expectation.",
							   &dg_expect_tenants, "", PGC_USERSET, 0,
							   dg_capture_check_expect_tenants, NULL, NULL);
	DefineCustomIntVariable("deletion_guard.restore_rate",
							"Rows a second that undelete() and rehydrate() write at most; 0 for as fast as they can.",
							"For the calm of others who use the same disks. What is being restored stays locked for longer.",
							&dg_restore_rate, 0, 0, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
}

static void
define_ceilings(void)
{
	DefineCustomIntVariable("deletion_guard.max_rows",
							"Rows that one statement may delete, cascades included; 0 for no ceiling.",
							NULL, &dg_max_rows, 0, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("deletion_guard.max_tenants",
							"Distinct tenants whose rows one statement may delete; 0 for no ceiling.",
							NULL, &dg_max_tenants, 0, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("deletion_guard.tenant_wipes_per_hour",
							"Rows of the tenant table that may be deleted within an hour, by anyone; 0 for no ceiling.",
							NULL, &dg_tenant_wipes_per_hour, 0, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("deletion_guard.limit_action",
							 "What happens when a statement goes beyond a ceiling.",
							 "error: it fails. warning: it goes on. Both are announced on the channel deletion_guard.",
							 &dg_limit_action, DG_LIMIT_ERROR, limit_action_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
}

static void
define_purge_settings(void)
{
	DefineCustomStringVariable("deletion_guard.retention",
							   "How long deleted rows are kept at least before a purge; stamped when rows are deleted.",
							   "For example \"30 days\"; -1 or empty: for ever.",
							   &retention, "30 days", PGC_SUSET, 0,
							   check_retention, assign_retention, NULL);
	DefineCustomIntVariable("deletion_guard.approvals",
							"Distinct authorities whose tokens a purge needs.",
							NULL, &dg_approvals, 1, 1, DG_TOKEN_MAX_APPROVALS, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("deletion_guard.clock_skew",
							"How far an authority's clock may be off.",
							NULL, &dg_clock_skew, DG_TOKEN_DEFAULT_CLOCK_SKEW, 0, 3600, PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomStringVariable("deletion_guard.drill_interval",
							   "How often a restore should be rehearsed with drill(); verify() warns when that is overdue.",
							   "For example \"30 days\"; -1 or empty: never.",
							   &drill_interval, "30 days", PGC_SUSET, 0,
							   check_drill_interval, NULL, NULL);
	DefineCustomBoolVariable("deletion_guard.restoring",
							 "Lets a superuser's restore load the extension's own tables.",
							 "Set it only in the session that runs pg_restore.",
							 &dg_restoring, false, PGC_SUSET, GUC_NO_RESET_ALL, NULL, NULL, NULL);
	DefineCustomEnumVariable("deletion_guard.ddl",
							 "Whether guarded tables may be dropped, detached or stripped of their triggers.",
							 "With \"keep\", tables may be dropped and partitions detached: what they hold goes to the bin first. "
							 "With \"allow\", for superusers only, rows may be lost; each such command is written to the server's log, and to the ledger.",
							 &dg_ddl, DG_DDL_REFUSE, ddl_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("deletion_guard.publication",
							 "Whether a publication may have the extension's own tables.",
							 "With \"allow\", a subscriber that lacks these tables stops at the first change of one.",
							 &dg_publication, DG_DDL_REFUSE, publication_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
}

/*
 * A client may have sent values of settings when it connected, before the
 * library told the server who may set them. The server drops such a value,
 * but not in favour of the one in its configuration, which was forgotten when
 * the client's came. Rather than go on with the built-in default, the library
 * does not load, and without it nothing is deleted. The two settings that
 * only the server's start may set are hidden in the same way by a value for a
 * role or a database.
 */
static void
refuse_clients_settings(void)
{
	static const char *const servers[] = {"deletion_guard.locked", "deletion_guard.authorities_file"};
	static const char *const names[] = {
		"deletion_guard.max_rows", "deletion_guard.max_tenants", "deletion_guard.tenant_wipes_per_hour",
		"deletion_guard.limit_action", "deletion_guard.retention", "deletion_guard.approvals",
		"deletion_guard.clock_skew", "deletion_guard.restoring", "deletion_guard.ddl",
		"deletion_guard.drill_interval", "deletion_guard.publication",
	};

	for (int i = 0; i < lengthof(names); i++)
	{
		struct config_generic *setting = dg_find_setting(names[i]);

		if (setting != NULL && setting->reset_source == PGC_S_CLIENT &&
			pg_parameter_aclcheck(names[i], setting->reset_srole, ACL_SET) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set parameter \"%s\"", names[i]),
					 errdetail("It was set when the client connected, before deletion_guard was loaded."),
					 errhint("Connect without it, for example without PGOPTIONS.")));
	}
	for (int i = 0; i < lengthof(servers); i++)
	{
		struct config_generic *setting = dg_find_setting(servers[i]);

		if (setting != NULL && setting->reset_source >= PGC_S_GLOBAL && setting->reset_source <= PGC_S_CLIENT)
			ereport(ERROR,
					(errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM),
					 errmsg("parameter \"%s\" is the server's", servers[i]),
					 errdetail("It was set for this session, the role or the database, before deletion_guard was loaded."),
					 errhint("Set it in postgresql.conf only. RESET it where it is set by ALTER ROLE or ALTER DATABASE; connect without PGOPTIONS.")));
	}
}

/*
 * Defines our settings. Once, as the library is loaded.
 */
void
dg_main_define_settings(void)
{
	refuse_clients_settings();
	define_session_settings();
	define_ceilings();
	define_purge_settings();
	define_server_settings();
	MarkGUCPrefixReserved("deletion_guard");
}
