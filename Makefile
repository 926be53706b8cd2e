# deletion_guard: soft deletes, signed purges, tenants restored from archives.
#
#   make demo    the incident and the rescue, on a throwaway server (TENANTS=1000 for a larger one)
#   make test    every test there is (ONLY="unit regress/bin" for some)
#   make bench   the figures, side by side (ONLY=bulk_delete, ROWS=100000)
#   make test-core   PostgreSQL's own regression suite on guarded tables (ONLY="merge triggers")
#   make coverage   lines and branches of each room that the tests reach (ONLY="regress")
#   make reference   writes doc/reference.md
#   make indent  the sources in PostgreSQL's dialect
#   make fuzz    the token and archive readers, with clang (SECONDS=3600, ONLY=token)
#   make deb     Debian packages, into dist/, for each PostgreSQL that this Debian has
#   make dist    the archive for PGXN, into dist/
#   make release   freezes the install script, begins the version NEXT
#   make matrix  demo, deb and test in bare systems of Debian 12, 13, forky and experimental
#   make install-sign   the signing tool alone: no PostgreSQL is needed, only openssl
#
# The first three install what is missing (as root on Debian) and build: all
# they need beforehand is make, and test/run/test.sh not even that. None touches
# the machine's own PostgreSQL; that takes make install.

EXTENSION = deletion_guard
EXTVERSION = 1.1
MODULE_big = deletion_guard
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*/*.c)))
DEPENDENCIES = $(OBJS:.o=.d)

# One part per concept, in order of dependency.
INSTALL_PARTS = $(addprefix src/,\
	common/schema.sql common/registry.sql protect/definition.sql enrol/enrol.sql capture/deletion.sql capture/limit.sql undelete/undelete.sql \
	ledger/ledger.sql purge/authority.sql purge/purge.sql purge/scrub.sql extract/extract.sql compare/compare.sql rehydrate/rehydrate.sql \
	report/report.sql report/report_page.sql protect/verify.sql protect/status.sql protect/protect.sql guard/publication.sql)
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
DATA = $(wildcard src/upgrade/*.sql)

# The package for the server is without them: the first is a package of its own.
SCRIPTS ?= script/deletion_guard_sign monitoring/deletion_guard_check

# A file named setup comes first.
REGRESS_FILES = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS = $(filter setup,$(REGRESS_FILES)) $(filter-out setup,$(REGRESS_FILES))

PG_CPPFLAGS = -Isrc -I$(libpq_srcdir) -MMD -MP
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
	-Werror=implicit-function-declaration -Werror=incompatible-pointer-types -Werror=int-conversion -Werror=return-type
SHLIB_LINK = $(libpq) -lcjson -lcrypto -lz -llz4 -lzstd
# Our own functions are found without being looked up in every library.
SHLIB_LINK += -Wl,-Bsymbolic
EXTRA_CLEAN = $(DEPENDENCIES) $(DATA_built) test/unit/build

# ISA-L inflates gzip about three times as fast as zlib, where it exists. With zlib
# alone, one tenant out of an archive takes the processor as long as pg_restore.
ifneq ($(wildcard /usr/include/isa-l.h /usr/include/isa-l/igzip_lib.h),)
PG_CPPFLAGS += -DDG_HAVE_ISAL
SHLIB_LINK += -lisal
endif

PG_CONFIG ?= pg_config
override with_llvm = no
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
include $(PGXS)
endif

-include $(DEPENDENCIES)

# The signing tool, for the machine that has the key; or here, into the path.
SIGN_PREFIX ?= /usr/local
install-sign:
	install -d '$(DESTDIR)$(SIGN_PREFIX)/bin' '$(DESTDIR)$(SIGN_PREFIX)/share/man/man1'
	install -m 755 script/deletion_guard_sign '$(DESTDIR)$(SIGN_PREFIX)/bin/'
	install -m 644 script/deletion_guard_sign.1 '$(DESTDIR)$(SIGN_PREFIX)/share/man/man1/'

$(EXTENSION)--$(EXTVERSION).sql: $(INSTALL_PARTS)
	cat $^ > $@

.PHONY: test demo bench fuzz test-core coverage reference indent typedefs deb matrix dist release install-sign
test demo:
	@MAKE='$(MAKE)' test/run/$@.sh
bench:
	@MAKE='$(MAKE)' test/bench/bench.sh
fuzz:
	@$(MAKE) -C test/fuzz
test-core:
	@MAKE='$(MAKE)' test/core/run.sh
deb matrix:
	@test/run/$@.sh
release:
	@test/run/release.sh $(NEXT)
# PGXN wants three numbers.
dist:
	@mkdir -p dist
	git archive --format=zip --prefix=$(EXTENSION)-$(EXTVERSION).0/ -o dist/$(EXTENSION)-$(EXTVERSION).0.zip HEAD

coverage:
	@test/run/coverage.sh
reference:
	@MAKE='$(MAKE)' test/run/reference.sh
indent:
	@test/run/indent.sh
# The types that the sources use, from the debugging information of the objects.
typedefs: all
	@for object in $(OBJS); do objdump -W $$object; done 2>/dev/null | \
		awk '/DW_TAG_typedef/ { type = 1; next } type && /DW_AT_name/ { print $$NF; type = 0 }' | \
		grep -vx text | LC_ALL=C sort -u >test/run/typedefs.list

# For test/run: values that only this file knows.
show-%:
	@echo $($*)
