"""A log as the daemon writes it, of a house's plants under any policy: weeks in seconds, with the truth beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from runtime.store.transitions import Store, Transition
from systems.arx import ArxModel
from systems.block import Forecast
from systems.design import HouseDesign
from systems.house_file import House
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.world import Exogenous
from tuner.loop.policies import RulePolicy
from tuner.loop.view import Moment, ThetaEstimator, View, _arx_of
from tuner.loop.week import LoopPolicy


def columns_of(design: HouseDesign) -> Mapping[str, int]:
    """Of each forecast its first column."""
    forecasts = _forecasts(design.text, tuple(design.fits.items()))
    firsts = np.cumsum([0, *(f.steps for f in forecasts)])[:-1].tolist()
    return {f.name: k for f, k in zip(forecasts, firsts, strict=True)}


@lru_cache(maxsize=8)
def _forecasts(text: str, fits: tuple[tuple[str, str], ...]) -> tuple[Forecast, ...]:
    return HouseDesign(text, dict(fits)).forecasts


@dataclass
class CheapHours:
    """Something else than the rules: the battery is charged in the cheapest hours of a day and emptied in the dearest;
    zones are held at their set-points by hand. Noise explores."""

    design: HouseDesign
    rng: np.random.Generator
    std: float = 0.0
    nominal: Array = field(default_factory=lambda: np.zeros(0))
    """What it decided before it explored."""
    held, forecast_error, plan = True, 1.0, None
    failures, solve_time_s = 0, 0.0

    def begin(self) -> None:
        pass

    def decide(self, moment: Moment) -> Array:
        problem = self.design.problem
        ahead = moment.forecast[:, columns_of(self.design)["buy"]]
        found = np.zeros(problem.na)
        for j, action in enumerate(problem.actions):
            width = action.upper - action.lower
            if action.name.endswith("_discharge"):
                found[j] = 0.4 * width * (ahead[0] >= np.quantile(ahead, 0.8))
            elif action.name.endswith("_charge"):
                found[j] = 0.4 * width * (ahead[0] <= np.quantile(ahead, 0.2))
            elif action.name.endswith("_power"):
                colder = [20.5 - v for n, v in moment.measured.items() if n.endswith("_temperature")]
                found[j] = width * np.clip(0.3 + 0.6 * np.mean(colder), 0.0, 1.0)
        held_still = np.zeros(problem.na, dtype=bool)
        for battery in self.design.house.of("battery"):
            # As a safety filter has it: what is full takes no more, what is empty gives none.
            soc = moment.measured[f"{battery.name}_soc"]
            names = [a.name for a in problem.actions]
            for ending, still in (("charge", soc > 0.85), ("discharge", soc < 0.2)):
                if still:
                    place = names.index(f"{battery.name}_{ending}")
                    found[place], held_still[place] = 0.0, True
        lower, upper = (np.array([getattr(a, end) for a in problem.actions]) for end in ("lower", "upper"))
        self.nominal = np.clip(found, lower, upper)
        explored = found + self.std * (upper - lower) * self.rng.standard_normal(problem.na)
        return np.where(held_still, self.nominal, np.clip(explored, lower, upper))

    def act(self, values: Mapping[str, float]) -> Array:
        raise NotImplementedError


def zones_of(design: HouseDesign, noise_k: float) -> ArxModel:
    """The model that a design has of its zones, as a truth."""
    data = design.estimator({p.name: p.default for p in design.problem.theta})
    groups = [group["estimator"] for group in data.get("groups", [{"estimator": data}])]
    arx = _arx_of(next(group for group in groups if group["type"] == "arx"))
    assert arx is not None
    return replace(arx, innovation_covariance=noise_k**2 * np.eye(arx.ny))


@dataclass(frozen=True)
class Lived:
    """The truth of every model step, and what was true before the first."""

    rows: list[Mapping[str, Any]]
    before: Mapping[str, Any]

    def paid(self, part: str = "") -> float:
        """energy, capacity, or both less what is left in store at the mean price."""
        if part:
            return float(sum(row[f"{part}_cost"] for row in self.rows))
        price = float(np.mean([row["buy"] for row in self.rows]))
        end = self.rows[-1]
        kept = sum(float(end[n]) - float(self.before[n]) for n in end if n.startswith("worth_kwh."))
        return self.paid("energy") + self.paid("capacity") - price * kept


class AtOnce(RulePolicy):
    """The rules as an inverter keeps them: by the load of the moment, not by what the meter showed a step ago."""

    def act(self, values: Mapping[str, float]) -> Array:
        return super().act({name: value for name, value in values.items() if name != "grid_power"})


def live(
    design: HouseDesign,
    world: Exogenous,
    policy: LoopPolicy,
    *,
    days: float,
    first: int = 0,
    seed: int = 0,
    log: Path | None = None,
    house: House | None = None,
    bundle: str = "b" * 64,
    noise_k: float | None = None,
) -> Lived:
    """The plants of `house` (by default those of the design) live `days` under the policy; `log` is what its daemon
    writes. Two policies with the same seed meet the same people. noise_k: the zones are those of the design's own
    model, with innovations of this standard deviation, in the place of walls and people."""
    grid, problem = design.house.grid, design.problem
    truth = {} if noise_k is None else {"zone": zones_of(design, noise_k)}
    plant = HousePlant(house or design.house, world, fits=truth)
    stages = round(days * 86_400.0 / grid.hold_s)
    actions = [a.name for a in problem.actions]
    order = [actions.index(a.name) for a in plant.actions]
    store = None
    if log is not None:
        store = Store(log, max_transitions=10**9)
        store._db.execute("PRAGMA synchronous = OFF")
    estimator = ThetaEstimator(design, problem.theta_default())
    view = View(design, plant)
    plant.reset(seed=seed, options={"first": first, "steps": stages * grid.steps})
    view.begin()
    policy.begin()
    rows, begins = [], plant.truth()
    for _ in range(stages):
        made_s = plant.time_s
        if policy.held:
            action = policy.decide(view.moment())
        for _ in range(grid.steps):
            if not policy.held:
                action = policy.act(view.values())
            if store is not None:
                nominal = getattr(policy, "nominal", action)
                store.append(_row(design, view, plant, estimator, made_s, action, nominal, bundle), None, (0.0,) * 3)
            _, _, _, _, info = plant.step(action[order])
            view.after(action[order], info)
            rows.append(info)
    if store is not None:
        store.close()
    return Lived(rows, begins)


def _row(
    design: HouseDesign, view: View, plant: HousePlant, estimator: ThetaEstimator, made_s: float, action: Array,
    nominal: Array, bundle: str,
) -> Transition:  # fmt: skip
    problem, moment, time_s = design.problem, view.moment(), plant.time_s
    seen = {name: float(moment.forecast[0, k]) for name, k in columns_of(design).items()}
    values = {**view.values(), **seen}
    names = [a.name for a in problem.actions]
    inputs = {n: {"value": round(float(v), 6), "validity": "ok"} for n, v in values.items()}
    return Transition(
        time_s=time_s,
        level="mpc",
        reason="",
        bundle=bundle,
        state={s.name: float(v) for s, v in zip(problem.states, estimator.state(moment), strict=True)},
        action=dict(zip(names, action.tolist(), strict=True)),
        nominal=dict(zip(names, np.asarray(nominal).tolist(), strict=True)),
        forecast=tuple(tuple(line) for line in moment.forecast.tolist()),
        details={
            "inputs": inputs,
            "filter": {"changed": False},
            "decision": {"held": time_s > made_s, "made_s": made_s},
        },
    )
