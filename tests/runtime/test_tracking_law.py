"""The law of tracking, numbers in and numbers out: what holds of it whatever the house does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.track.aim import SAME, Stage, aim_of, brought_forward, held, self_consumption, within_soc, worth_buying_kw
from runtime.track.interval import IntervalImport
from runtime.track.law import Aim, Caps, TrackingGains, followed, left_of_interval_kw, shared
from runtime.track.watch import FROZEN, WRONG_SIGN, AnswerWatch

POWER = st.floats(-20.0, 20.0).map(lambda v: round(v, 3))
ABLE = st.lists(st.tuples(st.floats(-6.0, -0.1), st.floats(0.1, 6.0)), min_size=1, max_size=3)
AT_ONCE = TrackingGains(gain=1.0, deadband_kw=0.0)


@st.composite
def aims(draw: st.DrawFn) -> Aim:
    able = draw(ABLE)
    planned = [draw(st.floats(lo, up)) for lo, up in able]
    return aim_of(draw(POWER), planned, able)


def inside(powers: tuple[float, ...], ranges: tuple[tuple[float, float], ...]) -> bool:
    return all(lo - 1e-6 <= p <= up + 1e-6 for p, (lo, up) in zip(powers, ranges, strict=True))


@given(aims(), POWER)
def test_it_settles_where_a_person_would_put_it(aim: Aim, load_kw: float) -> None:
    """Against the sum written out: what is given first, what is beyond the chosen import, as the decision allows."""
    powers = tuple(min(max(0.0, lo), up) for lo, up in aim.able_kw)
    for _ in range(60):
        powers = followed(load_kw + sum(powers), powers, aim, Caps(), TrackingGains(0.6, 0.0))
        assert inside(powers, aim.able_kw)
    least, most = (sum(r[k] for r in aim.within_kw) for k in (0, 1))
    first = min(max(load_kw, 0.0), aim.given_kw)
    surplus, beyond = max(-load_kw, 0.0), max(load_kw - aim.grid_kw, first)
    assert sum(powers) == pytest.approx(min(max(surplus - beyond, least), most), abs=1e-6)
    assert inside(powers, aim.within_kw)
    # There it stays: nothing is moved from one battery to another.
    assert followed(load_kw + sum(powers), powers, aim, Caps(), TrackingGains()) == powers


@given(ABLE, POWER, st.floats(0.01, 1.0), POWER)
def test_what_a_plan_discharges_is_never_charged_from_the_grid(
    able: list[tuple[float, float]], grid_kw: float, share: float, load_kw: float
) -> None:
    """Whatever import the plan chose: a load that falls short of it leaves the battery at rest."""
    aim = aim_of(grid_kw, [share * least for least, _ in able], able)
    start = tuple(0.0 for _ in able)
    charged = max(sum(followed(load_kw, start, aim, Caps(), AT_ONCE)), 0.0)
    assert charged <= max(-load_kw, 0.0) + 1e-6


@given(aims(), POWER, st.floats(0.0, 10.0), st.floats(0.0, 10.0))
def test_import_and_export_are_kept_as_far_as_the_machines_can(
    aim: Aim, load_kw: float, most_in: float, most_out: float
) -> None:
    start = tuple(0.0 for _ in aim.able_kw)
    powers = followed(load_kw, start, aim, Caps(most_in, most_out), TrackingGains())
    grid = load_kw + sum(powers)
    least, most = (sum(r[k] for r in aim.able_kw) for k in (0, 1))
    assert grid <= max(most_in, load_kw + least) + 1e-6
    if most_in >= load_kw + least:  # where both cannot be had, import counts first only where it can be had
        assert grid >= min(-most_out, most_in, load_kw + most) - 1e-6


@given(ABLE, POWER)
def test_batteries_share_and_none_charges_what_another_gives(able: list[tuple[float, float]], load_kw: float) -> None:
    aim = self_consumption(able)
    powers = followed(load_kw, tuple(0.0 for _ in able), aim, Caps(), AT_ONCE)
    assert all(p >= -1e-9 for p in powers) or all(p <= 1e-9 for p in powers)
    rooms = [(up if load_kw < 0 else -lo) for lo, up in able]
    shares = [abs(p) / room for p, room in zip(powers, rooms, strict=True)]
    assert max(shares) - min(shares) < 1e-6


@given(aims(), POWER)
def test_a_sum_is_met_wherever_the_machines_reach_it(aim: Aim, total: float) -> None:
    least, most = (sum(r[k] for r in aim.able_kw) for k in (0, 1))
    powers = shared(total, aim)
    assert sum(powers) == pytest.approx(min(max(total, least), most), abs=1e-6)


ABLE_5 = [(-5.0, 5.0)]


@pytest.mark.parametrize(("grid", "planned", "target", "within"), [
    (3.0, 2.0, 0.0, (2.0, 5.0)),  # buys for it
    (0.0, 2.0, 0.0, (0.0, 5.0)),  # what the sun leaves
    (-1.0, 2.0, 0.0, (0.0, 5.0)),
    (1.0, 0.0, 0.0, (0.0, 5.0)),  # kept for dearer hours
    (-1.0, 0.0, 0.0, (-5.0, 0.0)),  # sold now, room kept for later
    (0.0, -1.0, 0.0, (-5.0, 5.0)),  # covers the house
    (2.0, -5.0, 0.0, (-5.0, 5.0)),  # all that it can
    (2.0, -1.0, 2.0, (-5.0, 5.0)),  # what it gives, and beyond the import that the plan chose
    (-4.0, -5.0, 0.0, (-5.0, -5.0)),  # sells
    (0.0, 0.0, 0.0, (-5.0, 5.0)),
])  # fmt: skip
def test_what_a_decision_is_for_the_meter(
    grid: float, planned: float, target: float, within: tuple[float, float]
) -> None:
    aim = aim_of(grid, [planned], ABLE_5)
    assert (aim.grid_kw, aim.within_kw) == (target, (within,))
    assert held([planned], ABLE_5).within_kw == ((planned, planned),)


NIGHT = [Stage(0.4, -0.6, 0.3, 0.06)] * 4


@pytest.mark.parametrize(("first", "later", "caps", "target", "within"), [
    (Stage(1.0, -0.5, 0.3, 0.06), NIGHT, Caps(), 0.0, (-5.0, 5.0)),  # as well now as later
    (Stage(3.0, -0.5, 0.3, 0.06), NIGHT, Caps(), 0.6, (-5.0, 5.0)),  # all that is given later, and no more
    (Stage(1.0, 0.0, 0.3, 0.06), NIGHT, Caps(), 0.0, (-5.0, 5.0)),  # a plan that rests gives it now as well
    (Stage(1.0, -0.5, 0.2, 0.06), NIGHT, Caps(), 1.0, (-5.0, 5.0)),  # later it saves more
    (Stage(1.0, -0.5, 0.3, 0.06), [], Caps(), 1.0, (-5.0, 5.0)),  # kept to the end
    (Stage(1.0, -0.5, 0.3, 0.06), NIGHT, Caps(0.5), 0.6, (-5.0, 5.0)),  # the month's peak is near
    (Stage(1.0, -0.5, 0.3, 0.06), [NIGHT[0], Stage(0.0, 1.0, 0.3, 0.06), *NIGHT], Caps(), 0.4, (-5.0, 5.0)),  # then sun
    (Stage(-1.0, 0.5, 0.3, 0.06), NIGHT, Caps(), 0.0, (-2.4, 5.0)),  # clouds: what the night is given as well
    (Stage(-1.0, 0.5, 0.2, 0.06), NIGHT, Caps(), 0.0, (0.0, 5.0)),  # the night is dearer
    (Stage(-2.0, 0.0, 0.3, 0.06), [Stage(-1.0, 1.0, 0.3, 0.06)], Caps(), 0.0, (0.0, 5.0)),  # the sun may fail
    (Stage(-2.0, 0.0, 0.3, 0.2), [Stage(-1.0, 1.0, 0.3, 0.06)], Caps(), 0.0, (-5.0, 0.0)),  # selling pays more now
    (Stage(-2.0, 0.0, 0.3, 0.06), [Stage(-4.0, 1.0, 0.3, 0.06)], Caps(99.0, 4.0), 0.0, (-5.0, 0.0)),  # else spilt
])  # fmt: skip
def test_what_is_worth_the_same_later_is_done_now(
    first: Stage, later: list[Stage], caps: Caps, target: float, within: tuple[float, float]
) -> None:
    aim = aim_of(first.grid_kw, [first.batteries_kw], ABLE_5, [first, *later], caps)
    assert aim.grid_kw == pytest.approx(target) and aim.within_kw == (within,)


PRICE = st.floats(0.01, 0.5)
STAGES = st.lists(
    st.builds(Stage, st.floats(-4, 4), st.floats(-3, 3), PRICE, st.floats(0.0, 0.2)), min_size=2, max_size=8
)


@given(STAGES)
def test_bringing_forward_costs_the_plan_next_to_nothing(stages: list[Stage]) -> None:
    """What is moved comes from later stages, those first that lose the least by it; the bill of all says the rest."""

    def bill(grid_kw: float, stage: Stage) -> float:
        return (stage.buy if grid_kw > 0 else stage.sell) * grid_kw

    moved = brought_forward(stages, ABLE_5, Caps())
    now, later = stages[0], stages[1:]
    left, loss = abs(moved), bill(now.grid_kw + moved, now) - bill(now.grid_kw, now)
    sign = -1.0 if moved < 0.0 else 1.0
    lost = []
    for stage in later:
        turns = sign * stage.batteries_kw < 0.0 and abs(stage.batteries_kw) > 0.05
        if turns and (sign > 0.0 or any(most > 0.05 for _, most in lost)):
            break
        most = max(sign * stage.batteries_kw, 0.0)
        lost.append(((bill(stage.grid_kw - sign * most, stage) - bill(stage.grid_kw, stage)) / max(most, 1e-9), most))
    for rate, most in sorted(lost):
        part = min(left, most)
        left, loss = left - part, loss + rate * part
    assert left < 1e-9 and loss <= SAME * now.buy * abs(moved) + 0.05 * len(later) + 1e-9


def test_a_load_that_falls_short_lowers_the_import_first() -> None:
    """A plan gives 1 of 3 kW: of 1 kW it gives all, of 2 it gives 1, of 4 it gives 2. At the peak it keeps."""

    def gives(load_kw: float, caps: Caps) -> float:
        return -sum(followed(load_kw, (0.0,), aim_of(2.0, [-1.0], ABLE_5, (), caps), Caps(), AT_ONCE))

    assert [gives(load, Caps()) for load in (0.5, 1.0, 2.0, 4.0)] == pytest.approx([0.5, 1.0, 1.0, 2.0])
    assert [gives(load, Caps(2.0)) for load in (0.5, 1.0, 2.0, 4.0)] == pytest.approx([0.0, 0.0, 0.0, 2.0])


def test_standby_is_made_up_for_by_the_sun_unless_it_went_far() -> None:
    assert worth_buying_kw(0.5, 0.05, 5.0) == worth_buying_kw(math.nan, 0.05, 5.0) == 0.5
    assert [worth_buying_kw(soc, 0.05, 5.0) for soc in (0.04, 0.0)] == [1.0, 1.0]
    assert [worth_buying_kw(soc, 0.30, 5.0) for soc in (0.26, 0.24)] == [1.0, 0.0]


def test_a_battery_at_its_limits_goes_no_further_whoever_decides() -> None:
    for aim in (self_consumption(ABLE_5), aim_of(2.0, [-5.0], ABLE_5), held([-5.0], ABLE_5)):
        low, high, unknown = (within_soc(aim, [soc], [(0.05, 0.95)]) for soc in (0.05, 0.95, math.nan))
        assert low.within_kw[0][0] >= 0.0 and low.able_kw == ((0.0, 5.0),)
        assert high.within_kw[0][1] <= 0.0 and high.able_kw == ((-5.0, 0.0),)
        assert unknown == aim


def test_drops_that_an_inverter_would_lose_half_of_are_not_bought() -> None:
    assert aim_of(1.0, [0.1], ABLE_5).within_kw == ((0.0, 5.0),)
    assert aim_of(1.0, [1.0], ABLE_5).within_kw == ((1.0, 5.0),)


def test_what_is_left_of_an_interval_is_spent_and_not_more() -> None:
    """A quarter of an hour of 2 kW, minute by minute: a kettle early in it is paid back by the rest of it."""
    interval, allowed_kwh = IntervalImport(900.0), 0.5
    loads = [1.0] * 3 + [4.0] * 2 + [3.0] * 10
    total, power = 0.0, 0.0
    aim = Aim(0.0, (0.0,), ((0.0, 0.0),), ((-5.0, 5.0),))
    interval.observe(0.0, loads[0])
    for k, load in enumerate(loads):
        left = left_of_interval_kw(allowed_kwh, interval.so_far_kwh(60.0 * k, 2.0), interval.left_s(60.0 * k))
        (power,) = followed(load + power, (power,), aim, Caps(import_kw=left), TrackingGains())
        total += (load + power) / 60.0
        interval.observe(60.0 * (k + 1), load + power)
    assert total == pytest.approx(allowed_kwh, abs=1e-6)
    assert interval.so_far_kwh(900.0 + 30.0, 2.0) == pytest.approx(2.0 * 30.0 / 3600.0)


def test_an_interval_that_began_before_the_daemon_is_believed_to_be_as_allowed() -> None:
    interval = IntervalImport(3600.0)
    interval.observe(1800.0, 6.0)
    assert interval.so_far_kwh(1800.0, 2.0) == pytest.approx(1.0)
    interval.observe(1860.0, 6.0)
    assert interval.so_far_kwh(1860.0, 2.0) == pytest.approx(1.0 + 0.1)
    interval.observe(3000.0, 6.0)  # nothing was heard for too long
    assert interval.so_far_kwh(3000.0, 2.0) == pytest.approx(1.1 + 2.0 * 1140.0 / 3600.0)
    assert interval.left_s(3000.0) == 600.0


def run(sign: float, loads: list[float], frozen: bool = False) -> tuple[str, int, float]:
    """A loop on a meter: (what is wrong, after how many readings, the largest power)."""
    watch, aim, power, most = AnswerWatch(), self_consumption([(-8.0, 8.0)]), 0.0, 0.0
    for k, load in enumerate(loads):
        meter = sign * (loads[0] if frozen else load + power)
        wrong = watch.heard(meter, power)
        if wrong:
            return wrong, k + 1, most
        (power,) = followed(meter, (power,), aim, Caps(), TrackingGains())
        most = max(most, abs(power))
    return "", len(loads), most


@given(st.floats(0.9, 12.0) | st.floats(-12.0, -0.9))
def test_a_wrong_sign_is_found_with_the_third_reading_and_a_frozen_meter_soon(load: float) -> None:
    assert run(-1.0, [load] * 20)[:2] in {(WRONG_SIGN, 2), (WRONG_SIGN, 3)}
    assert run(1.0, [load] * 20)[0] == ""
    wrong, readings, _ = run(1.0, [load] * 20, frozen=True)
    assert wrong == FROZEN and readings == 4


def test_a_small_error_under_a_wrong_sign_ends_before_it_matters() -> None:
    wrong, _, most = run(-1.0, [0.2] * 30)
    assert wrong == WRONG_SIGN and most < 3.0


@given(st.lists(st.floats(-0.15, 0.15), min_size=200, max_size=200), st.integers(0, 2**31))
def test_a_house_that_is_alive_is_not_taken_for_a_fault(noise: list[float], seed: int) -> None:
    """Noise, kettles and clouds on a meter that is in order."""
    loads = [
        1.0 + e + 2.0 * ((k // 17 + seed) % 3 == 0) - 3.0 * math.sin(k / 9.0 + seed % 7) for k, e in enumerate(noise)
    ]
    assert run(1.0, loads)[0] == ""
