# deletion_guard: soft deletes, signed purges, tenants restored from archives.
#
#   make demo    the incident and the rescue, on a throwaway server
#   make test    every test there is
#   make bench   the figures, side by side
#
# Each of them first installs what is missing (as root on Debian), builds and
# installs the extension.

EXTENSION = deletion_guard
EXTVERSION = 1.0
MODULE_big = deletion_guard
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
HEADERS_DEPS = $(OBJS:.o=.d)

# One part per concept, in order of dependency.
INSTALL_PARTS = $(addprefix sql/install/,\
	schema.sql registry.sql enrol.sql deletion.sql undelete.sql protect.sql)
DATA_built = $(EXTENSION)--$(EXTVERSION).sql

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))

PG_CPPFLAGS = -Isrc -MMD -MP
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK = -lcjson -lcrypto -lz -llz4 -lzstd
EXTRA_CLEAN = $(HEADERS_DEPS) $(DATA_built)

PG_CONFIG ?= pg_config
override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(PGXS),)
include $(PGXS)
endif

-include $(HEADERS_DEPS)

$(EXTENSION)--$(EXTVERSION).sql: $(INSTALL_PARTS)
	cat $^ > $@
