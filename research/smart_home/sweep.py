"""Where tuning pays: improvement over the weight of comfort and over the mismatch of the model, with intervals.

Near the set-point an expected-value model is close to optimal once its mean is right; where little weighs on comfort
there is little to gain from a better temperature. Three mismatches: the "exact" model lacks the innovations of the ARX
house alone, the "sampled" one is fitted to ninety days of log, and in the "physical" house a model of the right mean
lacks what makes a house: slow walls, sun, heat pumps whose COP falls with load. There the weights learn.
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
from research.smart_home.experiment import run_experiment
from research.smart_home.summary import summarise
from systems.assets.zone.arx_fit import fit_arx
from systems.house.cost import HouseCost
from systems.house.theta import HouseMpc, house_theta, theta_values
from tuner.evaluate.statistics import mean_interval
from tuner.house.condensed import tune_house
from tuner.house.data import ExperimentData
from tuner.house.protocol import MOVES_HORIZON, SmartHomeSpec
from tuner.house.worlds import Exploration, PhysicalWorld, Season, split_season
from tuner.learn.tuning import TuningSpec

SHARES = (0.1, 0.25, 0.5, 0.7)
READINGS = ("exact", "sampled")
PHYSICAL = "physical"
PHYSICAL_ITERATIONS, PHYSICAL_WEEKS = 6, 12
BETAS = (0.0005, 0.002, 0.01, 0.05, 0.25)
"""EUR/(K^2 h). In the physical house the share of comfort is no measure of its weight: it falls and rises again."""


def run_sweep(
    spec: SmartHomeSpec,
    data: ExperimentData,
    output: Path,
    *,
    threads: int,
    shares: Sequence[float] = SHARES,
    betas: Sequence[float] = BETAS,
    tell: Callable[[str, float], None] | None = None,
) -> list[dict[str, Any]]:
    """One experiment per point, each with its own record in `output`, so that a sweep resumes as well."""
    points = [(reading, share) for reading in READINGS for share in shares] + [(PHYSICAL, beta) for beta in betas]
    rows = []
    for done, (case, value) in enumerate(points):
        name = f"beta {value:g}" if case == PHYSICAL else f"comfort share {value:g}"
        if tell:
            tell(f"{case}, {name}", done / len(points))
        checkpoint = output / f"record-{case}-{value:g}.npz"
        if case == PHYSICAL:
            rows.append(_physical_point(spec, data, value, checkpoint, threads))
            continue
        at = replace(spec, model_reading=case, comfort_share=value)
        outcome = run_experiment(at, data, checkpoint, threads=threads)
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


def _physical_point(
    spec: SmartHomeSpec, data: ExperimentData, beta: float, checkpoint: Path, threads: int
) -> dict[str, Any]:
    """The weights tuned in the physical house of the learning season, judged in weeks of the other one.

    The start has the mean of the innovations as its bias, so nothing is left to gain by that.
    """
    model = fit_arx(data.log.outputs, data.log.inputs).model
    start = theta_values(model, bias=model.innovation_mean)
    iterations = min(spec.iterations, PHYSICAL_ITERATIONS)
    horizon, seed = MOVES_HORIZON, spec.seed
    learning, judging = (
        split_season(conditions, 7, weeks, horizon)
        for conditions, weeks in ((data.learning, 8), (data.evaluation, PHYSICAL_WEEKS))
    )

    def world(season: Season, beta: float, salt: int = 0) -> PhysicalWorld:
        return PhysicalWorld(season, HouseMpc(cost=HouseCost(beta=beta)), Exploration(16), seed + salt, threads)

    at = world(learning, beta)
    tuning = tune_house(
        at, at.mpc, house_theta(model), start, TuningSpec(learn=("cost",), iterations=iterations, seed=seed),
        threads=threads, checkpoint=checkpoint, resume=checkpoint.exists(),
    )  # fmt: skip
    judge = world(judging, beta, salt=1)
    before, after = judge.try_out(start), judge.try_out(tuning.theta)
    gain = mean_interval(100.0 * (1.0 - after.total / before.total))
    return {
        "model": PHYSICAL,
        "comfort_share": float((before.comfort / before.total).mean()),
        "beta_eur_per_k2_h": beta,
        "improvement_percent": {"mean": gain.mean, "low": gain.low, "high": gain.high},
        "fit_with_mean_percent": {"mean": 0.0, "low": 0.0, "high": 0.0},
    }


def sweep_charts(rows: Sequence[dict[str, Any]]) -> list[Chart]:
    """Improvement and its interval: in the ARX house against the share of comfort, in the physical one against beta."""

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
    physical = Chart(
        "sweep-physical",
        "Improvement by tuning the weights in the physical house over the weight of comfort.",
        [
            Panel(
                "Physical house, weights tuned: improvement, %",
                [line(PHYSICAL, "beta_eur_per_k2_h", "first")],
                zero,
                log_x=True,
            )
        ],
        NumberAxis("weight of comfort, EUR/(K² h)"),
    )
    return [share, physical]


def draw_sweep(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """`sweep_charts` below one another as PNG or SVG, by the suffix."""
    write_picture(path, sweep_charts(rows))
