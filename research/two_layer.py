"""What the two-layer critic should find: Q of a linear gain in a linear system with quadratic cost, in closed form.

    s+ = A s + B a + w,   L = s'Qs + a'Ra,   a = K s + e                 (discounted with gamma)
    Q_K(s, a) = L(s, a) + gamma (A s + B a)'P_K (A s + B a) + constant
    P_K = Q + K'RK + gamma (A + BK)'P_K (A + BK)

"Remarks on deep RL" for the critic, "Safety and data-driven control" (Dean, lecture) for the system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov

from research.experiments.lqr import SYSTEM
from research.lqr import LinearQuadratic, explore, quadratic_features, riccati_gain, symmetric
from tuner.critics.two_layer import FittedCritic, Samples, TwoLayer
from tuner.errors import CriticError

Array = NDArray[np.float64]
GAMMA = 0.9
SHARE = 0.3
"""Of the optimal gain: the policy that is judged is not optimal, so there is a slope to find."""
EXPLORATION_STD = 0.5
JUDGED = 2000
"""States at which slopes are compared."""


@dataclass(frozen=True, eq=False)
class Regulated:
    """A system under a gain (m, n), with a discount."""

    system: LinearQuadratic
    gain: Array
    gamma: float

    def cost_to_go(self) -> Array:
        """P_K (n, n)."""
        closed = np.sqrt(self.gamma) * (self.system.a + self.system.b @ self.gain)
        stage = self.system.q + self.gain.T @ self.system.r @ self.gain
        return np.asarray(solve_discrete_lyapunov(closed.T, stage))

    def slope(self, s: Array) -> Array:
        """dQ_K/da at a = K s (k, m) for states (k, n)."""
        a = s @ self.gain.T
        following = s @ self.system.a.T + a @ self.system.b.T
        return np.asarray(2 * a @ self.system.r + 2 * self.gamma * following @ self.cost_to_go() @ self.system.b)

    def samples(self, count: int, action_std: float, seed: int) -> Samples:
        """One exploring trajectory."""
        data = explore(self.system, self.gain, count, action_std=action_std, seed=seed)
        return Samples(data.s, data.a - data.s @ self.gain.T, data.cost, data.s_next)

    def least_squares_slope(self, samples: Samples, s: Array) -> Array:
        """dQ/da at a = K s (k, m) of LSTDQ on all quadratic features and a constant: what these data say at best."""
        n, m = s.shape[1], samples.deviation.shape[1]
        ones = np.ones((len(samples), 1))
        x = np.hstack([quadratic_features(np.hstack([samples.state, samples.deviation])), ones])
        stays = np.zeros_like(samples.deviation)
        following = np.hstack([quadratic_features(np.hstack([samples.next_state, stays])), ones])
        solved, *_ = np.linalg.lstsq(x.T @ (x - self.gamma * following), x.T @ samples.cost, rcond=None)
        weights = np.asarray(solved, dtype=np.float64)
        return np.asarray(2 * s @ symmetric(weights[:-1], n + m)[:n, n:])


@dataclass(frozen=True)
class Agreement:
    """Of a found dQ/da with the exact one, over states."""

    correlation: float
    error: float
    """|found - exact| / |exact|."""

    @classmethod
    def of(cls, found: Array, exact: Array) -> Agreement:
        f, e = found.ravel(), exact.ravel()
        if not (f.std() > 0.0 and e.std() > 0.0):
            return cls(0.0, float(np.linalg.norm(f - e) / np.linalg.norm(e)))
        return cls(float(np.corrcoef(f, e)[0, 1]), float(np.linalg.norm(f - e) / np.linalg.norm(e)))


@dataclass(frozen=True)
class CriticCase:
    """One critic on one set of data."""

    learner: TwoLayer
    noise_std: float = SYSTEM.noise_std
    exploration_std: float = EXPLORATION_STD
    transitions: int = 10_000

    def with_seed(self, seed: int) -> CriticCase:
        return replace(self, learner=replace(self.learner, seed=seed))


@dataclass(frozen=True)
class CriticCourse:
    """What came of a case: the course over the updates, the end, and what least squares make of the same data."""

    updates: tuple[int, ...]
    course: tuple[Agreement, ...]
    end: Agreement
    least_squares: Agreement
    excitation: float
    largest_norm: float
    left: str = ""
    """Why it has no end."""


def regulated(noise_std: float) -> Regulated:
    """The system at a level of noise under a share of its optimal gain."""
    best = riccati_gain(np.sqrt(GAMMA) * SYSTEM.a, np.sqrt(GAMMA) * SYSTEM.b, SYSTEM.q, SYSTEM.r)
    return Regulated(replace(SYSTEM, noise_std=noise_std), SHARE * best, GAMMA)


def examine(case: CriticCase) -> CriticCourse:
    loop = regulated(case.noise_std)
    samples = loop.samples(case.transitions, case.exploration_std, case.learner.seed)
    # The same states for every case: those of the usual data.
    judged = regulated(SYSTEM.noise_std).samples(JUDGED, EXPLORATION_STD, case.learner.seed + 1_000).state
    exact, updates, course = loop.slope(judged), list[int](), list[Agreement]()

    def keep(update: int, learned: FittedCritic) -> None:
        updates.append(update)
        course.append(Agreement.of(learned.slope(judged), exact))

    linear = Agreement.of(loop.least_squares_slope(samples, judged), exact)
    try:
        learned = case.learner.learn(samples, GAMMA, keep)
    except CriticError as error:
        lost = Agreement(np.nan, np.nan)
        return CriticCourse(tuple(updates), tuple(course), lost, linear, np.nan, np.inf, str(error))
    end = Agreement.of(learned.slope(judged), exact)
    return CriticCourse(
        (*updates, case.learner.updates), (*course, end), end, linear, learned.excitation, learned.largest_norm
    )


Results = dict[str, dict[Any, list[CriticCourse]]]
"""By question, by what is varied in it, by seed."""
