"""How the pages of the lessons look: one style sheet, light and dark, without a font or a script from elsewhere."""

STYLE = """\
:root { color-scheme: light dark; --ink: #1d2129; --paper: #fff; --soft: #f4f5f8; --line: #d5d9e2; --mark: #1d5fb8; --quiet: #565d6b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ee; --paper: #16181d; --soft: #20242c; --line: #3a404c; --mark: #8ab8f5; --quiet: #a4abba; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.6;
  font: 17px/1.6 system-ui, "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Zen Hei", sans-serif; }
header, main, footer { max-width: 46rem; margin: 0 auto; padding: 0 1rem; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .5rem 1.5rem; padding-top: 1rem; }
footer { padding: 2rem 1rem 4rem; display: flex; justify-content: space-between; gap: 1rem; }
a { color: var(--mark); }
h1 { line-height: 1.2; margin: 1.2rem 0 .6rem; font-size: 2rem; }
h2 { margin-top: 2.4rem; font-size: 1.35rem; }
h3 { margin: 0; font-size: 1.1rem; }
pre { overflow-x: auto; padding: .8rem 1rem; margin: .8rem 0; border-radius: 6px; font: 14px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre.code { background: var(--soft); border: 1px solid var(--line); }
pre.output { border-left: 3px solid var(--line); border-radius: 0; color: var(--quiet); }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em; }
figure { margin: 1.2rem 0; }
figure svg { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption { color: var(--quiet); font-size: .92em; margin-top: .4rem; }
figcaption p { margin: 0; }
.table { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .8rem; border-bottom: 1px solid var(--line); }
.predict { border: 2px solid var(--mark); border-radius: 8px; padding: .8rem 1.1rem; margin: 1.4rem 0; }
.predict > p:first-of-type { margin-top: 0; }
.exercise { border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.1rem; margin: 1.4rem 0; }
summary { cursor: pointer; color: var(--mark); padding: .2rem 0; }
.lessons { list-style: none; padding: 0; }
.lessons li { border-top: 1px solid var(--line); padding: .9rem 0; }
.lessons a { font-weight: 600; font-size: 1.15rem; }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
"""
