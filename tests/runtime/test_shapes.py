"""Planned powers for devices that take levels or shifts: the times of a compressor are kept, whatever is planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_site import INFLOW_REGISTER, Bench, Tank

from runtime.actuate.set_points import ranges, resting, set_points
from runtime.actuate.shaping import At, Shaper, drawn, next_level, power_of, set_point_of
from runtime.bundle.manifest import SignalSpec
from runtime.site.shape import LevelsShape, ResponseShape
from runtime.site.signals import OutputSection

SG_READY = [{"level": 1, "kw": 0.0}, {"level": 2, "kw": 1.0}, {"level": 3, "kw": 2.0}, {"level": 4, "kw": 3.5}]
REGISTER = {"kind": "holding", "address": 1, "type": "int16", "scale": 0.1}
PUMP = (SignalSpec(name="pump", unit="kW", lower=0, upper=4),)


def levels(**more: Any) -> LevelsShape:
    return LevelsShape.model_validate({"kind": "levels", "levels": SG_READY, **more})


def output(shape: dict[str, Any] | None, **more: Any) -> OutputSection:
    values = {"sink": "x", "unit": "1", "combine": {"pump": 1.0}, "safe": 2.0, "register": REGISTER, **more}
    return OutputSection.model_validate({**values, "shape": shape})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.0, 4.0), min_size=30, max_size=120),
    st.sampled_from([10.0, 60.0, 300.0]),
    st.sampled_from([0.0, 600.0]),
    st.sampled_from([0.0, 900.0]),
)
def test_no_plan_switches_faster_than_the_times_allow(
    powers: list[float], cycle_s: float, run_s: float, rest_s: float
) -> None:
    shape = levels(min_run_s=run_s, min_rest_s=rest_s, max_lowest_s=7200.0)
    at: At | None = None
    stood: list[tuple[int, float]] = []  # level, seconds
    left_lowest_s = 0.0
    for k, power in enumerate(powers):
        before, at = at, next_level(shape, at, power, k * cycle_s)
        if before is not None and before.index != at.index:
            stood_s = k * cycle_s - before.since_s
            stood.append((before.index, stood_s))
            assert stood_s >= shape.hold_s
            if before.index == 0:
                assert stood_s >= rest_s or stood_s >= 7200.0
                left_lowest_s = k * cycle_s
            if at.index == 0:
                assert stood_s >= run_s
    assert all(s <= 7200.0 + cycle_s for level, s in stood if level == 0)
    assert left_lowest_s >= 0.0


def test_the_nearest_level_with_a_margin_and_two_hours_of_lock_at_most() -> None:
    shape = levels(max_lowest_s=7200.0)
    assert [next_level(shape, None, kw, 0.0).index for kw in (0.0, 0.4, 0.6, 1.4, 1.6, 3.0, 9.0)] == [
        0,
        0,
        1,
        1,
        2,
        3,
        3,
    ]
    at = At(1, 0.0)
    assert next_level(shape, at, 1.55, 100.0).index == 1  # past the middle, and not clearly
    assert next_level(shape, at, 1.65, 100.0).index == 2
    lock = At(0, 0.0)
    assert next_level(shape, lock, 0.0, 7199.0).index == 0
    assert next_level(shape, lock, 0.0, 7200.0) == At(1, 7200.0)


@given(st.floats(-5, 5), st.floats(-20, 15), st.floats(0.05, 1.0), st.floats(-0.3, -0.01))
def test_a_response_is_undone(set_point: float, outdoor: float, per_unit: float, per_degree: float) -> None:
    """What the house was seen to draw at a set-point leads back to it."""
    shape = {"kind": "response", "kw_at_zero": 3.0, "kw_per_unit": per_unit, "outdoor": "outdoor"}
    shape |= {"kw_per_degree": per_degree, "reference": 2.0}
    section = output(shape, limits=(-5, 5), safe=0.0)
    assert isinstance(section.shape, ResponseShape)
    power = 3.0 + per_unit * set_point + per_degree * (outdoor - 2.0)
    values = {"outdoor": outdoor}
    assert set_point_of(section.shape, power, values) == pytest.approx(set_point, abs=1e-6)
    assert power_of(section, set_point, values) == pytest.approx(max(0.0, power))
    told = Shaper().shaped({"x": section}, {"x": power + 100.0}, values, 0.0)
    assert told == {"x": 5.0}


def test_what_is_drawn_is_what_the_levels_say() -> None:
    section = output({"kind": "levels", "levels": SG_READY})
    outputs = {"x": section}
    assert ranges(outputs, PUMP) == {"x": (1.0, 4.0)}
    assert resting(outputs, PUMP) == {"pump": 1.0}
    planned = set_points(outputs, PUMP, (1.8,))
    assert planned == {"x": 1.8}
    told = Shaper().shaped(outputs, planned, {}, 0.0)
    assert told == {"x": 3.0} and drawn((1.8,), outputs, PUMP, told, {}) == (2.0,)
    two = (SignalSpec(name="a", unit="kW", lower=0, upper=2), SignalSpec(name="b", unit="W", lower=0, upper=2000))
    both = {"x": output({"kind": "levels", "levels": SG_READY}, combine={"a": 1.0, "b": 1.0})}
    assert set_points(both, two, (0.5, 1000.0)) == {"x": 1.5}
    assert drawn((0.5, 1000.0), both, two, {"x": 3.0}, {}) == pytest.approx((2 / 3, 4000 / 3))


@pytest.mark.parametrize(
    ("shape", "more", "said"),
    [
        ({"kind": "levels", "levels": SG_READY[::-1]}, {}, "from the least power to the most"),
        ({"kind": "levels", "levels": [SG_READY[0], {"level": 1, "kw": 2.0}]}, {}, "two levels are the same"),
        ({"kind": "levels", "levels": SG_READY, "min_rest_s": 900.0, "max_lowest_s": 600.0}, {}, "give more"),
        ({"kind": "response", "kw_at_zero": 1.0, "kw_per_unit": 0.0}, {"limits": (-5, 5)}, "does not respond"),
        ({"kind": "response", "kw_at_zero": 1.0, "kw_per_unit": 0.2}, {}, "needs limits"),
        (
            {"kind": "response", "kw_at_zero": 1.0, "kw_per_unit": 0.2, "outdoor": "o"},
            {"limits": (-5, 5)},
            "come together",
        ),
        ({"kind": "step"}, {}, "kind"),
    ],
)
def test_shapes_that_cannot_be(shape: dict[str, Any], more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        output(shape, **more)


def test_the_daemon_tells_levels_and_knows_what_they_draw(
    tank: Tank, start_bench: Callable[..., Bench], bundle_directory: Any
) -> None:
    """The plan holds the level of the tank against a demand; its pump knows three powers."""
    text = tank.site.read_text()
    shaped = (
        'type = "int16" }\nunit = "1"\ncombine = { inflow = 1.0 }\nsafe = 0.0\n'
        '[outputs.inflow.shape]\nkind = "levels"\nhold_s = 60\n'
        "levels = [{ level = 0, kw = 0.0 }, { level = 1, kw = 0.2 }, { level = 2, kw = 0.6 }]\n"
    )
    start = text.index('type = "int16", scale = 0.001 }\nunit = "kW"')
    tank.site.write_text(
        text[:start] + shaped + text[text.index("[rule]") :].replace("inflow = 0.125", "inflow = 0.19")
    )
    bench = start_bench()
    bench.ears.say("nisse/tank/set/mode", "rule")
    told = []
    for _ in range(3):
        bench.demand(hours=2)
        bench.cycle()
        told.append(tank.registers.holding[INFLOW_REGISTER])
    state = bench.state()
    assert told[-1] == 1 and state["outputs"]["inflow"]["value"] == 1.0
    assert bench.stop() == 0
    assert tank.registers.holding[INFLOW_REGISTER] == 0
