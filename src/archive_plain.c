#include "archive_internal.h"
bool dg_archive_plain_probe(const unsigned char *h, size_t l){(void)h;(void)l;return false;}
bool dg_archive_plain_open(DgArchive *a, DgArchiveError *err){(void)a;(void)err;return false;}
