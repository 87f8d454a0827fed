"""Where tuning pays: improvement over the weight of comfort and over the mismatch of the model, with intervals.

Near the set-point an expected-value model is close to optimal once its mean is right; where little weighs on comfort
there is little to gain from a better temperature. The mismatch is that of the readings: "exact" lacks the innovations
alone, "sampled" is fitted to ninety days of log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from tuner.house.data import ExperimentData
from tuner.house.experiment import run_experiment
from tuner.house.protocol import SmartHomeSpec
from tuner.house.summary import summarise

SHARES = (0.1, 0.25, 0.5, 0.7)
READINGS = ("exact", "sampled")
COLOURS = ("#1b6ca8", "#c1660a")


def run_sweep(
    spec: SmartHomeSpec,
    data: ExperimentData,
    output: Path,
    *,
    threads: int,
    shares: Sequence[float] = SHARES,
    tell: Callable[[str, float], None] | None = None,
) -> list[dict[str, Any]]:
    """One experiment per point, each with its own record in `output`, so that a sweep resumes as well."""
    points = [(reading, share) for reading in READINGS for share in shares]
    rows = []
    for done, (reading, share) in enumerate(points):
        if tell:
            tell(f"{reading}, comfort share {share:g}", done / len(points))
        at = replace(spec, model_reading=reading, comfort_share=share)
        outcome = run_experiment(at, data, output / f"record-{reading}-{share:g}.npz", threads=threads)
        document = summarise(outcome)
        rows.append(
            {
                "model_reading": reading,
                "comfort_share": share,
                "beta_eur_per_k2_h": document["beta_eur_per_k2_h"],
                "improvement_percent": document["improvement_percent"],
                "fit_with_mean_percent": document["references_improvement_percent"]["data_fitted_with_mean"],
            }
        )
    return rows


def draw_sweep(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Improvement and its interval against the comfort share, a line per reading."""
    figure, axis = plt.subplots(figsize=(6.5, 4.2), constrained_layout=True)
    for reading, colour in zip(READINGS, COLOURS, strict=True):
        mine = [row for row in rows if row["model_reading"] == reading]
        share = np.array([row["comfort_share"] for row in mine])
        mean, low, high = (np.array([row["improvement_percent"][k] for row in mine]) for k in ("mean", "low", "high"))
        axis.fill_between(share, low, high, color=colour, alpha=0.18, linewidth=0)
        axis.plot(share, mean, "o-", color=colour, label=f"{reading} model")
    axis.axhline(0.0, color="black", linewidth=0.8)
    axis.set_xlabel("comfort share of the data-fitted cost")
    axis.set_ylabel("improvement, %")
    axis.legend()
    axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    plt.close(figure)
