#!/bin/bash
# extension_image.sh PACKAGE.deb DIRECTORY: lays the files of a server's package
# out as an extension that is mounted beside a server, from PostgreSQL 18 on:
#
#   lib/        the library, for dynamic_library_path
#   share/      extension/ with control file and scripts, for extension_control_path
#   system/     libraries of the system that a server's image may lack, for the
#               loader's path (CloudNativePG: ld_library_path)
#
# The libraries in system/ are copied from here: to be run where the package fits.
set -euo pipefail
package=$1 directory=$2
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
dpkg-deb -x "$package" "$files"
mkdir -p "$directory"/{lib,share/extension,system}
cp "$files"/usr/lib/postgresql/*/lib/deletion_guard.so "$directory/lib/"
cp "$files"/usr/share/postgresql/*/extension/deletion_guard* "$directory/share/extension/"
ldd "$directory/lib/deletion_guard.so" | awk '/lib(cjson|isal)\./ { print $3 }' | xargs -r cp -L -t "$directory/system/"
