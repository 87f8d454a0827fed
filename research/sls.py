"""System level synthesis over a finite horizon: the responses to disturbances are what is optimised.

"Safety and data-driven control" (Dean, lecture); Wang, Matni, Doyle, "A system-level approach to controller
synthesis", 2019. With w_-1 = s_0 and responses of T steps,

    s_t = sum_k Phi_s[k] w_(t-k),  a_t = sum_k Phi_a[k] w_(t-k),  k = 1 .. T
    Phi_s[1] = I,  Phi_s[k+1] = A Phi_s[k] + B Phi_a[k],  Phi_s[T+1] = 0.

The average cost under w of covariance I is |[Q^1/2 Phi_s; R^1/2 Phi_a]|_H2^2. Polytopes hold for all w in
W = {H w <= h} if for every row f and time t:  f'Phi_s[t+1] s_0 + sum_{k <= t} max_w f'Phi_s[k] w <= b, each maximum by
its dual
min {l'h : H'l = Phi_s[k]'f, l >= 0}. From t = T on nothing is added: what holds up to T holds for ever.

The lecture's program starts its bounds one step late, so that the first action has none, and cuts the rows of the
actions in blocks of n where they have m.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov

from research.errors import MissingSolver, Unsolved
from research.linear_file import LinearProblem
from runtime.version import DISTRIBUTION
from systems.polytope import Polytope
from systems.set_errors import BadSystem

Array = NDArray[np.float64]
WIDEST = 0.99
"""The gamma that stands for all that are wider: the bound has 1 / (1 - gamma)."""
FREQUENCIES = 400


@dataclass(frozen=True, eq=False)
class SystemResponse:
    """Phi_s (T, n, n) and Phi_a (T, m, n)."""

    states: Array
    actions: Array

    @property
    def horizon(self) -> int:
        return len(self.states)

    @property
    def gain(self) -> Array:
        """Phi_a[1] (m, n): the action on what came last. Without bounds it tends to the optimal gain."""
        return np.asarray(self.actions[0])

    def cost(self, q: Array, r: Array) -> float:
        """Average cost of the model under w of covariance I."""
        states = np.einsum("kij,il,klj", self.states, q, self.states)
        return float(states + np.einsum("kij,il,klj", self.actions, r, self.actions))

    def cost_in(self, a: Array, b: Array, q: Array, r: Array) -> float:
        """Average cost under w of covariance I of the controller in the system (a, b); inf if it is not stable.

        State of the loop: s_t and the last T - 1 estimates of w, d_t = s_t - sum_{k >= 2} Phi_s[k] d_(t+1-k).
        """
        n, m = len(a), self.actions.shape[1]
        memory = n * (self.horizon - 1)
        rest = self.states[1:].transpose(1, 0, 2).reshape(n, memory)
        act_rest = self.actions[1:].transpose(1, 0, 2).reshape(m, memory) - self.gain @ rest
        act = np.hstack([self.gain, act_rest])
        loop = np.zeros((n + memory, n + memory))
        loop[:n] = np.hstack([a, np.zeros((n, memory))]) + b @ act
        if memory:
            loop[n : 2 * n] = np.hstack([np.eye(n), -rest])
            loop[2 * n :, n:-n] = np.eye(memory - n)
        if np.max(np.abs(np.linalg.eigvals(loop))) >= 1.0:
            return float("inf")
        weight = act.T @ r @ act
        weight[:n, :n] += q
        return float(np.trace(solve_discrete_lyapunov(loop.T, weight)[:n, :n]))

    def simulate(self, a: Array, b: Array, start: Array, disturbances: Array) -> tuple[Array, Array]:
        """States (N, steps + 1, n) and actions (N, steps + 1, m) from `start` (n,) under disturbances (N, steps, n).

        The controller sees states only and has its disturbances from them.
        """
        count, length, n = disturbances.shape
        states = np.zeros((count, length + 1, n))
        actions = np.zeros((count, length + 1, self.actions.shape[1]))
        seen = np.zeros((count, self.horizon, n))
        states[:, 0] = start
        for t in range(length + 1):
            seen = np.roll(seen, 1, axis=1)
            seen[:, 0] = states[:, t] - np.einsum("kij,ckj->ci", self.states[1:], seen[:, 1:])
            actions[:, t] = np.einsum("kij,ckj->ci", self.actions, seen)
            if t < length:
                states[:, t + 1] = states[:, t] @ a.T + actions[:, t] @ b.T + disturbances[:, t]
        return states, actions


def solver() -> Any:
    """cvxpy. Raises MissingSolver with the command that installs it."""
    try:
        return importlib.import_module("cvxpy")
    except ModuleNotFoundError as error:
        raise MissingSolver(
            f"needs the Python package {error.name!r}; install it with: "
            f"{sys.executable} -m pip install '{DISTRIBUTION}[research]'"
        ) from error


def square_root(matrix: Array) -> Array:
    """The symmetric root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T)


