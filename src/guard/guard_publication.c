/*
 * guard_publication.c
 *		Publications that take the extension's tables along.
 *
 * Logical replication sends a change of any published table, and a subscriber
 * that has no table of that name stops there, for good, while WAL piles up
 * behind its slot. So our tables must be in no publication. FOR ALL TABLES has them
 * without anybody's meaning it, those that are made later too. PostgreSQL cannot
 * leave tables out of it: whether one may be published depends on nothing that an
 * extension could set.
 *
 * So CREATE EXTENSION, enrolling a table, and publishing our tables are errors
 * where that would come about, unless deletion_guard.publication is "allow". A
 * restore is not hindered: it brings what was allowed elsewhere, and is warned.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "guard/guard_internal.h"
#include "ledger/ledger.h"

PG_FUNCTION_INFO_V1(dg_refuse_published);

/*
 * The name of a publication that has a table of ours, palloc'd, or NULL. Looks at
 * one publication, or at all (NULL). The caller is connected to SPI.
 */
static char *
published_by(const char *publication)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {publication != NULL ? CStringGetTextDatum(publication) : (Datum) 0};
	char		nulls[] = {publication != NULL ? ' ' : 'n'};

	if (dg_spi_select("SELECT p.pubname::text FROM pg_publication p WHERE ($1 IS NULL OR p.pubname = $1) AND (p.puballtables"
					  " OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace))"
					  " OR EXISTS (SELECT FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid WHERE r.prpubid = p.oid"
					  " AND c.relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace)))"
					  " ORDER BY 1 LIMIT 1", 1, types, values, nulls) == 0)
		return NULL;
	return dg_row_text(0, 1);
}

#define DETAIL_STOPS \
	"A subscriber that lacks these tables stops at the first change of one. Where it has them, deleted rows leave this server."
#define HINT_ALLOW \
	"If no subscriber uses it, a superuser may set deletion_guard.publication to \"allow\", for the session or the database."

/*
 * Refuses to do "what" while a publication has tables of ours.
 */
void
dg_publication_check(const char *what)
{
	char	   *name;

	SPI_connect();
	name = published_by(NULL);
	if (name != NULL && dg_publication_allowed())
		ereport(WARNING,
				(errmsg("publication \"%s\" has the tables of deletion_guard", name),
				 errdetail(DETAIL_STOPS)));
	else if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot %s: publication \"%s\" has the tables of deletion_guard", what, name),
				 errdetail(DETAIL_STOPS),
				 errhint("Who owns the publication can replace it in one transaction: DROP PUBLICATION %s; CREATE PUBLICATION %s FOR TABLES IN SCHEMA ..., or FOR TABLE ...; then subscribers REFRESH PUBLICATION. " HINT_ALLOW,
						 quote_identifier(name), quote_identifier(name))));
	SPI_finish();
}

/*
 * CREATE or ALTER PUBLICATION has run. Where the extension has done nothing yet, it
 * may be that of a restore.
 */
void
dg_publication_follow(Node *parsetree)
{
	const char *name = IsA(parsetree, CreatePublicationStmt) ?
		((CreatePublicationStmt *) parsetree)->pubname : ((AlterPublicationStmt *) parsetree)->pubname;

	if (published_by(name) != NULL)
		ereport(dg_publication_allowed() || !dg_ledger_is_live() ? WARNING : ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("publication \"%s\" would have the tables of deletion_guard", name),
				 errdetail(DETAIL_STOPS),
				 errhint("Publish the application's tables: FOR TABLES IN SCHEMA ..., or FOR TABLE .... " HINT_ALLOW)));
}

/*
 * refuse_published() -> void: for CREATE EXTENSION.
 */
Datum
dg_refuse_published(PG_FUNCTION_ARGS)
{
	dg_publication_check("create extension deletion_guard");
	PG_RETURN_VOID();
}
