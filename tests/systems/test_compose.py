"""House -> Problem: the two houses that were programs, houses that nobody has written, and an asset of one's own."""

from __future__ import annotations

import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import casadi as ca
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import systems.assets
from research.four_rooms.problem import house_problem
from research.four_rooms.reference import reference_model
from systems.arx import ArxModel
from systems.compose import compose
from systems.house_file import SHIPPED, HouseFileError, load_house, parse_house
from systems.plant import HousePlant
from systems.problem import Problem
from systems.world.generate import generated_world
from tests.codegen.home_battery import home_battery
from tuner.identify.assemble import load_log
from tuner.identify.model import learn_house
from tuner.identify.simulate import simulate_log

HOUSES = sorted(file.stem for file in SHIPPED.glob("*.toml"))
Array = NDArray[np.float64]


def named(signals: tuple, values: dict[str, float], default: float = 0.0) -> Array:  # type: ignore[type-arg]
    return np.array([values.get(signal.name, default) for signal in signals])


def test_four_heat_pumps_are_the_program_of_the_paper() -> None:
    """Every function of it, at random points and random theta."""
    rng, model = np.random.default_rng(3), reference_model()
    old, new = house_problem(model), compose(load_house("four-heat-pumps"), {"zone": model})
    rooms = ("living", "kitchen", "bedroom", "office")
    assert (new.horizon, new.dt_s, new.decide_every_s) == (old.horizon, old.dt_s, old.decide_every_s)
    assert new.discount == pytest.approx(old.discount, rel=1e-15)
    assert new.soft_penalty == old.soft_penalty
    coefficients = 12 * 4 * 9
    for _ in range(10):
        theta = np.clip(old.theta_default() + rng.normal(0, 0.01, old.ntheta), *old.theta_bounds())
        values = dict(zip((p.name for p in old.theta), theta.tolist(), strict=True))
        mine = {p.name: v for p, v in zip(new.theta[4 : 4 + coefficients], theta[:coefficients], strict=True)}
        for group in (
            "bias",
            "set_point_offset",
            "backoff_low",
            "backoff_high",
            "comfort_scale",
            "terminal_slope",
            "terminal_curvature",
        ):
            mine |= {f"{room}_{group}": values[f"{group}_{i + 1}"] for i, room in enumerate(rooms)}
        mine |= {f"hp_{room}_power_curvature": values["power_curvature"] for room in rooms}
        mine["price_scale"] = values["price_scale"]
        p_old, p_new = old.prepare(theta), new.prepare(named(new.theta, mine))  # type: ignore[misc]
        x, u, outdoor = rng.uniform(5, 25, 48), rng.uniform(0, 1.5, 4), rng.uniform(-10, 10, 6)
        price = rng.uniform(-0.2, 0.6)
        forecast = {f"outdoor_{i}": v for i, v in enumerate(outdoor)} | {"buy": price}
        for room in rooms:
            forecast |= {f"{room}_set_point": 21.0, f"{room}_lower": 18.0, f"{room}_upper": 23.0}
        d_old, d_new = np.append(outdoor, price), named(new.forecasts, forecast)
        for function in ("dynamics", "stage_cost", "soft"):
            expected = np.array(getattr(old, function)(x, u, d_old, [], p_old))
            assert np.array(getattr(new, function)(x, u, d_new, [], p_new)) == pytest.approx(
                expected, rel=1e-12, abs=1e-10
            )
        expected = float(old.terminal_cost(x, d_old, [], p_old))
        assert float(new.terminal_cost(x, d_new, [], p_new)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_every_shipped_house_is_a_convex_program() -> None:
    for name in HOUSES:
        problem = compose(load_house(name))
        signals = [s.name for s in (*problem.states, *problem.actions, *problem.auxiliaries, *problem.forecasts)]
        assert len(set(signals)) == len(signals)
        assert len({p.name for p in problem.theta}) == problem.ntheta
        assert_convex(problem)


def assert_convex(problem: Problem, seed: int = 0) -> None:
    """The stage cost's Hessian has no negative eigenvalue; dynamics and rows are affine: their curvature is nought."""
    rng = np.random.default_rng(seed)
    x, u = ca.MX.sym("x", problem.nx), ca.MX.sym("u", problem.nu)
    lower, upper = (np.array([getattr(s, end) for s in problem.forecasts]) for end in ("lower", "upper"))
    d = rng.uniform(np.maximum(lower, -5.0), np.minimum(upper, 25.0))
    z = rng.uniform(0.05, 0.3, problem.nz)
    theta = problem.theta_default()
    p = problem.prepare(theta) if problem.prepare is not None else theta
    w = ca.vertcat(x, u)
    hessian = ca.Function("h", [x, u], [ca.hessian(problem.stage_cost(x, u, d, z, p), w)[0]])
    at = (rng.uniform(0, 20, problem.nx), rng.uniform(0, 1, problem.nu))
    assert np.linalg.eigvalsh(np.array(hessian(*at))).min() > -1e-9
    for function in (problem.dynamics, problem.hard, problem.soft):
        if function is not None:
            slope = ca.Function("j", [x, u], [ca.jacobian(function(x, u, d, z, p), w)])
            elsewhere = (rng.uniform(0, 20, problem.nx), rng.uniform(0, 1, problem.nu))
            assert np.array(slope(*at)) == pytest.approx(np.array(slope(*elsewhere)), abs=1e-12)


def random_house(zones: int, pumps: int, batteries: int, arrays: int, tanks: int, lags: int) -> str:
    """A house that nobody has written a line of code for; pumps take turns with zones, the last feeds the tanks."""
    feeds: list[list[str]] = [[] for _ in range(pumps)]
    for i in range(zones):
        feeds[i % pumps].append(f"zone{i}")
    feeds[-1] += [f"tank{i}" for i in range(tanks)]
    text = f'[house]\nname = "any"\n[meter]\n[load]\n[building]\nmemory = {lags * 300}\n'
    text += "".join(f'[[zone]]\nname = "zone{i}"\n' for i in range(zones))
    text += "".join(f'[[tank]]\nname = "tank{i}"\nlitres = 150\n' for i in range(tanks))
    text += "".join(f'[[pv]]\nname = "pv{i}"\npeak_kw = 4\n' for i in range(arrays))
    text += "".join(
        f'[[battery]]\nname = "bat{i}"\ncapacity_kwh = 8\nmax_charge_kw = 3\nmax_discharge_kw = 3\n'
        for i in range(batteries)
    )
    text += "".join(
        f'[[heat_pump]]\nname = "hp{i}"\nmax_power_kw = 2\nfeeds = {fed!r}\n' for i, fed in enumerate(feeds) if fed
    )
    return text


@settings(max_examples=12)
@given(
    st.integers(1, 6), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(1, 13)
)
def test_houses_that_are_not_shipped_compose_too(
    zones: int, pumps: int, batteries: int, arrays: int, tanks: int, lags: int
) -> None:
    house = parse_house(random_house(zones, pumps, batteries, arrays, tanks, lags))
    problem = compose(house)
    assert problem.nx == zones * lags + batteries + tanks
    heating = min(zones, pumps)  # pumps that got a zone
    assert problem.na == heating + tanks + 2 * batteries
    assert_convex(problem)


def test_power_is_balanced_at_the_meter() -> None:
    """What is bought less what is sold is what all assets draw, whatever they are."""
    problem = compose(load_house("villa"))
    rng = np.random.default_rng(5)
    values = {"load": 1.3, "pv": 4.0, "buy": 0.2, "sell": 0.1}
    u = {s.name: v for s, v in zip(problem.actions, rng.uniform(0, 1, problem.na), strict=True)} | {
        "grid_import": 2.0,
        "new_peak": 3.0,
    }
    signals = (*problem.actions, *problem.auxiliaries)
    p = problem.prepare(problem.theta_default())  # type: ignore[misc]
    rows = np.array(
        problem.hard(
            np.full(problem.nx, 20.0), named(signals, u), named(problem.forecasts, values), np.ones(problem.nz), p
        )  # type: ignore[misc]
    ).ravel()
    drawn = (
        1.3
        - (1 - u["roof_curtailment"]) * 4.0
        + u["home_charge"]
        - u["home_discharge"]
        + u["hp_power"]
        + u["hp_water_power"]
    )
    sold = 2.0 - drawn
    assert sold == pytest.approx(rows[1])


def test_the_fit_of_another_house_is_refused() -> None:
    with pytest.raises(HouseFileError, match="has 4 zones and 5 inputs, house 'cabin' has 2 and 3"):
        compose(load_house("cabin"), {"zone": reference_model()})
    model = reference_model()
    slower = ArxModel(
        model.output_coefficients, model.input_coefficients, model.innovation_mean, model.innovation_covariance, 600.0
    )
    with pytest.raises(HouseFileError, match=r"set \[grid\] step = 600"):
        compose(load_house("four-heat-pumps"), {"zone": slower})


POOL = '''
"""A pool pump: it has to run some hours a day, whenever power is cheap."""

from typing import Annotated, Any

from pydantic import Field

from systems.asset_plant import AssetPlant, Flow
from systems.assets import AssetKind, Nameplate, Portrait
from systems.block import Block, Forecast, Inflow, Ports, Scope, Soft, Terms
from systems.logs.lesson import Fitted, Lesson
from systems.logs.log import LogColumn, Quantity
from systems.problem import Signal


class Pool(Nameplate):
    power_kw: Annotated[float, Field(gt=0)]
    hours: float = 4.0


def block(house: Any, pool: Pool) -> Block:
    def stage(scope: Scope, inflow: Inflow) -> Terms:
        return Terms(scope.x + scope.u[0] / pool.power_kw * house.grid.hold_h, 1e-4 * scope.u[0] ** 2)

    return Block(
        asset=pool.name,
        states=(Signal(f"{pool.name}_run", "h", 0.0, 24.0),),
        actions=(Signal(f"{pool.name}_power", "kW", 0.0, pool.power_kw),),
        ports=lambda scope: Ports(electric_kw=scope.u[0]),
        stage=stage,
        terminal=lambda scope: Terms(soft=Soft(scope.x - pool.hours, (5.0,), (1.0,))),
    )


class PoolPlant(AssetPlant):
    def __init__(self, house: Any, pool: Pool) -> None:
        self.asset, self.actions, self.pool, self.run_h = pool.name, block(house, pool).actions, pool, 0.0

    def draw(self, action: Any, now: Any) -> Flow:
        self.run_h += action[0] / self.pool.power_kw * now.hours
        self.kw = action[0]
        return Flow(action[0])

    def flows(self) -> dict[str, float]:
        return {f"{self.asset}_kw": getattr(self, "kw", 0.0)}

    def measured(self) -> dict[str, float]:
        return {f"{self.asset}_run": self.run_h}


KINDS = (
    AssetKind(
        "pool", Pool, 70, lambda house, fits: tuple(block(house, pool) for pool in house.of("pool")),
        lambda house, pool: Portrait(f"{pool.power_kw:g} kW", moved=(f"{pool.name}_power",)),
        plants=lambda house, fits: tuple(PoolPlant(house, pool) for pool in house.of("pool")),
        columns=lambda house, pool: (LogColumn(f"{pool.name}_kw", Quantity.POWER, bus=1),),
        learn=lambda house, pools, log: tuple(
            Lesson(pool.name, "it runs", findings=(Fitted("mean", "kW", float(log[f"{pool.name}_kw"].mean())),))
            for pool in pools
        ),
    ),
)
'''


def test_a_new_kind_of_asset_is_one_folder_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "__init__.py").write_text(textwrap.dedent(POOL))
    monkeypatch.setattr(systems.assets, "__path__", [*systems.assets.__path__, str(tmp_path)])
    text = (SHIPPED / "battery.toml").read_text() + '\n[[pool]]\nname = "pool"\npower_kw = 1.1\n'
    try:
        house = parse_house(text)
        problem = compose(house)
        world = generated_world(house, datetime(2024, 1, 1, tzinfo=UTC), 2.0)
        plant = HousePlant(house, world)
        logged = simulate_log(house, world, seed=0)
        logged.write(tmp_path / "log.csv")
        found = load_log(house, [tmp_path / "log.csv"])
        lessons = {lesson.asset: lesson for lesson in learn_house(house, found).lessons}
    finally:
        sys.modules.pop("systems.assets.pool", None)
    assert plant.actions == problem.actions
    plant.reset(seed=0)
    *_, info = plant.step([1.1 if action.name == "pool_power" else 0.0 for action in plant.actions])
    assert info["grid_kw"] == pytest.approx(info["load_kw"] - info["roof_kw"] + 1.1)
    assert plant.measured()["pool_run"] == house.grid.step_h
    assert "pool_power" in [a.name for a in problem.actions]
    assert_convex(problem)
    seen = logged.values[:, logged.names.index("pool_kw")].mean()
    assert lessons["pool"].findings[0].value == pytest.approx(seen, abs=1e-3)
    # Nothing is missing in the sum at the meter, so the pump is in it.
    unexplained = next(f.value for f in lessons["meter"].findings if f.name == "not explained")
    assert unexplained == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(HouseFileError, match="unknown key 'pool'"):
        monkeypatch.undo()
        parse_house(text)


