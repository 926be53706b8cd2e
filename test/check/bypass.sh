#!/bin/bash
# Every line of a test that test/bypass.md names is there.
n=0
missing=
while read -r reference; do
	n=$((n + 1))
	file=${reference%%: *}
	line=${reference#*: }
	if [ ! -e "$file" ]; then
		missing+="# no $file"$'\n'
	elif ! grep -qF -- "$line" "$file"; then
		missing+="# $file has no \"$line\""$'\n'
	fi
done < <(grep -oE '`(sql|test)/[^`]*: [^`]*`' test/bypass.md | tr -d '`')

if [ -z "$missing" ] && [ "$n" -gt 0 ]; then
	echo "ok 1 - the $n lines that test/bypass.md names are in the tests"
else
	echo "not ok 1 - the $n lines that test/bypass.md names are in the tests"
	printf '%s' "$missing"
fi
echo "1..1"
