#!/bin/bash
# Installs the Debian packages that building and testing need, those that are
# missing only, and prints the path of the pg_config to build with. With
# DG_PACKAGES=needed, it leaves out what only some tests use.
#
# Never creates a PostgreSQL cluster and never starts one. Without root it
# names what is missing in one line and fails. Honours PG_CONFIG.
set -euo pipefail

OLDEST=15
NEWEST=19
conf=/etc/postgresql-common/createcluster.conf

die()
{
	echo "$*" >&2
	exit 1
}

# Is this Debian package installed?
have()
{
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The PostgreSQL that Debian means by "postgresql": as apt knows it, or else by
# the release.
debian_major()
{
	local major
	major=$(apt-cache show postgresql 2>/dev/null |
		sed -n 's/^Depends:.*\bpostgresql-\([0-9]\+\).*/\1/p' | sort -n | tail -1)
	if [ -z "$major" ]; then
		case "$(. /etc/os-release && echo "${VERSION_ID:-}")" in
			12) major=15 ;;
			*) major=17 ;;
		esac
	fi
	echo "$major"
}

# The newest supported server that is installed here already, if any.
installed_major()
{
	local major
	for ((major = NEWEST; major >= OLDEST; major--)); do
		if [ -x "/usr/lib/postgresql/$major/bin/postgres" ]; then
			echo "$major"
			return
		fi
	done
}

# Packages that are for one test each, or not to be had everywhere: we do without
# them, and nobody is asked for them. Those that are not there and could be had.
# (pgbouncer, which would be started, is left to whoever has it.)
find_optional()
{
	local name package wanted=(libisal-dev pg-bsd-indent lintian debootstrap python3-django python3-sqlalchemy python3-psycopg2)

	# Java itself is large, and is left to whoever has it
	! command -v javac >/dev/null || wanted+=(libpostgresql-jdbc-java)
	if [ -n "$major" ]; then
		wanted+=("postgresql-plperl-$major" "postgresql-plpython3-$major")
		for name in pglogical partman repack periods tablelog pgaudit hypopg wal2json cron timescaledb age; do
			wanted+=("postgresql-$major-$name")
		done
	fi
	optional=()
	for package in "${wanted[@]}"; do
		have "$package" || optional+=("$package")
	done
	[ ${#optional[@]} -eq 0 ] ||
		mapfile -t optional < <(apt-cache show "${optional[@]}" 2>/dev/null | sed -n 's/^Package: //p' | sort -u)
}

# Sets "missing" to the packages that are not there; with a "major", those of
# that server too.
find_missing()
{
	local package wanted=(gcc libc6-dev make perl libipc-run-perl openssl
		libcjson-dev libpq-dev libssl-dev zlib1g-dev liblz4-dev libzstd-dev)

	if [ -n "$major" ]; then
		wanted+=("postgresql-$major" "postgresql-server-dev-$major")
	fi
	missing=()
	for package in "${wanted[@]}"; do
		have "$package" || missing+=("$package")
	done
	if [ "$(id -u)" -eq 0 ] && [ "${DG_PACKAGES:-}" != needed ]; then
		find_optional
		missing+=("${optional[@]}")
	fi
}

# Of what apt says, how much there is to do and how far it is.
progress()
{
	tee -a "$log" | awk '
		/^Need to get/ { print "  " $0 }
		/^Unpacking/ { if (++unpacked % 25 == 0) print "  " unpacked " packages unpacked" }
		/^Setting up/ { if (++set % 25 == 0) print "  " set " packages set up" }
		{ fflush() }' >&2
}

# Installing a server package for the first time creates and starts a cluster
# "main", unless postgresql-common is told otherwise: for the time of the
# installation, and no longer.
install_missing()
{
	local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install)

	export DEBIAN_FRONTEND=noninteractive
	"${apt[@]}" postgresql-common || return
	if [ -f "$conf" ]; then
		saved=$(mktemp)
		cp -p "$conf" "$saved"
		trap 'cp -p "$saved" "$conf" && rm -f "$saved"' EXIT
		trap 'exit 1' INT TERM
		echo 'create_main_cluster = false' >> "$conf"
	fi
	"${apt[@]}" "${missing[@]}"
}

# Which server? The one of PG_CONFIG, or of the pg_config in the path, if it has
# server headers; else the newest installed; else the one of this Debian.
# A server outside Debian's directories is taken as it is.
major=
pg_config=${PG_CONFIG:-pg_config}
default_major=
if [ -f "$("$pg_config" --pgxs 2>/dev/null)" ]; then
	major=$("$pg_config" --version | sed 's/[^0-9]*\([0-9]\+\).*/\1/')
	if [ "$("$pg_config" --bindir)" != "/usr/lib/postgresql/$major/bin" ]; then
		major=
	fi
elif [ -n "${PG_CONFIG:-}" ]; then
	die "$PG_CONFIG: no pg_config with server headers"
else
	pg_config=
	major=$(installed_major)
	[ -n "$major" ] || default_major=yes
fi

if ! command -v dpkg-query >/dev/null; then
	[ -n "$pg_config" ] ||
		die "not a Debian system: install PostgreSQL $OLDEST to $NEWEST with its headers, gcc, make, perl with IPC::Run, openssl, and the headers of libcjson, libpq, libcrypto, zlib, lz4 and zstd, and set PG_CONFIG"
	echo "$pg_config"
	exit
fi

[ -z "$default_major" ] || major=$(debian_major)
find_missing
if [ ${#missing[@]} -gt 0 ]; then
	[ "$(id -u)" -eq 0 ] ||
		die "packages are missing; as root: apt-get install ${missing[*]}"
	echo "installing what is missing: ${missing[*]}" >&2
	log=$(mktemp)
	if ! apt-get -qq update >"$log" 2>&1; then
		echo "apt-get update failed, trying with what apt knows" >&2
	fi
	[ -z "$default_major" ] || major=$(debian_major)
	find_missing
	if ! install_missing 2>&1 | progress; then
		cat "$log" >&2
		die "could not install: ${missing[*]}"
	fi
	rm -f "$log"
fi
if [ -n "$major" ]; then
	pg_config=/usr/lib/postgresql/$major/bin/pg_config
fi
echo "$pg_config"
