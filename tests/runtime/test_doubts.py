"""A reading that is in its range and cannot be true costs its own zone the reading, and the others nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_estimator_arx import DT, house_manifest, simulated
from tiny_site import tiny_manifest

from runtime.bundle.manifest import ForecastSpec, SignalSpec
from runtime.bundle.safety_set import SafetySet, StateLimit
from runtime.decide.estimator import make_estimator
from runtime.decide.rules_data import TankRule
from runtime.formats import units
from runtime.inputs.doubts import BETWEEN_ROOMS_K, Doubts
from runtime.inputs.plausibility import believed, judge, judge_all, likely_unit, price_range, tolerance
from runtime.inputs.process_image import ProcessImage
from runtime.inputs.signals import Sample, Validity

ROOMS = tuple(f"room_{k}" for k in range(1, 5))


def house(*names: str, unit: str = "degC", lower: float = -50, upper: float = 80) -> Doubts:
    rooms = tuple(SignalSpec(name=name, unit=unit, lower=lower, upper=upper) for name in names)
    return Doubts(tiny_manifest(states=rooms, safety=None), {"room_1": 21.0})


def judged(doubts: Doubts, readings: dict[str, float], now_s: float = 0.0) -> set[str]:
    """Who is doubted."""
    samples = {name: Sample(name, value, 0.0, Validity.OK) for name, value in readings.items()}
    found = doubts.judge(samples, now_s)
    assert {n for n, s in found.items() if not s.ok} == set(doubts.standing)
    assert all(found[name].validity is Validity.DOUBTFUL for name in doubts.standing)
    return set(doubts.standing)


@pytest.mark.parametrize(
    ("odd", "unit"), [(62.6, "°F"), (1.7, "tens of degC"), (0.0, ""), (85.0 - 20, ""), (-30.0, "")]
)
@pytest.mark.parametrize("which", ROOMS)
def test_one_room_against_three_is_doubted_from_the_first_reading(odd: float, unit: str, which: str) -> None:
    doubts = house(*ROOMS)
    readings = {name: 17.0 + 0.5 * k for k, name in enumerate(ROOMS)} | {which: odd}
    for cycle in range(300):  # however long it lasts: a day of five minutes
        assert judged(doubts, readings, 300.0 * cycle) == {which}
    assert unit in doubts.standing[which]
    assert judged(doubts, readings | {which: 17.0}, 90_000.0) == set()


def test_two_rooms_that_disagree_and_one_alone_are_held_against_what_is_wished() -> None:
    assert judged(house("room_1", "room_2"), {"room_1": 17.0, "room_2": 62.6}) == {"room_2"}
    assert judged(house("room_1", "room_2"), {"room_1": 62.6, "room_2": 17.0}) == {"room_1"}
    assert judged(house("room_1"), {"room_1": 62.6}) == {"room_1"}
    # A cold house is a cold house: whoever doubts that leaves it cold.
    assert judged(house("room_1"), {"room_1": 1.0}) == set()
    assert judged(house(*ROOMS), dict.fromkeys(ROOMS, 0.5)) == set()
    assert judged(house(*ROOMS), {"room_1": 62.6, "room_2": 62.0, "room_3": 17.0, "room_4": 17.0}) == {
        "room_1",
        "room_2",
    }
    # Nor is a majority in another unit, or all of them, as warm as that.
    for odd in ROOMS[1:], ROOMS:
        doubts = house(*ROOMS)
        assert judged(doubts, dict.fromkeys(ROOMS, 17.0) | dict.fromkeys(odd, 62.6)) == set(odd)
        assert all("°F" in doubts.standing[name] for name in odd)
    # In another unit the same.
    fahrenheit = house("room_1", "room_2", "room_3", unit="°F", lower=-50, upper=180)
    assert judged(fahrenheit, {"room_1": 62.6, "room_2": 65.0, "room_3": 145.0}) == {"room_3"}


@settings(deadline=None)
@given(st.lists(st.floats(-30, 45), min_size=4, max_size=4))
def test_there_is_always_somebody_who_is_believed_and_those_agree(values: list[float]) -> None:
    doubts = house(*ROOMS)
    doubted = judged(doubts, dict(zip(ROOMS, values, strict=True)))
    believed = [value for name, value in zip(ROOMS, values, strict=True) if name not in doubted]
    assert believed or set(values) & {85.0, -127.0}
    assert max(believed, default=0.0) - min(believed, default=0.0) <= BETWEEN_ROOMS_K
    if max(values) - min(values) <= BETWEEN_ROOMS_K and set(values).isdisjoint({0.0}):
        assert not doubted


def test_a_leap_is_doubted_and_a_new_level_believed_after_a_while() -> None:
    doubts = house("room_1")
    assert judged(doubts, {"room_1": 20.0}) == set()
    assert judged(doubts, {"room_1": 17.0}, 300.0) == set()  # a window
    assert judged(doubts, {"room_1": 1.7}, 600.0) == {"room_1"}
    assert judged(doubts, {"room_1": 0.0}, 900.0) == {"room_1"}
    assert judged(doubts, {"room_1": 17.2}, 1200.0) == set()
    assert judged(doubts, {"room_1": 30.0}, 1500.0) == {"room_1"}
    assert judged(doubts, {"room_1": 30.0}, 1200.0 + 3600.0) == set()


def test_what_a_thermometer_says_that_measures_nothing() -> None:
    tank = Doubts(tiny_manifest(states=(SignalSpec(name="tank", unit="degC", lower=-200, upper=150),), safety=None), {})
    assert judged(tank, {"tank": 85.0}) == {"tank"}  # just switched on
    assert judged(tank, {"tank": 52.1}, 10.0) == set()
    assert judged(tank, {"tank": 0.0}, 20.0) == {"tank"}
    assert judged(tank, {"tank": -127.0}, 30.0) == {"tank"}
    assert judged(tank, {"tank": 25.0}, 40.0) == set()  # somebody takes a bath
    for k in range(30):
        assert judged(tank, {"tank": 55.5 + k}, 50.0 + k) == set()
    assert judged(tank, {"tank": 85.0}, 100.0) == set()  # it was on its way


@pytest.mark.parametrize(("steps", "columns"), [(1, ()), (1, ((0.0,),)), (6, ((0.0,) * 6,))])
def test_a_state_of_charge_that_leaps(steps: int, columns: tuple[tuple[float, ...], ...]) -> None:
    """5 kW in 10 kWh: 0.125 in a quarter of an hour, so 0.55 is not 0 a minute later; and after an outage it may be.

    Beside a tank there is a forecast of several steps, each with a column of its own.
    """
    manifest = tiny_manifest(
        format_version=2,
        forecasts=(ForecastSpec(name="outdoor", unit="degC", lower=-50, upper=50, steps=steps),),
        dt_s=900.0,
        states=(SignalSpec(name="soc", unit="1", lower=0, upper=1),),
        actions=(SignalSpec(name="charge", unit="kW", lower=0, upper=5),),
        safety=SafetySet(
            limits=(StateLimit(name="soc", lower=0.05),),
            state_matrix=((1.0,),),
            action_matrix=((0.025,),),
            forecast_matrix=columns,
        ),
        limits=(),
    )  # fmt: skip
    doubts = Doubts(manifest, {})
    assert judged(doubts, {"soc": 0.55}) == set()
    assert judged(doubts, {"soc": 0.0}, 60.0) == {"soc"}
    assert judged(doubts, {"soc": 0.54}, 120.0) == set()
    assert judged(doubts, {"soc": 0.60}, 180.0) == set()  # an inverter counts anew
    assert judged(doubts, {"soc": 0.0}, 10_000.0) == set()


def test_two_tanks_are_no_rooms() -> None:
    """Their thermometers have one range, as those of rooms; the rules that the bundle brings say what they are."""
    tanks = tuple(SignalSpec(name=name, unit="degC", lower=0, upper=95) for name in ("water", "spare"))
    powers = tuple(SignalSpec(name=f"heat_{tank.name}", unit="kW", lower=0, upper=2) for tank in tanks)
    rules = tuple(
        TankRule(kind="tank", action=power.name, measurement=tank.name, lower=45.0, on=2.0)
        for tank, power in zip(tanks, powers, strict=True)
    )
    manifest = tiny_manifest(
        format_version=2, states=tanks, actions=powers, limits=(), safety=None, rules=rules, forecasts=()
    )
    doubts = Doubts(manifest, {})
    assert judged(doubts, {"water": 55.0, "spare": 62.0}) == set()
    assert judged(doubts, {"water": 54.0, "spare": 40.0}, 300.0) == set()
    assert judged(doubts, {"water": 85.0, "spare": 40.0}, 600.0) == {"water"}  # what one says after power-on


def test_three_rooms_keep_their_heat_while_the_fourth_speaks_fahrenheit() -> None:
    """Through the observer of the house: its state is that without the odd thermometer, not the one with it."""
    model, y, u, states = simulated(3, 60)
    manifest = house_manifest(model)
    doubts, estimator = Doubts(manifest, {}), make_estimator(manifest)
    names = [spec.name for spec in manifest.measured]
    for t in range(60):
        rooms = y[t].copy()
        rooms[1] = rooms[1] * 1.8 + 32.0
        samples = {n: Sample(n, float(v), 0.0, Validity.OK) for n, v in zip(names, rooms, strict=True)}
        image = ProcessImage(t * DT, t * DT, doubts.judge(samples, t * DT), {"outdoor_c": (float(u[t, 0]),) * 25})
        assert not image.samples[names[1]].ok and "°F" in image.samples[names[1]].problem
        estimate = estimator.update(image, tuple(u[t - 1, 1:].tolist()) if t else None)
        assert estimate.state is not None
        others = [estimate.state[k] - states[t, k] for k in (0, 2, 3)]
        assert max(map(abs, others)) < 0.5
        assert abs(estimate.state[1] - states[t, 1]) < 5.0


KINDS = [
    ("1", 0.0, 1.0, 1.004, 1.0), ("1", 0.0, 1.0, -0.002, 0.0), ("%", 0.0, 100.0, 102.0, 100.0),
    ("kW", 0.0, 5.0, -0.02, 0.0),
    ("W", 0.0, 5000.0, 5100.0, 5000.0), ("W/m2", 0.0, 1400.0, -0.4, 0.0), ("degC", 5.0, 35.0, 4.7, 5.0),
    ("°F", 40.0, 100.0, 39.2, 40.0), ("kWh", 0.0, 10.0, -0.1, 0.0), ("furlong", 0.0, 1.0, 1.02, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "lower", "upper", "read", "used"), KINDS)
def test_a_sensor_that_overshoots_is_taken_as_the_end_of_its_range(
    unit: str, lower: float, upper: float, read: float, used: float
) -> None:
    spec = SignalSpec(name="x", unit=unit, lower=lower, upper=upper)
    found = judge(read, spec)
    assert found.value == used and not found.refused and "taken as" in found.problem
    within = upper + 0.99 * tolerance(spec) if read > upper else lower - 0.99 * tolerance(spec)
    assert judge(within, spec).value == used
    beyond = upper + 1.01 * tolerance(spec) if read > upper else lower - 1.01 * tolerance(spec)
    assert judge(beyond, spec).refused
    assert believed(spec)[0] <= within <= believed(spec)[1] and not believed(spec)[0] <= beyond <= believed(spec)[1]
    assert judge_all([lower, upper], spec) is None and judge_all([lower, math.nan], spec) is not None
    assert [one.value for one in judge_all([lower, within], spec) or ()] == [lower, used]


@pytest.mark.parametrize("unit", ["EUR/kWh", "ct/kWh", "NOK/kWh", "EUR/MWh", "XYZ/kWh"])
def test_a_price_is_what_the_market_says_and_a_wrong_unit_is_named(unit: str) -> None:
    scale = {"ct/kWh": 100.0, "NOK/kWh": 11.5, "EUR/MWh": 1000.0}.get(unit, 1.0)
    spec = SignalSpec(name="buy", unit=unit, lower=-0.5 * scale, upper=3 * scale)
    for price in (-0.503, -0.529, -0.65, 3.2, 5.0):
        assert judge(price * scale, spec).value == price * scale
    assert price_range(spec)[1] < 10 * scale
    wrong = judge(85.0 * scale, spec)
    assert wrong.refused and (unit not in {"EUR/kWh", "XYZ/kWh"} or "MWh or hundredths" in wrong.problem)


def test_the_unit_that_was_meant() -> None:
    room = SignalSpec(name="room", unit="degC", lower=-50, upper=80)
    assert likely_unit(290.15, room) == "K" and likely_unit(62.6, room, 17.0) == "°F"
    assert likely_unit(170.0, room, 17.0) == "tenths of degC" and likely_unit(40.0, room, 17.0) == ""
    assert likely_unit(55.0, SignalSpec(name="soc", unit="1", lower=0, upper=1)) == "%"
    assert likely_unit(2500.0, SignalSpec(name="p", unit="kW", lower=0, upper=5)) == "W"


def test_what_a_unit_means_is_looked_up_once_and_not_for_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of values of every forecast are judged in a cycle."""
    asked: list[str] = []
    meant = units._money
    monkeypatch.setattr(units, "_money", lambda name: asked.append(name) or meant(name))  # type: ignore[func-returns-value]
    spec = SignalSpec(name="buy", unit="SEK/kWh", lower=-20.0, upper=20.0)
    assert all(judge(value / 100.0, spec).problem == "" for value in range(500))
    assert len(asked) <= 20
