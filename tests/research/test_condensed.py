"""The condensed house MPC against independent solvers, its derivatives against differences, its threads against one."""

from __future__ import annotations

from dataclasses import replace

import casadi as ca
import numpy as np
import pytest

from research.condensed.solver import ClosedLoop, CondensedMpc, CondensedSolverError, States, run, solve
from research.four_rooms.cost import HouseCost
from research.four_rooms.problem import house_forecast, house_problem, house_state
from research.four_rooms.reference import reference_model
from research.four_rooms.theta import HouseMpc, HouseMpcError, coarsening_moves, held_moves, house_theta, theta_values
from systems.world.weather import generate_conditions

MODEL = reference_model()
TUNED = {
    "bias": 0.01, "set_point_offset": -0.3, "backoff_low": 0.2, "backoff_high": 0.1, "comfort_scale": 1.3,
    "price_scale": 1.2, "power_curvature": 0.02, "terminal_slope": -0.02, "terminal_curvature": 0.01,
}  # fmt: skip
# Tracking, price-driven onto the 18 degree bound, and nearly linear.
WEIGHTS = {"tracking": (0.5, 1.0), "price": (0.002, 5.0), "flat": (0.0002, 1.0)}


def draw_states(count: int, seed: int = 0, mean_c: float = 20.5) -> States:
    season, rng = generate_conditions(3, days=60), np.random.default_rng(seed)
    first = rng.integers(0, len(season) - 200, count)
    outputs = mean_c + rng.normal(0, 1.2, (count, 1, 4)) + rng.normal(0, 0.1, (count, 12, 4))
    outdoor = np.broadcast_to(season.outdoor_c[first][:, None, None], (count, 11, 1))
    inputs = np.concatenate([outdoor, rng.uniform(0, 1.5, (count, 11, 4))], axis=-1)
    ahead = first[:, None] + np.arange(144)
    return States(outputs, inputs, season.outdoor_c[ahead], season.price_eur_kwh[ahead])


def spec_of(weights: str) -> HouseMpc:
    beta, alpha = WEIGHTS[weights]
    return HouseMpc(cost=HouseCost(alpha=alpha, beta=beta))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("theta", [{}, TUNED], ids=["data-fitted", "tuned"])
def test_solutions_satisfy_the_optimality_conditions_of_the_program_itself(weights, theta):
    """The gradient comes from simulating the ARX, not from the solver's own matrices."""
    mpc, values = spec_of(weights), theta_values(MODEL, **theta)
    states = draw_states(20, mean_c=19.0)
    found = solve(CondensedMpc(mpc, values), states)
    assert (found.status == 0).all()
    problem = house_problem(MODEL, mpc)
    total, gradient = objective_and_gradient(problem, values)
    for i in range(len(states)):
        x0 = house_state(values, MODEL, states.outputs[i], states.inputs[i])
        forecast = house_forecast(mpc, states.outdoor[i], states.price[i])
        moves = found.moves[i].T
        assert float(total(x0, moves, forecast)) == pytest.approx(found.value[i], rel=1e-9)
        slope = np.array(gradient(x0, moves, forecast))
        step = np.abs(np.clip(moves - slope, 0.0, mpc.max_power_kw) - moves)
        assert step.max() < 1e-9


def objective_and_gradient(problem, theta):
    p, n = problem.prepare(theta), problem.horizon
    x0, moves = ca.SX.sym("x0", problem.nx), ca.SX.sym("u", problem.nu, n)
    forecast = ca.SX.sym("f", n + 1, problem.nd)
    x, cost = x0, ca.SX(0)
    for k in range(n):
        stage = (x, moves[:, k], forecast[k, :].T, ca.SX(0, 1), p)
        below = ca.fmin(problem.soft(*stage), 0)
        cost += problem.discount**k * (
            problem.stage_cost(*stage) + ca.dot(ca.DM(problem.soft_penalty.quadratic), below**2) / 2
        )
        x = problem.dynamics(*stage)
    cost += problem.discount**n * problem.terminal_cost(x, forecast[n, :].T, ca.SX(0, 1), p)
    inputs = [x0, moves, forecast]
    return ca.Function("J", inputs, [cost]), ca.Function("dJ", inputs, [ca.gradient(cost, moves)])


def agreeing_differences(mpc: HouseMpc, theta, states: States, *, directions: int, seed: int) -> int:
    """How many policies' derivatives were compared with central differences along random directions of theta."""
    rng, h, compared = np.random.default_rng(seed), 1e-6, 0
    at = solve(CondensedMpc(mpc, theta), states, gradients=True)
    for _ in range(directions):
        direction = rng.normal(size=len(theta)) * np.where(np.arange(len(theta)) < 432, 1e-3, 1e-2)
        up, down = (solve(CondensedMpc(mpc, theta + sign * h * direction), states) for sign in (1, -1))
        value = (up.value - down.value) / (2 * h)
        assert at.value_gradient @ direction == pytest.approx(value, rel=1e-4, abs=1e-7)
        move, forward, backward = (up.action - down.action) / (2 * h), up.action - at.action, at.action - down.action
        # Next to a change of the active set the policy has a kink, and one-sided differences tell.
        smooth = np.abs(forward - backward).max(1) < 1e-3 * h * (1.0 + np.abs(move).max(1))
        error = np.abs(at.policy_jacobian @ direction - move).max(1)
        assert (error[smooth] <= 1e-4 * np.abs(move[smooth]).max(1) + 1e-6).all()
        compared += int(smooth.sum())
    return compared


