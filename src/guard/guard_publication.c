/*
 * guard_publication.c
 *		Publications that take the extension's tables along.
 *
 * Logical replication sends a change of any published table, and a subscriber
 * that has no table of that name stops there, for good, while WAL piles up
 * behind its slot. So our tables must be in no publication. FOR ALL TABLES has them
 * without anybody's meaning it, those that are made later too. Whether a table may
 * be published depends on nothing that an extension could set. From 19 on, EXCEPT
 * leaves tables out one by one, but neither a schema nor tables that are to come,
 * as bins are. FOR ALL SEQUENCES (19) has our sequences: a subscriber that lacks them
 * cannot subscribe, and where it has them, they would get this server's values.
 *
 * So CREATE EXTENSION, enrolling a table, and publishing our tables are errors
 * where that would come about, unless deletion_guard.publication is "allow". A
 * restore is not hindered: it brings what was allowed elsewhere, and is warned.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "guard/guard_internal.h"
#include "ledger/ledger.h"

PG_FUNCTION_INFO_V1(dg_refuse_published);

/*
 * The name of a publication that has a table or sequence of ours, palloc'd, or NULL;
 * *what is which. Looks at one publication, or at all (NULL). The caller is
 * connected to SPI.
 */
static char *
published_by(const char *publication, char **what)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {publication != NULL ? CStringGetTextDatum(publication) : (Datum) 0};
	char		nulls[] = {publication != NULL ? ' ' : 'n'};

	if (dg_query("SELECT p.pubname::text, CASE WHEN x.sequences AND NOT p.puballtables THEN 'sequences' ELSE 'tables' END"
				 " FROM pg_publication p CROSS JOIN LATERAL (SELECT coalesce((to_jsonb(p) ->> 'puballsequences')::boolean, false) AS sequences) x"
				 " WHERE ($1 IS NULL OR p.pubname = $1) AND (p.puballtables OR x.sequences"
				 " OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace))"
				 " OR EXISTS (SELECT FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid WHERE r.prpubid = p.oid"
				 " AND c.relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace)))"
				 " ORDER BY 1 LIMIT 1", DG_AS_US, 1, types, values, nulls,
				 .snapshot = GetLatestSnapshot()) == 0)
		return NULL;
	*what = dg_row_text(0, 2);
	return dg_row_text(0, 1);
}

static const char *
harm_to_subscriber(const char *things)
{
	if (strcmp(things, "sequences") == 0)
		return "A subscriber that lacks them cannot subscribe. Where it has them, its own are set to this server's values.";
	return "A subscriber that lacks these tables stops at the first change of one. Where it has them, deleted rows leave this server.";
}

#define HINT_ALLOW \
	"If no subscriber uses it, a superuser may set deletion_guard.publication to \"allow\", for the session or the database."

/*
 * Refuses to do "what" while a publication has tables of ours.
 */
void
dg_guard_publication_check(const char *what)
{
	char	   *name;
	char	   *things;

	SPI_connect();
	name = published_by(NULL, &things);
	if (name != NULL && dg_publication_allowed())
		ereport(WARNING,
				(errmsg("publication \"%s\" has the %s of deletion_guard", name, things),
				 errdetail("%s", harm_to_subscriber(things))));
	else if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot %s: publication \"%s\" has the %s of deletion_guard", what, name, things),
				 errdetail("%s", harm_to_subscriber(things)),
				 errhint("Who owns the publication can replace it in one transaction: DROP PUBLICATION %s; CREATE PUBLICATION %s FOR TABLES IN SCHEMA ..., or FOR TABLE ...; then subscribers REFRESH PUBLICATION. " HINT_ALLOW,
						 quote_identifier(name), quote_identifier(name))));
	SPI_finish();
}

/*
 * CREATE or ALTER PUBLICATION has run. Where the extension has done nothing yet, it
 * may be that of a restore.
 */
void
dg_guard_publication_follow(Node *parsetree)
{
	const char *name = IsA(parsetree, CreatePublicationStmt) ?
	((CreatePublicationStmt *) parsetree)->pubname : ((AlterPublicationStmt *) parsetree)->pubname;
	char	   *things;

	if (published_by(name, &things) != NULL)
		ereport(dg_publication_allowed() || !dg_ledger_is_live() ? WARNING : ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("publication \"%s\" would have the %s of deletion_guard", name, things),
				 errdetail("%s", harm_to_subscriber(things)),
				 errhint("Publish the application's tables: FOR TABLES IN SCHEMA ..., or FOR TABLE .... " HINT_ALLOW)));
}

/*
 * refuse_published() -> void: for CREATE EXTENSION.
 */
Datum
dg_refuse_published(PG_FUNCTION_ARGS)
{
	dg_guard_publication_check("create extension deletion_guard");
	PG_RETURN_VOID();
}
