#!/bin/bash
# Which lines and branches of each room the tests reach, by gcov. ONLY="regress"
# runs some tests, as with make test. Fails where a room is below its floor
# (test/run/coverage.floor: room, per cent of lines). What no test reaches is in
# log/coverage/ROOM, line by line.
#
# A server process that is stopped at once (crash tests, pg_ctl -m immediate)
# writes no counts; what only such tests reach counts as not reached.
cd "$(dirname "$0")/../.." || exit
top=$PWD
counts=$(mktemp -d)
chmod 1777 "$counts"
trap 'rm -rf "$counts"' EXIT

make -s clean >/dev/null
export PROFILE="--coverage -O1" GCOV_PREFIX=$counts
ONLY=${ONLY:-regress isolation tap} bash test/run/test.sh
unset PROFILE GCOV_PREFIX

rm -rf log/coverage
mkdir -p log/coverage
below=0
printf '%-10s %8s %8s %10s %8s\n' room lines '%' branches '%'
for room in src/*/; do
	room=$(basename "$room")
	[ -e "$counts$top/src/$room" ] || continue
	cp "$top"/src/"$room"/*.gcno "$counts$top/src/$room/"
	(cd "$counts$top/src/$room" && gcov -b -- *.gcda 2>/dev/null) >"$counts/$room"
	for file in src/"$room"/*.c; do
		listing=$counts$top/src/$room/$(basename "$file").gcov
		[ ! -e "$listing" ] || grep -H '#####:' "$listing" | sed "s|^[^:]*/||"
	done >"log/coverage/$room"
	perl -ne '
		BEGIN { ($room, $floor) = (shift, shift) }
		$ours = m{src/\Q$room\E/|^File .[a-z_0-9]+\.c} if /^File/;
		$ours = 0 if /^$/;
		next unless $ours;
		if (/^Lines executed:([\d.]+)% of (\d+)/) { $lines += $2; $reached += $1 * $2 / 100 }
		if (/^Taken at least once:([\d.]+)% of (\d+)/) { $branches += $2; $taken += $1 * $2 / 100 }
		END {
			$lines ||= 1; $branches ||= 1;
			my $share = 100 * $reached / $lines;
			printf "%-10s %8d %8.1f %10d %8.1f%s\n", $room, $lines, $share, $branches, 100 * $taken / $branches,
				$share < $floor ? "   below its floor of $floor" : "";
			exit($share < $floor);
		}' "$room" "$(awk -v room="$room" '$1 == room { print $2 }' test/run/coverage.floor 2>/dev/null || echo 0)" "$counts/$room" || below=1
done
make -s clean >/dev/null
exit $below
