/*
 * Authorities for tests: keys, and tokens signed with them by the openssl
 * command, on the server. For superusers of throwaway servers.
 */
CREATE SCHEMA signing;

CREATE TABLE signing.key (name text PRIMARY KEY, private_key text, public_key text);
CREATE TABLE signing.output (line text);

CREATE FUNCTION signing.shell(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM signing.output;
	EXECUTE format('COPY signing.output FROM PROGRAM %L WITH (DELIMITER E''\x01'')',
				   'd=$(mktemp -d) && cd "$d" || exit 1; ' || command || '; cd /; rm -rf "$d"');
	RETURN (SELECT string_agg(line, E'\n') FROM signing.output);
END
$$;

CREATE FUNCTION signing.quote(word text) RETURNS text LANGUAGE sql AS $$
	SELECT '''' || replace(word, '''', '''\''''') || ''''
$$;

-- Makes a key pair and returns its public key.
CREATE FUNCTION signing.make_key(name text, alg text = 'ed25519') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	pems text := signing.shell(format('deletion_guard_sign keygen --alg %s k 2>/dev/null; cat k.key; echo; cat k.pub', alg));
BEGIN
	INSERT INTO signing.key
	VALUES (name, split_part(pems, E'\n\n', 1) || E'\n', split_part(pems, E'\n\n', 2) || E'\n');
	RETURN public_key FROM signing.key k WHERE k.name = make_key.name;
END
$$;

CREATE FUNCTION signing.public_key(name text) RETURNS text LANGUAGE sql AS $$
	SELECT public_key FROM signing.key k WHERE k.name = $1
$$;

-- Signs claims as an authority; iat, nbf, exp and jti are added if missing.
CREATE FUNCTION signing.sign(claims jsonb, authority text = 'legal', key_name text = NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	key text := private_key FROM signing.key k WHERE k.name = coalesce(key_name, authority);
BEGIN
	RETURN signing.shell(format('printf %%s %s >k; printf %%s %s | deletion_guard_sign sign --key k --kid %s - 2>/dev/null',
								signing.quote(key), signing.quote(claims::text), signing.quote(authority)));
END
$$;

CREATE FUNCTION signing.base64url(bytes bytea) RETURNS text LANGUAGE sql AS $$
	SELECT translate(encode(bytes, 'base64'), E'+/=\n', '-_')
$$;

-- Signs whatever it is given, for tokens that no honest signer makes.
CREATE FUNCTION signing.sign_raw(header text, payload text, key_name text = 'legal', method text = 'eddsa') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	k signing.key := k FROM signing.key k WHERE k.name = key_name;
	input text := signing.base64url(convert_to(header, 'UTF8')) || '.' || signing.base64url(convert_to(payload, 'UTF8'));
	signature text := '';
BEGIN
	IF method = 'eddsa' THEN
		signature := signing.shell(format('printf %%s %s >k; printf %%s %s >i; openssl pkeyutl -sign -rawin -inkey k -in i | openssl base64 -A',
										  signing.quote(k.private_key), signing.quote(input)));
	ELSIF method = 'hmac' THEN
		signature := signing.shell(format('printf %%s %s | openssl dgst -sha256 -binary -mac HMAC -macopt hexkey:%s | openssl base64 -A',
										  signing.quote(input), encode(convert_to(k.public_key, 'UTF8'), 'hex')));
	END IF;
	RETURN input || '.' || translate(coalesce(signature, ''), '+/=', '-_');
END
$$;

-- Claims with their times, for sign_raw().
CREATE FUNCTION signing.timed(claims jsonb, jti text = NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT claims || jsonb_build_object('iat', n, 'nbf', n, 'exp', n + 600,
										'jti', coalesce(jti, gen_random_uuid()::text))
	FROM CAST(extract(epoch FROM clock_timestamp()) AS bigint) n
$$;

-- How a statement fails: SQLSTATE and message, times left out; NULL if it does not.
CREATE FUNCTION signing.refusal(statement text, OUT state text, OUT message text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	state := SQLSTATE;
	message := regexp_replace(SQLERRM, '\d{4}-\d\d-\d\d \d\d:[0-9:.+-]+', '(time)', 'g');
END
$$;

-- Everything that deletion_guard knows but refusals, to see that nothing has changed.
CREATE FUNCTION signing.state() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	t regclass;
	rows text;
	all_rows text := '';
BEGIN
	FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r'
		AND relnamespace IN ('deletion_guard'::regnamespace, 'deletion_guard_bin'::regnamespace)
		AND oid <> 'deletion_guard.refusal'::regclass ORDER BY oid
	LOOP
		EXECUTE format('SELECT string_agg(t::text, E''\n'' ORDER BY t::text) FROM %s t %s', t,
			CASE WHEN t = 'deletion_guard.ledger'::regclass THEN 'WHERE event <> ''refusal''' END) INTO rows;
		all_rows := all_rows || t || coalesce(rows, '');
	END LOOP;
	RETURN md5(all_rows);
END
$$;
