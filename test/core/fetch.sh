#!/bin/bash
# Fetches PostgreSQL's own regression suite, as Debian's source package has it,
# and prints the directory it is in: src/test/regress, and a file "version".
#
#   fetch.sh MAJOR
#
# Kept outside the repository, in the user's cache, and fetched once for each
# release. The machine's own package sources are used, with "deb-src" put for
# "deb", under an apt configuration of our own: the machine's is not changed,
# and no root is needed.
set -euo pipefail

major=$1
cache=${XDG_CACHE_HOME:-/var/tmp}/deletion_guard-core
parts="src/test/regress"

die()
{
	echo "$*" >&2
	exit 1
}

apt_get()
{
	APT_CONFIG=$apt/apt.conf apt-get -qq "$@"
}

# Debian's version of the installed server.
installed_version()
{
	dpkg-query -W -f='${source:Version}' "postgresql-$major" 2>/dev/null
}

configure_apt()
{
	local file

	mkdir -p "$apt/sources.list.d" "$apt/state/lists/partial" "$apt/cache/archives/partial"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
		[ ! -r "$file" ] || sed -E 's/^([[:space:]]*)deb([[:space:]])/\1deb-src\2/; s/^(Types:).*\<deb\>.*/\1 deb-src/' \
			"$file" > "$apt/sources.list.d/$(basename "$file")"
	done
	[ ! -f "$apt/sources.list.d/sources.list" ] || mv "$apt/sources.list.d/sources.list" "$apt/"
	cat > "$apt/apt.conf" <<-END
		Dir::Etc::SourceList "$apt/sources.list";
		Dir::Etc::SourceParts "$apt/sources.list.d";
		Dir::State "$apt/state";
		Dir::State::Status "/var/lib/dpkg/status";
		Dir::Cache "$apt/cache";
		APT::Sandbox::User "";
		Acquire::Languages "none";
	END
}

# The versions that apt knows, the installed one first, then the newest.
versions()
{
	echo "$version"
	APT_CONFIG=$apt/apt.conf apt-cache showsrc --only-source "postgresql-$major" |
		sed -n 's/^Version: //p' | sort -Vru | grep -vxF "$version"
}

# Downloads and unpacks into $1. Any minor release will do.
fetch()
{
	local candidate done=

	apt_get update || return
	for candidate in $(versions); do
		if (cd "$apt" && apt_get --download-only --only-source source "postgresql-$major=$candidate"); then
			done=yes
			break
		fi
	done
	[ -n "$done" ] || return
	mkdir "$apt/source"
	tar -C "$apt/source" --strip-components=1 --wildcards --no-wildcards-match-slash -xf "$apt"/*.orig.tar.* "*/$parts" "*/COPYRIGHT"
	sed 's/-.*//' <<<"$candidate" > "$apt/source/version"
	mv "$apt/source" "$1"
}

command -v apt-get >/dev/null && version=$(installed_version) ||
	die "not a Debian server package: PostgreSQL's source cannot be fetched by its name"
target=$cache/postgresql-$version
if [ ! -d "$target/$parts" ]; then
	mkdir -p "$cache"
	apt=$(mktemp -d "$cache/apt.XXXXXX")
	trap 'rm -rf "$apt"' EXIT
	configure_apt
	fetch "$target" >"$apt/log" 2>&1 ||
		die "the source package of postgresql-$major cannot be had: $(grep -m1 -E '^W: Failed to fetch|^E:' "$apt/log" || tail -1 "$apt/log")"
fi
echo "$target"
