"""How the report looks: light or dark as its reader likes, on any screen and on paper."""

from __future__ import annotations

STYLE = '''\
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#57606f;
--rule:#dfe3ea;
--line:#8a94a6;--link:#0a58b8;--ok:#16703a;--skipped:#5b6677;--failed:#c0202a;--running:#0a5cc2;
--blocked:#8a5a00;--interrupted:#7a3fc0;--shade:#f0f2f6}
@media (prefers-color-scheme:dark){:root{--page:#12161d;--card:#1a202a;--ink:#e6ebf3;
--soft:#a2adbf;
--rule:#2d3644;--line:#66728a;--link:#7db4ff;--ok:#4cc47c;--skipped:#9aa6b8;--failed:#ff7b78;
--running:#6cb0ff;--blocked:#e0a843;--interrupted:#c69bff;--shade:#222a36}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
a{color:var(--link)}
code,pre{font-family:ui-monospace,SFMono-Regular,Consolas,"Liberation Mono",Menlo,monospace;
font-size:.86em}
code{overflow-wrap:anywhere}
header,main,footer{max-width:1240px;margin:0 auto;padding:0 24px}
header{padding-top:28px}
h1{font-size:26px;line-height:1.25;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:18px;margin:0 0 14px}
h3{font-size:14px;margin:18px 0 6px}
.meta{color:var(--soft);margin:0 0 4px}
.skip{position:absolute;left:-999px}
.skip:focus{left:16px;top:12px;background:var(--card);padding:8px 12px;border-radius:8px;z-index:1}
nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:14px 0 0;padding:0}
main>section{background:var(--card);border:1px solid var(--rule);border-radius:12px;
padding:20px 22px;
margin:20px 0}
:focus-visible{outline:3px solid var(--running);outline-offset:2px;border-radius:4px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:12px;margin:0}
.cards div{background:var(--shade);border-radius:10px;padding:10px 14px}
.cards dt{color:var(--soft);font-size:13px}
.cards dd{margin:0;font-size:22px;font-weight:650;font-variant-numeric:tabular-nums}
.bar{display:flex;height:12px;border-radius:6px;overflow:hidden;margin:0 0 16px;
background:var(--shade)}
.bar span{background:var(--c);min-width:3px}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:16px 0 0}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
.badge{display:inline-block;border:1.5px solid var(--c);color:var(--c);border-radius:20px;
padding:0 10px;font-size:13px;font-weight:600;white-space:nowrap;line-height:22px}
h1 .badge{font-size:15px;line-height:26px;vertical-align:4px;margin-left:8px}
.ok,.completed{--c:var(--ok)}.skipped,.waiting,.not-started{--c:var(--skipped)}
.failed,.crashed,.unfinished{--c:var(--failed)}.running{--c:var(--running)}
.blocked,.cancelled{--c:var(--blocked)}.interrupted{--c:var(--interrupted)}
.scroll{overflow:auto;max-width:100%}
.graph{max-height:640px;text-align:center}
table{border-collapse:collapse;width:100%;font-size:14px}
caption{text-align:left;color:var(--soft);padding:0 0 8px;font-size:13px}
th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--rule);
vertical-align:top}
thead th{font-size:12.5px;color:var(--soft);font-weight:600;white-space:nowrap}
tbody th{font-weight:600;overflow-wrap:anywhere;min-width:9em}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
details{border:1px solid var(--rule);border-radius:10px;margin:10px 0;padding:0 16px}
summary{cursor:pointer;padding:10px 0;font-weight:600;overflow-wrap:anywhere}
summary .badge{margin:0 8px 0 4px}
summary small{color:var(--soft);font-weight:400;font-size:13px}
details[open]{padding-bottom:14px}
details details{padding:0 12px;margin:8px 0}
details.plain{border:0;padding:0}
pre{background:var(--shade);border-radius:8px;padding:10px 12px;margin:6px 0;overflow:auto;
max-height:26em;white-space:pre-wrap;overflow-wrap:anywhere}
ul.list{margin:4px 0;padding-left:20px}
.soft{color:var(--soft)}
.alert{border-left:5px solid var(--failed)}
svg.time{display:block;width:100%;min-width:640px}
svg.time .grid{stroke:var(--rule)}
svg.time text{font-size:11.5px;fill:var(--soft)}
svg.time rect{fill:var(--c);fill-opacity:.8;stroke:var(--card);stroke-width:.8}
svg.time rect.t1{fill-opacity:.66}svg.time rect.t2{fill-opacity:.96}
svg.time rect.lane{fill:var(--shade);fill-opacity:1;stroke:none}
svg.time .on{fill:#fff;font-weight:600;pointer-events:none}
@media (prefers-color-scheme:dark){svg.time .on{fill:#10151c}}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:10px 0 0;padding:0;list-style:none;
font-size:13px;color:var(--soft)}
.legend span{display:inline-block;width:11px;height:11px;border-radius:3px;background:var(--c);
margin-right:6px}
.drawing{font-family:inherit}
.drawing rect{fill:var(--card);stroke:var(--c,var(--line));stroke-width:1.6}
.drawing .label{font-size:13px;font-weight:600;fill:var(--ink)}
.drawing .note{font-size:11px;fill:var(--c,var(--soft))}
.drawing .line{fill:none;stroke:var(--line);stroke-width:1.4}
.drawing .declared{stroke-dasharray:5 4}
.drawing .tip,.drawing .hub{fill:var(--line)}
.drawing a:hover rect,.drawing a:focus rect{stroke-width:3}
.drawing .skipped rect,.drawing .not-started rect,.drawing .waiting rect{stroke-dasharray:4 3}
footer{color:var(--soft);font-size:13px;padding-bottom:32px}
@media (max-width:640px){header,main,footer{padding:0 12px}main>section{padding:16px 14px}
.facts{grid-template-columns:1fr;gap:0}.facts dd{margin:0 0 8px}h1{font-size:22px}}
@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--shade:#f3f4f6;--ink:#000;
--soft:#444;
--rule:#ccc;--line:#777;--link:#000;--ok:#16703a;--skipped:#5b6677;--failed:#c0202a;
--running:#0a5cc2;
--blocked:#8a5a00;--interrupted:#7a3fc0}
body{font-size:11pt}main>section{border:0;padding:0;margin:14pt 0}
nav,.skip,details.plain{display:none}
h2,h3,summary,caption{break-after:avoid}tr,.cards div{break-inside:avoid}
.scroll,.graph,pre{overflow:visible;max-height:none}.drawing{max-width:100%;height:auto}
details::details-content{content-visibility:visible;display:block;block-size:auto}
.badge,.bar span,.cards div,svg.time rect{print-color-adjust:exact;
-webkit-print-color-adjust:exact}}
'''
