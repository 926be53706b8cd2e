# For checks that are shell: results as TAP. The script says how many there were.
n=0

# result NAME COMPLAINT: fine, if there is none.
result()
{
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		sed 's/^/# /' <<<"$2"
	fi
}
