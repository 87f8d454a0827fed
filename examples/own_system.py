"""A cart that shall stand close to a wall and not touch it."""

import casadi as ca
import numpy as np

from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty

DT, WALL, HORIZON = 0.1, 1.0, 20
BUMP = 100.0  # what a metre beyond the wall costs, squared, each step


def problem() -> Problem:
    """What the controller believes: no gusts."""
    x, u, d, z = ca.SX.sym("x", 2), ca.SX.sym("u", 1), ca.SX.sym("d", 0), ca.SX.sym("z", 0)
    theta = (
        Parameter("backoff", "m", 0.0, 0.0, 0.5, "distance kept from the wall", "cost"),
        Parameter("mass", "kg", 1.0, 0.5, 2.0, "of the cart", "model"),
    )
    p = ca.SX.sym("p", len(theta))
    position, speed = x[0], x[1]
    after = ca.vertcat(position + DT * speed, speed + DT * u / p[1])
    cost = (WALL - position) ** 2 + 0.01 * speed**2 + 0.001 * u**2

    def stage(name, what):
        return ca.Function(name, [x, u, d, z, p], [what], list(STAGE_INPUTS), ["out"])

    def terminal(name, what):
        return ca.Function(name, [x, d, z, p], [what], list(TERMINAL_INPUTS), ["out"])

    free = WALL - p[0] - position  # a soft row: at least 0, or paid for
    return Problem(
        name="cart", dt_s=DT, horizon=HORIZON, discount=0.99,
        states=(Signal("position", "m", -5, 5), Signal("speed", "m/s", -5, 5)),
        actions=(Signal("force", "N", -4, 4),), forecasts=(), theta=theta,
        dynamics=stage("dynamics", after), stage_cost=stage("stage_cost", cost),
        terminal_cost=terminal("terminal_cost", 5 * (WALL - position) ** 2 + speed**2),
        soft=stage("soft", free), soft_penalty=SoftPenalty((0.0,), (2 * BUMP,)),
        soft_terminal=terminal("soft_terminal", free), soft_terminal_penalty=SoftPenalty((0.0,), (2 * BUMP,)),
    )  # fmt: skip


class World:
    """What really happens: gusts."""

    def reset(self, rng: np.random.Generator) -> None:
        self.rng, self.state = rng, np.array([rng.uniform(0.5, 0.9), 0.0])

    def observe(self):
        return self.state, np.zeros((HORIZON + 1, 0))

    def step(self, action: np.ndarray) -> float:
        position, speed = self.state
        force = float(action[0])
        cost = (WALL - position) ** 2 + 0.01 * speed**2 + 0.001 * force**2 + BUMP * max(position - WALL, 0.0) ** 2
        gust = 0.15 * self.rng.standard_normal()
        self.state = np.array([position + DT * speed, speed + DT * force + gust])
        return cost


steps = 120  # decisions of an episode
