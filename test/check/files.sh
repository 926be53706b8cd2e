#!/bin/bash
# Test files are where make test finds them, under names it understands.
. "$(dirname "$0")/../run/result.sh"

result "every sql/*.sql has expected output" "$(
	for file in sql/*.sql; do
		name=$(basename "$file" .sql)
		[ ! -e "$file" ] || [ -e "expected/$name.out" ] || echo "$file"
	done)"
result "every expected output has its sql/*.sql" "$(
	for file in expected/*.out; do
		name=$(basename "$file" .out)
		[ ! -e "$file" ] || [ -e "sql/${name%_[0-9]}.sql" ] || [ -e "sql/$name.sql" ] || echo "$file"
	done)"
result "every isolation spec has expected output" "$(
	for file in test/isolation/specs/*.spec; do
		name=$(basename "$file" .spec)
		[ ! -e "$file" ] || [ -e "test/isolation/expected/$name.out" ] || echo "$file"
	done)"
result "TAP tests are called NNN_theme.pl" "$(
	ls test/t 2>/dev/null | grep -E '\.pl$' | grep -vE '^[0-9]{3}_[a-z0-9_]+\.pl$')"
result "TAP test numbers are used once" "$(
	ls test/t 2>/dev/null | grep -oE '^[0-9]{3}_.*\.pl$' | cut -c1-3 | sort | uniq -d)"
result "unit tests are called test_token_*.c or test_archive_*.c" "$(
	ls test/unit | grep -E '^test.*\.c$' | grep -vE '^test_(token|archive)_[a-z0-9_]+\.c$')"
result "every install part is listed in the Makefile" "$(
	parts=$(make -s show-INSTALL_PARTS)
	for file in src/*/*.sql; do
		[ ! -e "$file" ] || [[ $file == src/upgrade/* || " $parts " == *" $file "* ]] || echo "$file"
	done)"
result "shell scripts parse" "$(
	for file in .ci/run test/run/*.sh test/check/*.sh test/unit/*.sh test/bench/*.sh test/core/*.sh test/package/*.sh; do
		[ ! -e "$file" ] || bash -n "$file" 2>&1
	done)"
result "every test/package/*.sh is run" "$(
	for file in test/package/*.sh; do
		grep -q "choose package.* $(basename "$file" .sh)\b" test/run/test.sh || echo "$file"
	done)"
result "no spaces at the ends of lines, no CRs" "$(
	grep -rnIE '[[:blank:]]+$|'$'\r' --include='*.[ch]' --include="*.sh" --include="*.sql" --include=Makefile \
		src test/run test/check test/bench Makefile | head -20)"
echo "1..$n"
