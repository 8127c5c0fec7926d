"""Building blocks of a page: bars, tables and numbers as HTML, and the frame with style and script around them.

Colors are variables of `STYLE`, so one page works in light mode, dark mode and print. Nothing is shown by color alone.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from alexnet.language.pages import in_spoken_language


def page(title: str, sections: Mapping[str, tuple[str, str]], kind: str = "AlexNet report") -> str:
    """Builds the whole page.

    Args:
        title: plain text.
        sections: anchor -> (heading, body), both HTML.
        kind: the kind of page, shown above the title, plain text.
    """
    links = "".join(f'<a href="#{key}">{heading}</a>' for key, (heading, _) in sections.items())
    body = "".join(f'<section id="{k}"><h2>{heading}</h2>{text}</section>' for k, (heading, text) in sections.items())
    # The policy blocks every download, even if a class or file name contains HTML that escaping missed.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return in_spoken_language(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · {escape(kind)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f'<body><main><span class="muted">{escape(kind)}</span><h1>{escape(title)}</h1><nav>{links}</nav>{body}</main>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def bar(share: float, label: str, value: str, kind: str = "") -> str:
    """Returns a labeled bar over `share` in [0, 1] of its width; `label` and `value` are HTML."""
    width = 100 * share if math.isfinite(share) else 0
    return f'<div class="bar {kind}" style="--w:{width:.1f}%"><span>{label}</span><span>{value}</span></div>'


def interval_bar(share: float, low: float, high: float) -> str:
    """Returns a bar over `share` with its interval as a line across it, all in [0, 1]."""
    return (
        f'<div class="bar interval" style="--w:{100 * share:.1f}%">'
        f'<i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i></div>'
    )


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str | tuple[str, str]]], kind: str = "") -> str:
    """Returns a table whose first column names the rows.

    Args:
        columns: heading -> CSS class of the column; "n" is for numbers.
        rows: cells, each HTML or (HTML, key to sort by).
        kind: CSS class of the table; a script makes a "sortable" table sortable.
    """
    head = "".join(f'<th scope="col" class="{kind}">{heading}</th>' for heading, kind in columns.items())
    body = []
    for row in rows:
        cells: list[str] = []
        for cell, column in zip(row, columns.values(), strict=True):
            html, key = (cell, "") if isinstance(cell, str) else (cell[0], f' data-sort="{escape(cell[1])}"')
            tag = "td" if cells else "th"
            cells.append(f'<{tag} class="{column}"{key}>{html}</{tag}>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def value_table(title: str, values: Mapping[str, object]) -> str:
    """Returns a table of fields and their values, both plain text."""
    rows = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{plain(value)}</td></tr>' for k, value in values.items())
    return f"<table><caption>{escape(title)}</caption><tbody>{rows}</tbody></table>"


def plain(value: object) -> str:
    """Formats any recorded value as escaped text: strings as they are, everything else as JSON."""
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def percent(share: float) -> str:
    """Formats a share in [0, 1] as a percentage in HTML."""
    return f"{100 * share:.1f}&nbsp;%" if math.isfinite(share) else "n/a"


def plural(count: int, noun: str) -> str:
    """Formats a count and its noun: "1 filter", "1,000 filters"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Formats seconds as hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--muted:#59636e;--line:#c9d0d8;--card:#fff;--page:#f4f6f8;
