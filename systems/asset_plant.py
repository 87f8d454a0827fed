"""The plant of one asset: what really happens to it over a step, whatever the controller believes.

Assets meet as their blocks do (`systems.block`): on the electric bus, and where heat is delivered by name. A step goes
in two phases, so that their order does not matter: first every plant says what it draws and delivers (`draw`), then
every plant moves on with what reached it (`advance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from systems.problem import Signal
from systems.world import Exogenous
from systems.world.inside import Kind


@dataclass(frozen=True)
class Now:
    """The step that is about to happen."""

    hours: float
    """Its length."""
    minute_of_week: int
    """Local time of its middle, from Monday 00:00."""
    month: int
    """Of the local calendar, counted through the years."""
    days_left: int
    """Of that month, after today."""
    time_s: float
    """Unix time of its beginning."""
    world: Mapping[str, float]
    """What comes from outside, by column."""
    temperature_c: Mapping[str, float]
    """Of whatever heat can be delivered to, by name, as it begins."""


@dataclass(frozen=True)
class Flow:
    """What an asset draws from the electric bus (negative: gives) and delivers, means over the step, kW.

    `heat_kw` is by name of the zone or tank; `power_kw` the electric power behind it, by purpose (`zones`, or a tank).
    """

    electric_kw: float = 0.0
    heat_kw: Mapping[str, float] = field(default_factory=dict)
    power_kw: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Around:
    """What all assets do over a step, by asset."""

    flows: Mapping[str, Flow]

    @property
    def electric_kw(self) -> float:
        return sum(flow.electric_kw for flow in self.flows.values())

    def heat_kw(self, name: str) -> float:
        """Delivered to a zone or tank."""
        return sum(flow.heat_kw.get(name, 0.0) for flow in self.flows.values())


@dataclass(frozen=True)
class SetPoint:
    """What a device is told: one number for one action, or for two of opposite sign (charge and discharge)."""

    signal: Signal
    factors: Mapping[str, float]
    """Action -> what it counts for in the number."""
    safe: float = 0.0
    """What to tell it while nothing is known."""

    def actions(self, value: float) -> dict[str, float]:
        """The actions that a number asks for."""
        shares = {name: value / factor for name, factor in self.factors.items()}
        return shares if len(shares) == 1 else {name: max(share, 0.0) for name, share in shares.items()}


class AssetPlant:
    """One asset, or a few that are one piece of physics (the zones of a building). Subclasses say what differs."""

    asset: str
    actions: tuple[Signal, ...] = ()
    """Those of its block, in the same order."""
    inner = False
    """Whether it moves on minute by minute where a plant tells minutes apart; else it does step by step."""
    inside: Mapping[str, Kind] = {}
    """Columns of the world that it draws by, and what varies them inside a step."""

    def begin(
        self, rng: np.random.Generator, world: Exogenous, first: int, steps: int, initial: Mapping[str, float]
    ) -> None:
        """Start an episode of `steps` steps from step `first` of the world on; `initial`: states by name."""

    def initial_names(self) -> tuple[str, ...]:
        """What `initial` may say of it."""
        return ()

    def temperatures(self) -> Mapping[str, float]:
        """degC, by name, of what heat can be delivered to."""
        return {}

    def draw(self, action: Sequence[float], now: Now) -> Flow:
        """What it draws and delivers when it is asked for `action`; the machine's own limits are its own."""
        return Flow()

    def advance(self, now: Now, around: Around) -> None:
        """Move on by the step."""

    def sensors(self) -> tuple[Signal, ...]:
        """What can be measured of it: name, unit and the range of the instrument."""
        return ()

    def set_points(self) -> tuple[SetPoint, ...]:
        """What its devices are told; each action by itself, unless the device combines some."""
        return tuple(SetPoint(action, {action.name: 1.0}) for action in self.actions)

    def measured(self) -> Mapping[str, float]:
        """What its sensors show now, by their names."""
        return {}

    def states(self) -> Mapping[str, float]:
        """What is true now, by name."""
        return {}

    def flows(self) -> Mapping[str, float]:
        """What was true over the last step, by name: means in kW, or sums that say their unit."""
        return {}
