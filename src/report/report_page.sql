/*
 * The report as a page: one file, without scripts, that asks nothing of the network
 * and forbids itself to. It follows the reader's light or dark setting, becomes cards
 * on a phone, and is black on white in print. All of it is ASCII but for the values.
 */
CREATE FUNCTION deletion_guard_internal.incident_style() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN $css$
:root{color-scheme:light dark;--paper:#fff;--ground:#f5f6f8;--ink:#17202e;--soft:#586374;--line:#dfe3e9;--lost:#c4314b;--back:#15803d;--wait:#b45309;--gone:#6b7280;--code:#f0f2f5}
@media (prefers-color-scheme:dark){:root{--paper:#171c24;--ground:#0e1218;--ink:#e8ecf2;--soft:#9aa6b6;--line:#2c3541;--lost:#f0788b;--back:#4cc38a;--wait:#eba552;--gone:#8d97a5;--code:#1f2630}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:68rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:clamp(1.7rem,1.2rem + 2.4vw,2.6rem);line-height:1.15;margin:.2rem 0 .8rem;letter-spacing:-.02em;text-wrap:balance}
h2{font-size:1.15rem;margin:0 0 1rem}
p{margin:0 0 .6rem}
.kicker,.made,footer{color:var(--soft);font-size:.875rem}
.kicker{text-transform:uppercase;letter-spacing:.08em;font-weight:600;font-size:.75rem;margin:0}
.lead{font-size:1.125rem;max-width:48rem}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:1.4rem;margin-top:1.25rem}
bdi{unicode-bidi:isolate;overflow-wrap:anywhere}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{display:flex;gap:2px;height:.9rem;border-radius:99px;overflow:hidden;background:var(--line)}
.bar i{display:block;min-width:3px}
.b{background:var(--back)}.w{background:var(--wait)}.g{background:var(--gone)}.l{background:var(--lost)}
.sums{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1rem;margin:1.1rem 0 0}
.sums div{border-inline-start:4px solid;padding-inline-start:.8rem}
.sums .b,.sums .w,.sums .g,.sums .l{background:none}
.sums .b{border-color:var(--back)}.sums .w{border-color:var(--wait)}.sums .g{border-color:var(--gone)}.sums .l{border-color:var(--lost)}
.sums dt{color:var(--soft);font-size:.875rem}
.sums dd{margin:0;font-size:1.5rem;line-height:1.3;font-weight:650;font-variant-numeric:tabular-nums}
.sums small{font-size:.8rem;font-weight:400;color:var(--soft)}
figure{margin:0 0 1.6rem}
svg{display:block;width:100%;height:8.5rem}
.axis{display:flex;justify-content:space-between;gap:1rem;color:var(--soft);font-size:.8rem;border-top:1px solid var(--line);padding-top:.35rem;font-variant-numeric:tabular-nums}
.axis span:last-child{text-align:right}
figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.8rem;color:var(--soft);margin-bottom:.4rem}
.key{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin-inline-end:.4rem}
ol{list-style:none;margin:0;padding:0}
ol>li{position:relative;padding:0 0 1.25rem 1.6rem;border-left:2px solid var(--line);margin-left:.4rem}
ol>li:last-child{padding-bottom:0;border-color:transparent}
ol>li::before{content:"";position:absolute;left:-.45rem;top:.35rem;width:.75rem;height:.75rem;border-radius:50%;background:var(--lost);box-shadow:0 0 0 3px var(--paper)}
ol>li.back::before{background:var(--back)}
time{font-variant-numeric:tabular-nums;color:var(--soft);font-size:.875rem;display:block}
.who{color:var(--soft);font-size:.9rem;margin:0}
pre{margin:.6rem 0 0;padding:.7rem .9rem;background:var(--code);border-radius:8px;font:.82rem/1.5 ui-monospace,"SF Mono",Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere;max-height:16rem;overflow:auto}
section ul{margin:0;padding-inline-start:1.2rem}
section li+li{margin-top:.4rem}
table{width:100%;border-collapse:collapse;font-size:.925rem}
th{font-weight:600;font-size:.8rem;color:var(--soft);text-align:start;white-space:nowrap}
th,td{padding:.5rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th:first-child,td:first-child{padding-inline-start:0}th:last-child,td:last-child{padding-inline-end:0}
tbody tr:last-child td{border-bottom:0}
.id{display:block;color:var(--soft);font-size:.8rem}
.who-is{font-weight:600}
.mail{width:27%}
.zero{color:var(--soft);opacity:.6}
.pill{display:inline-block;white-space:nowrap;font-size:.8rem;font-weight:600;border:1px solid;border-radius:99px;padding:.05rem .6rem}
.back .pill,.rehydrated .pill{color:var(--back)}.waiting .pill,.partly .pill{color:var(--wait)}.gone .pill{color:var(--gone)}
.pick{position:absolute;opacity:0;pointer-events:none}
.pick+label{display:inline-block;border:1px solid var(--line);border-radius:99px;padding:.25rem .8rem;margin:0 .35rem .8rem 0;font-size:.875rem;cursor:pointer}
.pick:checked+label{background:var(--ink);border-color:var(--ink);color:var(--paper)}
.pick:focus-visible+label{outline:2px solid var(--wait);outline-offset:2px}
#s-waiting:checked~table tbody tr:not(.waiting),#s-partly:checked~table tbody tr:not(.partly),#s-back:checked~table tbody tr:not(.back),#s-gone:checked~table tbody tr:not(.gone),#s-rehydrated:checked~table tbody tr:not(.rehydrated){display:none}
footer{margin-top:1.5rem}
@media (max-width:44rem){
main{padding:1.4rem .8rem 3rem}section{padding:1.1rem;border-radius:10px}
thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
table,tbody{display:block}
tr{display:grid;grid-template-columns:repeat(4,1fr);gap:.15rem .6rem;padding:.8rem 0;border-bottom:1px solid var(--line)}
tr:last-child{border-bottom:0}
td{border:0;padding:0}
td[data-l]::before{content:attr(data-l);display:block;font-size:.72rem;color:var(--soft)}
td.num{text-align:start}td.mail{width:auto}
td.wide{grid-column:1/-1}
td.state{grid-column:1/-1;margin-top:.3rem}
td:empty{display:none}
}
@media print{
:root{color-scheme:light;--paper:#fff;--ground:#fff;--ink:#000;--soft:#444;--line:#bbb;--lost:#b3203a;--back:#11702f;--wait:#a34a00;--gone:#555;--code:#f3f3f3}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
@page{margin:15mm}
body{font-size:10pt}main{max-width:none;padding:0}
section{border:0;border-top:1px solid var(--line);border-radius:0;padding:1rem 0 0}
h2{break-after:avoid}tr,li,figure{break-inside:avoid}thead{display:table-header-group}
table{font-size:8.5pt}th,td{padding:.25rem .4rem}
pre{max-height:none}.pick+label{display:none}
tbody tr{display:table-row!important}
}
$css$;
COMMENT ON FUNCTION deletion_guard_internal.incident_style IS 'part of incident_report(): how the page looks';

/* the share of one number in another, in percent */
CREATE FUNCTION deletion_guard_internal.incident_share(part jsonb, whole jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN coalesce(round(100.0 * ($1 #>> '{}')::numeric / nullif(($2 #>> '{}')::numeric, 0), 1), 0)::text;
COMMENT ON FUNCTION deletion_guard_internal.incident_share IS 'part of incident_report(): percent';

/* how much is back, in the bin, gone, as one bar */
CREATE FUNCTION deletion_guard_internal.incident_bar(counts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<div class="bar" aria-hidden="true">' || (SELECT coalesce(string_agg('<i class="' || v.class || '" style="width:' ||
			deletion_guard_internal.incident_share($1 -> v.what, $1 -> 'rows') || '%"></i>', '' ORDER BY v.n), '')
		FROM (VALUES (1, 'b', 'back'), (2, 'w', 'left'), (3, 'g', 'gone')) v(n, class, what) WHERE $1 -> v.what <> '0') || '</div>';
COMMENT ON FUNCTION deletion_guard_internal.incident_bar IS 'part of incident_report(): a bar';

CREATE FUNCTION deletion_guard_internal.incident_sums(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<section aria-label="Progress">' || deletion_guard_internal.incident_bar($1) || '<dl class="sums">' ||
		(SELECT string_agg('<div class="' || v.class || '"><dt>' || v.label || '</dt><dd>' || deletion_guard_internal.incident_number($1 -> v.what) ||
				CASE WHEN v.what = 'rows' THEN '' ELSE ' <small>' || deletion_guard_internal.incident_share($1 -> v.what, $1 -> 'rows') || '&nbsp;%</small>' END ||
				'</dd></div>', '' ORDER BY v.n)
		 FROM (VALUES (1, 'l', 'rows', 'Rows lost'), (2, 'b', 'back', 'Back'), (3, 'w', 'left', 'In the bin'), (4, 'g', 'gone', 'Gone')) v(n, class, what, label)
		 WHERE v.what <> 'gone' OR $1 -> 'gone' <> '0') ||
		'</dl></section>';
COMMENT ON FUNCTION deletion_guard_internal.incident_sums IS 'part of incident_report(): how much is lost and back';

/*
 * The picture: rows lost up, rows back down, by the square root of how many, so that
 * little is still seen beside much.
 */
CREATE FUNCTION deletion_guard_internal.incident_chart(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<figure><figcaption><span><span class="key l"></span>rows lost</span>' ||
		CASE WHEN $1 -> 'repairs' = 'null' THEN '' ELSE '<span><span class="key b"></span>rows back</span>' END || '</figcaption>' ||
		'<svg viewBox="0 0 600 200" preserveAspectRatio="none" role="img" aria-label="Rows lost and rows back over time">' ||
		(SELECT string_agg(bar.rect, '') FROM (
			SELECT max(greatest((e ->> 'lost')::numeric, (e ->> 'back')::numeric)) AS most FROM jsonb_array_elements($1 -> 'picture') e) m,
			jsonb_array_elements($1 -> 'picture') e, LATERAL (VALUES
				('<rect x="' || ((e ->> 'n')::int * 10 - 9) || '" width="8" y="' || 100 - round(98 * sqrt((e ->> 'lost')::numeric / m.most), 1) ||
				 '" height="' || round(98 * sqrt((e ->> 'lost')::numeric / m.most), 1) || '" fill="var(--lost)"/>'),
				('<rect x="' || ((e ->> 'n')::int * 10 - 9) || '" width="8" y="101" height="' ||
				 round(98 * sqrt((e ->> 'back')::numeric / m.most), 1) || '" fill="var(--back)"/>')) bar(rect)) ||
		'<path d="M0 100.5H600" stroke="var(--line)" vector-effect="non-scaling-stroke"/></svg><div class="axis"><span>' ||
		deletion_guard_internal.incident_time($1 -> 'begun') || '</span><span>' ||
		to_char(($1 ->> 'begun')::timestamptz + (($1 ->> 'picture_until')::timestamptz - ($1 ->> 'begun')::timestamptz) / 2,
				CASE WHEN ($1 ->> 'picture_until')::timestamptz - ($1 ->> 'begun')::timestamptz < '12:00' THEN 'HH24:MI:SS' ELSE 'YYYY-MM-DD HH24:MI' END) || '</span><span>' ||
		deletion_guard_internal.incident_time($1 -> 'picture_until') || '</span></div></figure>';
COMMENT ON FUNCTION deletion_guard_internal.incident_chart IS 'part of incident_report(): rows lost and back over time, drawn';

CREATE FUNCTION deletion_guard_internal.incident_timeline(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT '<section><h2>What happened</h2>' || deletion_guard_internal.incident_chart($1) || '<ol>' || string_agg(i.item, E'\n' ORDER BY i.at) || '</ol></section>'
	FROM (SELECT (a ->> 'since')::timestamptz AS at, '<li><time>' || deletion_guard_internal.incident_time(a -> 'since') || '</time><strong>' ||
				 deletion_guard_internal.incident_act(a) || '</strong><p class="who">by ' || deletion_guard_internal.incident_who(a, 'html') || '</p><pre dir="auto">' ||
				 replace(replace(replace(deletion_guard_internal.incident_statement(a), '&', '&amp;'), '<', '&lt;'), '>', '&gt;') || '</pre></li>' AS item
		  FROM jsonb_array_elements($1 -> 'acts') a
		  UNION ALL
		  SELECT (r.at #>> '{}')::timestamptz, '<li class="back"><time>' || deletion_guard_internal.incident_time(r.at) || '</time>' || r.line || '</li>'
		  FROM deletion_guard_internal.incident_repair_lines($1, 'html') r) i
	HAVING count(*) > 0;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_timeline IS 'part of incident_report(): what happened, in order';

/* a number of a table, which a phone shows with its heading */
CREATE FUNCTION deletion_guard_internal.incident_cell(value jsonb, label text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN '<td class="num' || CASE WHEN $1 = '0' THEN ' zero' ELSE '' END || '" data-l="' || $2 || '">' || deletion_guard_internal.incident_number($1) || '</td>';
COMMENT ON FUNCTION deletion_guard_internal.incident_cell IS 'part of incident_report(): a number in a table of the page';

CREATE FUNCTION deletion_guard_internal.incident_counts(counts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN deletion_guard_internal.incident_cell($1 -> 'rows', 'Lost') || deletion_guard_internal.incident_cell($1 -> 'back', 'Back') ||
		deletion_guard_internal.incident_cell($1 -> 'left', 'In the bin') || deletion_guard_internal.incident_cell($1 -> 'gone', 'Gone');
COMMENT ON FUNCTION deletion_guard_internal.incident_counts IS 'part of incident_report(): the numbers of a table or a tenant';

CREATE FUNCTION deletion_guard_internal.incident_page_tables(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT '<section><h2>Tables</h2><table><thead><tr><th>Table<th class="num">Lost<th class="num">Back<th class="num">In the bin<th class="num">Gone<tbody>' ||
		string_agg('<tr><td class="wide who-is"><bdi>' || deletion_guard_internal.incident_escape(t ->> 'name', 'html') || '</bdi></td>' ||
				   deletion_guard_internal.incident_counts(t) || '</tr>', E'\n' ORDER BY n) || '</table></section>'
	FROM jsonb_array_elements($1 -> 'by_table') WITH ORDINALITY e(t, n)
	HAVING count(*) > 0;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_page_tables IS 'part of incident_report(): the tables, on the page';

CREATE FUNCTION deletion_guard_internal.incident_page_tenants(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH tenant AS (SELECT t, n, t ->> 'state' AS state FROM jsonb_array_elements($1 -> 'by_tenant') WITH ORDINALITY e(t, n)),
	choice AS (SELECT '<input type="radio" class="pick" name="s" id="s-all" checked><label for="s-all">all ' ||
					  deletion_guard_internal.incident_number(to_jsonb((SELECT count(*) FROM tenant))) || '</label>' ||
					  string_agg('<input type="radio" class="pick" name="s" id="s-' || s.state || '"><label for="s-' || s.state || '">' ||
								 deletion_guard_internal.incident_state(s.state) || ' ' || deletion_guard_internal.incident_number(to_jsonb(s.n)) || '</label>', '' ORDER BY s.n DESC) AS html
			   FROM (SELECT state, count(*) AS n FROM tenant GROUP BY state) s HAVING count(*) > 1)
	SELECT '<section><h2>Tenants</h2>' || coalesce((SELECT html FROM choice), '') ||
		'<table><thead><tr><th>Tenant<th>Contact<th class="num">Lost<th class="num">Back<th class="num">In the bin<th class="num">Gone<th>State<tbody>' ||
		string_agg('<tr class="' || state || '"><td class="wide"><bdi class="who-is">' ||
				   coalesce(deletion_guard_internal.incident_escape(coalesce(t ->> 'tenant_name', t ->> 'tenant'), 'html'), 'rows of no tenant') || '</bdi>' ||
				   CASE WHEN t ->> 'tenant_name' IS NULL THEN '' ELSE '<bdi class="id">' || deletion_guard_internal.incident_escape(t ->> 'tenant', 'html') || '</bdi>' END ||
				   '</td><td class="wide mail">' || coalesce('<bdi>' || deletion_guard_internal.incident_escape(t ->> 'contact', 'html') || '</bdi>', '') || '</td>' ||
				   deletion_guard_internal.incident_counts(t) || '<td class="state"><span class="pill">' || deletion_guard_internal.incident_state(state) || '</span>' ||
				   coalesce('<span class="id">' || deletion_guard_internal.incident_time(t -> 'rehydrated_at') || '</span>', '') || '</td></tr>', E'\n' ORDER BY n) ||
		'</table></section>'
	FROM tenant
	HAVING count(*) > 0;
END;
COMMENT ON FUNCTION deletion_guard_internal.incident_page_tenants IS 'part of incident_report(): the tenants, on the page';

CREATE FUNCTION deletion_guard_internal.incident_page_list(title text, lines text[]) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (SELECT '<section><h2>' || $1 || '</h2><ul><li>' || string_agg(l, '</li><li>') || '</li></ul></section>' FROM unnest($2) l);
COMMENT ON FUNCTION deletion_guard_internal.incident_page_list IS 'part of incident_report(): lines, on the page';

CREATE FUNCTION deletion_guard_internal.incident_html(facts jsonb) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN concat_ws(E'\n', '<!DOCTYPE html>', '<html lang="en">', '<head>',
		'<meta charset="' || CASE WHEN current_setting('client_encoding') ~ '^(UTF8|SQL_ASCII)$' THEN 'utf-8'
			ELSE replace(regexp_replace(lower(current_setting('client_encoding')), '^win', 'windows-'), 'latin1', 'iso-8859-1') END || '">',
		'<meta name="viewport" content="width=device-width,initial-scale=1">',
		'<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''">',
		'<meta name="referrer" content="no-referrer">', '<meta name="robots" content="noindex">',
		'<title>' || deletion_guard_internal.incident_headline($1) || '</title>',
		'<style>' || deletion_guard_internal.incident_style() || '</style>', '</head>', '<body><main>', '<header><p class="kicker">Incident report</p>',
		'<h1>' || deletion_guard_internal.incident_headline($1) || '</h1>', '<p class="lead">' || deletion_guard_internal.incident_lead($1) || '</p>',
		'<p class="made">' || deletion_guard_internal.incident_scope($1) || ' in database <bdi>' || deletion_guard_internal.incident_escape($1 ->> 'database', 'html') ||
			'</bdi>. As of ' || deletion_guard_internal.incident_time($1 -> 'made_at') || ' (' || deletion_guard_internal.incident_escape($1 ->> 'zone', 'html') || ').</p></header>',
		CASE WHEN $1 -> 'deletions' <> '0' THEN deletion_guard_internal.incident_sums($1) END, deletion_guard_internal.incident_timeline($1),
		deletion_guard_internal.incident_page_list('Running now', ARRAY(SELECT deletion_guard_internal.incident_running_lines($1, 'html'))),
		deletion_guard_internal.incident_page_list('Left to do', ARRAY(SELECT deletion_guard_internal.incident_left_lines($1))),
		deletion_guard_internal.incident_page_tables($1), deletion_guard_internal.incident_page_tenants($1),
		'<footer>Made by deletion_guard. ' || CASE WHEN $1 -> 'labels' = 'true' THEN 'This page names people and how to reach them: pass it on with care. ' ELSE '' END ||
			'Times are in ' || deletion_guard_internal.incident_escape($1 ->> 'zone', 'html') || '.</footer>', '</main></body>', '</html>') || E'\n';
COMMENT ON FUNCTION deletion_guard_internal.incident_html IS 'part of incident_report(): as a page';
