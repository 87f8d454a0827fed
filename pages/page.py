"""A page as data, and its HTML: one file without any other, read on a phone or a desk, in light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jinja2
from markupsafe import Markup

from pages.chart import Chart
from pages.drawing import both_sizes
from pages.palette import variables

HERE = Path(__file__).parent
Mood = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere; `href` is relative to the page where the target lies beside it."""

    words: str
    href: str


@dataclass(frozen=True)
class Code:
    """A name or a command as it is written."""

    words: str


Words = str | Link | Code


@dataclass(frozen=True)
class Heading:
    """Opens a section."""

    title: str


@dataclass(frozen=True)
class Text:
    """A paragraph; `quiet` for what most readers may skip."""

    words: tuple[Words, ...]
    quiet: bool = False


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Listing:
    """Something to copy, in a box of its own."""

    title: str
    text: str


@dataclass(frozen=True)
class Column:
    """Of a table; numbers stand to the right."""

    title: str
    number: bool = False
    wraps: bool = False
    """Holds sentences: broken into lines, not scrolled."""


@dataclass(frozen=True)
class Cell:
    """Of a table: words, below them something smaller (and a raw name), and whether it is good."""

    words: Words
    small: str = ""
    code: str = ""
    mood: Mood = "plain"


@dataclass(frozen=True)
class Table:
    """Rows whose first cell names them. `title` is what a screen reader calls it, `note` stands below."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | str]]
    note: str = ""


Block = Heading | Text | Items | Listing | Table | Chart


@dataclass(frozen=True)
class Page:
    """What a page says: `lead` first and large, `about` (of whom, when, how much) small below the title."""

    title: str
    lead: str
    blocks: Sequence[Block]
    mood: Mood = "plain"
    about: str = ""


def quiet(*words: Words) -> Text:
    """A paragraph that most readers may skip."""
    return Text(words, quiet=True)


def text(*words: Words) -> Text:
    """A paragraph."""
    return Text(words)


def render(page: Page) -> str:
    """The HTML; equal pages give equal bytes."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((HERE / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        page=page,
        blocks=[(type(block).__name__, block) for block in page.blocks],
        style=Markup(variables() + (HERE / "style.css").read_text(encoding="utf-8")),
        kind=lambda words: type(words).__name__,
        cell=lambda entry: entry if isinstance(entry, Cell) else Cell(entry),
        drawn=lambda chart: [Markup(svg) for svg in both_sizes(chart)],
    )


def write_page(path: Path, page: Page) -> None:
    """Write the page, whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(render(page), encoding="utf-8")
    partial.replace(path)
