"""Speed of the house MPC's solve inside the tuner, against DAQP called directly and CasADi + IPOPT, on one program.

    pip install daqp==0.11.0
    python benchmarks/house_solver.py [--json PATH]

A batch of problems on two threads (DAQP: two processes, since its binding holds the interpreter), each solved from
scratch; and eight closed loops, where every solve goes on from the last one. DAQP gets the condensed program with its
own soft rows, is set up once per theta, and only its update and solve are timed. Times are CPU times per solve over
both threads: of the whole call with its Python for ours, the ARX's free response and the closed loop's plant included,
which DAQP is spared. All must find the same moves.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import casadi as ca
import daqp
import numpy as np
from numpy.typing import NDArray

from research.condensed.solver import ClosedLoop, CondensedMpc, States, run, solve
from research.four_rooms.cost import HouseCost
from research.four_rooms.problem import house_forecast, house_problem, house_state
from research.four_rooms.reference import reference_model
from research.four_rooms.theta import LAGS, ROOMS, HouseMpc, theta_values
from systems.arx import ArxModel
from systems.world.weather import generate_conditions

Array = NDArray[np.float64]
REGIMES = {"tracking": (0.5, 1.0), "economic": (0.02, 1.0), "onto the bound": (0.002, 5.0)}
"""beta and alpha: comfort and price of equal weight; mostly price; price presses the rooms onto 18 °C."""
COLD, LOOPS, DAYS, THREADS, WITH_IPOPT, SOFT = 400, 8, 3, 2, 2, 8


@dataclass(frozen=True)
class Condensed:
    """min u'H u / 2 + f(c, price)'u with soft lower <= c + Gamma u <= upper, as any QP solver can take it."""

    hessian: Array
    gamma: Array
    row_weight: Array
    row_penalty: Array
    move_weight: Array

    def linear(self, free: Array, price: Array, mpc: HouseMpc) -> Array:
        """f (n,) from the free response (m,) and the prices (horizon,)."""
        per_move = np.add.reduceat(self.move_weight * price * mpc.cost.alpha, mpc.moves)
        return np.repeat(per_move, ROOMS) + self.gamma.T @ (self.row_weight * (free - mpc.cost.setpoint_c))


def condense(model: ArxModel, mpc: HouseMpc) -> Condensed:
    """The matrices, made with NumPy and the ARX simulator alone."""
    n, edges = mpc.horizon, [*mpc.moves, mpc.horizon]
    gamma = np.zeros((n, ROOMS, len(mpc.moves), ROOMS))
    for pump in range(ROOMS):
        inputs = np.zeros((n, 1 + ROOMS))
        inputs[:, 1 + pump] = 1.0
        step, _ = model.simulate(np.zeros(model.nx), inputs)
        for move, (a, b) in enumerate(pairwise(edges)):
            gamma[a:, :, move, pump] += step[: n - a]
            gamma[b:, :, move, pump] -= step[: n - b]
    flat = gamma.reshape(n * ROOMS, -1)
    weight = mpc.discount ** np.arange(n) * mpc.dt_s / 3600.0
    rows = np.repeat(weight, ROOMS)
    track = 2 * mpc.cost.beta * rows
    ridge = np.repeat(np.add.reduceat(mpc.regularisation * weight, mpc.moves), ROOMS)
    hessian = flat.T @ (track[:, None] * flat) + np.diag(ridge)
    return Condensed(hessian, flat, track, mpc.cost.violation_quadratic * rows, weight)


def draw_states(count: int, seed: int) -> States:
    season, rng = generate_conditions(3), np.random.default_rng(seed)
    first = rng.integers(0, len(season) - 200, count)
    outputs = 20.5 + rng.normal(0, 1.0, (count, 1, ROOMS)) + rng.normal(0, 0.1, (count, LAGS, ROOMS))
    outdoor = np.broadcast_to(season.outdoor_c[first][:, None, None], (count, LAGS - 1, 1))
    inputs = np.concatenate([outdoor, rng.uniform(0, 1, (count, LAGS - 1, ROOMS))], axis=-1)
    ahead = first[:, None] + np.arange(144)
    return States(outputs, inputs, season.outdoor_c[ahead], season.price_eur_kwh[ahead])


def free_response(model: ArxModel, states: States) -> Array:
    """(batch, m) temperatures when nothing is heated."""
    start = model.state_from_history(states.outputs, states.inputs)
    inputs = np.zeros((*states.outdoor.shape, 1 + ROOMS))
    inputs[..., 0] = states.outdoor
    return model.simulate(start, inputs)[0].reshape(len(states), -1)


def time_daqp(model: ArxModel, mpc: HouseMpc, states: States, *, warm: bool) -> tuple[Array, float]:
    """(moves (batch, n), CPU s per solve). Cold: every solve starts from no active constraint."""
    c, free = condense(model, mpc), free_response(model, states)
    n, m = c.gamma.shape[1], c.gamma.shape[0]
    sense = np.concatenate([np.zeros(n, np.int32), np.full(m, SOFT, np.int32)])
    lower = np.concatenate([np.zeros(n), np.zeros(m)])
    upper = np.concatenate([np.full(n, mpc.max_power_kw), np.zeros(m)])
    solver = daqp.Model()
    solver.setup(c.hessian, np.zeros(n), c.gamma, upper + 1.0, lower - 1.0, sense.copy())
    reciprocal = np.concatenate([np.ones(n), 1.0 / c.row_penalty])
    solver.soft_weights(rho_l=reciprocal, rho_u=reciprocal, w_l=np.zeros(n + m), w_u=np.zeros(n + m))
    moves, spent = np.empty((len(states), n)), 0.0
    for i in range(len(states)):
        linear = c.linear(free[i], states.price[i], mpc)
        lower[n:], upper[n:] = mpc.cost.lower_c - free[i], mpc.cost.upper_c - free[i]
        began = time.thread_time()
        if warm:
            solver.update(f=linear, bupper=upper, blower=lower)
        else:
            solver.update(f=linear, bupper=upper, blower=lower, sense=sense.copy())
        moves[i], _, flag, _ = solver.solve()
        spent += time.thread_time() - began
        if flag not in (1, 2):
            raise RuntimeError(f"DAQP stopped with {flag}")
    return moves, spent / len(states)


def time_casadi(model: ArxModel, mpc: HouseMpc, states: States, method: str = "ipopt") -> tuple[Array, float]:
    """First moves (batch, rooms) and CPU s per solve of CasADi on the lifted problem, sparse, by IPOPT or qrqp."""
    problem, theta = house_problem(model, mpc), theta_values(model)
    p, n, soft = problem.prepare(theta), problem.horizon, len(problem.soft_penalty.quadratic)
    x0, d = ca.MX.sym("x0", problem.nx), ca.MX.sym("d", problem.nd, n + 1)
    x, u, s = ca.MX.sym("x", problem.nx, n + 1), ca.MX.sym("u", problem.na, n), ca.MX.sym("s", soft, n)
    cost, joints, band = ca.MX(0), [x[:, 0] - x0], []
    for k in range(n):
        stage = (x[:, k], u[:, k], d[:, k], ca.MX(0, 1), p)
        joints.append(problem.dynamics(*stage) - x[:, k + 1])
        band.append(problem.soft(*stage) + s[:, k])
        cost += problem.discount**k * problem.stage_cost(*stage)
        cost += problem.discount**k * ca.dot(ca.DM(problem.soft_penalty.quadratic), s[:, k] ** 2) / 2
    cost += problem.discount**n * problem.terminal_cost(x[:, n], d[:, n], ca.MX(0, 1), p)
    variables = ca.veccat(x, u, s)
    program = {"x": variables, "p": ca.veccat(x0, d), "f": cost, "g": ca.vertcat(*joints, *band)}
    quiet = {"ipopt.print_level": 0, "print_time": False, "ipopt.sb": "yes", "ipopt.tol": 1e-9, "expand": True}
    constant = {"ipopt.hessian_constant": "yes", "ipopt.jac_c_constant": "yes", "ipopt.jac_d_constant": "yes"}
    silent = {"print_iter": False, "print_header": False, "print_info": False, "print_time": False}
    if method == "ipopt":
        solver = ca.nlpsol("s", method, program, quiet | constant)
    else:
        solver = ca.qpsol("s", method, program, silent | {"error_on_fail": False})
    free, moves = np.full(x.numel(), np.inf), np.empty((len(states), problem.na))
    lbx = np.concatenate([-free, np.zeros(u.numel()), np.zeros(s.numel())])
    ubx = np.concatenate([free, np.full(u.numel(), mpc.max_power_kw), np.full(s.numel(), np.inf)])
    ubg = np.concatenate([np.zeros(x.numel()), np.full(s.numel(), np.inf)])
    spent = 0.0
    for i in range(len(states)):
        start = house_state(theta, model, states.outputs[i], states.inputs[i])
        forecast = house_forecast(mpc, states.outdoor[i], states.price[i])
        began = time.thread_time()
        found = solver(p=np.concatenate([start, forecast.ravel()]), lbx=lbx, ubx=ubx, lbg=np.zeros(len(ubg)), ubg=ubg)
        spent += time.thread_time() - began
        moves[i] = np.array(found["x"]).ravel()[x.numel() : x.numel() + problem.na]
    return moves, spent / len(states)


def cpu_of(work: Callable[[], object], repeats: int = 5) -> float:
    """Least CPU time of `repeats` calls over all threads, s."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def daqp_in_processes(model: ArxModel, mpc: HouseMpc, parts: Sequence[States], *, warm: bool) -> tuple[Array, float]:
    """First moves (all states, rooms) and least CPU s per solve of three runs, the parts shared by two processes."""
    with ProcessPoolExecutor(THREADS, multiprocessing.get_context("fork")) as pool:
        runs = [list(pool.map(_Daqp(model, mpc, warm), parts)) for _ in range(3)]
    sizes = np.array([len(part) for part in parts])
    seconds = min(float(np.array([spent for _, spent in results]) @ sizes) for results in runs)
    return np.concatenate([moves[:, :ROOMS] for moves, _ in runs[0]]), seconds / sizes.sum()


