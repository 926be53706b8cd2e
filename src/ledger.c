/* replaced by the ledger's own branch */
#include "ledger.h"
#include "utils/json.h"
int64 dg_ledger_append(const char *event, const char *details) { return 0; }
char *dg_json_string(const char *value) { StringInfoData b; initStringInfo(&b); escape_json(&b, value); return b.data; }
