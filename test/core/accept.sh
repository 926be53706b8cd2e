#!/bin/bash
# Accepts a difference: makes the patch of a core test's expected output from
# what the test printed in the last run of run.sh.
#
#   accept.sh "reason, in one line" TEST...
#
# The reason is for the reviewer: why it is right that a guarded table differs
# here. Where a query's output is not the same from run to run (OIDs, no ORDER
# BY), change the query first, by hand, in patches/MAJOR/TEST.sql.diff.
set -euo pipefail

core=$(cd "$(dirname "$0")" && pwd)
log=$core/../../log/core
patches=$core/patches/$(cat "$log/major")
reason=$1
shift

# difference EXPECTED TEST: as a patch; pg_regress tries NAME_1.out and so on too.
difference()
{
	diff -U2 --label "a/expected/$1" --label "b/expected/$1" "$log/pristine/$1" "$log/results/$2.out" || true
}

mkdir -p "$patches"
for name; do
	best=
	for file in "$log/pristine/$name".out "$log/pristine/$name"_[0-9].out; do
		[ -e "$file" ] || continue
		patch=$(difference "$(basename "$file")" "$name")
		if [ -z "$best" ] || [ ${#patch} -lt ${#best} ]; then
			best=$patch
		fi
	done
	printf '# %s\n%s\n' "$reason" "$best" > "$patches/$name.diff"
	echo "$name: $(grep -c '^@@' "$patches/$name.diff") hunks"
done
