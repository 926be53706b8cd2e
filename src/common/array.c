/*
 * array.c
 *		Arrays of SQL as lists, and lists as arrays.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "common/deletion_guard.h"

/*
 * An array of n values of a type.
 */
Datum
dg_array(Datum *elems, int n, Oid type)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_array(elems, n, type, typlen, typbyval, typalign));
}

/*
 * A list of OIDs as oid[].
 */
Datum
dg_oid_array(List *oids)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(oids));

	for (int i = 0; i < list_length(oids); i++)
		elems[i] = ObjectIdGetDatum(list_nth_oid(oids, i));
	return dg_array(elems, list_length(oids), OIDOID);
}

/*
 * A list of names (char *) as name[].
 */
Datum
dg_name_array(List *names)
{
	Datum	   *elems = palloc(sizeof(Datum) * list_length(names));

	for (int i = 0; i < list_length(names); i++)
		elems[i] = DirectFunctionCall1(namein, CStringGetDatum(list_nth(names, i)));
	return dg_array(elems, list_length(names), NAMEOID);
}

/*
 * The strings (char *) of a text[] or name[], palloc'd; NULL for nulls.
 */
List *
dg_array_strings(Datum datum)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	bool		names = ARR_ELEMTYPE(array) == NAMEOID;
	List	   *strings = NIL;
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	if (names)
		deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elems, &nulls, &n);
	else
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
		strings = lappend(strings, nulls[i] ? NULL : names ? pstrdup(NameStr(*DatumGetName(elems[i]))) :
						  TextDatumGetCString(elems[i]));
	pfree(elems);
	pfree(nulls);
	return strings;
}

/*
 * The OIDs of an oid[] or regclass[], but for nulls.
 */
List *
dg_array_oids(Datum datum)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	List	   *oids = NIL;
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, ARR_ELEMTYPE(array), sizeof(Oid), true, TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			oids = lappend_oid(oids, DatumGetObjectId(elems[i]));
	}
	pfree(elems);
	pfree(nulls);
	return oids;
}
