"""The style sheet of the report page: light and dark, wide and narrow, nothing from elsewhere."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2330; --muted: #5a6676; --line: #d9dee6;
  --soft: #eef1f5; --link: #1d5fbf;
  --good: #14713d; --good-soft: #e2f4e8; --bad: #b3261e; --bad-soft: #fbe9e7;
  --open: #5a6676; --open-soft: #eceff3; --warn: #7a4d00; --warn-soft: #fdf1d8;
  --series-1: #1d5fbf; --series-2: #c2570c; --series-3: #14713d; --series-4: #7b3fa0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10141a; --card: #181e27; --ink: #e6eaf0; --muted: #9aa7b8; --line: #2d3644;
    --soft: #212936; --link: #85b4ff;
    --good: #6fd598; --good-soft: #17341f; --bad: #ff9a8f; --bad-soft: #44201c;
    --open: #a9b5c5; --open-soft: #252e3b; --warn: #f0c36a; --warn-soft: #3a2d12;
    --series-1: #85b4ff; --series-2: #ffab6b; --series-3: #6fd598; --series-4: #cfa2f0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 1rem; background: var(--card); padding: .5rem 1rem; z-index: 9; }
header, main, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
footer { padding-bottom: 3rem; color: var(--muted); font-size: .875rem; }
h1 { font-size: clamp(1.5rem, 1.1rem + 2vw, 2.1rem); line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 0 0 .75rem; }
h3 { font-size: 1.05rem; margin: 0 0 .25rem; }
p { margin: 0 0 .75rem; max-width: 46rem; overflow-wrap: anywhere; }
.quiet { color: var(--muted); font-size: .9rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; padding: 0;
  margin: .75rem 0 0; font-size: .9rem; }
section { margin: 2rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.1rem 1.25rem; margin: 0 0 1rem; }
.answer { border-left: 5px solid var(--link); }
.answer p { font-size: 1.1rem; margin: 0 0 .3rem; max-width: none; }
.answer p.quiet { font-size: .95rem; font-variant-numeric: tabular-nums; }
.answer p + p.lead { margin-top: 1rem; }
.note { background: var(--warn-soft); color: var(--warn); border-radius: 8px;
  padding: .55rem .9rem; margin: .5rem 0 .75rem; max-width: none; }
.scroll { overflow-x: auto; margin: 0 -1.25rem; padding: 0 1.25rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: .9rem; padding: 0 0 .6rem; }
th, td { padding: .5rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-size: .9rem; border-bottom-color: var(--muted); }
.quiet { font-weight: 400; }
th small, td small { display: block; font-weight: 400; color: var(--muted);
  font-size: .8rem; line-height: 1.45; white-space: nowrap; }
thead th small { white-space: normal; overflow-wrap: anywhere; }
thead th { min-width: 6.5rem; overflow-wrap: anywhere; }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
tr.total > * { font-weight: 650; background: var(--soft); }
tr.total > :first-child { box-shadow: -.5rem 0 0 var(--soft); }
tr.total > :last-child { box-shadow: .5rem 0 0 var(--soft); }
td.words, th.words { text-align: left; overflow-wrap: anywhere; }
.score { font-size: 1.1rem; }
td small .mark { margin-left: .25rem; }
.mark { display: inline-block; border-radius: 1rem; padding: 0 .55rem; font-size: .8rem;
  font-weight: 600; white-space: nowrap; }
.mark.better, .mark.passed { color: var(--good); background: var(--good-soft); }
.mark.worse, .mark.failed { color: var(--bad); background: var(--bad-soft); }
.mark.undecided, .mark.unchanged { color: var(--open); background: var(--open-soft); }
.mark.look { color: var(--warn); background: var(--warn-soft); }
.chart { display: block; width: 100%; max-width: 40rem; height: auto; margin: .5rem 0; }
.chart * { stroke-linejoin: round; }
.pair { display: grid; gap: 1rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0;
  font-variant-numeric: tabular-nums; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
dd.text { white-space: pre-wrap; }
details { margin: .2rem 0; }
summary { cursor: pointer; padding: .25rem 0; }
details[open] > summary { margin-bottom: .4rem; }
code { font: .85em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
ul.checks { list-style: none; padding: 0; margin: .5rem 0; }
ul.checks li { padding: .35rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
ul.checks li:last-child { border: 0; }
.bar { display: block; height: .4rem; border-radius: .2rem; background: var(--series-1);
  min-width: 1px; margin: .3rem 0 0 auto; }
@media (max-width: 40rem) {
  header, main, footer { padding-left: .9rem; padding-right: .9rem; }
  .card { padding: .9rem; }
  .scroll { margin: 0 -.9rem; padding: 0 .9rem; }
  th, td { padding: .45rem .5rem; }
  th:first-child { position: sticky; left: -.9rem; background: var(--card); }
  tr.total > th:first-child { background: var(--soft); }
}
@media print { body { background: none; } .card { break-inside: avoid; } nav { display: none; } }
"""
