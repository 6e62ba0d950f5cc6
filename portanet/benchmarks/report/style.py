"""The looks of the HTML page: light and dark, wide and narrow, on paper."""

STYLE = """
:root {
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", "DejaVu Sans", sans-serif;
  --paper: #ffffff; --back: #f6f7f8; --ink: #1d2126; --soft: #5a6470; --line: #dde1e5; --grid: #e4e7ea;
  --accent: #14606f; --mark: #e9f3f4;
  --numpy: #5b5b5b; --torch: #d55e00; --jax: #aa3377; --tensorflow: #b88600; --theano: #0072b2; --mxnet: #228833;
  --cntk: #3d9bcb;
  --kernels: #0072b2; --waiting: #b8b8b8; --compile: #d9a520; --python: #d55e00; --transfer: #228833; --input: #aa3377;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #1b1f24; --back: #14171b; --ink: #e3e6ea; --soft: #a0a9b4; --line: #343b44; --grid: #30363e;
    --accent: #6cc3d0; --mark: #1f3034;
    --numpy: #c4c4c4; --torch: #ff8d4d; --jax: #e583ba; --tensorflow: #eabf48; --theano: #58a6ee; --mxnet: #63c47b;
    --cntk: #94d8f6;
    --kernels: #3f8fd6; --waiting: #767d86; --compile: #d9ae3c; --python: #ef8144; --transfer: #55b36c;
    --input: #d673aa;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 var(--font); }
header, main, footer { max-width: 70rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 1rem; }
p, dd { max-width: 46rem; margin: 0 0 .8rem; }
.kind { margin: 0 0 .3rem; color: var(--accent); font-weight: 600; font-size: .85rem; }
.question { color: var(--soft); }
.verdict { font-size: 1.2rem; line-height: 1.5; max-width: 50rem; margin: 1.3rem 0; padding-left: 1rem;
  border-left: 4px solid var(--accent); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin: 0 0 1.5rem; padding: 0;
  font-size: .9rem; }
a { color: var(--accent); text-underline-offset: .2em; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 1.5rem;
  margin: 0 0 1.25rem; }
dl { margin: 0; }
dt { font-weight: 600; }
dd:last-child { margin-bottom: 0; }
.scroll { overflow-x: auto; margin: 0 0 1.25rem; }
.scroll:last-child { margin-bottom: 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
.caption { color: var(--soft); margin: 0 0 .4rem; font-size: .875rem; line-height: 1.4; max-width: 56rem; }
th, td { padding: .4rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th.words, td.words, th.text, td.text { text-align: left; }
th.words { white-space: nowrap; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 16rem; }
tr.faint td.figure { white-space: normal; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; border-bottom: 1.5px solid var(--soft); }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child { position: sticky; left: 0; background: var(--paper); padding-left: 0; }
th.text:first-child { min-width: 13rem; }
th:last-child, td:last-child { padding-right: 0; }
tr.best > * { font-weight: 650; }
tr.faint > * { color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 23rem), 1fr)); gap: 1.75rem 2rem;
  margin: .5rem 0 1.5rem; align-items: start; }
.figures:last-child { margin-bottom: 0; }
figure { margin: 0; max-width: 34rem; }
figure svg { display: block; width: 100%; height: auto; overflow: visible; }
figcaption { color: var(--soft); font-size: .875rem; line-height: 1.4; margin-top: .4rem; }
footer { color: var(--soft); font-size: .875rem; padding-bottom: 2rem; }
@media (max-width: 40rem) {
  header, main, footer { padding-left: .75rem; padding-right: .75rem; }
  header { padding-top: 1.5rem; }
  h1 { font-size: 1.5rem; }
  .verdict { font-size: 1.05rem; }
  section { padding: 1rem .9rem; border-radius: 8px; }
  th, td { padding: .4rem .5rem; }
  table { font-size: .85rem; }
  th:first-child, th.text:first-child { white-space: normal; min-width: 7rem; max-width: 9rem; }
  th.figure { min-width: 4rem; }
  td.words { white-space: normal; min-width: 7.5rem; }
  td.text { min-width: 12rem; }
}
@page { margin: 14mm; }
@media print {
  body { background: none; font-size: 10pt; color: #000; }
  header, main, footer { max-width: none; padding: 0; }
  nav { display: none; }
  section { border: 0; border-radius: 0; padding: 0; margin: 0 0 8mm; }
  h2 { break-after: avoid; font-size: 13pt; }
  .verdict { font-size: 12pt; }
  figure, tr, dt { break-inside: avoid; }
  dt, .caption { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: 1.2mm 1.4mm; }
  td.words { white-space: normal; }
  th:first-child { position: static; white-space: normal; }
  th.text:first-child, td.text { min-width: 0; }
  .figures { grid-template-columns: 1fr 1fr; gap: 6mm; }
  figcaption, .caption, footer { font-size: 8pt; }
}
"""
