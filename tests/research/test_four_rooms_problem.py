"""The lifted house problem: equal to the ARX and the cost step by step, and to the tuner's solver when deployed."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.solver import compiled_controller
from research.condensed.solver import ClosedLoop, CondensedMpc, States, run, solve
from research.four_rooms.cost import HouseCost
from research.four_rooms.problem import house_forecast, house_problem, house_state
from research.four_rooms.reference import reference_model
from research.four_rooms.theta import HouseMpc, HouseMpcError, held_moves, model_of_theta, theta_values
from systems.world.weather import generate_conditions

MODEL = reference_model()
MPC = HouseMpc(cost=HouseCost(beta=0.5))
TUNED = {
    "bias": 0.015, "set_point_offset": 0.2, "backoff_low": 0.3, "comfort_scale": 1.2, "power_curvature": 0.02,
    "terminal_slope": -0.02,
}  # fmt: skip


def states_of_a_closed_loop(theta: np.ndarray, days: int, first_day: int) -> States:
    """What the controller sees in the season that judges."""
    season = generate_conditions(1_000_003, days=first_day + days + 2)
    rng, steps, first = np.random.default_rng(first_day), days * 288, first_day * 288
    part = slice(first, first + steps + MPC.horizon)
    outputs, inputs = np.full((12, 4), 21.0), np.tile([season.outdoor_c[first], 0.3, 0.3, 0.3, 0.3], (11, 1))
    episode = ClosedLoop(
        CondensedMpc(MPC, theta), MODEL, outputs, inputs, season.outdoor_c[part], season.price_eur_kwh[part],
        MODEL.sample_innovations(rng, (steps,)),
    )  # fmt: skip
    rollout = run([episode])[0]
    powers = np.repeat(rollout.action, MPC.apply, axis=0)
    y = np.vstack([outputs, rollout.temperature])
    v = np.vstack([inputs, np.column_stack([episode.outdoor[: len(powers)], powers])])
    at = np.arange(0, steps, MPC.apply)[:, None]
    ahead = at + np.arange(MPC.horizon)
    return States(y[at + np.arange(12)], v[at + np.arange(11)], episode.outdoor[ahead], episode.price[ahead])


@pytest.mark.parametrize("changes", [{}, TUNED], ids=["data-fitted", "tuned"])
def test_a_stage_is_six_steps_of_the_arx_and_of_the_cost(changes):
    theta, rng = theta_values(MODEL, **changes), np.random.default_rng(0)
    problem = house_problem(MODEL, MPC)
    p = problem.prepare(theta)
    arx, bias = model_of_theta(theta, MODEL)
    y, v = 19.0 + rng.normal(0, 1, (12, 4)), rng.uniform(0, 1, (11, 5))
    x, power, outdoor, price = house_state(theta, MODEL, y, v), rng.uniform(0, 1.5, 4), rng.normal(0, 5, 6), 0.07
    stage = (x, power, [*outdoor, price], [], p)

    inputs = np.column_stack([outdoor, np.tile(power, (6, 1))])
    after, x_after = arx.simulate(x, inputs, np.tile(bias, (6, 1)))
    assert np.array(problem.dynamics(*stage)).ravel() == pytest.approx(x_after, abs=1e-10)
    limits = np.array(problem.soft(*stage)).ravel()
    assert limits[:24] == pytest.approx((after - 18.0 - changes.get("backoff_low", 0.0)).ravel(), abs=1e-10)
    assert limits[24:] == pytest.approx((23.0 - after).ravel(), abs=1e-10)
    weights = MPC.discount ** np.arange(6) / 12
    target = 21.0 + changes.get("set_point_offset", 0.0)
    curvature = MPC.regularisation + changes.get("power_curvature", 0.0)
    expected = weights.sum() * (price * power.sum() + curvature / 2 * power @ power)
    expected += changes.get("comfort_scale", 1.0) * MPC.cost.beta * weights @ ((after - target) ** 2).sum(1)
    assert float(problem.stage_cost(*stage)) == pytest.approx(expected, rel=1e-10)


def test_every_state_of_a_closed_loop_lies_within_the_stated_ranges():
    theta = theta_values(MODEL)
    states = states_of_a_closed_loop(theta, 2, 100)
    x = house_state(theta, MODEL, states.outputs, states.inputs)
    signals = house_problem(MODEL, MPC).states
    assert (x >= [s.lower for s in signals]).all()
    assert (x <= [s.upper for s in signals]).all()


def test_other_move_patterns_are_refused():
    with pytest.raises(HouseMpcError, match="held_moves"):
        house_problem(MODEL, HouseMpc(moves=held_moves(every=1)))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, TUNED], ids=["data-fitted", "tuned"])
def test_the_deployed_solver_makes_the_moves_of_the_tuners(changes):
    """Generated acados code against the condensed solver: first moves within 1e-6 of their range, and values."""
    theta = theta_values(MODEL, **changes)
    controller = compiled_controller(house_problem(MODEL, MPC))
    controller.set_theta(theta)
    for first_day in (23, 120):
        states = states_of_a_closed_loop(theta, 1, first_day)
        fast = solve(CondensedMpc(MPC, theta), states)
        for i in range(len(states)):
            x0 = house_state(theta, MODEL, states.outputs[i], states.inputs[i])
            found = controller.solve(x0, house_forecast(MPC, states.outdoor[i], states.price[i]))
            assert found.status == 0
            assert np.abs(found.action - fast.action[i]).max() <= 1e-6 * MPC.max_power_kw
            assert found.value == pytest.approx(fast.value[i], rel=1e-6)
