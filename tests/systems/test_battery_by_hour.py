"""What a battery's theta says by the hour of the day, against the same written out with a periodic interpolation."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
from numpy.typing import NDArray

from systems.compose import compose
from systems.house_file import SHIPPED, parse_house
from systems.problem import Problem

PLAIN = (SHIPPED / "battery.toml").read_text()
CAPACITY = 10.0
KNOTTED = PLAIN.replace(f"capacity_kwh = {CAPACITY:g}", f"capacity_kwh = {CAPACITY:g}\nknots = 4")
Array = NDArray[np.float64]


def call(problem: Problem, function: str, theta: dict[str, float], soc: float, hour: float) -> Array:
    """At buy 0.4, sell 0.1, load 1, nothing done; z: mean, usual and largest price, and the measured charge."""
    given = {"buy": 0.4, "sell": 0.1, "load": 1.0, "hour_of_day": hour}
    d = [given.get(f.name, 0.0) for f in problem.forecasts]
    x = [soc if s.name.endswith("_soc") else 0.0 for s in problem.states]
    u = [1.0 if a.name == "grid_import" else 0.0 for a in (*problem.actions, *problem.auxiliaries)]
    p = [theta.get(q.name, q.default) for q in problem.theta]
    z = np.array(problem.features(np.tile(d, (problem.horizon + 1, 1)), x)).ravel()  # type: ignore[misc]
    arguments = (x, d, z, p) if "terminal" in function else (x, u, d, z, p)
    return np.array(ca.densify(getattr(problem, function)(*arguments))).ravel()


def penalty(problem: Problem, theta: dict[str, float], soc: float, hour: float) -> float:
    rows = call(problem, "soft", theta, soc, hour)
    return float(np.maximum(-rows, 0.0) @ np.array(problem.soft_penalty.linear))


def test_by_default_it_is_the_program_without() -> None:
    plain, knotted = compose(parse_house(PLAIN)), compose(parse_house(KNOTTED))
    assert [f.name for f in knotted.forecasts if f not in plain.forecasts] == ["hour_of_day"]
    for soc, hour in ((0.01, 0.5), (0.4, 13.5), (0.99, 23.5)):
        for function in ("stage_cost", "terminal_cost", "dynamics"):
            np.testing.assert_allclose(call(knotted, function, {}, soc, hour), call(plain, function, {}, soc, hour))
        assert penalty(knotted, {}, soc, hour) == pytest.approx(penalty(plain, {}, soc, hour) + 0.05 * 0.4 * CAPACITY
            * max(0.0, 0.05 - soc) * knotted.dt_s / 3600.0)  # fmt: skip


@pytest.mark.parametrize("hour", [0.5, 5.5, 6.5, 15.5, 20.5, 23.5])
def test_a_reserve_is_missed_and_a_worth_paid_linearly_between_the_knots(hour: float) -> None:
    problem, at, hours = compose(parse_house(KNOTTED)), (0, 6, 12, 18), compose(parse_house(KNOTTED)).dt_s / 3600.0
    reserve, worth = (0.8, 0.2, 0.4, 0.6), (0.5, -0.5, 0.1, 0.3)
    theta = {f"home_reserve_{h:02d}": r for h, r in zip(at, reserve, strict=True)}
    theta |= {f"home_worth_{h:02d}": w for h, w in zip(at, worth, strict=True)}
    theta["home_reserve_price"] = 0.1
    soc = 0.3
    kept, more = (float(np.interp(hour, at, values, period=24.0)) for values in (reserve, worth))
    missing = CAPACITY * max(0.0, 0.05 + 0.9 * kept - soc)
    least = penalty(problem, {}, soc, hour)
    assert penalty(problem, theta, soc, hour) - least == pytest.approx(0.1 * 0.4 * missing * hours)
    added = call(problem, "terminal_cost", theta, soc, hour) - call(problem, "terminal_cost", {}, soc, hour)
    assert float(added[0]) == pytest.approx(-0.4 * CAPACITY * more * soc)
