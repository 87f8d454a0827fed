"""What every experiment leaves behind: a JSON file for machines, PNG figures, and one self-contained HTML page."""

from __future__ import annotations

import argparse
import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from systems.commands.output import output_folder, output_path

PAPER = "All AI Models are Wrong, but Some are Optimal (Anand, Sawant, Reinhardt, Gros)"
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "legend.frameon": False,
    "figure.dpi": 130,
}
WORLD, MODEL, ACCENT = "#1d6f8a", "#c2571a", "#6a4c93"
"""Colours: the real problem, the model-based one, and anything else."""


@dataclass(frozen=True)
class Statement:
    """One line of the comparison: what the paper says, what is computed here, and why they differ if they do."""

    paper: str
    here: str
    explanation: str = ""


@dataclass(frozen=True)
class Page:
    """The result page. Tables are (title, header, rows) of texts that are already rounded to their digits."""

    title: str
    summary: str
    statements: Sequence[Statement] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """File name stem -> figure."""
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = ()
    notes: Sequence[str] = ()
    source: str = PAPER


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=output_folder, metavar="DIR", help="of figures and page (default: out/NAME)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="also write the result as JSON")


def write_outputs(
    name: str, page: Page, result: Mapping[str, Any], output: Path | None, json_path: Path | None
) -> Path:
    """Write figures, page and JSON, each whole or not at all; returns the path of the page."""
    folder = output or Path("out") / name
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for stem, figure in page.figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        write_atomically(folder / f"{stem}.png", buffer.getvalue())
        images[stem] = base64.b64encode(buffer.getvalue()).decode("ascii")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    html = environment.from_string(TEMPLATE).render(page=page, images=images)
    write_atomically(folder / "index.html", html.encode())
    text = json.dumps(plain(result), indent=1, allow_nan=False).encode()
    write_atomically(folder / "result.json", text)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(json_path, text)
    return folder / "index.html"


def write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def plain(value: Any) -> Any:
    """Python numbers and lists for JSON; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def new_figure(columns: int, rows: int = 1) -> tuple[Figure, Any]:
    """A figure with (rows, columns) axes, outside any global state of pyplot."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def rounded(value: float, error: float) -> str:
    """The number with the decimals that its error supports, at most 9."""
    if not np.isfinite(value):
        return "−∞" if value < 0 else "∞" if value > 0 else "undefined"
    if error <= 0.0:
        return f"{value:.9f}"
    decimals = int(np.clip(np.floor(-np.log10(2.0 * error)), 0, 9))
    return f"{value:z.{decimals}f}"


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #202428; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #d9dde1; }
td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; } h2 { margin-top: 2rem; } .note { color: #545c64; }
@media (prefers-color-scheme: dark) { body { background: #16191c; color: #e4e7ea; } th, td { border-color: #3a4046; }
 img { background: #fff; } .note { color: #9aa3ab; } }
</style></head><body>
<h1>{{ page.title }}</h1>
<p>{{ page.summary }}</p>
{% if page.statements %}
<h2>The paper, and this computation</h2>
<table><tr><th>The paper says</th><th>Computed here</th><th>Why</th></tr>
{% for s in page.statements %}
<tr><td>{{ s.paper }}</td><td>{{ s.here }}</td><td>{{ s.explanation }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% for stem, image in images.items() %}
<p><img alt="{{ stem }}" src="data:image/png;base64,{{ image }}"></p>
{% endfor %}
{% for title, header, rows in page.tables %}
<h2>{{ title }}</h2>
<table><tr>{% for h in header %}<th>{{ h }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endfor %}
{% for note in page.notes %}<p class="note">{{ note }}</p>
{% endfor %}
<p class="note">Source: {{ page.source }}.</p>
</body></html>
"""
