"""The other side of `learning_throughput.py`: the same linear program learned by mpcrl, in an environment of its own.

Reads one JSON object from standard input (the numbers of `linear_system.LinearSystem`, the solver, the points to
compare at, the transitions to time) and writes one to standard output. Needs mpcrl 1.4.1 and nothing of nisse.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import casadi as ca
import gymnasium
import mpcrl
import numpy as np
from csnlp import Nlp
from csnlp.wrappers import Mpc
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit
from mpcrl import (
    LearnableParameter,
    LearnableParametersDict,
    LstdDpgAgent,
    LstdQLearningAgent,
    UpdateStrategy,
    exploration,
)
from mpcrl.optim import GradientDescent
from numpy.typing import NDArray

Array = NDArray[np.float64]
GROUPS = {"x_lower": (2, 1), "x_upper": (2, 1), "b": (2, 1), "f": (3, 1), "A": (2, 2), "B": (2, 1)}
"""Learnable parameters in the order of theta, each by columns."""
QUIET = {"expand": True, "print_time": False}
SOLVERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ipopt": ("ipopt", "nlp", QUIET | {"calc_lam_p": False, "ipopt": {"print_level": 0, "sb": "yes"}}),
    "qrqp": ("qrqp", "conic", QUIET | {"print_iter": False, "print_header": False, "print_info": False}),
}
"""Name -> CasADi plug-in, kind, options; tolerances are the solvers' own."""
EXACT = {"ipopt": {"tol": 1e-11, "bound_relax_factor": 0.0, "print_level": 0, "sb": "yes"}}
"""For the comparison alone: by default IPOPT relaxes bounds by 1e-8, which times their price is 7e-6 of the value."""


class World(gymnasium.Env):  # type: ignore[type-arg]
    """The true system from its fixed start."""

    def __init__(self, system: dict[str, Any]) -> None:
        self.a, self.b = np.array(system["world_a"]), np.array(system["world_b"])
        self.lower, self.upper = np.array(system["lower"]), np.array(system["upper"])
        self.noise, self.violation, self.start = system["noise"], system["violation"], np.array(system["start"])
        self.action_space = Box(-1.0, 1.0, (1,), np.float64)
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.s = self.start.copy()
        return self.s, {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        a = float(np.asarray(action).item())
        outside = np.maximum(0.0, np.maximum(self.lower - self.s, self.s - self.upper))
        cost = 0.5 * (self.s @ self.s + 0.5 * a * a + self.violation * outside.sum())
        self.s = self.a @ self.s + self.b * a
        self.s[0] += self.np_random.uniform(*self.noise)
        return self.s, float(cost), False, False, {}


def linear_mpc(system: dict[str, Any], solver: str, exact: bool) -> Mpc[ca.SX]:
    """The program of `linear_system.py`; both sides of a bound share a slack, which saves this side some variables."""
    n, gamma = system["horizon"], system["discount"]
    mpc = Mpc[ca.SX](Nlp[ca.SX](), n)
    p = {name: mpc.parameter(name, shape) for name, shape in GROUPS.items()}
    x, _ = mpc.state("x", 2, bound_initial=False)
    u, _ = mpc.action("u", 1, lb=-1.0, ub=1.0)
    slack, _, _ = mpc.variable("slack", (2, n + 1), lb=0)
    mpc.set_affine_dynamics(p["A"], p["B"], c=p["b"])
    lower, upper = np.array(system["lower"])[:, None], np.array(system["upper"])[:, None]
    mpc.constraint("lower", lower + p["x_lower"] - slack, "<=", x)
    mpc.constraint("upper", x, "<=", upper + p["x_upper"] + slack)
    powers = ca.DM(gamma ** np.arange(n + 1)).T
    stages = 0.5 * (ca.sum1(x[:, :-1] ** 2) + 0.5 * u**2) + p["f"].T @ ca.vertcat(x[:, :-1], u)
    cost = ca.sum2(powers[:-1] * stages) + gamma**n * ca.bilin(ca.DM(system["terminal"]), x[:, -1])
    mpc.minimize(cost + system["violation"] / 2 * ca.sum2(powers * ca.sum1(slack)))
    name, kind, options = SOLVERS[solver]
    mpc.init_solver(options | EXACT if exact and solver == "ipopt" else options, solver=name, type=kind)
    return mpc


def theta_of(system: dict[str, Any]) -> LearnableParametersDict[ca.SX]:
    values, position, parameters = np.array(system["theta"], float), 0, []
    for name, shape in GROUPS.items():
        size = shape[0] * shape[1]
        value = values[position : position + size].reshape(shape, order="F")
        parameters.append(LearnableParameter(name, shape, value))
        position += size
    return LearnableParametersDict[ca.SX](parameters)


def agent_of(system: dict[str, Any], solver: str, method: str, every: int, *, exact: bool = False) -> Any:
    """Both learn from batches of `every` transitions with a first-order step, and explore by Gaussian noise."""
    mpc = linear_mpc(system, solver, exact)
    common: dict[str, Any] = {
        "mpc": mpc,
        "learnable_parameters": theta_of(system),
        "discount_factor": system["discount"],
        "optimizer": GradientDescent(learning_rate=1e-6),
        "update_strategy": UpdateStrategy(every, "on_timestep_end"),
        "exploration": exploration.OrnsteinUhlenbeckExploration(0.0, 0.05, mode="additive"),
    }
    if method == "dpg":
        return LstdDpgAgent(**common, rollout_length=every)
    return LstdQLearningAgent(**common, experience=every, remove_bounds_on_initial_action=True)


def compare(system: dict[str, Any], solver: str, points: list[dict[str, list[float]]]) -> list[dict[str, Any]]:
    """V, pi, dpi/dtheta, Q and dQ/dtheta where the other side has them too."""
    dpg, q = (agent_of(system, solver, method, 1, exact=True) for method in ("dpg", "q"))
    found = []
    for point in points:
        state = np.array(point["state"])
        _, v = dpg.state_value(state, True)
        jacobian = dpg._sensitivity(np.atleast_2d(v.x_and_lam_and_p.elements()), 1)[0]
        fixed = q.action_value(state, np.array(point["action"]))
        found.append(
            {
                "ok": bool(v.success and fixed.success),
                "value": float(v.f),
                "action": float(v.vals["u"][0]),
                "action_jacobian": np.ravel(jacobian).tolist(),
                "q": float(fixed.f),
                "q_gradient": np.ravel(q._sensitivity(fixed)).tolist(),
            }
        )
    return found


def throughput(system: dict[str, Any], solver: str, method: str, every: int, transitions: int) -> dict[str, float]:
    """Transitions per second of wall clock and of CPU, after one update that compiles what is compiled at first use."""
    agent = agent_of(system, solver, method, every)
    agent.train(env=TimeLimit(World(system), max_episode_steps=every), episodes=1, seed=0, raises=False)
    env = TimeLimit(World(system), max_episode_steps=transitions)
    wall, cpu = time.perf_counter(), time.process_time()
    agent.train(env=env, episodes=1, seed=1, raises=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"per_second": transitions / wall, "per_cpu_second": transitions / cpu}


def main() -> None:
    request = json.load(sys.stdin)
    system, solver = request["system"], request["solver"]
    answer = {
        "version": mpcrl.__version__,
        "casadi": ca.CasadiMeta.version(),
        "points": compare(system, solver, request["points"]),
        "throughput": {
            method: throughput(system, solver, method, request["every"], request["transitions"])
            for method in request["methods"]
        },
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
