# SPDX-License-Identifier: Apache-2.0
"""The page around a report: its style, the few lines of script, and nothing from anywhere else."""

from __future__ import annotations

__all__ = ["page"]

_STYLE = """
:root{--page:#fcfcfb;--card:#fff;--ink:#191a1c;--dim:#5d6066;--line:#dcdde0;--accent:#1f62b5;
--band:#8a8d94;--warn:#fff3c4;--warnink:#5b4300;--bad:#b3261e;
--c0:#2a78c4;--c1:#e08a1e;--c2:#2f9e6e;--c3:#b4559e;--c4:#c7523d;--c5:#6a62c4;--c6:#8c7a2b;
--c7:#3a9bab}
@media (prefers-color-scheme:dark){:root{--page:#131416;--card:#1a1c1f;--ink:#e9eaec;--dim:#a2a6ad;
--line:#34373c;--accent:#79b2f2;--band:#7d8189;--warn:#463700;--warnink:#ffe69a;--bad:#ff8a80;
--c0:#5a9fe6;--c1:#eda64c;--c2:#52bd8d;--c3:#cf7cba;--c4:#e37a66;--c5:#9089e6;--c6:#b8a552;
--c7:#5fbccb}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1112px;margin:0 auto;padding:20px 16px 60px}
h1{font-size:15px;font-weight:600;color:var(--dim);margin:0 0 6px}
h2{font-size:19px;margin:38px 0 10px}
h3{font-size:15px;margin:22px 0 6px}
p{margin:6px 0}
small{display:block;color:var(--dim);font-size:12px;line-height:1.35}
code{font:13px ui-monospace,"DejaVu Sans Mono",monospace}
.dim{color:var(--dim)}
.bad{color:var(--bad);font-weight:600}
.headline{font-size:44px;line-height:1.1;font-weight:650;letter-spacing:-.5px;margin:0 0 4px}
.interval{font-size:17px;margin:0 0 12px}
.estimate,.missing{background:var(--warn);color:var(--warnink);border-radius:8px;
padding:12px 16px;margin:0 0 16px;font-weight:600}
.estimate b{display:block;font-size:24px;letter-spacing:.3px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:14px 0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:9px 13px}
.tiles b{display:block;font-size:18px;overflow-wrap:anywhere}
.tiles span{color:var(--dim);font-size:13px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px;background:var(--card)}
.scroll:focus-visible{outline:2px solid var(--accent)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 12px;vertical-align:top;border-bottom:1px solid var(--line)}
tbody tr:last-child td{border-bottom:0}
th{font-size:13px;white-space:nowrap}
th button{all:unset;cursor:pointer;color:var(--dim);font-weight:600}
th button:focus-visible{outline:2px solid var(--accent)}
th[aria-sort] button::after{content:" \\25b2"}
th[aria-sort=descending] button::after{content:" \\25bc"}
th.n,td.n{text-align:right}
td.n{white-space:nowrap}
td.t{overflow-wrap:anywhere;min-width:130px;font-size:14px}
td.l{min-width:240px}
.in{display:block;padding-left:calc(var(--d)*18px)}
.rest td{color:var(--dim)}
.more{display:none}
input:checked~.scroll .more{display:table-row}
input[type=checkbox]{accent-color:var(--accent);margin:0 6px 8px 2px}
label.all{color:var(--accent);font-size:14px}
.bar{display:block;height:4px;min-width:60px;background:var(--line);border-radius:2px;margin-top:4px}
.bar i{display:block;height:4px;background:var(--accent);border-radius:2px}
dl{display:grid;grid-template-columns:minmax(110px,max-content) 1fr;gap:2px 18px;margin:8px 0}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
ul{padding-left:20px}li{margin:3px 0;overflow-wrap:anywhere}
.wide>svg,.narrow>svg{display:block;width:100%;height:auto}
svg text{fill:var(--ink);font-family:inherit;font-size:12px}
svg .dim{fill:var(--dim)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .band{fill:var(--band);fill-opacity:.35;stroke:var(--band);stroke-width:1;stroke-linejoin:round}
svg .model{fill:none;stroke:var(--accent);stroke-width:1.5;stroke-linejoin:round}
svg .tile{stroke:var(--page);stroke-width:2;fill-opacity:.38}
svg .blind{fill:var(--bad);fill-opacity:.13}
svg .none{fill:var(--band);fill-opacity:.22}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;margin:6px 0}
.legend span{display:inline-flex;align-items:center;gap:6px;overflow-wrap:anywhere}
.legend i{width:12px;height:12px;border-radius:3px;flex:none;opacity:.6}
.legend .line{height:2px;border-radius:0;opacity:1}
.narrow{display:none}
@media (max-width:760px){
.narrow{display:block;max-width:480px}.wide,th.w,td.w{display:none}
main{padding:14px 12px 40px}.headline{font-size:34px}h2{font-size:17px;margin-top:30px}
th,td{padding:6px 5px}td.t{min-width:86px}td.d{min-width:0}.bar{min-width:30px}
td.l{min-width:92px}.in{padding-left:calc(var(--d)*7px)}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:6px}}
@media print{.more{display:table-row}input,label.all{display:none}}
"""

_SCRIPT = """
document.querySelectorAll('th button').forEach(function(b){b.addEventListener('click',function(){
var h=b.parentNode,t=h.closest('table'),body=t.tBodies[0],k=h.cellIndex;
var down=h.getAttribute('aria-sort')!=='descending';
t.querySelectorAll('th').forEach(function(o){o.removeAttribute('aria-sort')});
h.setAttribute('aria-sort',down?'descending':'ascending');
var key=function(r){return r.cells[k].getAttribute('data-v')};
Array.from(body.rows).sort(function(a,c){var x=key(a),y=key(c);
if(x===null||y===null)return (x===null)-(y===null);
var d=isNaN(x)||isNaN(y)?x.localeCompare(y):x-y;return down?-d:d;
}).forEach(function(r,i){r.classList.toggle('more',i>=25);body.appendChild(r)});
})});
"""

# Whatever a browser would allow: no request leaves the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(title: str, body: str) -> str:
    """A whole document; ``title`` and ``body`` are HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body><main>\n{body}</main>\n<script>{_SCRIPT}</script>\n</body></html>\n"
    )
