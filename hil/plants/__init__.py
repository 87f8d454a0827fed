"""Plants as the bench sees them: registers on a serial line, forecasts on MQTT, true quantities for the record."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hil.errors import ScenarioError

if TYPE_CHECKING:
    from hil.scenario import Scenario


@dataclass(frozen=True)
class Register:
    """One 16-bit register of the device: value = word * scale in `unit`, two's complement when signed."""

    name: str
    unit: str
    address: int
    scale: float
    signed: bool = False

    def encode(self, value: float) -> int:
        """The word for a value, saturated at the register's range; a value that is no number reads as 0x8000."""
        if value != value:
            return 0x8000
        lowest, highest = (-0x8000, 0x7FFF) if self.signed else (0, 0xFFFF)
        return min(highest, max(lowest, round(value / self.scale))) & 0xFFFF

    def decode(self, word: int) -> float:
        return (word - 0x10000 if self.signed and word >= 0x8000 else word) * self.scale


@dataclass(frozen=True)
class Forecast:
    """A forecast as it is published: values[k] holds from start_s + k * step_s (unix seconds)."""

    topic: str
    start_s: float
    step_s: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One plot of the report: quantities of the record that share a unit."""

    title: str
    unit: str
    quantities: tuple[str, ...]
    stairs: bool = True
    limits: tuple[float, ...] = ()
    stacked: bool = False
    """One above the other: parts of a sum."""


class Plant(Protocol):
    """What stands behind the links. One instance is one run; `advance` moves it by `step_s`."""

    step_s: float
    sensors: Sequence[Register]
    set_points: Sequence[Register]
    quantities: Sequence[str]
    """Names of what `advance` returns; predicates may use them."""
    panels: Sequence[Panel]
    plan_state: str | None
    """The quantity that the controller's plan of its first state predicts, for the report."""

    def time_s(self) -> float:
        """Unix time at which the coming step begins."""
        ...

    def measured(self) -> Mapping[str, float]:
        """What the sensors show now, by register name."""
        ...

    def forecasts(self, horizon: int) -> Mapping[str, Forecast]:
        """What is known of the future now, by signal name, horizon + 1 values each."""
        ...

    def advance(self, set_points: Mapping[str, float]) -> Mapping[str, float]:
        """Hold the set-points for one step; the true quantities: states at its begin, flows as means over it."""
        ...


PLANTS: dict[str, str] = {"battery": "hil.plants.battery", "house": "hil.plants.house"}
"""System name -> module with `make(scenario) -> Plant`."""


def make_plant(scenario: Scenario) -> Plant:
    """The plant of a scenario. Raises ScenarioError for an unknown system or option."""
    module = PLANTS.get(scenario.head.system)
    if module is None:
        raise ScenarioError(
            f"{scenario.head.name}: no plant for the system {scenario.head.system!r}: there are {', '.join(PLANTS)}"
        )
    plant: Plant = importlib.import_module(module).make(scenario)
    return plant
