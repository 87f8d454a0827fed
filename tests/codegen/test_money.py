"""The battery's money: what a plan is said to cost is what a meter would bill, in every regime of prices and limits."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from codegen.errors import ProblemError
from codegen.ocp import check_modes
from codegen.plan_cost import PlanCost, most_excluded
from codegen.solver import compiled_controller
from runtime.abi.controller import Controller, Solution
from systems.compose import compose
from systems.house_file import parse_house
from tests.codegen.exact_battery import best_plan
from tests.codegen.home_battery import BatterySpec, home_battery

Array = NDArray[np.float64]
SPEC = BatterySpec()
HORIZON, DT_H = 24, 0.25
PROBLEM = home_battery(horizon=HORIZON)
COST = PlanCost(PROBLEM)
USUAL = PROBLEM.theta_default()
IMMEASURABLE_KW = 1e-6


@pytest.fixture(scope="module")
def battery() -> Iterator[Controller]:
    with compiled_controller(PROBLEM) as controller:
        yield controller


def forecast_of(buy: Array | float, sell: Array | float, net_load: Array | float) -> Array:
    return np.column_stack([np.broadcast_to(np.asarray(v, dtype=float), HORIZON + 1) for v in (buy, sell, net_load)])


def solve(battery: Controller, soc: float, forecast: Array, theta: Array = USUAL) -> Solution:
    battery.set_theta(theta)
    solution = battery.solve([soc], forecast)
    assert solution.ok, (solution.status, solution.residual)
    assert most_excluded(PROBLEM, solution.plan_a) <= IMMEASURABLE_KW
    cost = COST(theta, [soc], forecast, solution.plan_a)
    assert solution.value == pytest.approx(cost, rel=1e-6, abs=1e-6)
    return solution


def meter_bill(forecast: Array, plan_a: Array) -> float:
    """Written out apart from the Problem: import and export are the two sides of one power."""
    buy, sell, net_load = forecast[:HORIZON].T
    grid = net_load + plan_a[:, 0] - plan_a[:, 1]
    return float(DT_H * np.where(grid > 0, buy * grid, sell * grid).sum())


def anything_else(forecast: Array, plan_x: Array, plan_a: Array, theta: Array = USUAL) -> float:
    """What the objective holds besides the bill, where plans keep all limits: wear, curvature, ties, terminal value."""
    buy, _, net_load = forecast.T
    power = (plan_a**2).sum() + 1e-2 * (np.maximum(net_load[:HORIZON] + plan_a[:, 0] - plan_a[:, 1], 0.0) ** 2).sum()
    soc = plan_x[-1, 0]
    worth = SPEC.capacity_kwh * (buy.mean() * theta[6] * soc - abs(buy.mean()) * theta[7] / 2 * soc**2)
    usual, kept_kwh = max(np.abs(buy).mean(), 0.02), DT_H * SPEC.capacity_kwh * plan_x[:HORIZON, 0].sum()
    return float(usual * (5e-4 / 2 * power + 1e-4 * kept_kwh) + DT_H * theta[5] / 2 * plan_a.sum() - worth)


prices = st.one_of(
    arrays(np.float64, HORIZON + 1, elements=st.floats(-0.65, 5.0)),
    arrays(np.float64, HORIZON + 1, elements=st.sampled_from([-0.2, -0.01, 0.0, 0.081, 0.3])),
    st.floats(-0.65, 5.0),
)


@settings(max_examples=120, deadline=None)
@given(
    prices,
    prices,
    arrays(np.float64, HORIZON + 1, elements=st.floats(-12.0, 12.0)),
    st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.02, 0.045, 0.05, 0.95, 0.97, 1.0])),
    st.integers(0, 10_000),
    st.sampled_from([1.0, 11.5]),
)
def test_the_value_is_the_bill_of_a_meter_and_nothing_flows_both_ways(
    battery: Controller, buy: Array, sell: Array, net_load: Array, soc: float, seed: int, currency: float
) -> None:
    lower, upper = PROBLEM.theta_bounds()
    theta = USUAL if seed % 2 else np.random.default_rng(seed).uniform(lower, upper)
    forecast = forecast_of(currency * np.asarray(buy), currency * np.asarray(sell), net_load)
    solution = solve(battery, soc, forecast, theta)
    lowest, highest = min(soc, SPEC.soc_min), max(soc, SPEC.soc_max)
    if theta is USUAL:
        assert (solution.plan_x >= lowest - 1e-6).all() and (solution.plan_x <= highest + 1e-6).all()
        if SPEC.soc_min <= solution.plan_x.min() and solution.plan_x[-1, 0] <= SPEC.soc_max and currency == 1.0:
            bill = meter_bill(forecast, solution.plan_a)
            rest = anything_else(forecast, solution.plan_x, solution.plan_a)
            assert solution.value == pytest.approx(bill + rest, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("soc", [0.1, 0.5, 0.9])
def test_feed_in_above_the_buy_price_is_no_money_pump(battery: Controller, soc: float) -> None:
    """Five hours of power for next to nothing beside a fixed feed-in: a meter cannot do both at once."""
    buy = np.full(HORIZON + 1, 0.30)
    buy[:20] = np.linspace(0.10, -0.20, 20)
    forecast = forecast_of(buy, 0.081, 0.5)
    value = solve(battery, soc, forecast).value
    # At most: everything is bought at the lowest price and sold at the highest, at full power all the time.
    most = DT_H * 5 * 20 * (0.081 + 0.20) + SPEC.capacity_kwh * 0.30 + 5 * 0.30
    assert -most < value < DT_H * 0.5 * buy[:HORIZON].sum() + 1.0


@pytest.mark.parametrize("sell", [-0.01, -0.10])
def test_a_surplus_that_costs_is_stored_and_not_burnt(battery: Controller, sell: float) -> None:
    solution = solve(battery, 0.3, forecast_of(0.3, sell, -5.0))
    assert solution.plan_x[-1, 0] == pytest.approx(SPEC.soc_max, abs=1e-3)


@pytest.mark.parametrize(("load", "limit"), [(24.0, 25.0), (9.0, 10.0), (26.0, 25.0), (30.0, 25.0)])
def test_charging_never_breaks_the_import_limit(load: float, limit: float) -> None:
    problem = home_battery(BatterySpec(import_limit_kw=limit), horizon=HORIZON)
    buy = np.full(HORIZON + 1, 1.5)
    buy[:8] = -0.3  # paid for taking power: everything speaks for charging
    with compiled_controller(problem) as controller:
        solution = controller.solve([0.4], forecast_of(buy, -0.4, load))
    assert solution.ok
    drawn = load + solution.plan_a[:, 0] - solution.plan_a[:, 1]
    assert drawn.max() <= max(limit, load) + 1e-6
    assert solution.plan_a[0, 0] == pytest.approx(max(0.0, limit - load), abs=1e-5)


def test_export_keeps_its_own_limit_and_loads_beyond_it_leave_a_plan() -> None:
    problem = home_battery(BatterySpec(export_limit_kw=2.0), horizon=HORIZON)
    with compiled_controller(problem) as controller:
        solution = controller.solve([0.9], forecast_of(0.3, 2.0, 0.5))
        assert solution.ok
        assert (0.5 + solution.plan_a[:, 0] - solution.plan_a[:, 1]).min() >= -2.0 - 1e-6
        surplus = controller.solve([0.95], forecast_of(0.3, 0.2, -9.0))
        assert surplus.ok and surplus.plan_a[:, 1].max() <= 1e-6


def test_no_limit_is_broken_so_as_to_help_where_the_load_is_beyond_it() -> None:
    """A kWh that is bought beyond the limit now would be one less beyond it later."""
    spec = BatterySpec(import_limit_kw=3.0, export_limit_kw=2.0)
    with compiled_controller(home_battery(spec, horizon=HORIZON)) as controller:
        for seed in range(60):
            rng = np.random.default_rng(seed)
            load = rng.uniform(-6.0, 9.0, HORIZON + 1)
            soc = rng.uniform()
            solution = controller.solve([soc], forecast_of(rng.uniform(-0.3, 0.5, HORIZON + 1), 0.05, load))
            assert solution.ok
            grid, load = load[:HORIZON] + solution.plan_a[:, 0] - solution.plan_a[:, 1], load[:HORIZON]
            assert (grid <= np.maximum(load, spec.import_limit_kw) + 1e-6).all(), seed
            assert (grid >= np.minimum(load, -spec.export_limit_kw) - 1e-6).all(), seed
            lowest, highest = min(soc, spec.soc_min), max(soc, spec.soc_max)
            assert lowest - 1e-6 <= solution.plan_x.min() and solution.plan_x.max() <= highest + 1e-6, seed


@pytest.mark.parametrize("soc", [0.045, 0.02, 0.0])
@pytest.mark.parametrize("factor", [1.0, 0.1, 11.5])
def test_an_empty_battery_waits_for_the_cheap_hours(battery: Controller, soc: float, factor: float) -> None:
    buy = np.full(HORIZON + 1, 0.90)
    buy[8:16] = 0.10
    solution = solve(battery, soc, forecast_of(factor * buy, factor * 0.05, 0.4))
    assert solution.plan_a[:8].max() <= 1e-5 and solution.plan_a[8:16, 0].max() > 1.0
    assert solution.plan_x[16:, 0].min() >= SPEC.soc_min - 1e-6 or solution.plan_x[-1, 0] >= SPEC.soc_min - 1e-6


@pytest.mark.parametrize("slope", [0.0, 0.002])
def test_an_empty_battery_puts_nothing_off_for_little(battery: Controller, slope: float) -> None:
    """Cells drain at rest: where waiting earns nothing, or a per cent an hour, each decision would put it off again."""
    buy = 0.20 - slope * DT_H * np.arange(HORIZON + 1)
    theta = USUAL.copy()
    theta[6] = 0.0  # what is stored is worth nothing at the end
    solution = solve(battery, 0.03, forecast_of(buy, 0.05, 0.4), theta)
    assert solution.plan_x[2, 0] >= SPEC.soc_min - 1e-6


@pytest.mark.parametrize("soc", [0.96, 1.0])
def test_a_full_battery_is_not_made_to_sell(battery: Controller, soc: float) -> None:
    sell = np.full(HORIZON + 1, 0.01)
    sell[12:16] = 0.50
    solution = solve(battery, soc, forecast_of(0.60, sell, 0.0))
    assert solution.plan_a[:12].max() <= 1e-5 and solution.plan_a[12:16, 1].sum() > 0.09
    assert solution.plan_x[-1, 0] <= SPEC.soc_max + 1e-6


@pytest.mark.parametrize("odd", [-0.503, -0.529, 3.2, 5.0])
def test_an_odd_price_is_a_price(battery: Controller, odd: float) -> None:
    buy = np.full(HORIZON + 1, 0.25)
    buy[6] = odd
    assert all(signal.lower <= odd <= signal.upper for signal in PROBLEM.forecasts[:2])
    solution = solve(battery, 0.5, forecast_of(buy, buy - 0.02, 1.0))
    assert (solution.plan_a[6, 0] > 4.9) if odd < 0 else (solution.plan_a[6, 1] > 4.9)


def test_plans_do_not_depend_on_the_currency(battery: Controller) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        buy = np.repeat(rng.normal(0.2, 0.2, 7), 4)[: HORIZON + 1]
        sell = 0.08 if seed % 2 else buy - 0.05
        net_load = rng.normal(0.5, 2.0, HORIZON + 1)
        euro = solve(battery, 0.4, forecast_of(buy, sell, net_load))
        krone = solve(battery, 0.4, forecast_of(11.5 * buy, 11.5 * np.asarray(sell), net_load))
        assert krone.value == pytest.approx(11.5 * euro.value, rel=1e-5)
        np.testing.assert_allclose(krone.plan_a, euro.plan_a, atol=2e-3)


def odd_instance(seed: int) -> tuple[Array, float]:
    """Prices of either sign, feed-in above and below them, sun: where the programs are not convex."""
    rng = np.random.default_rng(seed)
    buy = np.repeat(rng.normal(0.1, 0.2, 7), 4)[: HORIZON + 1]
    sell = [0.081, np.repeat(rng.normal(0.1, 0.2, 7), 4)[: HORIZON + 1], -0.05, buy - 0.03][seed % 4]
    return forecast_of(buy, sell, rng.normal(0.5, 0.6, HORIZON + 1) - rng.uniform(0, 5) * (seed % 3 == 0)), rng.uniform(
        0.1, 0.9
    )


def gaps_to_the_best(battery: Controller, seeds: range) -> Array:
    """Cost above that of the best plan, over what that plan saves against none."""
    theta = USUAL.copy()
    theta[7] = 0.0
    gaps = []
    for seed in seeds:
        forecast, soc = odd_instance(seed)
        best = COST(theta, [soc], forecast, best_plan(SPEC, forecast, soc, DT_H, theta[6], theta[0]))
        idle = COST(theta, [soc], forecast, np.zeros((HORIZON, 2)))
        gaps.append((solve(battery, soc, forecast, theta).value - best) / max(idle - best, 1e-3))
    return np.array(gaps)


def test_plans_are_nearly_the_best_there_are(battery: Controller) -> None:
    gaps = gaps_to_the_best(battery, range(24))
    assert np.median(gaps) <= 1e-3 and np.quantile(gaps, 0.9) <= 0.01 and gaps.max() <= 0.05, np.sort(gaps)[-5:]


def test_a_search_ends_after_so_many_iterations_with_a_plan(
    battery: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed. A pass takes 50 iterations at most, and three may come after the bound."""
    most = 60
    monkeypatch.setattr("codegen.ocp.MOST_SEARCHED", most)
    monkeypatch.setattr("codegen.ocp.FEWEST_SEARCHED", most)
    hurried = replace(PROBLEM, name="hurried_battery")  # a name of its own: what was built without the bound is kept
    with compiled_controller(hurried) as controller:
        taken = []
        for seed in range(40):
            forecast, soc = odd_instance(seed)
            plan = solve(controller, soc, forecast)
            assert plan.iterations <= most + 3 * 50
            assert plan.value <= COST(USUAL, [soc], forecast, np.zeros((HORIZON, 2))) + 1e-6
            taken.append(solve(battery, soc, forecast).iterations)
    assert max(taken) > most + 3 * 50, taken


