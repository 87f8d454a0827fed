"""A block: what one asset gives to the optimal control problem of its house.

Assets meet in two places only. On the electric bus each draws `electric_kw`, and the meter balances the sum. On the
heat side a heat pump delivers to what it feeds, by name. Everything else of a block is its own: states, actions,
forecasts, theta, dynamics, cost, rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.formats.weekly import Weekly
from runtime.inputs.correction import Carries
from systems.problem import Parameter, Signal

Symbols = Any
"""ca.SX or ca.MX: all of one problem's expressions are of one kind."""


@dataclass(frozen=True)
class Forecast(Signal):
    """A signal that is known ahead. `steps` values a stage, of equal length; blocks that name the same one share it."""

    steps: int = 1
    schedule: Weekly | None = None
    """What it is where nobody publishes it: a set-point, a band."""
    carries: Carries | None = None
    """How a deviation from that schedule goes on."""

    def columns(self) -> tuple[Signal, ...]:
        """One signal for each column of the forecast row."""
        if self.steps == 1:
            return (Signal(self.name, self.unit, self.lower, self.upper, self.description),)
        return tuple(
            Signal(f"{self.name}_{i}", self.unit, self.lower, self.upper, f"{self.description}, step {i + 1}")
            for i in range(self.steps)
        )


@dataclass(frozen=True)
class Scope:
    """The symbols of one stage that a block may use.

    x (nx), u (actions, then auxiliaries), z (features) and p (prepared theta) are its own; `forecast(name)` (steps).
    At the terminal stage u is empty.
    """

    x: Symbols
    u: Symbols
    z: Symbols
    p: Symbols
    forecasts: Mapping[str, Symbols]

    def forecast(self, name: str) -> Symbols:
        return self.forecasts[name]


@dataclass(frozen=True)
class Ports:
    """What a block exchanges over a stage, mean kW: drawn from the electric bus, and delivered by name of what is fed.

    `delivered[name]` is a list in the order of the house's feeders: a column of the model of what is fed each.
    """

    electric_kw: Symbols = 0
    delivered: Mapping[str, Symbols] = field(default_factory=dict)


@dataclass(frozen=True)
class Inflow:
    """What reaches a block over a stage: powers delivered to it (one row a feeder), and what all assets draw, mean kW.

    `idle_kw` is drawn with all decisions at 0, `lowest_kw` and `highest_kw` are what decisions can make of it.
    """

    delivered: Symbols = None
    electric_kw: Symbols = 0
    idle_kw: Symbols = 0
    lowest_kw: Symbols = 0
    highest_kw: Symbols = 0


@dataclass(frozen=True)
class Concave:
    """A stage cost that is concave in places, as `Problem.relaxed`, `tangent` and `settled` take it apart.

    relaxed, tangent -> what stands in the place of forecasts, by name; settled -> the block's auxiliaries as reality
    gives them.
    """

    relaxed: Callable[[Scope, Inflow], Mapping[str, Symbols]]
    tangent: Callable[[Scope, Inflow], Mapping[str, Symbols]]
    settled: Callable[[Scope, Inflow], Symbols]


@dataclass(frozen=True)
class Soft:
    """Rows >= 0 that may be violated at a price: linear s + quadratic / 2 s^2 for each slack s."""

    rows: Symbols
    linear: tuple[float, ...]
    quadratic: tuple[float, ...]

    def and_row(self, row: Symbols, linear: float) -> Soft:
        """One more, at a price per unit."""
        import casadi as ca

        return Soft(ca.vertcat(self.rows, row), (*self.linear, linear), (*self.quadratic, 0.0))


@dataclass(frozen=True)
class Terms:
    """What a block adds to a stage. At the terminal stage `x_next` and `hard` are None."""

    x_next: Symbols = None
    cost: Symbols = 0
    hard: Symbols = None
    """Rows >= 0."""
    soft: Soft | None = None


def _no_ports(scope: Scope) -> Ports:
    return Ports()


def _nothing(scope: Scope, inflow: Inflow) -> Terms:
    return Terms()


def _no_end(scope: Scope) -> Terms:
    return Terms()


@dataclass(frozen=True)
class Block:
    """One asset in the problem; signals and parameters carry the asset's name already.

    ports -> what it draws and delivers, from u and forecasts alone; stage -> next state, cost and rows, when all ports
    are known; terminal -> cost and soft rows of x_N. `prepare` makes p from the block's part of theta (without it p is
    theta). `features` makes z from whole forecasts, each (N + 1, steps), and the block's own x_0.
    """

    asset: str
    states: tuple[Signal, ...] = ()
    actions: tuple[Signal, ...] = ()
    auxiliaries: tuple[Signal, ...] = ()
    exclusive: tuple[tuple[str, str], ...] = ()
    """Pairs of its actions of which at most one is above 0 at a stage."""
    forecasts: tuple[Forecast, ...] = ()
    theta: tuple[Parameter, ...] = ()
    ports: Callable[[Scope], Ports] = _no_ports
    stage: Callable[[Scope, Inflow], Terms] = _nothing
    terminal: Callable[[Scope], Terms] = _no_end
    prepare: Callable[[Symbols], Symbols] | None = None
    features: Callable[[Mapping[str, Symbols], Symbols], Symbols] | None = None
    concave: Concave | None = None
    observer: Callable[[Mapping[str, float]], dict[str, Any]] | None = None
    """theta by name -> the state estimator as plain data; without one every state is measured."""
    limits: Callable[[Mapping[str, float]], tuple[dict[str, Any], ...]] = lambda theta: ()
    """theta by name -> what the safety filter keeps, as plain data: limits on states, with their disturbance sets."""
    power_limits: tuple[dict[str, Any], ...] = ()
    """What the safety filter keeps of powers, as plain data: `name`, `upper` or `lower` in kW, the `actions` that
    count, all that the house draws where none are named, and a `meter` that measures it."""
    gives_up: tuple[str, ...] = ()
    """Of its actions, what only gives up power that comes by itself: it may be raised to keep a limit on power."""
    gains: tuple[dict[str, Any], ...] = ()
    """Of its actions, what their effect on states is in proportion to: `action`, the forecast `by`, `points`."""
    compressors: tuple[dict[str, Any], ...] = ()
    """What of it turns on and off as a whole, as plain data (`runtime.decide.pulses`); plans are of means."""
    rules: tuple[dict[str, Any], ...] = ()
    """What moves its actions where the program cannot, as plain data (`runtime.decide.rules_data`). A rule of
    self-consumption that says no `net_load` goes by all that the house draws."""
    tracked: Mapping[str, Any] | None = None
    """A battery that can follow the meter between decisions, as plain data (`runtime.bundle.tracking`): its actions
    `charge` and `discharge`."""
    tracks: Mapping[str, Any] | None = None
    """Of the meter: what there is to follow, as plain data: the input `meter`, its limits, and how peaks count."""
    in_matrices: bool = False
    """Written in matrix operations: with thousands of numbers, scalar code would take minutes to compile."""
