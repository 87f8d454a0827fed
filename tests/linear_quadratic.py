"""A scalar linear-quadratic system whose one-step MPC has closed forms: the known answer behind the tuner's tests.

World  s+ = A s + B a + w,  cost Q s^2 + R a^2.   Model  s+ = a_m s + b_m a,  terminal weight p:
    Q_theta(s, a) = Q s^2 + R a^2 + gamma p (a_m s + b_m a)^2,   theta = (a_m, b_m, p)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from scipy.linalg import solve_discrete_are

from research.training.policy import DirectAction, SystemObservation
from systems.problem import Parameter

A, B, Q, R, GAMMA, NOISE = 0.95, 0.4, 1.0, 0.3, 0.9, 0.2


def riccati() -> float:
    """P of V*(s) = P s^2 + const."""
    scaled = np.sqrt(GAMMA)
    return float(solve_discrete_are([[scaled * A]], [[scaled * B]], [[Q]], [[R]])[0, 0])


def best_gain() -> float:
    """K of pi*(s) = -K s."""
    p = riccati()
    return GAMMA * p * A * B / (R + GAMMA * p * B**2)


def gain(theta: np.ndarray) -> float:
    a, b, p = theta
    return GAMMA * p * a * b / (R + GAMMA * p * b**2)


def cost_of_gain(k: float) -> float:
    """Coefficient P_K of V_K(s) = P_K s^2 + const under a = -k s."""
    closed = A - B * k
    return (Q + R * k**2) / (1 - GAMMA * closed**2)


class OneStepController:
    """The MPC of the module docstring, with the interface of a compiled controller."""

    def __init__(self, gradient_error: float = 0.0, fail_above: float = np.inf) -> None:
        self.gradient_error, self.fail_above = gradient_error, fail_above

    def set_theta(self, theta):
        self.theta = np.array(theta)

    def reset(self):
        self.x = self.a = None

    def _result(self, x, a, fixed):
        self.x, self.a, self.fixed = float(x[0]), float(a), fixed
        am, bm, p = self.theta
        value = Q * self.x**2 + R * self.a**2 + GAMMA * p * (am * self.x + bm * self.a) ** 2
        ok = abs(self.x) <= self.fail_above
        return SimpleNamespace(action=np.array([self.a]), value=value, ok=ok, time_s=0.0)

    def solve(self, x0, forecast):
        return self._result(x0, -gain(self.theta) * float(x0[0]), False)

    def solve_fixed(self, x0, forecast, action):
        return self._result(x0, action[0], True)

    def differentiate(self):
        am, bm, p = self.theta
        nxt = am * self.x + bm * self.a
        value = GAMMA * np.array([2 * p * nxt * self.x, 2 * p * nxt * self.a, nxt**2])
        d = R + GAMMA * p * bm**2
        k = np.array(
            [GAMMA * p * bm / d, GAMMA * p * am / d - GAMMA * p * am * bm * 2 * GAMMA * p * bm / d**2,
             GAMMA * am * bm / d - GAMMA * p * am * bm * GAMMA * bm**2 / d**2]
        )  # fmt: skip
        action = np.zeros((1, 3)) if self.fixed else -k[None, :] * self.x
        return value * (1 + self.gradient_error), action


class LinearWorld:
    def __init__(self, rng):
        self.rng, self.s = rng, rng.normal()

    def observe(self):
        return SystemObservation(np.array([self.s]), np.zeros((2, 0)))

    def step(self, action):
        cost = Q * self.s**2 + R * float(action[0]) ** 2
        self.s = A * self.s + B * float(action[0]) + NOISE * self.rng.standard_normal()
        return cost


@dataclass(frozen=True)
class LinearQuadraticSystem:
    name: str = "linear-quadratic"
    parameters: tuple = (
        Parameter("a", "1", 0.6, 0.1, 1.5),
        Parameter("b", "1", 0.7, 0.1, 1.5),
        Parameter("p", "1", 1.0, 0.1, 5.0),
    )
    actions: DirectAction = field(default_factory=lambda: DirectAction(np.array([-5.0]), np.array([5.0])))
    discount: float = GAMMA
    model_discount: float = GAMMA
    gradient_error: float = 0.0
    fail_above: float = np.inf

    def controller(self):
        return OneStepController(self.gradient_error, self.fail_above)

    rollout_controller = controller

    def training_world(self, rng):
        return LinearWorld(rng)

    def features(self, observation, value):
        return observation.state**2

    def evaluate(self, theta, jobs):
        """Exact: the cost coefficient of the closed loop."""
        return np.array([cost_of_gain(gain(theta))])
