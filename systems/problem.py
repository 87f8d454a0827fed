"""The optimal control problem as data: the one definition that tuner, codegen and bench share.

    V_theta(x_0) = min  sum_{k<N} gamma^k [ l(x_k, u_k) + penalty(soft slack_k) ]  +  gamma^N [ T(x_N) + penalty ]
                   s.t. x_{k+1} = f(x_k, u_k),   g(x_k, u_k) >= 0,   h(x_k, u_k) >= -slack_k,   slack_k >= 0,
                        u_lower <= u_k <= u_upper

Every function also sees the forecast row d_k, the features z of the whole forecast and of x_0, and the parameters p.
`Q_theta(x_0, a)` is the same program with the actuated part of u_0 fixed to `a`.

Two things that real money asks for are not convex, and a problem may declare them. Decision variables may exclude each
other (`exclusive`), and a stage cost may be concave in places (`relaxed`, `tangent`, `settled`: a meter that pays more
for a kWh than it asks). The controller then solves a few convex programs in turn: docs/reference/formulation.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import casadi as ca
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STAGE_INPUTS = ("x", "u", "d", "z", "p")
TERMINAL_INPUTS = ("x", "d", "z", "p")


@dataclass(frozen=True)
class Signal:
    """A named, bounded quantity. For actions the bounds are hard; for states and forecasts they are the valid range."""

    name: str
    unit: str
    lower: float
    upper: float
    description: str = ""


@dataclass(frozen=True)
class Parameter:
    """One entry of theta: `default` is the data-fitted (or neutral) value from which tuning starts."""

    name: str
    unit: str
    default: float
    lower: float
    upper: float
    description: str = ""
    group: str = "model"


@dataclass(frozen=True)
class SoftPenalty:
    """Price of a slack s >= 0 per soft row: `linear * s + quadratic / 2 * s**2`, in cost units."""

    linear: tuple[float, ...] = ()
    quadratic: tuple[float, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A discounted optimal control problem, convex in (x, u) for fixed theta but for what it declares not to be.

    CasADi functions, all with inputs named as STAGE_INPUTS (TERMINAL_INPUTS for the terminal ones):
      dynamics -> x_next (nx);  stage_cost -> scalar, not yet discounted;  terminal_cost -> scalar;
      soft -> h (ns) with h >= 0 soft;  soft_terminal -> (nst);  hard -> g (ng) with g >= 0.
      features: forecast (N+1, nd), x_0 (nx) -> z (nz), what depends on the whole horizon (a mean price, say) or on x_0.
      prepare: theta -> p, evaluated once per theta; without it p is theta.
    Forecasts have N + 1 rows: row N is for the terminal functions.
    """

    name: str
    dt_s: float
    horizon: int
    discount: float
    states: tuple[Signal, ...]
    actions: tuple[Signal, ...]
    forecasts: tuple[Signal, ...]
    theta: tuple[Parameter, ...]
    dynamics: ca.Function
    stage_cost: ca.Function
    terminal_cost: ca.Function
    soft: ca.Function | None = None
    soft_penalty: SoftPenalty = field(default_factory=SoftPenalty)
    soft_terminal: ca.Function | None = None
    soft_terminal_penalty: SoftPenalty = field(default_factory=SoftPenalty)
    hard: ca.Function | None = None
    auxiliaries: tuple[Signal, ...] = ()
    """Decision variables that are not actuated (epigraph variables); u = (actions, auxiliaries)."""
    exclusive: tuple[tuple[str, str], ...] = ()
    """Pairs of actions, each from 0 up, of which at most one is above 0 at a stage; an action belongs to one pair."""
    relaxed: ca.Function | None = None
    """(stage inputs) -> d (nd): the row in whose place the stage cost is convex, before anything is known of the plan;
    d itself where the cost is convex as it is. Only the stage cost may depend on what changes."""
    tangent: ca.Function | None = None
    """(stage inputs) -> d (nd): a row under which the stage cost is convex, nowhere below the true one, and equal to it
    at this (x, settled u)."""
    settled: ca.Function | None = None
    """(stage inputs) -> u (nu): the same actions with the auxiliaries that reality gives them."""
    features: ca.Function | None = None
    prepare: ca.Function | None = None
    decide_every_s: float | None = None
    """How often the program is solved in closed loop, its first move held meanwhile; None: whenever it is asked."""

    @property
    def nx(self) -> int:
        return len(self.states)

    @property
    def na(self) -> int:
        """Number of actuated actions."""
        return len(self.actions)

    @property
    def nu(self) -> int:
        """Number of decision variables per stage, actions first."""
        return len(self.actions) + len(self.auxiliaries)

    @property
    def exclusive_pairs(self) -> tuple[tuple[int, int], ...]:
        """`exclusive` as indices into u. Raises ValueError for a name that is no action."""
        names = [a.name for a in self.actions]
        return tuple((names.index(a), names.index(b)) for a, b in self.exclusive)

    @property
    def nd(self) -> int:
        return len(self.forecasts)

    @property
    def nz(self) -> int:
        return 0 if self.features is None else int(self.features.numel_out(0))

    @property
    def ntheta(self) -> int:
        return len(self.theta)

    @property
    def np(self) -> int:
        return self.ntheta if self.prepare is None else int(self.prepare.numel_out(0))

    def theta_default(self) -> Floats:
        return np.array([p.default for p in self.theta])

    def theta_bounds(self) -> tuple[Floats, Floats]:
        return np.array([p.lower for p in self.theta]), np.array([p.upper for p in self.theta])

    def with_theta(self, values: dict[str, float]) -> Problem:
        """The same problem with other defaults; raises KeyError for a name that is not in theta."""
        unknown = set(values) - {p.name for p in self.theta}
        if unknown:
            raise KeyError(f"not in theta of {self.name}: {sorted(unknown)}")
        return replace(self, theta=tuple(replace(p, default=float(values.get(p.name, p.default))) for p in self.theta))
