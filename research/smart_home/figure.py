"""The figure of the smart-home experiment: price, comfort and total cost against learning iterations."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from research.smart_home.summary import normalised

Array = NDArray[np.float64]
PANELS = (("Price", "#1b6ca8"), ("Comfort", "#c1660a"), ("Total cost", "#2c2c2c"))


def draw_curves(costs: Array, path: Path, *, title: str) -> None:
    """costs (iterations + 1, models, periods, 3). Lines: mean over models; bands: their range. PNG or SVG by suffix."""
    per_model = normalised(costs).mean(2)
    series = (per_model[..., 0], per_model[..., 1:].sum(-1), per_model.sum(-1))
    figure, axes = plt.subplots(3, 1, figsize=(7.0, 7.0), sharex=True, constrained_layout=True)
    iterations = np.arange(len(costs))
    for axis, (name, colour), values in zip(axes, PANELS, series, strict=True):
        axis.fill_between(iterations, values.min(1), values.max(1), color=colour, alpha=0.18, linewidth=0)
        axis.plot(iterations, values.mean(1), color=colour, linewidth=1.8)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[0].set_title(title, fontsize=10)
    axes[-1].set_xlabel("Learning iteration")
    axes[-1].set_xlim(0, max(1, len(costs) - 1))
    figure.supylabel("share of the data-fitted total", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    plt.close(figure)
