#!/bin/bash
# The version is the same wherever it is written.
control=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" deletion_guard.control)
makefile=$(sed -n 's/^EXTVERSION *= *//p' Makefile)
meta=$(perl -MJSON::PP -0777 -ne 'print decode_json($_)->{provides}{deletion_guard}{version}' META.json)
release=$(perl -MJSON::PP -0777 -ne 'print decode_json($_)->{version}' META.json)

check()
{
	if [ "$2" = "$3" ]; then
		echo "ok $1 - $4"
	else
		echo "not ok $1 - $4"
		echo "# \"$2\" and \"$3\""
	fi
}
# PGXN wants three numbers.
check 1 "$control" "$makefile" "control file and Makefile"
check 2 "$control.0" "$meta" "control file and META.json"
check 3 "$meta" "$release" "META.json with itself"
check 4 "$(grep -c "^## $control\b" CHANGELOG.md)" 1 "CHANGELOG.md has a section for it"
check 5 "$(sed -n '1s/^deletion-guard (\([^-]*\)-.*/\1/p' debian/changelog)" "$control" "debian/changelog has it at the top"
check 6 "$(sed -n 's/^Version: *//p' packaging/deletion_guard.spec)" "$release" "the RPM's spec has it"
check 7 "$(sed -n 's/^\.TH.*"deletion_guard \([0-9.]*\)".*/\1/p' script/deletion_guard_sign.1)" "$control" "the manual page has it"
echo 1..7
