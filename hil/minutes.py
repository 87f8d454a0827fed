"""The minutes inside a step: the daemon looks at the meter every few seconds, and the plant moves on by the minute.

The meter shows what the house draws now: load and panels of this minute, and the battery at what its device holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hil.device import PlantDevices
from hil.faults import SignalFaults
from hil.plant import Plant


@dataclass
class Minutes:
    """What was seen and done inside one step: the record's `inside`."""

    applied: dict[str, list[float]] = field(default_factory=dict)
    """Mean set-points of each minute."""
    grid_kw: list[float] = field(default_factory=list)
    looks: int = 0
    on: int = 0
    why: list[str] = field(default_factory=list)

    def heard(self, tracking: Mapping[str, Any] | None) -> None:
        """What the daemon says of a look; None where it does not run."""
        self.looks += 1
        why = "the daemon does not run" if tracking is None else str(tracking["why"])
        self.on += not why
        if why and why not in self.why:
            self.why.append(why)

    def document(self) -> dict[str, Any]:
        share = self.on / self.looks if self.looks else math.nan
        return {"applied": self.applied, "grid_kw": self.grid_kw, "on": share, "why": self.why}


def run_minutes(
    plant: Plant,
    device: PlantDevices,
    faults: SignalFaults,
    track: Callable[[float], Mapping[str, Any] | None],
    now_s: float,
    every_s: float,
) -> Minutes:
    """A whole step of the plant from `now_s` (elapsed) on; `track` has the daemon look once at an elapsed time."""
    found = Minutes(applied={name: [] for name in device.held()})
    plant.begin(device.held())
    looks = max(1, round(plant.inside_s / every_s))
    for j in range(plant.minutes):
        begin_s = now_s + j * plant.inside_s
        total = dict.fromkeys(device.held(), 0.0)
        for k in range(looks):
            at_s = begin_s + k * every_s
            if at_s > now_s:  # the cycle has just looked
                shown = plant.showing(device.held())
                device.show({name: faults.show(name, value, at_s) for name, value in shown.items()})
                found.heard(track(at_s))
            for name, value in device.mean(every_s).items():
                total[name] += value / looks
        plant.minute(total)
        found.grid_kw.append(plant.measured()["grid_power"])
        for name, value in total.items():
            found.applied[name].append(value)
    return found
