"""A forecast that corrects itself: what the last hours drew more than was foreseen goes on for a while, and fades.

    E[e(t + lead) | e(t)] = share exp(-lead / memory) e(t)

which is a first-order autoregression seen through noise: what a kettle did tells nothing of the next hour, what a guest
does tells much. The same code corrects in the daemon and in the tuner's closed loops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HOUR_S = 3600.0
FORGOTTEN = 3.0
"""Memories after which a deviation that was not seen again is nothing."""


class Carries(BaseModel):
    """How the deviation from a forecast goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    share: Annotated[float, Field(ge=0.0, le=1.0)]
    memory_h: Annotated[float, Field(gt=0.0, le=240.0)]


class Deviation:
    """What was drawn more than foreseen, kW: a mean of the last stage or so, the recent before the distant."""

    def __init__(self, stage_s: float) -> None:
        self._span_s = stage_s / 2
        self._value, self._at_s = 0.0, -math.inf

    def observe(self, time_s: float, kw: float) -> None:
        """The mean since the last time it was asked, or of the moment."""
        if not math.isfinite(kw):
            return
        old = math.exp(-max(0.0, time_s - self._at_s) / self._span_s) if math.isfinite(self._at_s) else 0.0
        self._value, self._at_s = old * self._value + (1.0 - old) * kw, time_s

    def carried(
        self, values: Sequence[float], step_s: float, carries: Carries, time_s: float, lower: float, upper: float
    ) -> tuple[float, ...]:
        """values: means of steps from time_s on; corrected, within their range."""
        age_h = (time_s - self._at_s) / HOUR_S
        if age_h > FORGOTTEN * carries.memory_h:
            return tuple(values)
        now = carries.share * self._value
        return tuple(
            min(max(value + now * math.exp(-(age_h + (k + 1) * step_s / HOUR_S) / carries.memory_h), lower), upper)
            for k, value in enumerate(values)
        )
