"""The page's style: one column of text and figures, light and dark, down to a telephone's width."""

_ROOT = """
:root {
  color-scheme: light dark;
  --paper: #fdfcfa; --ink: #1f2328; --soft: #5d646d; --rule: #dfdbd3; --wash: #f4f1eb;
  --s0: #b4451f; --s1: #1f6f8b; --s2: #6a4c93; --s3: #4c7a2f;
  --s4: #0f766e; --s5: #a3316f; --s6: #9a6700; --s7: #4b5563;
  --sub: #fbe3c4; --sub-ink: #7a3d00; --ins: #d9ecd4; --ins-ink: #1f5c22;
  --del: #f6d9d6; --del-ink: #8c1d18; --heat: #1f6f8b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e4e2dd; --soft: #9da3ab; --rule: #33373d; --wash: #1e2125;
    --s0: #f0936b; --s1: #6fb9d6; --s2: #b79be0; --s3: #9fcb7d;
    --s4: #5cc9bd; --s5: #e58bbb; --s6: #dcb04f; --s7: #aab2bd;
    --sub: #4a3413; --sub-ink: #f7cf93; --ins: #1f3d22; --ins-ink: #a9dca4;
    --del: #4b2320; --del-ink: #f3aaa3; --heat: #6fb9d6;
  }
}
"""

_TEXT = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 3.5rem 1.5rem 6rem; max-width: 52rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans KR",
    "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", sans-serif;
}
h1, h2, h3 {
  font-family: ui-serif, "Iowan Old Style", Charter, Georgia, "Noto Serif", serif;
  font-weight: 600; line-height: 1.2; text-wrap: balance;
}
h1 { font-size: 2.4rem; letter-spacing: -.015em; margin: 0 0 .6rem; }
h2 {
  font-size: 1.75rem; margin: 4.5rem 0 .4rem; padding-top: 1.4rem;
  border-top: 1px solid var(--rule);
}
h3 { font-size: 1.2rem; margin: 3rem 0 .5rem; }
p { margin: .5rem 0 1rem; max-width: 40rem; }
.lead { font-size: 1.1rem; color: var(--soft); }
.note, figcaption, .facts { color: var(--soft); font-size: .875rem; line-height: 1.5; }
nav ul {
  display: flex; flex-wrap: wrap; gap: .3rem 1.5rem;
  list-style: none; margin: 1.2rem 0 0; padding: 0;
}
a { color: var(--s1); text-underline-offset: .18em; text-decoration-thickness: 1px; }
a:focus-visible, summary:focus-visible, [tabindex]:focus-visible {
  outline: 2px solid var(--s1); outline-offset: 3px;
}
.notice {
  border-left: 3px solid var(--s0); background: var(--wash);
  padding: .8rem 1.1rem; margin: 1.5rem 0; overflow-wrap: anywhere;
}
.notice ul { margin: .3rem 0 0; padding-left: 1.1rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--soft); }
pre, code {
  font: .82rem/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "Noto Sans Mono", monospace;
}
pre {
  white-space: pre-wrap; overflow-wrap: anywhere; background: var(--wash);
  padding: .7rem .9rem; margin: .3rem 0; border-radius: .3rem;
}
.made { margin: 0 0 1.1rem; }
.made p { margin: 0; max-width: none; }
footer { margin-top: 5rem; padding-top: 1.2rem; border-top: 1px solid var(--rule); }
"""

_TABLES = """
.scroll { overflow-x: auto; margin: 1rem 0 1.4rem; }
table {
  border-collapse: collapse; width: 100%;
  font-size: .94rem; font-variant-numeric: tabular-nums;
}
th, td {
  padding: .5rem 1rem .5rem 0; text-align: left; vertical-align: baseline; white-space: nowrap;
}
thead th {
  color: var(--soft); font-weight: 500; font-size: .82rem;
  border-bottom: 1px solid var(--ink); vertical-align: bottom;
}
tbody tr { border-bottom: 1px solid var(--rule); }
tbody th { font-weight: 500; }
.num, thead .num { text-align: right; }
th:last-child, td:last-child { padding-right: 0; }
td.own b { font-size: 1.08rem; }
th small, td small {
  display: block; color: var(--soft); font-size: .78rem; font-weight: 400; line-height: 1.35;
}
"""

_FIGURES = """
figure { margin: 1.4rem 0 2rem; }
.pair {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr));
  gap: 1rem 2rem; align-items: start;
}
.pair figure { margin: .5rem 0 1rem; }
.pair figcaption { margin-bottom: .5rem; }
.plot { display: block; width: 100%; height: auto; overflow: visible; }
.plot text { fill: var(--ink); font-size: 12px; font-variant-numeric: tabular-nums; }
.plot .tick, .plot .axis { fill: var(--soft); font-size: 11.5px; }
.plot .value { font-weight: 600; }
.grid { stroke: var(--rule); stroke-width: 1; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.whisker { stroke-width: 2; opacity: .55; }
.mark { stroke: var(--paper); stroke-width: 1.2; }
.heat { fill: var(--heat); stroke: var(--rule); stroke-width: .5; }
.plot .cell { font-size: 11px; }
.plot .cell.strong { fill: var(--paper); }
.legend {
  display: flex; flex-wrap: wrap; gap: .2rem 1.4rem;
  list-style: none; margin: .5rem 0 0; padding: 0; font-size: .875rem;
}
.legend li { display: flex; align-items: center; gap: .4rem; }
.key { width: 16px; height: 16px; }
"""

_EXAMPLES = """
.example { border-top: 1px solid var(--rule); padding: 1.4rem 0 .6rem; }
.example header {
  display: flex; flex-wrap: wrap; justify-content: space-between; align-items: center;
  gap: .4rem 1.5rem;
}
.example audio { height: 2.2rem; width: min(20rem, 100%); }
.meant { font-size: 1.25rem; margin: 0; }
dl {
  display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem;
  margin: .8rem 0; align-items: baseline;
}
dt { color: var(--soft); font-size: .82rem; }
dd { margin: 0; line-height: 2.15; overflow-wrap: anywhere; }
dd.phones { word-spacing: .25em; font-size: .95rem; }
ruby.sub { background: var(--sub); color: var(--sub-ink); border-radius: .2em; padding: 0 .14em; }
rt { font-size: .62em; color: var(--soft); }
del { background: var(--del); color: var(--del-ink); border-radius: .2em; padding: 0 .14em; }
ins {
  background: var(--ins); color: var(--ins-ink); border-radius: .2em; padding: 0 .14em;
  text-decoration: underline; text-underline-offset: .2em;
}
.same { color: var(--soft); }
"""

_NARROW = """
@media (max-width: 34rem) {
  body { padding: 2rem 1.1rem 4rem; }
  h1 { font-size: 1.9rem; }
  h2 { font-size: 1.5rem; margin-top: 3.2rem; }
  dl { grid-template-columns: 1fr; }
  dt { margin-top: .6rem; }
}
@media print {
  body { max-width: none; }
  nav, audio { display: none; }
}
"""

SERIES = 8

_COLOURS = "\n".join(
    f".curve.s{n}, .whisker.s{n} {{ stroke: var(--s{n}); }} .mark.s{n} {{ fill: var(--s{n}); }}"
    for n in range(SERIES)
)

CSS = _ROOT + _TEXT + _TABLES + _FIGURES + _COLOURS + _EXAMPLES + _NARROW