def synthesise(
    problem: LinearProblem, horizon: int, *, bounded: bool = False, disturbance: Polytope | None = None
) -> SystemResponse:
    """The response of least average cost; `bounded`: with the sets of states and actions from problem.start on.

    They hold for all w of `disturbance`, or without any if it is None. Raises Unsolved where no response does that.
    """
    cp = solver()
    n, m = problem.b.shape
    states = [np.eye(n), *(cp.Variable((n, n)) for _ in range(horizon - 1))]
    actions = [cp.Variable((m, n)) for _ in range(horizon)]
    rules = [
        following == problem.a @ s + problem.b @ a
        for s, a, following in zip(states, actions, [*states[1:], np.zeros((n, n))], strict=True)
    ]
    if bounded:
        if not problem.state.contains(problem.start, 1e-9):
            raise BadSystem(f"start {problem.start.tolist()} is outside the state set: move it inside")
        rules += _bounds(cp, problem.state, states, problem.start, disturbance, first=1)
        rules += _bounds(cp, problem.action, actions, problem.start, disturbance, first=0)
    objective = _norm(cp, problem.q, problem.r, states, actions)
    _solve(cp, cp.Problem(cp.Minimize(objective), rules), f"no response of {horizon} steps satisfies the constraints")
    return SystemResponse(np.array([states[0], *(s.value for s in states[1:])]), np.array([a.value for a in actions]))


def _norm(cp: Any, q: Array, r: Array, states: list[Any], actions: list[Any]) -> Any:
    root_q, root_r = square_root(q), square_root(r)
    return cp.norm(cp.vstack([*(root_q @ s for s in states), *(root_r @ a for a in actions)]), "fro")


def _bounds(
    cp: Any, allowed: Polytope, responses: list[Any], start: Array, disturbance: Polytope | None, first: int
) -> list[Any]:
    """Of every row, from time `first` to T."""
    f, rules, used = allowed.normals, [], 0.0
    for t in range(len(responses) + 1):
        if t > 0 and disturbance is not None:
            multiplier = cp.Variable((len(f), len(disturbance.offsets)), nonneg=True)
            rules.append(multiplier @ disturbance.normals == f @ responses[t - 1])
            used = used + multiplier @ disturbance.offsets
        free = f @ responses[t] @ start if t < len(responses) else np.zeros(len(f))
        if t >= first and (t < len(responses) or disturbance is not None):
            rules.append(free + used <= allowed.offsets)
    return rules


def _solve(cp: Any, program: Any, complaint: str) -> None:
    try:
        program.solve(solver=cp.CLARABEL)
    except cp.error.SolverError as error:
        raise Unsolved(f"{complaint}, as far as the solver can tell ({error})") from error
    if program.status not in ("optimal", "optimal_inaccurate"):
        raise Unsolved(f"{complaint} ({program.status}); take a longer horizon, wider sets or a smaller disturbance")


@dataclass(frozen=True, eq=False)
class Certified:
    """A response for every (A, B) within eps of the estimate, and the bound on its average cost there."""

    response: SystemResponse
    gamma: float
    """Bound on the H-infinity norm of what the errors feed back, below 1."""
    bound: float
    """On the average cost under w of covariance I."""


