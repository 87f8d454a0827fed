"""The figure of the smart-home experiment: price, comfort and total cost against learning iterations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Line, NumberAxis, Panel
from pages.drawing import write_picture
from research.smart_home.summary import normalised

Array = NDArray[np.float64]
PANELS = ("Price", "Comfort", "Total cost")


def curves_chart(costs: Array, *, title: str) -> Chart:
    """costs (iterations + 1, models, periods, 3). Lines: mean over models; bands: their range."""
    per_model = normalised(costs).mean(2)
    series = (per_model[..., 0], per_model[..., 1:].sum(-1), per_model.sum(-1))
    x = np.arange(len(costs), dtype=float)
    return Chart(
        "smart-home",
        "Price, comfort and total cost over the iterations, as shares of the data-fitted total.",
        [
            Panel(
                f"{name}, share of the data-fitted total",
                [Line("", x, values.mean(1), low=values.min(1), high=values.max(1))],
            )
            for name, values in zip(PANELS, series, strict=True)
        ],
        NumberAxis("learning iteration", whole=True),
        caption=title,
    )


def draw_curves(costs: Array, path: Path, *, title: str) -> None:
    """`curves_chart` as PNG or SVG, by the suffix."""
    write_picture(path, [curves_chart(costs, title=title)])