def test_derivatives_are_those_of_the_last_program(battery: Controller) -> None:
    """Of the value, in every parameter, where actions are off and costs are bent."""
    checked = 0
    for seed in range(8):
        forecast, soc = odd_instance(seed)
        theta = USUAL + 0.02 * np.array([-1, -1, 1, 0.5, 0.5, 1, 1, 1])
        solution = solve(battery, soc, forecast, theta)
        gradient, _ = battery.differentiate()
        for i in range(theta.size):
            ends = []
            for sign in (1.0, -1.0):
                moved = theta.copy()
                moved[i] += sign * 1e-6
                ends.append(solve(battery, soc, forecast, moved))
            if any(np.abs(end.plan_a - solution.plan_a).max() > 0.05 for end in ends):
                continue  # other modes, of about the same value: the value jumps there by less than a flip is worth
            difference = (ends[0].value - ends[1].value) / 2e-6
            assert gradient[i] == pytest.approx(difference, abs=2e-3 * max(1.0, np.abs(gradient).max()))
            checked += 1
    assert checked >= 48, checked


def test_q_of_the_first_move_is_the_value_and_of_another_no_less(battery: Controller) -> None:
    for seed in range(8):
        forecast, soc = odd_instance(seed)
        solution = solve(battery, soc, forecast)
        same = battery.solve_fixed([soc], forecast, solution.action)
        other = battery.solve_fixed([soc], forecast, [2.0, 1.0])
        assert same.ok and other.ok
        assert same.value == pytest.approx(solution.value, rel=0.03, abs=0.01)
        assert other.value >= solution.value - 0.03 * abs(solution.value) - 0.01


