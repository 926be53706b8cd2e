#!/bin/bash
# deb.sh [DIRECTORY]: makes the Debian packages, for each version of PostgreSQL
# that this Debian has, and puts them into the directory, or into dist/.
# PG_SUPPORTED_VERSIONS="15 16" names others, as for pg_buildext.
#
# Builds a copy of the tree, so that this one stays as it is. What is needed for
# that is installed as root; after that, nothing is fetched from anywhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 022

# apt COMMAND...: what it says is shown only if it fails.
apt()
{
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$@" >"$work/apt.log" 2>&1 ||
		{ cat "$work/apt.log" >&2; exit 1; }
}

mkdir -p "${1:-dist}"
target=$(cd "${1:-dist}" && pwd)
work=$(mktemp -d "${DG_TMPDIR:-/var/tmp}/deletion_guard-deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
tar --exclude=./.git --exclude=./log --exclude=./dist --exclude='*.o' --exclude='*.d' --exclude='*.so' \
	--exclude=./test/unit/build --exclude=./test/fuzz/build -cf - . | tar -C "$work/tree" -xf -
cd "$work/tree"

if ! { dpkg-checkbuilddeps && command -v pg_buildext; } >/dev/null 2>&1; then
	[ "$(id -u)" -eq 0 ] ||
		{ echo "packages are missing; as root: apt-get build-dep $PWD" >&2; dpkg-checkbuilddeps; exit 1; }
	echo "installing what building packages needs" >&2
	apt update
	apt build-dep "$PWD"
fi
echo "building packages for PostgreSQL $(/usr/share/postgresql-common/supported-versions | paste -sd ' ')" >&2
pg_buildext updatecontrol
export DEB_BUILD_OPTIONS="parallel=$(nproc) ${DEB_BUILD_OPTIONS:-}"
dpkg-buildpackage -us -uc -b >"$work/log" 2>&1 || { tail -60 "$work/log" >&2; exit 1; }
# make's own are about its jobs
! grep 'warning:' "$work/log" | grep -v '^make\[' >&2
cp "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$target"
(cd "$target" && ls "$PWD"/*.deb)
