"""The load as it is: what is usual at this hour, a deviation that lasts a while, and a kettle now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from systems.asset_plant import AssetPlant, Flow, Now
from systems.assets.load.deviation import LoadDeviation, load_deviation
from systems.clock import DAY_S
from systems.world import WorldColumn
from systems.world.foresight import Usual
from systems.world.household import Household, household_load

if TYPE_CHECKING:
    from systems.assets.load import Load
    from systems.world.generate import WorldSurroundings

SMALLEST_KW = 0.05
MEMORY_STEP_S = 900.0
"""Of the coefficient of `LoadDeviation`, and the step that spikes are counted in."""
OF_PEAK = 0.5
"""Of the load's nameplate peak: what a spike and the usual day stay below together."""


class LoadPlant(AssetPlant):
    inner = True
    inside = {"load": "appliances"}  # noqa: RUF012 - nobody writes to it

    def __init__(self, load: Load) -> None:
        self.asset, self._kw = load.name, 0.0

    def draw(self, action: Sequence[float], now: Now) -> Flow:
        self._kw = now.world["load"]
        return Flow(self._kw)

    def flows(self) -> Mapping[str, float]:
        return {"load_kw": self._kw}


def load_columns(load: Load, around: WorldSurroundings) -> Mapping[str, WorldColumn]:
    """What is drawn and what is usual, kW; the household is as large as the base load says, within the peak."""
    household = Household(base_load_kw=load.base_kw, peak_load_kw=min(1.6, OF_PEAK * load.peak_kw))
    usual = np.minimum(household_load(household, around.clock), load.peak_kw)
    per_memory = max(1, round(MEMORY_STEP_S / around.dt_s))
    coarse = load_deviation(
        LoadDeviation(), -(-len(usual) // per_memory), round(DAY_S / (per_memory * around.dt_s)), around.rng(1)
    )
    deviation = np.repeat(coarse, per_memory)[: len(usual)]
    return {"load": WorldColumn(np.clip(usual + deviation, SMALLEST_KW, load.peak_kw), Usual(usual))}
