"""[tracking]: whether and how fast the daemon follows the meter between its cycles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool

from runtime.site.section import NonNegative, Positive, Section


class TrackingSection(Section):
    """Absent, the defaults hold: a site that reads the meter of a bundle with batteries follows it."""

    enabled: StrictBool = True
    every_s: Annotated[float, Field(ge=1, le=60, allow_inf_nan=False, strict=True)] = 2.0
    """Time between two looks at the meter; a reading is acted on once."""
    max_age_s: Positive = 10.0
    """A reading that is older is too late to follow: the plan's set-points are held."""
    settle_s: NonNegative = 0.5
    """How long after a set-point the meter shows it: readings from before are of the set-point before."""
    gain: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)] = 0.6
    """The share of the difference that one reading takes away; less for an inverter or meter that lags."""
    deadband_kw: NonNegative = 0.03
    """A difference that is none."""
    retry_s: Positive = 600.0
    """After something was wrong with the meter or the inverter, it is tried again after this, and then ever later."""
