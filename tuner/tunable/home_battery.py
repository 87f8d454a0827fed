"""The home battery as a tunable system: the compiled MPC on the plant, in the weeks before the hold-out boundary.

The plant is seen as the daemon would see it: measured state of charge, published prices, day-ahead net load.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from codegen.controller import Controller
from codegen.solver import compiled_controller
from systems.battery.exogenous import Exogenous
from systems.battery.plant import BatteryPlant, PlantSpec
from systems.problem import Parameter, Problem
from tuner.evaluate.closed_loop import run_week
from tuner.evaluate.periods import Split
from tuner.evaluate.policies import Mpc
from tuner.policy import Array, NetAction, Observation

EVALUATION_SEED = 7
DAY_STEPS_KNOWN = 3
"""Days of the series kept around a held-in week, so that a worker gets what it sees and no more."""


@lru_cache(maxsize=2)
def _controller(library: Path) -> Controller:
    """One solver per process: loading it for every episode would cost more than the episode's first solves."""
    return Controller(library)


class BatteryWorld:
    """The plant at a random step of the training data, with a random state of charge."""

    def __init__(self, plant: BatteryPlant, horizon: int, rng: np.random.Generator) -> None:
        self.plant, self.horizon = plant, horizon
        last = len(plant.exogenous) - plant.episode_steps - 1
        plant.reset(
            seed=int(rng.integers(2**31)),
            options={"step": int(rng.integers(0, max(last, 1))), "soc": float(rng.uniform(0.05, 0.95))},
        )

    def observe(self) -> Observation:
        return Observation(self.plant.measured_state(), self.plant.forecast(self.horizon))

    def step(self, action: Array) -> float:
        """EUR of this step."""
        net = float(action[0])
        return -float(self.plant.step(np.array([max(net, 0.0), max(-net, 0.0)]))[1])


@dataclass(frozen=True, eq=False)
class HomeBatterySystem:
    """Built by `home_battery_system`, which compiles the solver once."""

    problem_discount: float
    horizon: int
    library: Path
    training: Exogenous
    weeks: tuple[int, ...]
    """First steps of the held-in weeks within `training`."""
    parameters: tuple[Parameter, ...]
    physics: PlantSpec = field(default_factory=PlantSpec)
    episode_steps: int = 192
    seed: int = 0
    name: str = "battery"
    discount: float = 0.99
    """Per step of 15 min: the critic looks about a day ahead, as the MPC does."""

    @property
    def model_discount(self) -> float:
        return self.problem_discount

    @property
    def actions(self) -> NetAction:
        return NetAction(self.physics.battery.max_charge_kw, self.physics.battery.max_discharge_kw)

    def controller(self) -> Controller:
        return _controller(self.library)

    rollout_controller = controller

    def training_world(self, rng: np.random.Generator) -> BatteryWorld:
        plant = BatteryPlant(self.physics, self.training, episode_steps=self.episode_steps)
        return BatteryWorld(plant, self.horizon, rng)

    def features(self, observation: Observation, value: float) -> Array:
        """phi(s): the MPC's own V carries the forecast; stored energy and the near future correct it."""
        soc, rows = float(observation.state[0]), observation.forecast
        day = rows[:, 0].mean()
        quarter = len(rows) // 4
        near = rows[:quarter, 0].mean()
        return np.array(
            [
                value if np.isfinite(value) else 0.0,
                soc * day,
                soc**2 * day,
                soc * near,
                rows[0, 0],
                near,
                day,
                rows[0, 2],
                rows[:quarter, 2].mean(),
                rows[:, 2].mean(),
            ]
        )

    def evaluate(self, theta: Array, jobs: int) -> Array:
        """EUR per held-in week (n_weeks,), less the value of what is stored more at the end."""
        calls = [
            delayed(_week_cost)(self.physics, *self._around(week), self.library, theta, self.seed)
            for week in self.weeks
        ]
        return np.array(list(Parallel(n_jobs=jobs)(calls)))

    def _around(self, week: int) -> tuple[Exogenous, int]:
        margin = DAY_STEPS_KNOWN * self.training.steps_per_day
        begin = max(0, week - margin)
        end = min(len(self.training), week + self.training.steps_per_week + margin)
        return self.training.slice(begin, end), week - begin


def _week_cost(physics: PlantSpec, series: Exogenous, start: int, library: Path, theta: Array, seed: int) -> float:
    plant = BatteryPlant(physics, series, episode_steps=series.steps_per_week)
    plant_seed = int(np.random.SeedSequence([seed, EVALUATION_SEED, start]).generate_state(1)[0])
    return run_week(plant, Mpc(_controller(library), theta), start, plant_seed)[0].cost_eur


def home_battery_system(
    problem: Problem,
    split: Split,
    *,
    physics: PlantSpec | None = None,
    held_in_weeks: int = 4,
    episode_steps: int = 192,
    seed: int = 0,
    cache_dir: Path | None = None,
) -> HomeBatterySystem:
    """Compile (or fetch) the solver and choose the held-in weeks from the training part of `split`.

    Held-in weeks are spread evenly; exploring episodes may start anywhere in the training data. Raises PeriodError,
    CodegenError.
    """
    with compiled_controller(problem, cache_dir) as controller:
        library = controller.library_path
    available = len(split.training_weeks())
    return HomeBatterySystem(
        problem_discount=problem.discount,
        horizon=problem.horizon,
        library=library,
        training=split.training_exogenous(),
        weeks=split.training_weeks(min(held_in_weeks, available)),
        parameters=problem.theta,
        physics=physics or PlantSpec(),
        episode_steps=episode_steps,
        seed=seed,
    )