@pytest.mark.parametrize("weights", WEIGHTS)
def test_derivatives_equal_differences_in_random_directions(weights):
    states = draw_states(12, seed=1, mean_c=19.5)
    assert agreeing_differences(spec_of(weights), theta_values(MODEL, **TUNED), states, directions=4, seed=2) >= 24


@pytest.mark.parametrize(
    "pattern",
    [
        {"moves": coarsening_moves()},
        {"moves": held_moves(every=1)},
        {"horizon": 135, "apply": 5, "moves": held_moves(135, every=5)},
    ],
    ids=["coarsening", "free", "odd-horizon"],
)
def test_derivatives_hold_for_any_pattern_of_moves(pattern):
    """Powers enter the derivatives move by move, temperatures two steps at a time."""
    mpc, states = replace(spec_of("tracking"), **pattern), draw_states(4, seed=6, mean_c=20.0)
    states = replace(states, outdoor=states.outdoor[:, : mpc.horizon], price=states.price[:, : mpc.horizon])
    assert agreeing_differences(mpc, theta_values(MODEL, **TUNED), states, directions=3, seed=7) >= 8


def test_each_group_of_theta_has_its_own_right_column():
    mpc, theta = spec_of("tracking"), theta_values(MODEL, **TUNED)
    states = draw_states(10, seed=3, mean_c=18.2)
    at = solve(CondensedMpc(mpc, theta), states, gradients=True)
    names = [p.name for p in house_theta(MODEL)]
    for name in (
        "a1_11", "a12_34", "b1_1_outdoor", "b7_2_power_3", "bias_2", "set_point_offset_3", "backoff_low_1",
        "comfort_scale_4", "price_scale", "power_curvature", "terminal_slope_2", "terminal_curvature_1",
    ):  # fmt: skip
        i, h = names.index(name), 1e-7
        step = np.zeros(len(theta))
        step[i] = h
        up, down = (solve(CondensedMpc(mpc, theta + sign * step), states) for sign in (1, -1))
        forward, backward = (up.action - at.action) / h, (at.action - down.action) / h
        smooth = np.abs(forward - backward).max(1) < 1e-4 * (1.0 + np.abs(forward).max(1))
        assert smooth.sum() >= 5, name
        move = (forward + backward)[smooth] / 2
        assert at.policy_jacobian[smooth][:, :, i] == pytest.approx(move, rel=1e-4, abs=2e-5), name
        assert at.value_gradient[:, i] == pytest.approx((up.value - down.value) / (2 * h), rel=1e-4, abs=1e-7), name


def test_q_is_v_at_the_policy_and_more_elsewhere_and_its_hessian_is_the_inverse_block():
    mpc = CondensedMpc(spec_of("tracking"), theta_values(MODEL))
    states = draw_states(60, seed=4, mean_c=20.8)
    v = solve(mpc, states, gradients=True)
    q = solve(mpc, states, first=v.action)
    assert q.value == pytest.approx(v.value, rel=1e-10)
    inside = ((v.action > 0.05) & (v.action < 1.4)).all(1)
    assert inside.any()
    h = 1e-3
    for i in np.flatnonzero(inside):
        hessian = np.linalg.inv(v.action_inverse[i])
        direction = np.array([1.0, -0.5, 0.3, 0.7]) * h
        one = States(*(a[i : i + 1] for a in (states.outputs, states.inputs, states.outdoor, states.price)))
        moved = solve(mpc, one, first=v.action[i : i + 1] + direction)
        assert moved.value[0] > v.value[i]
        assert moved.value[0] - v.value[i] == pytest.approx(direction @ hessian @ direction / 2, rel=1e-3)


@pytest.mark.parametrize("moves", [held_moves(every=1), coarsening_moves()], ids=["free", "coarsening"])
def test_more_freedom_never_costs_more(moves):
    states = draw_states(3, seed=5)
    held = solve(CondensedMpc(HouseMpc(cost=HouseCost(beta=0.1)), theta_values(MODEL)), states)
    other = solve(CondensedMpc(HouseMpc(cost=HouseCost(beta=0.1), moves=moves), theta_values(MODEL)), states)
    assert (other.status == 0).all()
    if len(moves) > 24:
        assert (other.value <= held.value + 1e-12).all()
    else:
        assert (other.value >= held.value - 1e-12).all()


