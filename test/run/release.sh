#!/bin/bash
# make release NEXT=1.1: what the tree is now is a release. Its install script is
# frozen in src/upgrade, the version that comes next is begun: with an upgrade
# script, which has nothing to do yet, and its number wherever the version stands.
# The commit before the one that this makes ready is the one to tag.
#
# make release without NEXT freezes the last release anew, as long as it has no
# tag: nobody can have installed it yet.
set -euo pipefail
cd "$(dirname "$0")/../.."
die()
{
	echo "$*" >&2
	exit 1
}

now=$(make -s show-EXTVERSION)
next=${1:-}
script()
{
	echo "src/upgrade/deletion_guard--$1.sql"
}
freeze()
{
	make -s "deletion_guard--$now.sql"
	mv "deletion_guard--$now.sql" "$(script "$1")"
}

if [ -z "$next" ]; then
	last=$(ls src/upgrade/deletion_guard--*--"$now".sql | sed 's/.*guard--\(.*\)--.*/\1/')
	[ -z "$(git tag -l "$last" "v$last")" ] || die "$last is tagged: its script stays as it is, write $(script "$last--$now")"
	grep -v '^--\|^\\echo\|^$' "$(script "$last--$now")" && die "$(script "$last--$now") does more than nothing"
	freeze "$last"
	exit
fi
[[ $next =~ ^[0-9]+\.[0-9]+$ ]] || die "NEXT is a version, as 1.1, not \"$next\""
[ ! -e "$(script "$now")" ] || die "$now is frozen already"
mkdir -p src/upgrade
freeze "$now"
cat >"$(script "$now--$next")" <<END
-- From $now to $next: what has been changed in the install script since $now,
-- for databases that have $now. test/t/102_upgrade.pl compares both.
\\echo Use "ALTER EXTENSION deletion_guard UPDATE" to load this file. \\quit
END
sed -i "s/^EXTVERSION = .*/EXTVERSION = $next/" Makefile
sed -i "s/^default_version = .*/default_version = '$next'/" deletion_guard.control
sed -i "s/\"version\": \"$now\.0\",*$/\"version\": \"$next.0\"/; s/^\(   \"version\": \"$next\.0\"\)/\1,/" META.json
sed -i "s/^Version:\( *\).*/Version:\1$next.0/" packaging/deletion_guard.spec
sed -i "1s/deletion_guard [0-9.]*/deletion_guard $next/" script/deletion_guard_sign.1
sed -i "0,/^## /s//## $next (unreleased)\n\nNothing yet.\n\n&/" CHANGELOG.md
{
	printf 'deletion-guard (%s-1~1) UNRELEASED; urgency=medium\n\n  * Next release.\n\n' "$next"
	printf ' -- The deletion_guard developers <packages@deletion-guard.example.org>  %s\n\n' "$(date -R)"
	cat debian/changelog
} >debian/changelog.new
mv debian/changelog.new debian/changelog
echo "tag what is committed as $now; then commit this, which begins $next"
