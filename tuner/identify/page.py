"""One self-contained HTML page of what a log taught: for each asset a sentence, its numbers, and its plots."""

from __future__ import annotations

import html
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from systems.house_file import House
from systems.logs.lesson import Lesson, Panel
from tuner.identify.assemble import HouseLog
from tuner.identify.model import HouseModel
from tuner.report.svg import STYLE, WIDTH_IN, to_svg

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, told apart by the colour-blind."""
MOST_POINTS = 2000
STYLE_SHEET = """
:root { color-scheme: light dark; --text: #22262b; --ground: #fff; --quiet: #667; --line: #e0e3e7; --panel: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8eb; --ground: #15181c; --quiet: #9aa3ad; --line: #2d333a; --panel: #f4f5f6; } }
body { margin: 0 auto; max-width: 46rem; padding: 1rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
.quiet { color: var(--quiet); font-size: .875rem; } .problem { border-left: 4px solid #c0392b; padding-left: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
td { padding: .3rem .4rem; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td:nth-child(2) { text-align: right; white-space: nowrap; } td:nth-child(3) { color: var(--quiet); }
figure { margin: .75rem 0; background: var(--panel); border-radius: 6px; padding: .25rem; }
figure svg { width: 100%; height: auto; display: block; }
"""


def write_page(path: Path, house: House, found: HouseLog, model: HouseModel) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(render_page(house, found, model), encoding="utf-8")
    partial.replace(path)


def render_page(house: House, found: HouseLog, model: HouseModel) -> str:
    log = found.log
    problems = "".join(f'<p class="problem">{html.escape(problem)}</p>' for problem in model.problems)
    missing = [
        f"Nothing is learned of {asset}: the log lacks {', '.join(column.name for column in columns)}."
        for asset, columns in found.missing.items()
        if columns
    ] + [f"Nothing is learned of {asset}: {reason}." for asset, reason in model.unlearned.items()]
    verdict = "This model may be used." if not model.problems else "This model should not be used yet."
    share = 100.0 * (1.0 - model.share_excluded["rows"])
    quiet = f"{log.days:.0f} days of {log.source}; {share:.1f} % of the steps are complete"
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(house.name)}: what the log taught</title><style>{STYLE_SHEET}</style></head><body>",
            f"<h1>{html.escape(house.name)}: what the log taught</h1>",
            f"<p>{verdict}</p>",
            problems,
            f'<p class="quiet">{html.escape(quiet)}</p>',
            *(_section(lesson) for lesson in model.lessons),
            *(f'<p class="quiet">{html.escape(text)}</p>' for text in missing),
            "</body></html>\n",
        ]
    )


def _section(lesson: Lesson) -> str:
    rows = []
    for f in lesson.findings:
        span = "" if f.low is None or f.high is None else f" ({f.low:.3f} to {f.high:.3f})"
        value = f"{f.value:.3f} {f.unit if f.unit != '1' else ''}"
        cells = (f.name, value, f.text + span)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell.strip())}</td>" for cell in cells) + "</tr>")
    figures = "".join(
        f"<figure>{to_svg(draw(panel), f'{lesson.asset}: {panel.title}')}</figure>" for panel in lesson.panels
    )
    notes = "".join(f'<p class="quiet">{html.escape(note)}</p>' for note in lesson.notes)
    head = f"<h2>{html.escape(lesson.asset)}</h2><p>{html.escape(lesson.summary)}</p>"
    return f"{head}<table>{''.join(rows)}</table>{figures}{notes}"


def draw(panel: Panel) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(WIDTH_IN, 2.6), layout="constrained")
        colours = dict(zip(dict.fromkeys(c.label.partition(",")[0] for c in panel.curves), COLOURS * 4, strict=False))
        for curve in panel.curves:
            colour = colours[curve.label.partition(",")[0]]
            if curve.style == "band":
                ax.fill_between(curve.x, curve.y[0], curve.y[1], color=colour, alpha=0.2, lw=0, label=curve.label)
            elif curve.style == "points":
                every = max(1, len(curve.x) // MOST_POINTS)
                ax.plot(curve.x[::every], curve.y[::every], ".", color=colour, ms=3, alpha=0.6, label=curve.label)
            else:
                dotted = curve.style == "dotted"
                style = {"ls": ":" if dotted else "-", "lw": 1.0 if dotted else 1.3}
                ax.plot(curve.x, curve.y, color=colour, label=curve.label, **style)
        ax.set(xlabel=panel.x_label, ylabel=panel.y_label)
        ax.set_title(panel.title, fontsize=9, loc="left")
        values = np.concatenate([np.ravel(curve.y) for curve in panel.curves]) if panel.curves else np.zeros(1)
        if np.nanmin(values, initial=0.0) >= 0.0:
            ax.set_ylim(bottom=0.0)
        ax.legend(fontsize=7, ncols=2)
        return figure
