#!/bin/bash
# Nothing in the repository depends on one workplace: no package registries, no
# absolute paths of somebody's machine.
hosts='(pypi|npmjs|crates|rubygems|proxy\.golang|registry|artifactory|snapshot\.debian|deb\.debian)\.(org|com|io)|docker\.io|ghcr\.io'
paths='(^|[^[:alnum:]_./-])/(home/[a-z]|root/[a-z]|work/|Users/|workspace|tmp/[a-z]+/)'
check()
{
	local found
	found=$(grep -rnIE --exclude-dir=.git --exclude=.git --exclude-dir=log --exclude-dir=build --exclude='*.[do]' \
		--exclude="$(basename "$0")" "$3" . | head -20)
	if [ -z "$found" ]; then
		echo "ok $1 - $2"
	else
		echo "not ok $1 - $2"
		sed 's/^/# /' <<<"$found"
	fi
}
check 1 "no registry hosts" "$hosts"
check 2 "no paths of one machine" "$paths"
echo 1..2
