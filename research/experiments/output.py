"""What every experiment leaves behind: a JSON file for machines, figures as PNG, and one page."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pages.chart import Chart
from pages.drawing import png
from pages.page import Block, Column, Heading, Page, Table, quiet, write_page
from research.experiments.settings import Settings
from systems.commands.output import output_folder, output_path

PAPER = "All AI Models are Wrong, but Some are Optimal (Anand, Sawant, Reinhardt, Gros)"
NUMERIC = re.compile(r"[^A-Za-z]{0,3}[-−+]?[\d∞].{0,24}|")


@dataclass(frozen=True)
class Statement:
    """One line of the comparison: what the paper says, what is computed here, and why they differ if they do."""

    paper: str
    here: str
    explanation: str = ""


def result_page(
    title: str,
    summary: str,
    statements: Sequence[Statement] = (),
    *,
    charts: Sequence[Chart] = (),
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = (),
    notes: Sequence[str] = (),
    source: str = PAPER,
) -> Page:
    """The page of an experiment. Tables are (title, header, rows) of texts, already rounded to their digits."""
    blocks: list[Block] = []
    if statements:
        columns = [Column(name, wraps=True) for name in ("the source says", "computed here", "why")]
        rows = [(s.paper, s.here, s.explanation) for s in statements]
        title_of = "The source, and this computation"
        blocks += [Heading(title_of), Table(title_of, columns, rows)]
    blocks += charts
    for name, header, rows_of in tables:
        columns = [Column(words, number=_numeric(rows_of, k)) for k, words in enumerate(header)]
        blocks += [Heading(name), Table(name, columns, rows_of)]
    return Page(title, summary, [*blocks, *(quiet(note) for note in notes), quiet(f"Source: {source}.")])


def _numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Whether the column holds short texts with digits only, but for the first, which names the row."""
    return column > 0 and all(NUMERIC.fullmatch(row[column]) for row in rows)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=output_folder, metavar="DIR", help="of figures and page (default: out/NAME)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="also write the result as JSON")


def write_outputs(
    name: str, page: Page, result: Mapping[str, Any], settings: Settings, output: Path | None, json_path: Path | None
) -> Path:
    """Write figures, page and JSON, each whole or not at all; returns the path of the page.

    The page ends and the JSON begins with how the settings were chosen, and over which seeds.
    """
    folder = output or Path("out") / name
    page = replace(page, blocks=[*page.blocks, quiet(settings.told())])
    folder.mkdir(parents=True, exist_ok=True)
    for chart in page.blocks:
        if isinstance(chart, Chart):
            write_atomically(folder / f"{chart.name}.png", png(chart))
    write_page(folder / "index.html", page)
    text = json.dumps(plain({"settings": settings.as_json(), **result}), indent=1, allow_nan=False).encode()
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


def rounded(value: float, error: float) -> str:
    """The number with the decimals that its error supports, at most 9."""
    if not np.isfinite(value):
        return "−∞" if value < 0 else "∞" if value > 0 else "undefined"
    if error <= 0.0:
        return f"{value:.9f}"
    decimals = int(np.clip(np.floor(-np.log10(2.0 * error)), 0, 9))
    return f"{value:z.{decimals}f}"
