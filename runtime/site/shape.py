"""How a planned power becomes what a device takes that takes no power: a level, or a shift of its curve."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from runtime.site.section import Finite, NonNegative, Positive, Section

PLANNED = "kW"
"""The unit of what the actions add up to before it is shaped."""


class ShapeLevel(Section):
    level: Finite
    """What the device is told, in the output's unit."""
    kw: Finite
    """What it then draws, about."""


class LevelsShape(Section):
    """The level whose power is nearest to the planned one: SG-Ready, a relay, modes of an inverter."""

    kind: Literal["levels"]
    levels: tuple[ShapeLevel, ...] = Field(min_length=2)
    """From the least power to the most."""
    margin: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.2
    """A level is left when the plan is nearer to another by this share of the distance between the two."""
    hold_s: NonNegative = 60.0
    """Every level is held so long; SG-Ready asks for a minute at least."""
    min_run_s: NonNegative = 0.0
    """A level above the lowest is not followed by the lowest before this."""
    min_rest_s: NonNegative = 0.0
    """The lowest level is not left before this."""
    max_lowest_s: Positive | None = None
    """The lowest level is left for the next after this, for `min_run_s`: SG-Ready locks for two hours at most."""

    @model_validator(mode="after")
    def _in_order(self) -> LevelsShape:
        powers = [one.kw for one in self.levels]
        if any(b <= a for a, b in pairwise(powers)):
            raise ValueError("levels go from the least power to the most, each with more than the one before")
        if len({one.level for one in self.levels}) < len(self.levels):
            raise ValueError("two levels are the same; leave one out")
        if self.max_lowest_s is not None and self.max_lowest_s < max(self.hold_s, self.min_rest_s):
            raise ValueError("max_lowest_s is shorter than the lowest level must last; give more")
        return self


class ResponseShape(Section):
    """The set-point at which the device draws the planned power, by how it was seen to respond:

    power = kw_at_zero + kw_per_unit * set_point + kw_per_degree * (outdoor - reference)
    """

    kind: Literal["response"]
    kw_at_zero: Finite
    kw_per_unit: Finite
    """More power for one more of the set-point, in the output's unit."""
    outdoor: str | None = None
    """The signal of the temperature outdoors, where the response depends on it."""
    kw_per_degree: Finite = 0.0
    reference: Finite = 0.0

    @model_validator(mode="after")
    def _responds(self) -> ResponseShape:
        if self.kw_per_unit == 0.0:
            raise ValueError("kw_per_unit = 0 says that the device does not respond; give what was seen")
        if (self.outdoor is None) != (self.kw_per_degree == 0.0):
            raise ValueError("outdoor and kw_per_degree come together")
        return self


Shape = Annotated[LevelsShape | ResponseShape, Field(discriminator="kind")]