def test_exclusive_pairs_that_cannot_be_kept_are_refused() -> None:
    for pairs in ((("charge", "grid_import"),), (("charge", "discharge"), ("charge", "discharge"))):
        with pytest.raises(ProblemError, match="must be an action from 0 up, named there once"):
            check_modes(replace(PROBLEM, exclusive=pairs))
    with pytest.raises(ProblemError, match="give both"):
        check_modes(replace(PROBLEM, tangent=None))


def test_no_charge_for_peaks_is_saved_by_energy_that_is_not_there() -> None:
    """Where power costs next to nothing and its peak a lot, an empty battery stays one."""
    text = (importlib.resources.files("systems.houses") / "battery.toml").read_text()
    text = text.replace('horizon = "24 h"', 'horizon = "6 h"').replace("[meter]", "[meter]\ncapacity.price_per_kw = 50")
    problem = compose(parse_house(text))
    with compiled_controller(problem) as controller:
        for seed in range(12):
            rng = np.random.default_rng(seed)
            rows = problem.horizon + 1
            columns = {"load": rng.uniform(0, 12, rows), "pv": np.zeros(rows)}
            columns |= {"buy": np.full(rows, 0.02), "sell": np.zeros(rows)}
            forecast = np.column_stack([columns[signal.name] for signal in problem.forecasts])
            start = {"home_soc": rng.uniform(0.0, 0.3), "month_peak": rng.uniform(0, 5)}
            solution = controller.solve([start[state.name] for state in problem.states], forecast)
            soc = solution.plan_x[:, [state.name for state in problem.states].index("home_soc")]
            assert solution.ok and soc.min() >= min(start["home_soc"], 0.05) - 1e-6, seed


