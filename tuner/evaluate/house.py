"""Policies for the house compared in the physical plant, on paired weeks that neither model nor tuning has seen.

Every policy meets the same weather, prices, people and sensor noise. A week begins after an uncounted day, and heat
left in the house is priced, so that a policy that ends cold has not saved it: kWh gained / COP * mean price.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codegen.condensed.solver import SOLVED, CondensedMpc, States, solve
from systems.house.plant import PhysicalHouse
from systems.house.rules import HeatingCurve, Rule, Thermostat
from systems.house.theta import HouseMpc
from systems.house.weather import Conditions
from tuner.evaluate.statistics import Interval, mean_interval
from tuner.house.data import STEPS_PER_DAY, window_starts

Array = NDArray[np.float64]
THERMOSTAT, CURVE, FITTED, TUNED, PERFECT = "thermostat", "heating_curve", "data_fitted", "tuned", "perfect_forecast"
WARM_UP_DAYS = 1
SEASONAL_COP = 3.3
"""For pricing the heat left in the house at the end of a week."""


class HousePolicy(Protocol):
    """Decides every five minutes from what the plant shows; made anew for every week."""

    def act(self, plant: PhysicalHouse, temperature_c: Array) -> Array:
        """(4,) powers, kW."""
        ...


@dataclass
class RulePolicy:
    """A rule of `systems.house.rules`."""

    rule: Rule

    def act(self, plant: PhysicalHouse, temperature_c: Array) -> Array:
        return self.rule.act(temperature_c, float(plant.conditions.outdoor_c[plant.k]))


@dataclass
class MpcPolicy:
    """The condensed MPC, solved every so many steps on the last hour's measurements; its plan is applied in between.

    A failed solve leaves the last plan in force and is counted.
    """

    mpc: CondensedMpc
    every: int | None = None
    """Steps between solves; None: those of the problem. The daemon solves in every cycle of five minutes."""
    perfect: bool = False
    """Sees outdoor temperature and prices as they will be; sun and people stay unknown."""
    failures: int = 0
    _plan: Array | None = field(default=None, repr=False)
    _age: int = 0

    def act(self, plant: PhysicalHouse, temperature_c: Array) -> Array:
        spec = self.mpc.spec
        if self._plan is None or self._age >= (self.every or spec.apply):
            horizon = spec.horizon
            forecast = plant.true_forecast(horizon) if self.perfect else plant.forecast(horizon)
            y, u = plant.history()
            found = solve(self.mpc, States(y[None], u[None], forecast[None, :horizon, 0], forecast[None, :horizon, 1]))
            if found.status[0] == SOLVED:
                starts = np.array(spec.moves)
                move_of_step = np.searchsorted(starts, np.arange(horizon), side="right") - 1
                self._plan, self._age = found.moves[0][move_of_step], 0
            else:
                self.failures += 1
            if self._plan is None:
                return np.zeros(plant.rooms)
        power = self._plan[min(self._age, len(self._plan) - 1)]
        self._age += 1
        return power


@dataclass(frozen=True, eq=False)
class WeekResult:
    """One policy in one week."""

    bill_eur: float
    stored_eur: float
    """Worth of the heat that the house holds more at the end than at the begin."""
    comfort_eur: float
    """Distance from the set-point and from the band, at the weights of the MPC."""
    outside_kh: Array
    """(rooms,) K h outside the comfort band"""
    worst_k: float
    """Largest distance from the band, K"""
    temperature_c: Array
    """(T, rooms)"""
    power_kw: Array
    """(T, rooms)"""
    failures: int

    @property
    def cost_eur(self) -> float:
        """Electricity, corrected for the heat left in the house."""
        return self.bill_eur - self.stored_eur

    @property
    def total_eur(self) -> float:
        return self.cost_eur + self.comfort_eur


@dataclass(frozen=True, eq=False)
class HouseEvaluation:
    """All policies on all weeks: results[name][week]."""

    results: dict[str, list[WeekResult]]
    starts: tuple[int, ...]
    """First counted sample of each week in `conditions`."""
    conditions: Conditions
    spec: HouseMpc

    def interval(self, name: str, of: Callable[[WeekResult], float]) -> Interval:
        return mean_interval(np.array([of(week) for week in self.results[name]]))

    def saving_percent(self, name: str, against: str) -> Interval:
        """Paired improvement of the total cost, % of the mean of `against`."""
        a = np.array([week.total_eur for week in self.results[against]])
        b = np.array([week.total_eur for week in self.results[name]])
        return mean_interval(100.0 * (a - b) / a.mean())

    @property
    def verdict(self) -> str:
        """What to do with the tuned theta."""
        if TUNED not in self.results:
            return "No tuned theta was given; this is what the data-fitted MPC is worth."
        saving = self.saving_percent(TUNED, FITTED)
        span = f"{saving.mean:+.1f} % (95 % interval {saving.low:+.1f} to {saving.high:+.1f} %, {saving.n} weeks)"
        if saving.low > 0.0:
            return f"The tuned MPC costs less than the data-fitted one: {span}."
        if saving.high < 0.0:
            return f"The tuned MPC costs more: {span}; keep the old theta."
        return f"No improvement that these weeks can show: {span}; keep the old theta."

    def document(self) -> dict[str, Any]:
        """For `--json`."""

        def numbers(i: Interval) -> dict[str, float]:
            return {"mean": i.mean, "low": i.low, "high": i.high}

        policies = {
            name: {
                "cost_eur_per_week": numbers(self.interval(name, lambda w: w.cost_eur)),
                "comfort_eur_per_week": numbers(self.interval(name, lambda w: w.comfort_eur)),
                "total_eur_per_week": numbers(self.interval(name, lambda w: w.total_eur)),
                "outside_band_kh_per_week": np.mean([w.outside_kh for w in weeks], axis=0).tolist(),
                "worst_excursion_k": max(w.worst_k for w in weeks),
                "energy_kwh_per_week": float(np.mean([w.power_kw.sum() / 12.0 for w in weeks])),
                "travel_kw_per_week": float(np.mean([np.abs(np.diff(w.power_kw, axis=0)).sum() for w in weeks])),
                "failed_solves": sum(w.failures for w in weeks),
                # What the intervals are made of.
                "total_eur_of_each_week": [w.total_eur for w in weeks],
            }
            for name, weeks in self.results.items()
        }
        document: dict[str, Any] = {
            "system": "house",
            "plant": "physical",
            "policies": policies,
            "weeks": len(self.starts),
        }
        document["saving_over_thermostat_percent"] = {
            name: numbers(self.saving_percent(name, THERMOSTAT)) for name in self.results if name != THERMOSTAT
        }
        document["beta_eur_per_k2_h"] = self.spec.cost.beta
        if TUNED in self.results:
            saving = self.saving_percent(TUNED, FITTED)
            document["improvement_of_tuned_over_data_fitted"] = {
                "mean_percent": saving.mean,
                "low_percent": saving.low,
                "high_percent": saving.high,
            }
        document["verdict"] = self.verdict
        return document


def spread_weeks(conditions: Conditions, weeks: int, horizon: int) -> tuple[int, ...]:
    """First counted samples of weeks spread evenly over the heating months, each with its warm-up day before it.

    Raises ValueError when the season does not hold so many without overlap.
    """
    days = 7 + WARM_UP_DAYS
    starts = window_starts(conditions, days, horizon)
    if len(starts) < 1 + (weeks - 1) * days:
        possible = 0 if len(starts) == 0 else 1 + (len(starts) - 1) // days
        raise ValueError(f"{weeks} weeks asked of a season that holds {possible}; ask for fewer or give more data")
    chosen = starts[np.linspace(0, len(starts) - 1, weeks).round().astype(int)]
    return tuple(int(s) + WARM_UP_DAYS * STEPS_PER_DAY for s in chosen)


def run_week(plant: PhysicalHouse, policy: HousePolicy, *, start: int, seed: int) -> WeekResult:
    """A warm-up day and seven counted ones; `plant` has episodes of eight days."""
    warm_up = WARM_UP_DAYS * STEPS_PER_DAY
    y, _ = plant.reset(seed=seed, options={"first": start - warm_up})
    capacity = np.array([*plant.house.air_kwh_per_k, *plant.house.mass_kwh_per_k])
    for _ in range(warm_up):
        y, *_ = plant.step(policy.act(plant, y))
    nodes, price = plant.nodes_c.copy(), plant.conditions.price_eur_kwh[start : start + 7 * STEPS_PER_DAY]
    temperature, power, bill = [], [], 0.0
    for _ in range(7 * STEPS_PER_DAY):
        y, _, _, _, info = plant.step(policy.act(plant, y))
        temperature.append(info["temperature_c"])
        power.append(info["power_kw"])
        bill += info["cost_eur"]
    t = np.array(temperature)
    outside = plant.cost.outside_band_k(t)
    hours = plant.dt_s / 3600.0
    return WeekResult(
        bill_eur=bill,
        stored_eur=float(capacity @ (plant.nodes_c - nodes)) / SEASONAL_COP * float(price.mean()),
        comfort_eur=float(plant.cost.comfort_rate(t).sum()) * hours,
        outside_kh=outside.sum(0) * hours,
        worst_k=float(outside.max()),
        temperature_c=t,
        power_kw=np.array(power),
        failures=getattr(policy, "failures", 0),
    )


def policies(
    spec: HouseMpc, fitted: Array, tuned: Array | None = None, *, every: int | None = None
) -> dict[str, Callable[[], HousePolicy]]:
    """Makers of all policies by name; fitted and tuned are theta vectors of `systems.house.theta`.

    The MPCs decide anew after `every` steps.
    """
    fitted_mpc = CondensedMpc(spec, fitted)
    makers: dict[str, Callable[[], HousePolicy]] = {
        THERMOSTAT: lambda: RulePolicy(Thermostat(setpoint_c=spec.cost.setpoint_c)),
        CURVE: lambda: RulePolicy(HeatingCurve(setpoint_c=spec.cost.setpoint_c)),
        FITTED: lambda: MpcPolicy(fitted_mpc, every),
    }
    if tuned is not None:
        tuned_mpc = CondensedMpc(spec, tuned)
        makers[TUNED] = lambda: MpcPolicy(tuned_mpc, every)
    makers[PERFECT] = lambda: MpcPolicy(fitted_mpc, every, perfect=True)
    return makers


def evaluate_house(
    conditions: Conditions,
    spec: HouseMpc,
    makers: dict[str, Callable[[], HousePolicy]],
    starts: Sequence[int],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> HouseEvaluation:
    """Run all policies on all weeks; week w has one seed for all of them."""
    plant = PhysicalHouse(conditions, cost=spec.cost, steps=(7 + WARM_UP_DAYS) * STEPS_PER_DAY)
    results: dict[str, list[WeekResult]] = {name: [] for name in makers}
    for w, start in enumerate(starts):
        week_seed = int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
        for done, (name, make) in enumerate(makers.items()):
            results[name].append(run_week(plant, make(), start=start, seed=week_seed))
            if progress is not None:
                progress(w * len(makers) + done + 1, len(starts) * len(makers))
    return HouseEvaluation(results, tuple(starts), conditions, spec)
