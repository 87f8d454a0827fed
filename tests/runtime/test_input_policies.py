"""Bad inputs of every kind through the real daemon: used up to their age, held, estimated, and then the level falls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_site import CYCLE_S, LEVEL_REGISTER, Bench, Ears, Tank, tiny_manifest

from runtime.bundle.safety_set import SafetySet, StateLimit
from runtime.errors import ConfigError
from runtime.formats.literals import PayloadError
from runtime.formats.payload import parse_payload
from runtime.inputs.process_image import ProcessImage
from runtime.inputs.signals import Sample, Validity
from runtime.inputs.substitutes import Substitutes, one_step
from runtime.site.check import check_against
from runtime.site.config import load_site
from runtime.site.signals import InputSection

StartBench = Callable[..., Bench]


def change(tank: Tank, old: str, new: str) -> None:
    text = tank.site.read_text()
    assert old in text
    tank.site.write_text(text.replace(old, new))


def blind(tank: Tank) -> None:
    """The level's register answers with an exception from now on."""
    with tank.registers.lock:
        tank.registers.input.pop(LEVEL_REGISTER)


def seen(event: dict[str, Any], name: str) -> tuple[str, float | None]:
    entry = event["inputs"][name]
    return entry["validity"], entry["value"]


def test_a_bad_state_is_held_up_to_its_age(start_bench: StartBench, tank: Tank) -> None:
    change(tank, "max_age_s = 30", "max_age_s = 30\nhold_s = 130")
    bench = start_bench()
    bench.demand(hours=4)
    assert bench.cycle()["level"] == "mpc"
    blind(tank)
    events = [bench.cycle() for _ in range(3)]
    assert [seen(e, "level") for e in events] == [("held", 0.3), ("held", 0.3), ("stale", 0.3)]
    assert [e["level"] for e in events] == ["mpc", "mpc", "shifted_plan"]
    assert "refused register 0" in events[0]["inputs"]["level"]["problem"]  # what is wrong is said all the same
    assert events[1]["inputs"]["level"]["age_s"] == 2 * CYCLE_S
    assert bench.stop() == 0


def test_a_bad_state_is_estimated_by_the_model(start_bench: StartBench, tank: Tank) -> None:
    """x+ = x + a - d: from 0.3 with an inflow of 0.3 against 0.1 to 0.5, where inflow and demand balance."""
    change(tank, "max_age_s = 30", "max_age_s = 30\nestimate_s = 190")
    bench = start_bench()
    bench.demand(hours=4)
    assert bench.cycle()["action"] == {"inflow": pytest.approx(0.3)}
    tank.set_level(1.5)  # a sensor gone mad
    events = [bench.cycle() for _ in range(4)]
    assert [seen(e, "level")[0] for e in events] == ["estimated"] * 3 + ["out_of_range"]
    assert [seen(e, "level")[1] for e in events[:3]] == pytest.approx([0.5, 0.5, 0.5])
    assert [e["level"] for e in events] == ["mpc"] * 3 + ["shifted_plan"]
    assert events[1]["action"] == {"inflow": pytest.approx(0.1)}
    tank.set_level(0.42)
    assert seen(bench.cycle(), "level") == ("ok", 0.42)
    assert bench.stop() == 0


def test_a_frozen_sensor_is_noticed(start_bench: StartBench, tank: Tank) -> None:
    change(tank, "max_age_s = 30", "max_age_s = 30\nfrozen_after_s = 120")
    bench = start_bench()
    bench.demand(hours=4)
    events = [bench.cycle() for _ in range(4)]
    assert [seen(e, "level")[0] for e in events] == ["ok", "ok", "frozen", "frozen"]
    assert "unchanged for 120 s" in events[2]["reason"] and events[2]["level"] == "shifted_plan"
    tank.set_level(0.301)
    assert seen(bench.cycle(), "level") == ("ok", 0.301)
    assert bench.stop() == 0


NO_VALUES = (
    (b"", "says ''"),
    (b"\xff\x00\xfe", "not JSON"),
    (b"NaN", "not a finite number"),
    (b"1e999", "not a finite number"),
    (b"9" * 4000, "too long"),
    (b"true", "bool instead of a number"),
    (b'"100 W"', "'100 W' is no number"),
    (b"null", "no value"),
    (b"unavailable", "says 'unavailable'"),
    (b"[100]", "needs 'start'"),
    (b" " * (300 << 10), "larger than"),
    (b'{"values": {"values": 1}}', "an object without a value"),
)


def test_a_message_that_is_no_value_leaves_the_last_one_until_it_is_too_old(
    start_bench: StartBench, tank: Tank, ears: Ears
) -> None:
    change(tank, 'pointer = "/values"\n', "")
    change(tank, "max_age_s = 600", "max_age_s = 90")
    bench = start_bench()
    for payload, problem in NO_VALUES:
        ears.say("plant/demand", "100")
        assert seen(bench.cycle(), "demand") == ("ok", 0.1)
        ears.say("plant/demand", payload)
        event = bench.cycle()
        assert seen(event, "demand") == ("ok", 0.1)
        assert problem in event["inputs"]["demand"]["problem"]
        event = bench.cycle()
        assert seen(event, "demand")[0] == "stale" and event["level"] == "shifted_plan"
    assert bench.stop() == 0


def test_a_value_out_of_range_is_not_used_for_a_single_cycle(start_bench: StartBench, tank: Tank) -> None:
    """100 kW where 100 W were meant: a unit gone wrong without saying so."""
    bench = start_bench()
    bench.demand(100.0, hours=4)
    assert bench.cycle()["level"] == "mpc"
    bench.demand(100e3, hours=4)
    event = bench.cycle()
    assert seen(event, "demand")[0] == "out_of_range" and event["level"] == "shifted_plan"
    assert "100 kW is outside [-1, 1]" in event["reason"]
    assert bench.stop() == 0


