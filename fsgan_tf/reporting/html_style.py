"""The style sheet of report.html.

The colours are those of Okabe and Ito (2008), darkened or lightened for contrast; words and marks
say the same as the colours.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1b1f23; --soft: #59616a; --line: #dde1e5; --panel: #f5f6f8;
  --clean: #7a828b; --attack: #0072b2; --worst: #c24f00;
  --pass: #00734f; --warn: #8a5a00; --fail: #b03a00; --skipped: #59616a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --ink: #e8eaed; --soft: #a3abb4; --line: #343a41; --panel: #1d2125;
    --clean: #8c949d; --attack: #56b4e9; --worst: #f0904a;
    --pass: #3fc49a; --warn: #e6b34a; --fail: #ff8a57; --skipped: #a3abb4;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 52rem;
  background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 1rem; font-weight: 600; color: var(--soft); }
h2 { margin: 3rem 0 .75rem; font-size: 1.25rem; line-height: 1.25; }
h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; }
p { margin: .5rem 0; }
code { font: .875em ui-monospace, monospace; }
.headline { margin: 1rem 0 0; font-size: 4rem; font-weight: 700; line-height: 1.1; }
.scope { font-size: 1.125rem; }
.note { color: var(--soft); font-size: .875rem; }
.verdict {
  display: flex; gap: .75rem; margin: 1.5rem 0; padding: .75rem 1rem; font-weight: 600;
  background: var(--panel); border-left: .25rem solid var(--verdict); border-radius: .25rem;
}
.mark {
  flex: none; width: 1.5rem; height: 1.5rem; border-radius: 50%;
  background: var(--verdict); color: var(--page);
  font-size: .875rem; font-weight: 700; line-height: 1.5rem; text-align: center;
}
.pass { --verdict: var(--pass); } .warn { --verdict: var(--warn); }
.fail { --verdict: var(--fail); } .skipped { --verdict: var(--skipped); }

svg {
  display: block; width: 100%; overflow: visible;
  font-size: .9375rem; font-variant-numeric: tabular-nums;
}
svg text { fill: var(--ink); }
.middle { text-anchor: middle; } .end { text-anchor: end; }
text.worst { font-weight: 700; } .track { fill: var(--line); }
rect.clean { fill: var(--clean); } rect.attack { fill: var(--attack); }
rect.worst { fill: var(--worst); } .interval { stroke: var(--ink); stroke-width: 2; }
.plot {
  margin: .5rem 0 1.75rem 3.5rem; width: calc(100% - 4.25rem); font-size: .8125rem;
}
.plot.tall { margin: 1.75rem 0 3.25rem 3.5rem; }
.plot text { fill: var(--soft); } .plot text.evaluated { fill: var(--worst); font-weight: 600; }
.grid { stroke: var(--line); }
.evaluated { stroke: var(--worst); stroke-dasharray: 4 3; } text.evaluated { stroke: none; }
polyline { fill: none; stroke: var(--attack); stroke-width: 2; stroke-linejoin: round; }
circle { fill: var(--attack); stroke: var(--page); stroke-width: 1.5; }

figure { margin: 0; }
figcaption { font-size: .875rem; }
.losses, .examples { display: grid; gap: 1.25rem 2rem; margin-top: 1rem; }
.losses { grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
.losses figcaption { font-weight: 600; }
.examples { grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.triple { display: grid; grid-template-columns: repeat(3, 1fr); gap: .25rem; }
.triple img {
  display: block; width: 100%; image-rendering: pixelated; background: var(--panel);
}
.examples figcaption { margin-top: .375rem; line-height: 1.4; }
.examples figcaption span { color: var(--soft); }

table {
  width: 100%; border-collapse: collapse; font-size: .9375rem; overflow-wrap: break-word;
}
th, td { padding: .5rem .75rem .5rem 0; text-align: left; vertical-align: top; }
tr { border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-size: .875rem; font-weight: 600; }
td { font-variant-numeric: tabular-nums; }
td:first-child { min-width: 6rem; font-weight: 600; }
td:first-child, td:last-child { overflow-wrap: anywhere; }
summary { color: var(--soft); font-size: .875rem; cursor: pointer; }
ul { margin: 0; padding: 0; list-style: none; }
ul.pass, ul.skipped {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr));
  column-gap: 2rem;
}
li { display: flex; gap: .75rem; padding: .75rem 0; border-bottom: 1px solid var(--line); }
li p { margin: .125rem 0 0; font-size: .9375rem; }
li .advice { color: var(--soft); }
li code { white-space: nowrap; }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: .375rem 1.25rem; }
dt { color: var(--soft); }
dd { margin: 0; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; }
  .minor { display: none; }
  table, tbody { display: block; }
  thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 0 1.25rem; padding: .5rem 0; }
  td { padding: 0; }
  td:first-child { width: 100%; }
  td:not(:first-child)::before { content: attr(data-label) " "; color: var(--soft); }
  dl { display: block; }
  dd { margin-bottom: .5rem; }
}
@media print {
  html { font-size: 75%; }
  body { padding: 0; max-width: none; print-color-adjust: exact; }
  h2, h3 { break-after: avoid; }
  svg, figure, li, tr { break-inside: avoid; }
}
"""