class RobustSynthesis:
    """The regulator for all (A, B) with |A - A^| <= eps_a and |B - B^| <= eps_b in spectral norm.

    Dean, Mania, Matni, Recht, Tu, "On the sample complexity of the linear quadratic regulator", 2020, with alpha = 1/2:
    min over gamma of 1 / (1 - gamma) min |[Q^1/2 Phi_s; R^1/2 Phi_a]|_H2, with H-infinity norm of
    sqrt 2 [eps_a Phi_s; eps_b Phi_a] at most gamma.

    The H-infinity norm of a finite response by a linear matrix inequality: Dumitrescu, "Positive trigonometric
    polynomials and signal processing applications", 2007. One program, compiled once.
    """

    def __init__(self, q: Array, r: Array, horizon: int) -> None:
        cp = self._cp = solver()
        n, m = len(q), len(r)
        self._a, self._b = cp.Parameter((n, n)), cp.Parameter((n, m))
        self._eps_a, self._eps_b, self._level = (cp.Parameter(nonneg=True) for _ in range(3))
        self._states = [cp.Variable((n, n)) for _ in range(horizon)]
        self._actions = [cp.Variable((m, n)) for _ in range(horizon)]
        rules = [self._states[0] == np.eye(n)]
        for k in range(horizon):
            following = self._states[k + 1] if k + 1 < horizon else np.zeros((n, n))
            rules.append(following == self._a @ self._states[k] + self._b @ self._actions[k])
        fed_back = cp.vstack(
            [
                np.sqrt(2.0) * self._eps_a * cp.hstack(self._states),
                np.sqrt(2.0) * self._eps_b * cp.hstack(self._actions),
            ]
        )
        gram = cp.Variable((n * horizon, n * horizon), symmetric=True)
        blocks = [[gram[n * i : n * (i + 1), n * j : n * (j + 1)] for j in range(horizon)] for i in range(horizon)]
        for shift in range(horizon):
            total = sum(blocks[i][i + shift] for i in range(horizon - shift))
            rules.append(total == (self._level * np.eye(n) if shift == 0 else np.zeros((n, n))))
        rules.append(cp.bmat([[gram, fed_back.T], [fed_back, np.eye(n + m)]]) >> 0)
        self._program = cp.Problem(cp.Minimize(_norm(cp, q, r, self._states, self._actions)), rules)

    def _at(self, gamma: float) -> tuple[float, SystemResponse | None]:
        """The bound on the norm at this gamma, inf where no response keeps it."""
        self._level.value = gamma**2
        try:
            self._program.solve(solver=self._cp.CLARABEL)
        except self._cp.error.SolverError:
            return float("inf"), None
        if self._program.status != "optimal":
            return float("inf"), None
        response = SystemResponse(np.array([s.value for s in self._states]), np.array([a.value for a in self._actions]))
        return float(self._program.value) / (1.0 - gamma), response

    def at(self, a: Array, b: Array, eps_a: float, eps_b: float, gamma: float) -> float:
        """The bound on the average cost with this gamma, inf where no response keeps it."""
        self._a.value, self._b.value, self._eps_a.value, self._eps_b.value = a, b, eps_a, eps_b
        return self._at(gamma)[0] ** 2

    def solve(self, a: Array, b: Array, eps_a: float, eps_b: float, cuts: int = 5) -> Certified | None:
        """None where the errors are too large for any certificate. Golden section over gamma.

        Phi_s[1] = I needs gamma >= sqrt 2 eps_a. More than what the response at the widest gamma feeds back loosens
        nothing and costs, so gamma lies below that.
        """
        self._a.value, self._b.value, self._eps_a.value, self._eps_b.value = a, b, eps_a, eps_b
        low, ratio = np.sqrt(2.0) * eps_a, (np.sqrt(5.0) - 1.0) / 2.0
        norm, response = self._at(WIDEST)
        if response is None:
            return None
        high = min(WIDEST, (1.0 + 1e-6) * _fed_back(response, eps_a, eps_b))
        tried: dict[float, tuple[float, SystemResponse | None]] = {
            high: (norm * (1.0 - WIDEST) / (1.0 - high), response)
        }
        inner, outer = high - ratio * (high - low), low + ratio * (high - low)
        for _ in range(cuts):
            for gamma in (inner, outer):
                if gamma not in tried:
                    tried[gamma] = self._at(gamma)
            if tried[inner][0] < tried[outer][0]:
                high, outer = outer, inner
                inner = high - ratio * (high - low)
            else:
                low, inner = inner, outer
                outer = low + ratio * (high - low)
        gamma = min(tried, key=lambda g: tried[g][0])
        norm, best = tried[gamma]
        assert best is not None
        return Certified(best, gamma, norm**2)


def _fed_back(response: SystemResponse, eps_a: float, eps_b: float) -> float:
    """H-infinity norm of sqrt 2 [eps_a Phi_s; eps_b Phi_a], on a grid of frequencies."""
    both = np.sqrt(2.0) * np.concatenate([eps_a * response.states, eps_b * response.actions], axis=1)
    turns = np.exp(-1j * np.outer(np.linspace(0.0, np.pi, FREQUENCIES), np.arange(1, response.horizon + 1)))
    return float(np.linalg.norm(np.einsum("fk,kij->fij", turns, both), 2, axis=(1, 2)).max())


@dataclass(frozen=True, eq=False)
class SystemEstimate:
    """Least squares (A^, B^) and error bounds that hold with probability 1 - delta each."""

    a: Array
    b: Array
    eps_a: float
    eps_b: float


def estimate(s: Array, a: Array, s_next: Array, delta: float = 0.05) -> SystemEstimate:
    """s (N, n), a (N, m), s_next (N, n). Given the regressors z the error is Gaussian with covariance sigma^2 (Z'Z)^-1:

    |error of p rows| <= sigma lambda_max(block of (Z'Z)^-1)^1/2 (sqrt n + sqrt p + sqrt(2 log(2 / delta))), by the
    concentration of the norm of a Gaussian matrix (Davidson and Szarek, 2001). In one trajectory the regressors
    are not independent of w, so this is an approximation. Raises BadSystem for too few data.
    """
    z, n = np.hstack([s, a]), s.shape[1]
    if len(z) <= z.shape[1] or np.linalg.matrix_rank(z) < z.shape[1]:
        raise BadSystem(f"{len(z)} transitions do not determine {z.shape[1]} columns of (A, B): take more, and excite")
    solution: Array = np.asarray(np.linalg.lstsq(z, s_next, rcond=None)[0], dtype=np.float64)
    residual = s_next - z @ solution
    sigma = float(np.sqrt((residual**2).sum() / (n * (len(z) - z.shape[1]))))
    covariance: Array = np.asarray(np.linalg.inv(z.T @ z), dtype=np.float64)

    def bound(block: Array) -> float:
        spread = np.sqrt(n) + np.sqrt(len(block)) + np.sqrt(2.0 * np.log(2.0 / delta))
        return float(sigma * np.sqrt(np.linalg.eigvalsh(block)[-1]) * spread)

    return SystemEstimate(solution[:n].T, solution[n:].T, bound(covariance[:n, :n]), bound(covariance[n:, n:]))
