#!/bin/sh
#
# interop_token.sh: tokens of three other makers are accepted, and changed ones
# are not: script/deletion_guard_sign, Node's jose, Python's PyJWT.
#
# Prints TAP.  What is not installed and cannot be is skipped, one line each.
# TOKEN_CHECK may name a token_check that is built already; PYTHON, NODE and
# NPM may name those programs, SIGN_SHELL the shell that runs the script.

set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

audience=7123456789012345678/shop
digest=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
python=${PYTHON:-/usr/bin/python3}
node=${NODE:-node}
npm=${NPM:-npm}
run=0
failed=0

# is WHAT GOT EXPECTED
is()
{
	run=$((run + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $run - $1"
	else
		failed=$((failed + 1))
		echo "not ok $run - $1"
		echo "#     got \"$2\", expected \"$3\""
	fi
}

skip()
{
	run=$((run + 1))
	echo "ok $run - $1 # SKIP $2"
}

tool()
{
	${SIGN_SHELL:-sh} "$top/script/deletion_guard_sign" "$@"
}

# check KEY-FILE: judge the token on standard input
check()
{
	"$token_check" "$1" "$audience" ${2+"$2"}
}

# The token on standard input, with one character of part $1 (1 to 3) changed.
tampered()
{
	awk -F . -v OFS=. -v n="$1" '{
		middle = int(length($n) / 2)
		old = substr($n, middle, 1)
		$n = substr($n, 1, middle - 1) (old == "A" ? "B" : "A") substr($n, middle + 1)
		print
	}'
}

token_check=${TOKEN_CHECK-}
if [ -z "$token_check" ]; then
	token_check=$work/token_check
	"${CC:-cc}" -I"$top/src" -o "$token_check" "$top/test/unit/token_check.c" \
		"$top"/src/token/*.c -lcjson -lcrypto || exit 1
fi

cd "$work" || exit 1
tool keygen ed 2>log || { cat log; exit 1; }
tool keygen --alg es256 es 2>log || { cat log; exit 1; }

cat >claims.json <<END
{"act": "purge", "aud": "$audience", "rows": 1200, "digest": "$digest",
 "reason": "a text with \\"iat\\":1,\\"exp\\":5} in it\\\\", "tenant": "17",
 "request": 4, "tenant_name": "Ärzte & Söhne €"}
END

echo "# script/deletion_guard_sign"
for key in ed es; do
	tool sign --key $key.key --kid legal claims.json >token 2>log
	is "script, $key" "$(check $key.pub <token)" ok
	is "script, $key, shown claims" "$(grep -c ' tenant_name *"Ärzte & Söhne €"$' log)" 1
	is "script, $key, one line of output" "$(wc -l <token | tr -d ' ')" 1
	is "script, $key, header changed" "$(tampered 1 <token | check $key.pub | grep -c '^ok')" 0
	is "script, $key, claims changed" "$(tampered 2 <token | check $key.pub)" bad_signature
	is "script, $key, signature changed" "$(tampered 3 <token | check $key.pub)" bad_signature
	now=$(date +%s)
	is "script, $key, too early" "$(check $key.pub $((now - 100)) <token)" "issued_in_future iat"
	is "script, $key, too late" "$(check $key.pub $((now + 700)) <token)" "expired exp"
	is "script, $key, show" "$(tool show - <token | grep -c '^  request  *4$')" 1
	i=0
	good=0
	while [ $i -lt 20 ]; do
		[ "$(tool sign --key $key.key --kid legal 2>log <claims.json | check $key.pub)" = ok ] && good=$((good + 1))
		i=$((i + 1))
	done
	is "script, $key, twenty more" $good 20
done
tool sign --key ed.key --kid legal <claims.json 2>log >token
is "script, key of another kind" "$(check es.pub <token)" "alg_mismatch alg"
is "script, two tokens differ in jti" \
	"$(for i in 1 2; do tool sign --key ed.key --kid legal <claims.json 2>log; done | cut -d . -f 2 | sort -u | wc -l | tr -d ' ')" 2
tool sign --key ed.key --kid legal --expires 60 <claims.json 2>log >token
is "script, --expires, inside" "$(check ed.pub $(($(date +%s) + 55)) <token)" ok
is "script, --expires, outside" "$(check ed.pub $(($(date +%s) + 95)) <token)" "expired exp"
is "script, fingerprint of both halves" "$(tool fingerprint ed.key)" "$(tool fingerprint ed.pub)"
printf '{"act":"release_hold","aud":"%s","hold":3,"iat":1000,"nbf":1000,"exp":2000,"jti":"a"}' $audience |
	tool sign --key ed.key --kid legal 2>log >token
is "script, nothing to add" "$(check ed.pub 1500 <token)" ok
is "script, nothing added" "$(tool show - <token | grep -Ec '^  (iat|nbf|exp|jti) ')" 4

for request in 1 2 3; do
	printf '{"act":"release_hold","aud":"%s","hold":%s}\n' $audience $request
done >lines
tool sign --lines --key ed.key --kid legal lines 2>log >tokens
is "script, --lines, a token for each line, in their order" \
	"$(while read -r token; do echo "$token" | check ed.pub; tool show "$token" | sed -n 's/^  hold *//p'; done <tokens | paste -s -d ' ' -)" "ok 1 ok 2 ok 3"
is "script, --lines, each token for itself" "$(cut -d . -f 2 tokens | sort -u | wc -l | tr -d ' ')" 3
echo '{"act":"release_hold"}' >>lines
is "script, --lines, signs all or none" "$(tool sign --lines --key ed.key --kid legal lines 2>log; echo "status $?")" "status 1"
is "script, --lines, says which is not good" "$(grep -c 'line 4 is not good' log)" 1
: >lines
is "script, --lines, no claims" "$(tool sign --lines --key ed.key --kid legal lines 2>log; echo "status $?")" "status 1"

# refused NAME CLAIMS [OPTION ...]
refused()
{
	name=$1
	printf '%s' "$2" >bad.json
	shift 2
	got=$(tool sign --key ed.key --kid legal "$@" <bad.json 2>log) && got="signed: $got"
	is "script refuses $name" "$got" ""
}
base="\"act\":\"release_hold\",\"aud\":\"$audience\",\"hold\":3"
refused "nothing" ''
refused "an array" "[{$base}]"
refused "two objects" "{$base}{$base}"
refused "text after the object" "{$base}x"
refused "an open object" "{$base"
refused "an open string" "{$base,\"reason\":\"x}"
refused "a duplicate" "{$base,\"hold\":4}"
refused "an escaped name" "{$base,\"\\u0069at\":4}"
refused "a nested value" "{$base,\"x\":{}}"
refused "a fraction" "{$base,\"iat\":1.5}"
refused "a newline in a string" "{$base,\"reason\":\"a
b\"}"
refused "a bad escape" "{$base,\"reason\":\"\\x\"}"
refused "no act" "{\"aud\":\"$audience\",\"hold\":3}"
refused "no audience" "{\"act\":\"release_hold\",\"hold\":3}"
refused "--expires beside exp" "{$base,\"exp\":99}" --expires 5
refused "an expiry that is no number" "{$base}" --expires 5x
refused "a path for a kid" "{$base}" --kid ../x
printf '{%s,"reason":"\000"}' "$base" >bad.json
is "script refuses a NUL" "$(tool sign --key ed.key --kid legal <bad.json 2>log)" ""
cp ed.key before
tool keygen ed 2>log
is "script overwrites no key" "$? $(cmp ed.key before && echo same)" "1 same"
is "private key is private" "$(find ed.key -perm 600)" ed.key
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key 2>log
is "script refuses RSA" "$(tool sign --key rsa.key --kid legal <claims.json 2>log)" ""

echo "# Python: PyJWT"
cat >make.py <<'END'
import json, sys, time, uuid
import jwt
alg, keyfile = sys.argv[1:3]
claims = json.load(open("claims.json", encoding="utf-8"))
now = int(time.time())
claims |= {"iat": now, "nbf": now, "exp": now + 600, "jti": str(uuid.uuid4())}
print(jwt.encode(claims, open(keyfile).read(), algorithm=alg, headers={"kid": "legal"}))
END
cat >read.py <<'END'
import sys
import jwt
alg, keyfile, audience = sys.argv[1:4]
claims = jwt.decode(sys.stdin.read().strip(), open(keyfile).read(), algorithms=[alg], audience=audience)
print(claims["tenant_name"])
END
if "$python" -c 'import jwt, cryptography' 2>log; then
	for pair in EdDSA:ed ES256:es; do
		alg=${pair%:*}
		key=${pair#*:}
		"$python" make.py "$alg" "$key.key" >token 2>log || cat log
		is "PyJWT, $alg" "$(check "$key.pub" <token)" ok
		is "PyJWT, $alg, changed" "$(tampered 2 <token | check "$key.pub")" bad_signature
		is "PyJWT reads the script's $alg" "$(tool sign --key "$key.key" --kid legal <claims.json 2>log |
			PYTHONIOENCODING=utf-8 "$python" read.py "$alg" "$key.pub" $audience)" "Ärzte & Söhne €"
	done
else
	skip "PyJWT" "PyJWT and cryptography are not installed for $python"
fi

echo "# Node: jose"
cat >make.mjs <<'END'
import { SignJWT, importPKCS8 } from 'jose';
import { readFileSync } from 'fs';
import { randomUUID } from 'crypto';
const [alg, keyfile] = process.argv.slice(2);
const claims = JSON.parse(readFileSync('claims.json', 'utf8'));
const key = await importPKCS8(readFileSync(keyfile, 'utf8'), alg);
console.log(await new SignJWT(claims)
  .setProtectedHeader({ alg, kid: 'legal' })
  .setIssuedAt().setNotBefore('0s').setExpirationTime('10m')
  .setJti(randomUUID()).sign(key));
END
cat >jwk.mjs <<'END'
import { exportJWK, importSPKI } from 'jose';
import { readFileSync } from 'fs';
const [alg, keyfile] = process.argv.slice(2);
console.log(JSON.stringify(await exportJWK(
  await importSPKI(readFileSync(keyfile, 'utf8'), alg, { extractable: true }))));
END
cat >read.mjs <<'END'
import { jwtVerify, importSPKI } from 'jose';
import { readFileSync } from 'fs';
const [alg, keyfile, audience] = process.argv.slice(2);
const { payload } = await jwtVerify(readFileSync(0, 'utf8').trim(),
  await importSPKI(readFileSync(keyfile, 'utf8'), alg), { audience, algorithms: [alg] });
console.log(payload.tenant_name);
END
echo '{"private": true}' >package.json
if ! command -v "$node" >log 2>&1; then
	skip "jose" "Node is not installed"
elif ! timeout -k 5 60 "$npm" install --silent --no-audit --no-fund --no-package-lock jose >log 2>&1; then
	skip "jose" "npm did not install the package jose within a minute"
else
	for pair in EdDSA:ed ES256:es; do
		alg=${pair%:*}
		key=${pair#*:}
		"$node" make.mjs "$alg" "$key.key" >token 2>log || cat log
		is "jose, $alg" "$(check "$key.pub" <token)" ok
		is "jose, $alg, changed" "$(tampered 2 <token | check "$key.pub")" bad_signature
		"$node" jwk.mjs "$alg" "$key.pub" >key.jwk 2>log || cat log
		is "jose, $alg, key as JWK" "$(check key.jwk <token)" ok
		is "jose reads the script's $alg" "$(tool sign --key "$key.key" --kid legal <claims.json 2>log |
			"$node" read.mjs "$alg" "$key.pub" $audience)" "Ärzte & Söhne €"
	done
	if "$node" make.mjs Ed25519 ed.key >token 2>log; then
		is "jose, Ed25519" "$(check ed.pub <token)" ok
	else
		skip "jose, Ed25519" "this jose does not know that name"
	fi
fi

echo "1..$run"
[ $failed -eq 0 ]