@dataclass(frozen=True)
class _Daqp:
    """`time_daqp` of one part, as a process can be handed it."""

    model: ArxModel
    mpc: HouseMpc
    warm: bool

    def __call__(self, part: States) -> tuple[Array, float]:
        return time_daqp(self.model, self.mpc, part, warm=self.warm)


def part_of(states: States, at: slice) -> States:
    return States(states.outputs[at], states.inputs[at], states.outdoor[at], states.price[at])


def loop(mpc: CondensedMpc, model: ArxModel, day: int) -> tuple[ClosedLoop, States]:
    """A closed loop, and the states in which it solves."""
    season, rng = generate_conditions(3), np.random.default_rng(day)
    steps, first = DAYS * 288, 288 * day
    part = slice(first, first + steps + mpc.spec.horizon)
    outputs, inputs = (
        np.full((LAGS, ROOMS), 21.0),
        np.tile([season.outdoor_c[first], 0.3, 0.3, 0.3, 0.3], (LAGS - 1, 1)),
    )
    episode = ClosedLoop(
        mpc, model, outputs, inputs, season.outdoor_c[part], season.price_eur_kwh[part],
        model.sample_innovations(rng, (steps,)),
    )  # fmt: skip
    rollout = run([episode])[0]
    powers = np.repeat(rollout.action, mpc.spec.apply, axis=0)
    y = np.vstack([outputs, rollout.temperature])
    v = np.vstack([inputs, np.column_stack([episode.outdoor[: len(powers)], powers])])
    at = np.arange(0, steps, mpc.spec.apply)[:, None]
    ahead = at + np.arange(mpc.spec.horizon)
    seen = States(y[at + np.arange(LAGS)], v[at + np.arange(LAGS - 1)], episode.outdoor[ahead], episode.price[ahead])
    return episode, seen


