"""A drawn figure as an inline <svg>: its colours the page's variables, its font the page's, its width the column's."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
from matplotlib.figure import Figure

from pages.chart import ChartError
from pages.palette import MARKS

VARIABLE_OF = {mark: name for name, mark in MARKS.items()}
TAG = re.compile(r"<[^>]*>")
NAME = re.compile(r' id="(?![A-Za-z0-9_]*[0-9a-f]{10}")[^"]*"')
"""An id that nothing refers to: those of clips and marks end in a hash."""
NUMBER = re.compile(r"-?\d+\.\d+")
HEX = re.compile(r"#[0-9a-fA-F]{6}\b")


def inline_svg(figure: Figure, name: str, says: str) -> str:
    """The element. Ids inside are unique to `name`; equal figures give equal bytes.

    Raises:
        ChartError: it was drawn with a colour that is none of the palette's.
    """
    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(target, format="svg", dpi=72, transparent=True, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.S)
    text = re.sub(r"font-family:[^;\"]*;? ?", "", text)
    text = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", text)
    text = NAME.sub("", text)
    text = HEX.sub(_variable, text)
    text = TAG.sub(lambda tag: NUMBER.sub(_rounded, tag[0]), text)
    text = re.sub(r"\s*\n\s*", " ", text)
    text = re.sub(r"> <", "><", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    body = text[text.index(">") + 1 :].strip()
    return f'<svg {box[0]} role="img" aria-label="{_attribute(says)}">{body}'.replace("xlink:href", "href")


def _variable(found: re.Match[str]) -> str:
    name = VARIABLE_OF.get(found[0].lower())
    if name is None:
        raise ChartError(f"the colour {found[0]} is none of the palette's: draw with pages.palette.MARKS")
    return f"var(--{name})"


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):z.1f}".removesuffix(".0")


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
