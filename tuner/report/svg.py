"""Figures as inline SVG: narrow and with large type, so that they can be read on a phone."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

WIDTH_IN = 5.0
STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a6",
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
}


def to_svg(figure: Figure, name: str) -> str:
    """An <svg> element whose internal ids are unique to `name`, without dates, so that equal data give equal bytes."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = buffer.getvalue()
    svg = text[text.index("<svg") :]
    # The page sets the width; the viewBox keeps the proportions.
    head, tail = svg.split(">", 1)
    kept = [part for part in head.split("\n") if part]
    return " ".join(kept).replace("<svg", f'<svg role="img" aria-label="{name}"', 1) + ">" + tail