def test_two_batteries_behind_one_meter_are_billed_right() -> None:
    """A described house: nothing in the passes is the battery's own."""
    text = (importlib.resources.files("systems.houses") / "battery.toml").read_text()
    text = text.replace('horizon = "24 h"', 'horizon = "6 h"')
    text += '\n[[battery]]\nname = "garage"\ncapacity_kwh = 6.0\nmax_charge_kw = 3.0\nmax_discharge_kw = 3.0\n'
    problem = compose(parse_house(text))
    theta, cost = problem.theta_default(), PlanCost(problem)
    with compiled_controller(problem) as controller:
        for seed in range(12):
            rng = np.random.default_rng(seed)
            rows = problem.horizon + 1
            columns = {"load": rng.uniform(0, 2, rows) + 24 * (seed % 4 == 3), "pv": rng.uniform(0, 5, rows)}
            columns["buy"] = np.repeat(rng.normal(0.1, 0.2, rows // 4 + 1), 4)[:rows]
            columns["sell"] = [np.full(rows, 0.081), rng.permutation(columns["buy"]), np.full(rows, -0.05)][seed % 3]
            forecast = np.column_stack([columns[signal.name] for signal in problem.forecasts])
            soc = rng.uniform(0, 1, 2)
            solution = controller.solve(soc, forecast)
            assert solution.ok and most_excluded(problem, solution.plan_a) <= IMMEASURABLE_KW
            assert solution.value == pytest.approx(cost(theta, soc, forecast, solution.plan_a), rel=1e-6, abs=1e-6)