--blue:#0072b2;--orange:#b84d00;--soft-blue:rgb(0 114 178/.24);--soft-orange:rgb(230 120 0/.42)}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--muted:#9aa5b1;--line:#444d57;--card:#1c2127;--page:#12161a;
--blue:#56b4e9;--orange:#f0a04b;--soft-blue:rgb(86 180 233/.3);--soft-orange:rgb(240 150 60/.45)}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.5;font:16px/1.5 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",Arial,"Noto Sans","PingFang SC","Hiragino Sans GB","Microsoft YaHei","Noto Sans CJK SC",
"Source Han Sans SC",sans-serif,"Apple Color Emoji","Segoe UI Emoji","Noto Color Emoji"}
main{max-width:1160px;margin:0 auto;padding:1rem}
h1{margin:.2rem 0;font-size:1.9rem;overflow-wrap:anywhere}h2{margin:0 0 .5rem;font-size:1.3rem}h3{font-size:1.05rem}
nav a{margin-right:1rem;display:inline-block}a{color:var(--blue)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.1rem;margin:1rem 0}
p{max-width:75ch}p.note,.muted{color:var(--muted)}small{font-size:.82em}
.big{display:flex;flex-wrap:wrap;gap:.3rem 2.5rem;margin:.3rem 0 1rem}
.big b{display:block;font-size:2.9rem;line-height:1.15}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.7rem 1.2rem;margin:1.2rem 0 .2rem}
dt{color:var(--muted);font-size:.85rem}dd{margin:0;overflow-wrap:anywhere}
.side{display:flex;flex-wrap:wrap;gap:0 1.6rem}
.wide{overflow-x:auto;position:relative;max-width:100%;background:
linear-gradient(90deg,var(--card) 50%,transparent) 0/4rem 100% no-repeat local,
linear-gradient(270deg,var(--card) 50%,transparent) 100%/4rem 100% no-repeat local,
linear-gradient(90deg,rgb(0 0 0/.25),transparent) 0/.8rem 100% no-repeat scroll,
linear-gradient(270deg,rgb(0 0 0/.25),transparent) 100%/.8rem 100% no-repeat scroll}
.wide tbody th{position:sticky;left:0;z-index:1;background:var(--card)}
.tall{max-height:75vh;overflow:auto;position:relative}
.tall thead th{position:sticky;top:0;background:var(--card)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.32rem .55rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:middle}
thead th{white-space:nowrap;font-weight:600;color:var(--muted);font-size:.88rem;vertical-align:bottom}
th{font-weight:500}
.n{text-align:right;white-space:nowrap}td.names,th.names{min-width:6.8rem;max-width:20rem;overflow-wrap:anywhere}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:inherit}
th button::after{content:" ↕";opacity:.5}th[aria-sort=ascending] button::after{content:" ↑";opacity:1}
th[aria-sort=descending] button::after{content:" ↓";opacity:1}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr));gap:1rem}
svg{width:100%;height:auto;max-width:520px;display:block}svg text{font-family:inherit!important}
.heat td,.heat thead th{border:1px solid var(--card);padding:.2rem .3rem;text-align:center;
min-width:2.1rem;height:2.1rem}
.heat td{background:rgb(0 114 178/var(--a,0));font-size:.85rem}
.heat td.wrong{background:rgb(184 77 0/var(--a,0))}.heat td.strong{color:#fff}.heat td:empty{background:var(--page)}
.heat tbody th{text-align:right;border:0;padding:.2rem .6rem;white-space:nowrap;max-width:14rem;overflow:hidden;
text-overflow:ellipsis}.heat thead th span{writing-mode:vertical-rl;max-height:9rem;overflow:hidden;margin:auto;
text-align:right;white-space:nowrap;text-overflow:ellipsis}
.thumbs{white-space:nowrap}.thumbs img{width:50px;height:50px;object-fit:contain;margin:1px;border-radius:4px}
.bar{position:relative;display:flex;justify-content:space-between;gap:.5rem;font-size:.82rem;padding:.1rem .35rem;
margin:2px 0;border-radius:3px;background:linear-gradient(var(--soft-blue) 0 0) 0/var(--w) 100% no-repeat}
.bar span:first-child{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bar.true{font-weight:700;background-image:linear-gradient(var(--soft-orange) 0 0)}
.bar.below{margin-top:.45rem}.bar.interval{width:9rem;height:1.2rem;outline:1px solid var(--line)}
.bar.interval i{position:absolute;top:50%;border-top:2px solid var(--ink)}
.histogram{max-width:36rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:1rem}
figure{margin:0}
.cards figure{display:flex;flex-direction:column;min-width:0;
border:1px solid var(--line);border-radius:8px;padding:.6rem;break-inside:avoid}
.cards img{display:block;width:160px;height:160px;object-fit:contain;margin:0 auto .4rem}
figcaption{overflow-wrap:anywhere;margin-bottom:.3rem;line-height:1.35;flex-grow:1}
.groups{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1rem}
.group{border:1px solid var(--line);border-radius:8px;padding:.6rem;break-inside:avoid}
.copies{display:flex;flex-wrap:wrap;gap:.6rem;margin-top:.4rem}.copies figure{width:8.2rem}
.copies figcaption{font-size:.85rem}
td.share{min-width:14rem}
.pixels{image-rendering:pixelated}.filters img{max-width:100%;height:auto;display:block}
.filters figcaption{color:var(--muted);margin:.7rem 0 .2rem}summary{cursor:pointer;margin-top:1rem}
.values{display:grid;align-items:start;
grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:.5rem 2rem}
.values table{width:100%;font-size:.9rem}.values td,.values th{overflow-wrap:anywhere;padding:.2rem .4rem .2rem 0;
width:50%}
.values caption{text-align:left;font-weight:700;padding-top:.6rem}
pre{background:var(--page);border-radius:6px;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
@media(max-width:500px){main{padding:.5rem}section{padding:.8rem}.cards{grid-template-columns:1fr 1fr;gap:.5rem}
.cards img{width:100%;height:auto;max-height:160px}.cards figure{padding:.4rem}th,td{padding:.3rem .45rem}}
@media print{:root{--page:#fff}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}nav{display:none}
main{max-width:none}section{border:0;padding:.3rem 0}.wide,.tall{overflow:visible;max-height:none}
tr,svg{break-inside:avoid}h2,h3,figcaption{break-after:avoid}th button::after{content:none!important}}
"""

# Only sorting needs a script. The script itself adds the buttons, so without JavaScript there is no dead button.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.append(...cell.childNodes);
    cell.append(button);
    button.onclick = () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of cell.parentNode.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const compare = (a, b) => a.localeCompare(b, undefined, { numeric: true }) * (down ? -1 : 1);
      const order = (a, b) => (a === "" || b === "" ? (a === "") - (b === "") : compare(a, b));
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => order(key(a), key(b))));
    };
  });
}
"""
