"""The safety filter of a whole house: many zones, power that is short, heat pumps by the weather, what is not known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import linprog, nnls

from runtime.bundle.manifest import Manifest
from runtime.decide.projection import HalfSpace, nearest
from runtime.decide.safety import Surroundings, safety_filter, shed, unchecked
from systems.design import HouseDesign
from systems.house_file import SHIPPED

Array = np.ndarray[Any, np.dtype[np.float64]]


def random_polyhedron(rng: np.random.Generator, case: int) -> tuple[Array, Array]:
    """Rows of length 1 and a box: some nearly parallel, some opposed, some empty."""
    n, m = int(rng.integers(1, 8)), int(rng.integers(1, 20))
    g = rng.normal(size=(m, n))
    if case % 3 == 0:
        g = g[:1] + 1e-3 * rng.normal(size=(m, n))
    if case % 4 == 0:
        g = np.vstack([g, -g[: m // 2 + 1]])
    g /= np.linalg.norm(g, axis=1)[:, None]
    h = rng.normal(size=len(g)) * rng.choice([0.1, 1.0, 10.0])
    eye = np.eye(n)
    return np.vstack([g, eye, -eye]), np.concatenate([h, rng.uniform(0.5, 3, 2 * n)])


def test_the_nearest_point_is_exact_for_any_number_of_rows() -> None:
    """Against the conditions of optimality by non-negative least squares, and emptiness by linear programming."""
    rng = np.random.default_rng(7)
    empty = found = 0
    for case in range(400):
        a, b = random_polyhedron(rng, case)
        origin = rng.normal(size=a.shape[1]) * 2
        x = nearest(origin, [HalfSpace("", tuple(row), float(end)) for row, end in zip(a, b, strict=True)])
        least = linprog(
            np.r_[np.zeros(a.shape[1]), 1.0],
            A_ub=np.c_[a, -np.ones(len(a))],
            b_ub=b,
            bounds=[(None, None)] * (a.shape[1] + 1),
        ).fun
        if x is None:
            empty += 1
            assert least > -1e-9
            continue
        found += 1
        point = np.array(x)
        assert (a @ point - b).max() < 1e-8
        active = a @ point - b > -1e-7
        # origin - x is a sum of active normals with weights that are not negative
        rest = nnls(a[active].T, origin - point)[1] if active.any() else np.linalg.norm(origin - point)
        assert rest < 1e-7
    assert empty > 50 and found > 100


def manifest_of(house: str) -> Manifest:
    design = HouseDesign((SHIPPED / f"{house}.toml").read_text())
    p = design.problem
    theta = {parameter.name: parameter.default for parameter in p.theta}
    signal = lambda s: {k: getattr(s, k) for k in ("name", "unit", "lower", "upper")}  # noqa: E731
    return Manifest.model_validate(
        {
            "format_version": 2, "name": p.name, "system": p.name, "dt_s": p.dt_s, "horizon": p.horizon,
            "discount": p.discount, "decide_every_s": p.decide_every_s, "theta": [signal(t) for t in p.theta],
            "states": [signal(s) for s in p.states], "actions": [signal(a) for a in p.actions],
            "forecasts": [{**signal(f), "steps": f.steps} for f in design.forecasts],
            "safety": design.safety(theta), "estimator": design.estimator(theta),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def villa() -> Manifest:
    return manifest_of("villa")


def state_of(manifest: Manifest, **known: float) -> tuple[float, ...]:
    usual = {"home_soc": 0.5, "water_temperature": 50.0, "month_peak": 3.0}
    usual |= {s.name: 20.0 for s in manifest.states if s.name.endswith("_temperature") and s.name not in usual}
    return tuple({**usual, **known}.get(s.name, 0.0) for s in manifest.states)


def weather(manifest: Manifest, **known: float) -> tuple[float, ...]:
    return tuple(known.get(f.name, 0.0) for f in manifest.forecasts for _ in range(f.steps))


def actions_of(manifest: Manifest, values: tuple[float, ...]) -> dict[str, float]:
    return dict(zip((a.name for a in manifest.actions), values, strict=True))


def filtered(manifest: Manifest, state: dict[str, float], wanted: dict[str, float], **values: float) -> Any:
    nominal = tuple(wanted.get(a.name, 0.0) for a in manifest.actions)
    found = safety_filter(
        nominal, state_of(manifest, **state), weather(manifest, **values), manifest, Surroundings(values)
    )
    return found, actions_of(manifest, found.action)


def test_a_house_in_its_band_is_left_alone(villa: Manifest) -> None:
    wanted = {"hp_power": 1.5, "hp_water_power": 1.0, "home_charge": 2.0}
    found, _ = filtered(villa, {}, wanted, outdoor=-5.0, load=1.0, pv=0.0)
    assert not found.changed and found.feasible


def test_zone_and_tank_are_kept_from_frost_by_one_compressor(villa: Manifest) -> None:
    """In the cold the same heat takes more power; what is asked of the compressor stays within what it can do."""
    needed = {}
    for outdoor in (-15.0, 7.0):
        state = {"ground_temperature": 8.5, "ground_past_2": 0.0}
        found, actions = filtered(villa, state, {"home_charge": 1.0}, outdoor=outdoor, load=0.5, pv=0.0)
        assert found.limits == ("ground_temperature lower",) and actions["home_charge"] == pytest.approx(1.0)
        safety = villa.safety
        assert safety is not None
        index = [s.name for s in villa.states].index("ground_temperature")
        names = [a.name for a in villa.actions]
        row = weather(villa, outdoor=outdoor)
        gain = villa.action_gains(row)[names.index("hp_power")]
        after = (
            np.array(safety.state_matrix[index]) @ np.array(state_of(villa, **state))
            + safety.action_matrix[index][names.index("hp_power")] * gain * actions["hp_power"]
            + np.array(safety.forecast_matrix[index]) @ np.array(row)
            + safety.offset[index]
        )
        needed[outdoor] = actions["hp_power"]
        # Exactly at the limit after a step with the worst disturbance, or all the power there is.
        assert after == pytest.approx(8.5, abs=1e-6) or actions["hp_power"] == pytest.approx(3.5)
    assert needed[-15.0] > needed[7.0] > 0.0
    found, actions = filtered(
        villa, {"ground_temperature": 3.0, "water_temperature": 10.0}, {}, outdoor=-15.0, load=0.0, pv=0.0
    )
    assert not found.feasible
    assert actions["hp_power"] + actions["hp_water_power"] == pytest.approx(3.5, abs=1e-6)


def test_nothing_is_heated_that_is_hot(villa: Manifest) -> None:
    _, actions = filtered(villa, {"water_temperature": 89.0}, {"hp_water_power": 2.0}, outdoor=5.0, load=0.0, pv=0.0)
    assert actions["hp_water_power"] == pytest.approx(0.0, abs=1e-9)
    hot = {f"{zone}_temperature": 30.2 for zone in ("ground", "upper", "studio")}
    _, actions = filtered(villa, hot, {"hp_power": 2.0, "hp_water_power": 1.0}, outdoor=25.0, load=0.0, pv=0.0)
    assert actions["hp_power"] < 0.5 and actions["hp_water_power"] == pytest.approx(1.0, abs=1e-6)


def test_beyond_the_import_limit_less_is_used_and_nothing_started(villa: Manifest) -> None:
    wanted = {"hp_power": 3.0, "home_charge": 5.0}
    found, actions = filtered(villa, {}, wanted, outdoor=5.0, load=14.0, pv=0.0)
    assert found.limits == ("meter_import",) and found.feasible
    assert 14.0 + actions["hp_power"] + actions["home_charge"] == pytest.approx(17.0, abs=1e-6)
    assert actions["home_discharge"] == 0.0
    # Panels that are given up count as drawn, by what they would give now.
    _, actions = filtered(villa, {}, {"roof_curtailment": 1.0, "home_charge": 5.0}, load=14.0, pv=4.0)
    assert 14.0 - 4.0 * (1.0 - actions["roof_curtailment"]) + actions["home_charge"] <= 17.0 + 1e-6
    # A load that is too much by itself leaves nothing to use, and does not stop a discharge.
    found, actions = filtered(villa, {}, {"home_discharge": 1.0, "hp_power": 1.0}, outdoor=5.0, load=25.0, pv=0.0)
    assert not found.feasible and actions["home_discharge"] == pytest.approx(1.0)
    assert actions["hp_power"] == pytest.approx(0.0, abs=1e-6)
    # The fuse goes before the frost.
    found, actions = filtered(villa, {"upper_temperature": 3.0}, {}, outdoor=0.0, load=16.0, pv=0.0)
    assert not found.feasible and actions["hp_power"] == pytest.approx(1.0, abs=1e-4)


def test_beyond_the_export_limit_less_is_given_and_nothing_started(villa: Manifest) -> None:
    def grid_kw(actions: dict[str, float], load: float, pv: float) -> float:
        drawn = load + sum(actions[name] for name in ("home_charge", "hp_power", "hp_water_power"))
        return drawn - actions["home_discharge"] - pv * (1.0 - actions["roof_curtailment"])

    found, actions = filtered(villa, {}, {"home_discharge": 5.0}, outdoor=5.0, load=0.5, pv=7.0)
    assert found.limits == ("meter_export",) and found.feasible
    assert grid_kw(actions, 0.5, 7.0) == pytest.approx(-10.0, abs=1e-6)
    assert actions["home_charge"] == actions["hp_power"] == actions["hp_water_power"] == 0.0
    # Panels alone beyond it are curtailed; a pump that was to run helps, and runs no more than that.
    found, actions = filtered(villa, {}, {"hp_power": 1.0}, outdoor=5.0, load=0.0, pv=12.0)
    assert found.feasible and actions["hp_power"] == pytest.approx(1.0, abs=1e-6)
    assert grid_kw(actions, 0.0, 12.0) == pytest.approx(-10.0, abs=1e-6)
    # A pump that stops within a decision leaves panels that are curtailed further.
    stopped = tuple({"roof_curtailment": 0.0}.get(a.name, 0.0) for a in villa.actions)
    shed_too = shed(
        stopped, [a.name.startswith("hp") for a in villa.actions], villa, Surroundings({"load": 0.0, "pv": 12.0})
    )
    assert grid_kw(actions_of(villa, shed_too.action), 0.0, 12.0) == pytest.approx(-10.0, abs=1e-6)
    # Within it nothing is touched, and what is imported is not limited by it.
    assert not filtered(villa, {}, {"home_discharge": 3.0}, outdoor=5.0, load=0.5, pv=7.0)[0].changed


def test_the_meter_knows_better_than_the_forecast(villa: Manifest) -> None:
    last = tuple({"hp_power": 2.0}.get(a.name, 0.0) for a in villa.actions)
    nominal = tuple({"hp_power": 3.0}.get(a.name, 0.0) for a in villa.actions)
    values = {"load": 0.5, "pv": 0.0, "grid_power": 16.5}
    found = safety_filter(nominal, state_of(villa), weather(villa), villa, Surroundings(values, last))
    # 14.5 kW are drawn by others
    assert actions_of(villa, found.action)["hp_power"] == pytest.approx(2.5, abs=1e-6)
    del values["grid_power"]
    assert not safety_filter(nominal, state_of(villa), weather(villa), villa, Surroundings(values, last)).changed
    assert not safety_filter(nominal, state_of(villa), weather(villa), villa, Surroundings({})).changed


def test_what_is_fixed_is_not_shed(villa: Manifest) -> None:
    action = tuple({"hp_power": 3.0, "home_charge": 4.0}.get(a.name, 0.0) for a in villa.actions)
    fixed = [a.name.startswith("hp") for a in villa.actions]
    found = shed(action, fixed, villa, Surroundings({"load": 12.0, "pv": 0.0}))
    assert actions_of(villa, found.action) == pytest.approx(
        {"home_charge": 2.0, "home_discharge": 0.0, "hp_power": 3.0, "hp_water_power": 0.0, "roof_curtailment": 0.0}
    )


def test_a_battery_in_a_house_rests_as_it_does_alone(villa: Manifest) -> None:
    """Its limit asks for no charging against a discharge, whatever else is limited."""
    found, actions = filtered(villa, {"home_soc": 0.01}, {"home_discharge": 3.0}, load=1.0, pv=0.0)
    assert found.limits == ("home_soc lower",)
    assert actions["home_discharge"] == pytest.approx(0.0, abs=1e-9) and actions["home_charge"] == 0.0


def test_a_limit_on_what_is_not_known_is_named_by_its_actions(villa: Manifest) -> None:
    assert unchecked(villa, state_of(villa)) == frozenset()
    assert unchecked(villa, state_of(villa, water_temperature=math.nan)) == {"hp_water_power"}
    assert unchecked(villa, state_of(villa, home_soc=math.nan)) == {"home_charge", "home_discharge"}
    assert unchecked(villa, state_of(villa, month_peak=math.nan)) == frozenset()
    # The others are kept as ever.
    state = {"water_temperature": math.nan, "ground_temperature": 8.4}
    _, actions = filtered(villa, state, {"hp_water_power": 0.4}, outdoor=0.0, load=0.0, pv=0.0)
    assert actions["hp_power"] > 0.2 and actions["hp_water_power"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"power": [{"name": "p", "upper": 1.0, "actions": [{"signal": "fan", "factor": 1.0}]}]}, "no action"),
        ({"power": [{"name": "p", "upper": 1.0, "actions": []}]}, "at least 1 item"),
        ({"action_gains": [{"action": "hp_power", "by": "mood", "points": [[0, 1], [1, 2]]}]}, "no forecast"),
        ({"action_gains": [{"action": "hp_power", "by": "outdoor", "points": [[1, 1], [0, 2]]}]}, "do not ascend"),
    ],
)
def test_a_safety_set_that_names_what_is_not_there_is_refused(
    villa: Manifest, change: dict[str, Any], words: str
) -> None:
    document = villa.model_dump()
    document["safety"] = {**document["safety"], **change}
    with pytest.raises(ValidationError, match=words):
        Manifest.model_validate(document)


def test_numbers_beyond_arithmetic_end_at_rest(villa: Manifest) -> None:
    """A bundle may hold any finite number; what comes of it is finite and inside the bounds."""
    document = villa.model_dump()
    document["safety"]["action_gains"] = [
        {"action": "hp_power", "by": "outdoor", "points": [[-10.0, 1.7e308], [10.0, 1.7e308]]}
    ]
    document["safety"]["limits"][1]["lower"] = 1.7e308
    document["safety"]["power"][1]["actions"][0]["factor"] = 1.7e308
    wild = Manifest.model_validate(document)
    found, _ = filtered(wild, {}, {"hp_power": 1.0, "home_charge": 2.0}, outdoor=0.0, load=1.0, pv=0.0)
    for value, action in zip(found.action, wild.actions, strict=True):
        assert action.lower <= value <= action.upper