def test_the_described_battery_is_the_battery() -> None:
    """Every function of the program that was written for it, from net load in two parts, in every regime of prices."""
    old, new = home_battery(), compose(load_house("battery"))
    rng = np.random.default_rng(1)
    shared = {"charge_efficiency": 0.93, "discharge_efficiency": 0.94, "soc_backoff_low": 0.02}
    shared |= {"soc_backoff_high": 0.03, "price_spread": 0.01, "terminal_slope": 0.8, "terminal_curvature": 0.3}
    mine = {f"home_{name}": value for name, value in shared.items()}
    theta_new = named(new.theta, mine | {"load_bias": 0.1, "roof_scale": 1.0, "price_scale": 1.0})
    theta_old = named(old.theta, shared | {"net_load_bias": 0.1})
    rows = old.horizon + 1
    assert new.exclusive == (("home_charge", "home_discharge"),)
    assert (new.soft_penalty, new.soft_terminal_penalty) == (old.soft_penalty, old.soft_terminal_penalty)
    for case in range(40):
        soc, u = rng.uniform(0, 1), rng.uniform(0, 5, 3)
        load, pv = rng.uniform(0, 40, rows), rng.uniform(0, 6, rows)
        buy, sell = rng.uniform(-0.3, 0.4, (2, rows))
        d_old = np.column_stack([buy, sell, load - pv])
        columns = {"load": load, "pv": pv, "buy": buy, "sell": sell}
        d_new = np.column_stack([columns[s.name] for s in new.forecasts])
        z_old, z_new = old.features(d_old, soc), new.features(d_new, soc)  # type: ignore[misc]
        k = case % rows
        for function in ("dynamics", "stage_cost", "soft", "hard", "settled"):
            expected = np.array(getattr(old, function)(soc, u, d_old[k], z_old, theta_old))
            value = np.array(getattr(new, function)(soc, u, d_new[k], z_new, theta_new))
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-12), function
        for function in ("terminal_cost", "soft_terminal"):
            expected = np.array(getattr(old, function)(soc, d_old[k], z_old, theta_old))
            value = np.array(getattr(new, function)(soc, d_new[k], z_new, theta_new))
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-12), function
        for function in ("relaxed", "tangent"):
            expected = np.array(getattr(old, function)(soc, u, d_old[k], z_old, theta_old)).ravel()
            value = np.array(getattr(new, function)(soc, u, d_new[k], z_new, theta_new)).ravel()
            names = [s.name for s in new.forecasts]
            assert value[[names.index("buy"), names.index("sell")]] == pytest.approx(expected[:2], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("kind", "ratio"), [("air-water", 1.5), ("electric", 1.0)])
def test_heat_costs_more_at_full_load_than_at_the_least_where_a_compressor_makes_it(kind: str, ratio: float) -> None:
    text = '[house]\nname = "h"\n[[tank]]\nname = "water"\nlitres = 200\n'
    text += f'[[heat_pump]]\nname = "hp"\nfeeds = ["water"]\nkind = "{kind}"\nmax_power_kw = 2\n'
    problem = compose(parse_house(text))
    buy = np.array([1.0 if signal.name == "buy" else 0.0 for signal in problem.forecasts])
    x, z = np.full(problem.nx, 50.0), problem.features(np.tile(buy, (problem.horizon + 1, 1)), [50.0] * problem.nx)  # type: ignore[misc]
    theta = problem.theta_default()
    p = theta if problem.prepare is None else problem.prepare(theta)

    def marginal(power_kw: float) -> float:
        ends = [float(problem.stage_cost(x, [power_kw + step], buy, z, p)) for step in (-1e-4, 1e-4)]
        return ends[1] - ends[0]

    assert marginal(2.0 - 1e-4) / marginal(1e-4) == pytest.approx(ratio, abs=0.01)
