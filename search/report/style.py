"""The page's style sheet: one column of calm text, figures as wide as it, tables that become cards on a phone."""

from __future__ import annotations

from search.report import palette

_RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
 font:16px/1.6 Inter,-apple-system,BlinkMacSystemFont,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
 font-variant-numeric:tabular-nums;overflow-wrap:break-word}
code,pre,dd,.widths span{overflow-wrap:anywhere}
main,header,footer{max-width:1040px;margin:0 auto;padding:0 24px}
header{padding-top:56px}
a{color:var(--test)}
.run{color:var(--quiet);font-size:14px;margin:0 0 20px}
.run b{color:var(--ink);font-weight:600}
h1{font-size:clamp(28px,4.6vw,46px);line-height:1.15;font-weight:650;letter-spacing:-.022em;margin:0 0 20px;
 max-width:22ch;text-wrap:balance}
h2{font-size:22px;line-height:1.3;font-weight:620;letter-spacing:-.01em;margin:0 0 8px}
h3{font-size:15px;font-weight:600;margin:28px 0 4px}
p{margin:0 0 12px;max-width:68ch;text-wrap:pretty}
.lead{font-size:17px}
.alert{border-left:3px solid var(--chosen);padding-left:14px}
section{margin-top:60px}
.quiet,figcaption,.about{color:var(--quiet)}
figcaption{font-size:14px;line-height:1.5;max-width:76ch;margin-top:4px}
figure{margin:16px 0 0}
.plot{width:100%}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:28px}
.pair>*{min-width:0}
.pair>.facts{align-content:start;grid-template-columns:1fr 1fr}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:20px 28px;margin:28px 0 0;
 padding:20px 0 0; border-top:1px solid var(--rule)}
.facts dt{color:var(--quiet);font-size:14px}
.facts dd{margin:0;font-size:26px;font-weight:600;letter-spacing:-.015em;line-height:1.3}
.facts dd small{display:block;font-size:14px;font-weight:400;letter-spacing:0;color:var(--quiet)}
.legend{display:flex;flex-wrap:wrap;gap:2px 20px;list-style:none;margin:12px 0 0;padding:0;font-size:14px;
 color:var(--quiet)}
.legend span{font-size:1.1em;line-height:1;display:inline-block;width:1.3em;text-align:center;margin-right:.2em}
table{border-collapse:collapse;width:100%;margin:16px 0 0;font-size:15px;line-height:1.45}
caption{text-align:left;color:var(--quiet);font-size:14px;padding-bottom:6px}
th,td{text-align:right;padding:9px 0 9px 20px;border-bottom:1px solid var(--rule);vertical-align:top}
th:first-child,td:first-child,.t{text-align:left}
th:first-child,td:first-child{padding-left:0}
thead th{color:var(--quiet);font-weight:500;font-size:14px;line-height:1.35;vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:400}
td small,th small{display:block;color:var(--quiet);font-size:13px}
tr.chosen th:first-child{box-shadow:inset 3px 0 var(--chosen);padding-left:12px;font-weight:600}
tr.chosen td{background:var(--panel)} tr.chosen th{background:var(--panel)}
tr.chosen td:last-child{padding-right:10px}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.92em}
pre{background:var(--panel);padding:14px 16px;margin:8px 0 0;white-space:pre-wrap;border-radius:6px;font-size:14px;
 line-height:1.5}
.widths{columns:2;column-gap:40px;list-style:none;margin:16px 0 0;padding:0;font-size:14px}
.widths li{break-inside:avoid;padding:0 0 9px}
.widths div{display:flex;justify-content:space-between;gap:12px;line-height:1.45}
.widths div span:last-child{color:var(--quiet);white-space:nowrap}
.bar{display:block;height:6px;background:var(--rule);border-radius:3px;overflow:hidden}
.bar i{display:block;height:100%;background:var(--chosen)}
.spent{display:flex;height:14px;gap:2px;margin:18px 0 6px;border-radius:3px;overflow:hidden}
.spent i{min-width:2px}
.list{margin:8px 0 0;padding-left:0;list-style:none}
.list li{padding:3px 0}
.conditions{display:grid;grid-template-columns:max-content 1fr;gap:6px 28px;margin:16px 0 0}
.conditions dt{color:var(--quiet)} .conditions dd{margin:0}
footer{color:var(--quiet);font-size:14px;padding-top:56px;padding-bottom:56px}
@media (max-width:720px){
 main,header,footer{padding-left:18px;padding-right:18px}
 header{padding-top:32px} section{margin-top:46px}
 .pair{grid-template-columns:minmax(0,1fr);gap:8px}
 .widths{columns:1}
 .facts{grid-template-columns:1fr 1fr;gap:16px 20px} .facts dd{font-size:22px}
 .conditions{grid-template-columns:minmax(0,1fr);gap:0} .conditions dd{margin-bottom:10px}
 table.cards,table.cards tbody,table.cards caption{display:block}
 table.cards thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
 table.cards tr{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:8px 14px;padding:14px 0;
  border-bottom:1px solid var(--rule)}
 table.cards th,table.cards td{display:block;text-align:left;padding:0;border:0;background:none}
 table.cards tbody th,table.cards td.wide{grid-column:1/-1}
 table.cards td.wide{order:1}
 table.cards td::before{content:attr(data-label);display:block;color:var(--quiet);font-size:13px}
 table.cards tr.chosen{background:var(--panel);box-shadow:inset 3px 0 var(--chosen);padding-left:14px}
 table.cards tr.chosen th:first-child{box-shadow:none;padding:0}
}
@media print{section{break-inside:avoid}body{font-size:12px}}
"""


def style_sheet() -> str:
    """The style sheet, colours included."""
    return palette.css() + _RULES
