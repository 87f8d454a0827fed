"""The pure decisions of a cycle: ladder, gate, plan, safety filter, rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from tiny_site import tiny_manifest

from runtime.bundle.manifest import ActionLimit, SignalSpec
from runtime.bundle.safety_set import SafetySet, StateLimit
from runtime.decide.gate import LastAction, limit, refusal, remember
from runtime.decide.ladder import Ladder, Level, step
from runtime.decide.plan import Plan, PlanStep, shifted
from runtime.decide.rules import Rulebook, RuleUnavailableError
from runtime.decide.rules_data import HoldRule, Rule, SelfConsumptionRule, ThermostatRule, ThermostatsRule
from runtime.decide.safety import Filtered, safety_filter
from runtime.decide.solver_process import Solved

PROBLEMS = st.dictionaries(st.sampled_from([Level.MPC, Level.SHIFTED_PLAN, Level.RULE]), st.just("broken"))


@settings(deadline=None)
@given(st.lists(st.tuples(PROBLEMS, st.floats(0.1, 40.0)), min_size=1, max_size=40), st.floats(0, 100))
def test_ladder_falls_at_once_and_rises_only_after_dwell(
    steps: list[tuple[dict[Level, str], float]], dwell: float
) -> None:
    ladder, now = Ladder(), 0.0
    unbroken: dict[Level, float] = {}
    for problems, pause in steps:
        now += pause
        before, ladder = ladder, step(ladder, problems, now, dwell)
        available = [level for level in Level if level not in problems]
        unbroken = {level: unbroken.get(level, now) for level in available}
        assert ladder.level in available
        if not before.started:
            assert ladder.level is available[0]
        elif ladder.level < before.level:
            assert now - unbroken[ladder.level] >= dwell
        else:
            # never lower than it must be
            assert ladder.level == min(level for level in available if level >= before.level)
        assert (ladder.reason == "") == (ladder.level is Level.MPC)


def test_ladder_does_not_flap_with_a_signal_that_comes_and_goes() -> None:
    ladder, changes = step(Ladder(), {}, 0.0, 60.0), 0
    for k in range(1, 200):
        before, ladder = ladder, step(ladder, {Level.MPC: "stale"} if k % 3 else {}, 10.0 * k, 60.0)
        changes += ladder.level is not before.level
    assert changes == 1 and ladder.level is Level.SHIFTED_PLAN


SOLVED = Solved(0, 5, 1e-9, 1.0, 1e-3, (0.5,), ((0.3,),) * 5, ((0.5,),) * 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"status": 1}, "iteration limit"),
        ({"status": 77}, "unknown status"),
        ({"residual": 1e-3}, "residual"),
        ({"residual": float("nan")}, "not finite"),
        ({"value": float("inf")}, "not finite"),
        ({"action": (float("nan"),)}, "not finite"),
        ({"plan_a": ((0.5,), (float("nan"),), (0.5,), (0.5,))}, "not finite"),
        ({"plan_x": ((0.3,),) * 4 + ((float("-inf"),),)}, "not finite"),
        ({"action": (1.0 + 1e-9,)}, ""),
        ({"action": (1.01,)}, "inflow = 1.01 outside"),
    ],
)
def test_gate_refuses_what_must_not_be_actuated(changes: dict[str, Any], words: str) -> None:
    found = refusal(replace(SOLVED, **changes), tiny_manifest())
    assert words in found and bool(found) == bool(words)


def test_ramp_and_dwell() -> None:
    manifest = tiny_manifest(limits=(ActionLimit(name="inflow", ramp_per_s=0.01, dwell_s=120),))
    last = LastAction((0.0,), 0.0, (-1000.0,))
    ramped = limit((0.9,), last, manifest, 60.0)
    assert ramped.action == (0.6,) and ramped.limits == ("inflow: ramp",)
    last = remember(ramped.action, last, 60.0)
    held = limit((0.3,), last, manifest, 120.0)
    assert held.action == (0.6,) and held.limits == ("inflow: dwell",)
    last = remember(held.action, last, 120.0)
    assert limit((0.3,), last, manifest, 180.0).action == (0.3,)
    assert limit((7.0,), None, manifest, 0.0).action == (1.0,)


def test_shifted_plan_moves_on_and_ends() -> None:
    plan = Plan(1000.0, 0.0, 60.0, ((0.0,), (1.0,), (2.0,), (3.0,)), ((10.0,), (11.0,), (12.0,)))
    assert shifted(plan, 1090.0, 90.0, 1e9) == PlanStep((11.0,), (1.5,))
    assert shifted(plan, 1120.0, 120.0, 1e9) == PlanStep((12.0,), (2.0,))
    assert shifted(plan, 1180.0, 180.0, 1e9) == "last plan is used up"
    assert shifted(plan, 1120.0, 120.0, 100.0) == "last plan is 120 s old"
    # A plan of yesterday after the clock was set, or of tomorrow.
    for jump in (86400.0, -86400.0):
        assert shifted(plan, 1060.0 + jump, 60.0, 1e9) == "the clock jumped since the last plan"
    assert shifted(None, 0.0, 0.0, 1e9) == "no plan yet"


def random_case(rng: np.random.Generator) -> tuple[Any, tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    nx, na, nd = int(rng.integers(1, 4)), int(rng.integers(1, 5)), int(rng.integers(0, 3))
    names = [f"x{i}" for i in range(nx)]
    safety = SafetySet(
        gamma=float(rng.uniform(0, 0.9)),
        limits=tuple(
            StateLimit(name=n, lower=-1.0, upper=1.0, disturbance=(-0.1, float(rng.uniform(0, 0.2)))) for n in names
        ),
        state_matrix=tuple(map(tuple, rng.normal(size=(nx, nx)) * 0.3 + 0.6 * np.eye(nx))),
        action_matrix=tuple(map(tuple, rng.normal(size=(nx, na)))),
        forecast_matrix=tuple(map(tuple, rng.normal(size=(nx, nd)) * 0.3)) if nd else (),
        offset=tuple(rng.normal(size=nx) * 0.1),
    )
    manifest = tiny_manifest(
        states=tuple(SignalSpec(name=n, unit="1", lower=-5, upper=5) for n in names),
        actions=tuple(SignalSpec(name=f"a{i}", unit="1", lower=-1, upper=1) for i in range(na)),
        forecasts=tuple(SignalSpec(name=f"d{i}", unit="1", lower=-1, upper=1) for i in range(nd)),
        limits=(),
        safety=safety,
    )
    state, forecast = rng.uniform(-1.1, 1.1, nx), rng.uniform(-1, 1, nd)
    return manifest, tuple(rng.uniform(-1, 1, na)), tuple(state), tuple(forecast)


def barrier_values(manifest: Any, action: Any, state: Any, forecast: Any) -> np.ndarray:
    """C(F(s, a, w)) - gamma C(s), worst over the corners of W, written out from the definition."""
    s = manifest.safety
    following = np.array(s.state_matrix) @ state + np.array(s.action_matrix) @ action + np.array(s.offset)
    if s.forecast_matrix:
        following = following + np.array(s.forecast_matrix) @ np.array(forecast)
    worst = []
    for i, bound in enumerate(s.limits):
        for w in bound.disturbance:
            worst.append((following[i] + w - bound.upper) - s.gamma * (state[i] - bound.upper))
            worst.append((bound.lower - following[i] - w) - s.gamma * (bound.lower - state[i]))
    return np.array(worst)


def least_violation(manifest: Any, state: Any, forecast: Any) -> float:
    """min over a in the box of the largest barrier value, by linear programming."""
    na = len(manifest.actions)
    at_zero = barrier_values(manifest, np.zeros(na), state, forecast)
    slopes = np.array([barrier_values(manifest, axis, state, forecast) - at_zero for axis in np.eye(na)]).T
    rows = np.hstack([slopes, -np.ones((len(at_zero), 1))])
    bounds = [(a.lower, a.upper) for a in manifest.actions] + [(None, None)]
    return float(linprog(np.eye(na + 1)[na], A_ub=rows, b_ub=-at_zero, bounds=bounds).fun)


def test_safety_filter_is_the_nearest_safe_action() -> None:
    """Against SLSQP on the definition, 300 random problems of 1 to 4 actions and 1 to 3 limited states."""
    rng = np.random.default_rng(0)
    moved = infeasible = 0
    for _ in range(300):
        manifest, nominal, state, forecast = random_case(rng)
        filtered = safety_filter(nominal, state, forecast, manifest)
        box = [(a.lower, a.upper) for a in manifest.actions]
        assert all(lo <= v <= up for v, (lo, up) in zip(filtered.action, box, strict=True))
        if not filtered.feasible:
            infeasible += 1
            assert least_violation(manifest, state, forecast) > 0.0
            continue
        assert barrier_values(manifest, filtered.action, state, forecast).max() <= 1e-7
        reference = minimize(
            lambda a, n=nominal: np.sum((a - np.array(n)) ** 2),
            np.zeros(len(nominal)),
            jac=lambda a, n=nominal: 2 * (a - np.array(n)),
            bounds=box,
            constraints={
                "type": "ineq",
                "fun": lambda a, m=manifest, s=state, f=forecast: -barrier_values(m, a, np.array(s), f),
            },
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 300},
        )
        if reference.success:
            assert filtered.action == pytest.approx(tuple(reference.x), abs=1e-4)
        assert filtered.changed == (filtered.action != nominal)
        moved += filtered.changed
    assert moved > 50 and 10 < infeasible < 200


def test_where_no_action_is_safe_the_filter_comes_as_near_as_it_can() -> None:
    """Far below the limit: everything there is, upwards."""
    filtered = safety_filter((-1.0,), (-3.0,), (0.0,), tiny_manifest())
    assert filtered.action == (1.0,) and not filtered.feasible and filtered.limits == ("level lower",)


def test_a_store_outside_its_limits_is_left_to_rest() -> None:
    """An empty battery is not made to buy at any price, a full one not to sell; neither goes further out."""
    safety = SafetySet(
        limits=(StateLimit(name="soc", lower=0.025, upper=0.975, disturbance=(-0.018, 0.018)),),
        state_matrix=((1.0,),),
        action_matrix=((0.024, -0.026),),
    )
    manifest = tiny_manifest(
        states=(SignalSpec(name="soc", unit="1", lower=0, upper=1),),
        actions=tuple(SignalSpec(name=n, unit="kW", lower=0, upper=5) for n in ("charge", "discharge")),
        limits=(),
        safety=safety,
    )
    for soc in (0.0, 0.02, 0.03, 0.042):
        assert safety_filter((0.0, 0.0), (soc,), (0.0,), manifest) == Filtered((0.0, 0.0))
        assert safety_filter((2.0, 0.0), (soc,), (0.0,), manifest).action == (2.0, 0.0)
        stopped = safety_filter((0.0, 3.0), (soc,), (0.0,), manifest)
        assert stopped.limits == ("soc lower",) and stopped.feasible
        assert stopped.action == pytest.approx((0.0, 0.0), abs=1e-6)  # and no charging against it
    for soc in (0.96, 0.98, 1.0):
        assert not safety_filter((0.0, 0.0), (soc,), (0.0,), manifest).changed
        assert safety_filter((3.0, 0.0), (soc,), (0.0,), manifest).limits == ("soc upper",)


def test_safety_filter_leaves_safe_actions_alone_and_says_what_it_did() -> None:
    manifest = tiny_manifest()
    assert not safety_filter((0.3,), (0.5,), (0.0,), manifest).changed
    # 0.5 + a - 0 + 0.01 <= 0.95
    filtered = safety_filter((0.9,), (0.5,), (0.0,), manifest)
    assert filtered.action == (pytest.approx(0.44),) and filtered.limits == ("level upper",) and filtered.feasible


def rule_action(
    rule: Rule | ThermostatsRule, values: dict[str, float], last: tuple[float, ...] | None, manifest: Any
) -> tuple[float, ...]:
    rules = rule.each() if isinstance(rule, ThermostatsRule) else (rule,)
    return Rulebook(rules, {a.name: (a.lower, a.upper) for a in manifest.actions}).act(values, last=last).action


def test_rules() -> None:
    manifest = tiny_manifest(
        actions=tuple(SignalSpec(name=n, unit="kW", lower=0, upper=2) for n in ("charge", "discharge")),
        limits=(), safety=None,
    )  # fmt: skip
    rule = SelfConsumptionRule(kind="self_consumption")
    assert rule_action(rule, {"net_load": -1.5}, None, manifest) == (1.5, 0.0)
    assert rule_action(rule, {"net_load": 9.0}, None, manifest) == (0.0, 2.0)
    with pytest.raises(RuleUnavailableError, match="net_load"):
        rule_action(rule, {}, None, manifest)
    metered = SelfConsumptionRule(kind="self_consumption", meter="meter")
    assert rule_action(metered, {"meter": 1.0, "net_load": -1.5}, None, manifest) == (0.0, 1.0)
    assert rule_action(metered, {"meter": 1.0}, None, manifest) == (0.0, 1.0)
    assert rule_action(metered, {"net_load": -1.5}, None, manifest) == (1.5, 0.0)
    at_grid = metered.model_copy(update={"meter_at": "grid"})
    # The meter shows nothing bought while the battery covers 1.5 kW: it goes on.
    assert rule_action(at_grid, {"meter": 0.0, "net_load": 9.0}, (0.0, 1.5), manifest) == (0.0, 1.5)
    assert rule_action(at_grid, {"meter": -1.0}, (0.5, 0.0), manifest) == (1.5, 0.0)
    assert rule_action(at_grid, {"meter": -1.0}, None, manifest) == (1.0, 0.0)
    limited = SelfConsumptionRule(kind="self_consumption", soc="soc", soc_min=0.05, soc_max=0.95)
    for soc, found in ((0.05, (0.0, 0.0)), (0.06, (0.0, 1.0))):
        assert rule_action(limited, {"net_load": 1.0, "soc": soc}, None, manifest) == found
    assert rule_action(limited, {"net_load": -1.0, "soc": 0.95}, None, manifest) == (0.0, 0.0)
    assert rule_action(limited, {"net_load": -1.0}, None, manifest) == (1.0, 0.0)
    assert rule_action(HoldRule(values={"charge": 5.0}), {}, None, manifest) == (2.0, 0.0)
    heat = ThermostatRule(kind="thermostat", action="inflow", measurement="level", set_point=0.5, band=0.2, on=0.9)
    tank = tiny_manifest()
    assert rule_action(heat, {"level": 0.3}, None, tank) == (0.9,)
    assert rule_action(heat, {"level": 0.5}, (0.9,), tank) == (0.9,)
    assert rule_action(heat, {"level": 0.5}, (0.0,), tank) == (0.0,)
    assert rule_action(heat, {"level": 0.7}, (0.9,), tank) == (0.0,)


def test_every_room_has_its_own_thermostat_and_an_unheard_room_is_heated_as_the_others() -> None:
    manifest = tiny_manifest(
        actions=tuple(SignalSpec(name=n, unit="kW", lower=0, upper=1.5) for n in ("one", "two", "three")),
        limits=(), safety=None,
    )  # fmt: skip
    zones = {"one": "room_1", "two": "room_2", "three": "room_3"}
    rule = ThermostatsRule(kind="thermostats", zones=zones, set_point=21.0, band=1.0, on=1.0)
    rooms = {"room_1": 20.0, "room_2": 21.2, "room_3": 22.0}
    assert rule_action(rule, rooms, (0.0, 0.7, 0.7), manifest) == (1.0, 0.7, 0.0)
    assert rule_action(rule, {"room_1": 20.0}, (0.0, 0.0, 0.0), manifest) == (1.0, 1.0, 1.0)
    assert rule_action(rule, {"room_1": 20.0, "room_3": 22.0}, (0.0, 1.0, 0.0), manifest) == (1.0, 0.5, 0.0)
    with pytest.raises(RuleUnavailableError, match="one of room_1, room_2, room_3"):
        rule_action(rule, {}, None, manifest)
