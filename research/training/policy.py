"""The MPC as a policy: action, value and action value at an observation, with their derivatives in theta.

    pi_theta(s) = first move of the program,  V_theta(s) = its optimal cost,
    Q_theta(s, a) = its optimal cost with the first move fixed to a.

The controller behind it is the compiled solver that is deployed: what is tuned is what runs.
Source: "All AI Models are Wrong, but Some are Optimal" (MPC-based policies and their sensitivities).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codegen.controller import DerivativeError

Array = NDArray[np.float64]


class MpcController(Protocol):
    """What the policy asks of a solver; `runtime.abi.controller.Controller` is the one that is deployed."""

    def set_theta(self, theta: Array, /) -> None: ...

    def solve(self, x0: Array, forecast: Array, /) -> Any: ...

    def solve_fixed(self, x0: Array, forecast: Array, action: Array, /) -> Any: ...

    def differentiate(self) -> tuple[Array, Array]:
        """dvalue_dtheta (ntheta), daction_dtheta (na, ntheta) at the last solve."""
        ...

    def reset(self) -> None: ...


@dataclass(frozen=True)
class SystemObservation:
    """What the controller knows when it decides: state (nx) and forecast (N+1, nd)."""

    state: Array
    forecast: Array


class ActionMap(Protocol):
    """Between the MPC's moves u (na) and the action a (m) that is explored and applied: a = matrix @ u."""

    matrix: Array
    """(m, na)."""
    lower: Array
    upper: Array

    def to_mpc(self, action: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class DirectAction:
    """The moves are the action."""

    lower: Array
    upper: Array

    @property
    def matrix(self) -> Array:
        return np.eye(len(self.lower))

    def to_mpc(self, action: Array) -> Array:
        return action


@dataclass(frozen=True, eq=False)
class NetAction:
    """Moves (into, out of) a store, both >= 0; the action (1) is their difference.

    Exploring the difference keeps the two from acting at once, which no optimal policy does.
    """

    max_in: float
    max_out: float

    @property
    def matrix(self) -> Array:
        return np.array([[1.0, -1.0]])

    @property
    def lower(self) -> Array:
        return np.array([-self.max_out])

    @property
    def upper(self) -> Array:
        return np.array([self.max_in])

    def to_mpc(self, action: Array) -> Array:
        return np.array([max(action[0], 0.0), max(-action[0], 0.0)])


@dataclass(frozen=True)
class PolicyDecision:
    """pi_theta at one observation: action (m), value V, derivatives where asked, and whether the solve is good."""

    action: Array
    value: float
    action_jacobian: Array
    """d pi / d theta (m, ntheta)."""
    value_gradient: Array
    """d V / d theta (ntheta)."""
    ok: bool


@dataclass(frozen=True)
class ActionValue:
    """Q_theta(s, a) and its gradient (ntheta)."""

    value: float
    gradient: Array
    ok: bool


class MpcPolicy:
    """pi_theta, V_theta and Q_theta of one controller at one theta. Counts solves, failures and solver time."""

    def __init__(self, controller: MpcController, actions: ActionMap, theta: Array) -> None:
        self.controller = controller
        self.actions = actions
        self.solves = 0
        self.failures = 0
        self.solve_time_s = 0.0
        self._matrix = actions.matrix
        self.set_theta(theta)

    def set_theta(self, theta: Array) -> None:
        self.theta = np.array(theta, dtype=float)
        self.controller.set_theta(self.theta)

    def reset(self) -> None:
        """Forget the warm start, so that what follows depends on its inputs alone."""
        self.controller.reset()

    def decide(self, observation: SystemObservation, *, gradients: bool = True) -> PolicyDecision:
        """pi_theta(s) and V_theta(s); after a failed solve the action is the admissible one next to zero."""
        solution = self.controller.solve(observation.state, observation.forecast)
        self._count(solution)
        m, n = len(self._matrix), len(self.theta)
        if not solution.ok:
            rest = np.clip(np.zeros(m), self.actions.lower, self.actions.upper)
            return PolicyDecision(rest, np.nan, np.zeros((m, n)), np.zeros(n), False)
        if not gradients:
            return PolicyDecision(self._matrix @ solution.action, solution.value, np.zeros((m, n)), np.zeros(n), True)
        try:
            value_gradient, moves_jacobian = self.controller.differentiate()
        except DerivativeError:
            # A transition that teaches nothing; what it decides is good, and is applied.
            self.failures += 1
            return PolicyDecision(self._matrix @ solution.action, solution.value, np.zeros((m, n)), np.zeros(n), False)
        return PolicyDecision(
            self._matrix @ solution.action, solution.value, self._matrix @ moves_jacobian, value_gradient, True
        )

    def q(self, observation: SystemObservation, action: Array, *, gradients: bool = True) -> ActionValue:
        """Q_theta(s, a) for an action (m) inside its bounds."""
        solution = self.controller.solve_fixed(observation.state, observation.forecast, self.actions.to_mpc(action))
        self._count(solution)
        if not solution.ok:
            return ActionValue(np.nan, np.zeros(len(self.theta)), False)
        if not gradients:
            return ActionValue(solution.value, np.zeros(len(self.theta)), True)
        try:
            return ActionValue(solution.value, self.controller.differentiate()[0], True)
        except DerivativeError:
            self.failures += 1
            return ActionValue(np.nan, np.zeros(len(self.theta)), False)

    def _count(self, solution: Any) -> None:
        self.solves += 1
        self.solve_time_s += solution.time_s
        if not solution.ok:
            self.failures += 1
            # The next solve must not start from where this one got lost.
            self.controller.reset()


def explore(action: Array, std: Array, actions: ActionMap, rng: np.random.Generator) -> tuple[Array, Array]:
    """Gaussian exploration: (action that is applied, action before the projection to the bounds), both (m)."""
    raw = action + std * rng.standard_normal(len(action))
    return np.minimum(np.maximum(raw, actions.lower), actions.upper), raw
