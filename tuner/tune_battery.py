"""Tune the home battery: from the data-fitted theta to the best that held-in weeks of the training data have seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from systems.battery.plant import PlantSpec
from systems.battery.problem import home_battery
from systems.problem import Problem
from systems.theta import check_theta
from tuner.evaluate.battery import fit_from_plant
from tuner.evaluate.periods import Split
from tuner.trainer import Progress, TrainingSpec, TuningResult, train
from tuner.tunable.home_battery import home_battery_system

LEARNED = ("net_load_bias", "price_spread", "terminal_slope")
"""What decides. The log determines the efficiencies well, and the ends of the soc band are visited too rarely."""
BATTERY_TRAINING = TrainingSpec(
    method="dpg",
    iterations=8,
    episodes=8,
    steps=144,
    exploration=0.15,
    radius=0.08,
    decay=0.92,
    replay=2,
    backtracks=1,
    tolerance=0.0,
    learn=LEARNED,
)
"""Weeks differ far more than thetas do, and one iteration's gradient is noisy: a step must not raise the paired mean.
About a minute on two free cores: an exploring day and a half from eight random starts per iteration."""


@dataclass(frozen=True)
class BatteryTuning:
    """The data fit it started from, and what learning made of it; theta by name."""

    data_fitted: dict[str, float]
    result: TuningResult

    @property
    def theta(self) -> dict[str, float]:
        return self.result.theta_by_name()


def tune_battery(
    split: Split,
    *,
    data_fitted: Mapping[str, float] | None = None,
    spec: TrainingSpec = BATTERY_TRAINING,
    problem: Problem | None = None,
    physics: PlantSpec | None = None,
    held_in_weeks: int = 4,
    jobs: int = 2,
    time_limit_s: float | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    cache_dir: Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> BatteryTuning:
    """Learn theta on the training part of `split` alone. Without `data_fitted`, fit it to a log of the plant first.

    Raises what `train`, `fit_from_plant` and the compiler raise.
    """
    physics = physics or PlantSpec()
    problem = problem or home_battery(physics.battery)
    if data_fitted is None:
        data_fitted = fit_from_plant(split, physics, seed=spec.seed).theta
    start = check_theta(data_fitted, problem)
    system = home_battery_system(
        problem,
        split,
        physics=physics,
        held_in_weeks=held_in_weeks,
        episode_steps=spec.steps,
        seed=spec.seed,
        cache_dir=cache_dir,
    )
    result = train(
        system,
        spec,
        theta_start=np.array(list(start.values())),
        jobs=jobs,
        checkpoint=checkpoint,
        resume=resume,
        report=report,
        time_limit_s=time_limit_s,
    )
    return BatteryTuning(start, result)
