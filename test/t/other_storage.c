/*
 * other_storage.c
 *		A table access method that is not heap, as far as anybody can tell. For
 *		080_storage.pl.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(other_storage);

Datum
other_storage(PG_FUNCTION_ARGS)
{
	static TableAmRoutine routine;

	routine = *GetHeapamTableAmRoutine();
	PG_RETURN_POINTER(&routine);
}
