"""Where tuning pays: improvement over the weight of comfort and over the mismatch of the model, with intervals.

Near the set-point an expected-value model is close to optimal once its mean is right; where little weighs on comfort
there is little to gain from a better temperature. Two mismatches: the "exact" model lacks the innovations of the ARX
house alone, the "sampled" one is fitted to ninety days of log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pages.chart import Chart, Limit, Line, NumberAxis, Panel
from pages.drawing import write_picture
from pages.palette import Role
from research.smart_home.data import ExperimentData
from research.smart_home.experiment import run_experiment
from research.smart_home.protocol import SmartHomeSpec
from research.smart_home.summary import summarise

SHARES = (0.1, 0.25, 0.5, 0.7)
READINGS = ("exact", "sampled")


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
    for done, (case, value) in enumerate(points):
        if tell:
            tell(f"{case}, comfort share {value:g}", done / len(points))
        at = replace(spec, model_reading=case, comfort_share=value)
        outcome = run_experiment(at, data, output / f"{case}-{value:g}", threads=threads)
        document = summarise(outcome)
        rows.append(
            {
                "model": case,
                "comfort_share": value,
                "beta_eur_per_k2_h": document["beta_eur_per_k2_h"],
                "improvement_percent": document["improvement_percent"],
                "fit_with_mean_percent": document["references_improvement_percent"]["data_fitted_with_mean"],
            }
        )
    return rows


def sweep_charts(rows: Sequence[dict[str, Any]]) -> list[Chart]:
    """Improvement and its interval against the share of comfort."""

    def line(case: str, x: str, role: Role) -> Line:
        mine = [row for row in rows if row["model"] == case]
        at = np.array([row[x] for row in mine])
        mean, low, high = (np.array([row["improvement_percent"][k] for row in mine]) for k in ("mean", "low", "high"))
        return Line(f"{case} model", at, mean, role, "line and dots", low, high)

    zero = [Limit(0.0)]
    arx = [line("exact", "comfort_share", "first"), line("sampled", "comfort_share", "second")]
    share = Chart(
        "sweep-arx",
        "Improvement by tuning the bias in the ARX house over the share of comfort in the cost.",
        [Panel("ARX house, bias tuned: improvement, %", arx, zero)],
        NumberAxis("comfort share of the data-fitted cost"),
    )
    return [share]


def draw_sweep(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """`sweep_charts` below one another as PNG or SVG, by the suffix."""
    write_picture(path, sweep_charts(rows))