def test_units_that_the_message_names(start_bench: StartBench, tank: Tank, ears: Ears) -> None:
    change(tank, 'pointer = "/values"\nunit = "W"', 'pointer = "/power"\nunit_pointer = "/unit"\nunit = "W"')
    bench = start_bench()
    for said, expected in ((100.0, "W"), (0.1, "kW")):
        ears.say("plant/demand", json.dumps({"power": said, "unit": expected}))
        assert seen(bench.cycle(), "demand") == ("ok", 0.1)
    for unit in ("degC", "", "horse", 7, None):
        ears.say("plant/demand", json.dumps({"power": 0.2, "unit": unit}))
        event = bench.cycle()
        assert seen(event, "demand") == ("ok", 0.1), "a value in another unit was taken"
        assert "which is no 'W'" in event["inputs"]["demand"]["problem"]
    assert bench.stop() == 0


def test_a_retained_leftover_counts_only_where_it_may(start_bench: StartBench, tank: Tank, ears: Ears) -> None:
    change(tank, "max_age_s = 600", "max_age_s = 600\naccept_retained = false")
    ears.say("plant/demand", json.dumps({"start": 0, "step_s": 60, "values": [0.1]}), retain=True)
    bench = start_bench()
    event = bench.cycle()
    assert event["inputs"]["demand"]["validity"] == "missing" and event["level"] == "rule"
    bench.demand(hours=4)
    assert bench.cycle()["inputs"]["demand"]["validity"] == "ok"
    assert bench.stop() == 0


def test_the_site_file_may_only_ask_for_what_can_be_done(tank: Tank) -> None:
    change(tank, "max_age_s = 600", "max_age_s = 600\nestimate_s = 60")
    with pytest.raises(ConfigError, match=r"estimate_s: the bundle has no one-step model of demand"):
        check_against(load_site(tank.site), tiny_manifest())
    change(tank, "estimate_s = 60", "")
    change(tank, "max_age_s = 30", "max_age_s = 30\nestimate_s = 60")
    text = tank.site.read_text()
    level, demand, end = (text.index(table) for table in ("[inputs.level]", "[inputs.demand]", "[outputs.inflow]"))
    for order in (text, text[:level] + text[demand:end] + text[level:demand] + text[end:]):
        tank.site.write_text(order)
        check_against(load_site(tank.site), tiny_manifest())
    change(tank, "max_age_s = 30", 'max_age_s = 30\nunit_pointer = "/unit"')
    with pytest.raises(ConfigError, match="unit_pointer is for inputs from mqtt"):
        load_site(tank.site)


def test_the_model_by_hand() -> None:
    """Two states, two actions, one forecast: s+ = A s + B a + E d + c."""
    limit = StateLimit(name="x", upper=1.0)
    model = SafetySet(
        limits=(limit,),
        state_matrix=((0.5, 0.25), (0.0, 1.0)),
        action_matrix=((1.0, 0.0), (0.0, -2.0)),
        forecast_matrix=((-1.0,), (3.0,)),
        offset=(0.125, 0.0),
    )
    assert one_step(model, (2.0, 4.0), (1.0, 0.5), (0.25,)) == (1.0 + 1.0 + 1.0 - 0.25 + 0.125, 4.0 - 1.0 + 0.75)


@given(
    st.lists(st.tuples(st.sampled_from(["ok", "bad"]), st.floats(0, 1)), min_size=1, max_size=30),
    st.sampled_from([0.0, 60.0, 200.0]),
    st.sampled_from([0.0, 150.0, 400.0]),
)
def test_nothing_older_than_allowed_is_ever_used(
    readings: list[tuple[str, float]], hold_s: float, estimate_s: float
) -> None:
    """Any sequence of good and bad readings: what is used is fresh, or held or estimated within its own age."""
    section = InputSection(source="mqtt", topic="t", unit="1", max_age_s=30.0, hold_s=hold_s, estimate_s=estimate_s)
    demand = InputSection(source="mqtt", topic="d", unit="kW", max_age_s=30.0)
    substitutes = Substitutes({"level": section, "demand": demand}, tiny_manifest())
    last_good: tuple[float, float] | None = None
    for k, (kind, value) in enumerate(readings):
        now_s = CYCLE_S * k
        good = Sample("level", value, 0.0, Validity.OK)
        arrived = good if kind == "ok" else Sample("level", None, None, Validity.MALFORMED, "garbage")
        other = Sample("demand", 0.0, 0.0, Validity.OK)
        used = substitutes.settle(now_s, (0.0,))({"level": arrived, "demand": other})["level"]
        substitutes.remember(ProcessImage(0.0, now_s, {"level": used, "demand": other}, {"demand": (0.0,) * 5}))
        if kind == "ok":
            last_good = (value, now_s)
            assert used == good
            continue
        age_s = None if last_good is None else now_s - last_good[1]
        if age_s is not None and last_good is not None and age_s <= max(hold_s, estimate_s):
            assert used.validity is (Validity.HELD if age_s <= hold_s else Validity.ESTIMATED)
            assert used.value == pytest.approx(last_good[0]) and used.age_s == age_s  # no inflow, no demand
        else:
            assert not used.ok


@given(st.binary(max_size=60), st.sampled_from(["/unit", "/a/0", ""]))
def test_any_bytes_with_a_unit(payload: bytes, unit_pointer: str) -> None:
    try:
        assert isinstance(parse_payload(payload, "/x", unit="W", unit_pointer=unit_pointer), float)
    except PayloadError as error:
        assert "\n" not in str(error)