def measure(name: str) -> dict[str, float]:
    beta, alpha = REGIMES[name]
    model = reference_model()
    spec = HouseMpc(cost=HouseCost(beta=beta, alpha=alpha))
    mpc, states = CondensedMpc(spec, theta_values(model)), draw_states(COLD, 0)
    loops = [loop(mpc, model, day) for day in np.linspace(30, 200, LOOPS).astype(int)]
    episodes, seen = [episode for episode, _ in loops], [part for _, part in loops]
    solves = sum(len(part) for part in seen)

    cold, ours = cpu_of(lambda: solve(mpc, states, threads=THREADS)) / COLD, solve(mpc, states)
    cold_all = cpu_of(lambda: solve(mpc, states, gradients=True, threads=THREADS)) / COLD
    warm, closed = cpu_of(lambda: run(episodes, threads=THREADS)) / solves, run(episodes)
    warm_all = cpu_of(lambda: run(episodes, threads=THREADS, policy_jacobian=True)) / solves
    one = part_of(states, slice(1))
    single = cpu_of(lambda: [solve(mpc, one) for _ in range(100)]) / 100

    halves = [part_of(states, slice(k, None, THREADS)) for k in range(THREADS)]
    daqp_cold_moves, daqp_cold = daqp_in_processes(model, spec, halves, warm=False)
    daqp_warm_moves, daqp_warm = daqp_in_processes(model, spec, seen, warm=True)
    ipopt_moves, ipopt = time_casadi(model, spec, part_of(states, slice(WITH_IPOPT)))
    in_halves = np.concatenate([ours.action[k::THREADS] for k in range(THREADS)])
    policy = np.concatenate([rollout.policy for rollout in closed])
    differences = {
        "daqp_cold_difference_kw": np.abs(daqp_cold_moves - in_halves).max(),
        "daqp_warm_difference_kw": np.abs(daqp_warm_moves - policy).max(),
        "ipopt_difference_kw": np.abs(ipopt_moves[:, :ROOMS] - ours.action[:WITH_IPOPT]).max(),
    }
    return {
        "cold_ms": 1e3 * cold,
        "warm_ms": 1e3 * warm,
        "daqp_cold_ms": 1e3 * daqp_cold,
        "daqp_warm_ms": 1e3 * daqp_warm,
        "ipopt_ms": 1e3 * ipopt,
        "cold_over_daqp": cold / daqp_cold,
        "warm_over_daqp": warm / daqp_warm,
        "ipopt_over_cold": ipopt / cold,
        "one_call_for_one_solve_ms": 1e3 * single,
        "cold_with_all_derivatives_ms": 1e3 * cold_all,
        "warm_with_policy_jacobian_ms": 1e3 * warm_all,
        "cold_derivatives_over_solve": cold_all / cold,
        "warm_derivatives_over_solve": warm_all / warm,
        "cold_derivatives_over_daqp": cold_all / daqp_cold,
        "warm_derivatives_over_daqp": warm_all / daqp_warm,
        "iterations_cold": float(ours.iterations.mean()),
        "iterations_warm": float(np.mean([rollout.iterations.mean() for rollout in closed])),
        "failures": float((ours.status != 0).sum() + sum(rollout.failures for rollout in closed)),
    } | {key: float(value) for key, value in differences.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    results = {name: measure(name) for name in REGIMES}
    keys = list(next(iter(results.values())))
    print(f"{'':32}" + "".join(f"{name:>16}" for name in results))
    for key in keys:
        print(f"{key:32}" + "".join(f"{results[name][key]:16.4g}" for name in results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