def closed_loop(mpc: CondensedMpc, seed: int, explore: bool) -> ClosedLoop:
    season, rng = generate_conditions(5, days=20), np.random.default_rng(seed)
    steps = 2 * 288
    outputs, inputs = np.full((12, 4), 20.0), np.tile([2.0, 0.3, 0.3, 0.3, 0.3], (11, 1))
    part = slice(288 * seed, 288 * seed + steps + 144)
    exploration = 0.2 * rng.standard_normal((steps // 6, 4)) if explore else None
    return ClosedLoop(mpc, MODEL, outputs, inputs, season.outdoor_c[part], season.price_eur_kwh[part],
                   MODEL.sample_innovations(rng, (steps,)), exploration)  # fmt: skip


def test_a_rollout_is_the_arx_under_the_solver_step_by_step():
    """Every second hour of the C rollout is repeated from Python: simulate, solve cold, compare.

    The rollout's solves and derivatives go on from the factor and the sets of the one before; these begin anew.
    """
    mpc = CondensedMpc(spec_of("price"), theta_values(MODEL, bias=0.01))
    episode = closed_loop(mpc, 2, explore=True)
    rollout = run([episode], policy_jacobian=True)[0]
    powers = np.repeat(rollout.action, 6, axis=0)
    inputs = np.vstack([episode.inputs, np.column_stack([episode.outdoor[: len(powers)], powers])])
    start = MODEL.state_from_history(episode.outputs, episode.inputs)
    expected, _ = MODEL.simulate(start, inputs[11:], episode.innovations)
    assert rollout.temperature == pytest.approx(expected, abs=1e-9)
    outputs = np.vstack([episode.outputs, rollout.temperature])
    for d in range(0, len(rollout.action), 4):
        k = 6 * d
        seen = States(outputs[None, k : k + 12], inputs[None, k : k + 11],
                      episode.outdoor[None, k : k + 144], episode.price[None, k : k + 144])  # fmt: skip
        cold = solve(mpc, seen, gradients=True)
        assert rollout.policy[d] == pytest.approx(cold.action[0], abs=1e-9)
        assert rollout.policy_jacobian[d] == pytest.approx(cold.policy_jacobian[0], rel=1e-6, abs=1e-7)
        assert rollout.action_inverse[d] == pytest.approx(cold.action_inverse[0], rel=1e-6, abs=1e-9)
    cost = mpc.spec.cost
    after, hours = rollout.temperature.reshape(-1, 6, 4), 1 / 12
    comfort = hours * cost.beta * ((after - 21.0) ** 2).sum((1, 2))
    beyond = np.maximum(np.maximum(cost.lower_c - after, after - cost.upper_c), 0.0)
    outside = hours * cost.violation_quadratic / 2 * (beyond**2).sum((1, 2))
    price = hours * cost.alpha * (episode.price[: len(powers)] * powers.sum(1)).reshape(-1, 6).sum(1)
    assert rollout.costs[:, :3] == pytest.approx(np.column_stack([price, comfort, outside]), rel=1e-9, abs=1e-12)


def test_results_do_not_depend_on_threads_or_company():
    mpc = CondensedMpc(spec_of("price"), theta_values(MODEL))
    episodes = [closed_loop(mpc, seed, explore=True) for seed in range(5)]
    together = run(episodes, threads=4, policy_jacobian=True)
    alone = run([episodes[3]], threads=1, policy_jacobian=True)[0]
    assert np.array_equal(together[3].temperature, alone.temperature)
    assert np.array_equal(together[3].policy_jacobian, alone.policy_jacobian)


def test_a_nan_is_reported_and_never_actuated():
    mpc = CondensedMpc(spec_of("tracking"), theta_values(MODEL))
    states = draw_states(2)
    outputs = states.outputs.copy()
    outputs[1, 5, 2] = np.nan
    found = solve(mpc, replace(states, outputs=outputs))
    assert found.status[0] == 0
    assert found.status[1] != 0
    episode = closed_loop(mpc, 0, explore=False)
    innovations = episode.innovations.copy()
    innovations[100, 1] = np.nan
    rollout = run([replace(episode, innovations=innovations)])[0]
    assert rollout.failures > 0
    assert np.isfinite(rollout.action).all()


def test_wrong_shapes_and_settings_are_refused_with_a_remedy():
    with pytest.raises(CondensedSolverError, match="462"):
        CondensedMpc(HouseMpc(), np.zeros(3))
    mpc = CondensedMpc(HouseMpc(), theta_values(MODEL))
    states = draw_states(2)
    with pytest.raises(CondensedSolverError, match="expected"):
        solve(mpc, replace(states, price=states.price[:, :100]))
    with pytest.raises(HouseMpcError, match="multiple"):
        HouseMpc(horizon=145)
    with pytest.raises(HouseMpcError, match="quadratic"):
        HouseMpc(cost=HouseCost(violation_linear=0.1))
