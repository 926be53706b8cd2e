#include "archive_internal.h"
int dg_archive_insert_next(DgArchiveRows *r, DgArchiveRow *row, DgArchiveError *err){(void)r;(void)row;(void)err;return -1;}
bool dg_archive_insert_peek(DgArchiveRows *r, DgArchiveError *err){(void)r;(void)err;return true;}
