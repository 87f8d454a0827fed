"""The nameplate of a home battery: what model and plant agree on, and what needs no CasADi to read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


class BatterySpecError(ValueError):
    """A nameplate that no battery has."""

    exit_code = 2


@dataclass(frozen=True)
class BatterySpec:
    """Nameplate of a battery and its inverter, AC side. Raises BatterySpecError."""

    capacity_kwh: float = 10.0
    max_charge_kw: float = 5.0
    max_discharge_kw: float = 5.0
    max_grid_kw: float = 25.0
    """What the meter's connection carries, either way."""
    import_limit_kw: float = 1000.0
    """Limit of its own for power bought; what is above `max_grid_kw` sets none."""
    export_limit_kw: float = 1000.0
    """The same for power sold."""
    max_price: float = 100.0
    """Of a kWh, either sign, in the house's currency: a price beyond it is taken for one in another unit."""
    soc_min: float = 0.05
    soc_max: float = 0.95

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not name.startswith("soc_") and not 0.0 < value < math.inf:
                raise BatterySpecError(f"{name}={value:g}: give a number above 0")
        if not 0.0 <= self.soc_min < self.soc_max <= 1.0:
            raise BatterySpecError(
                f"soc_min={self.soc_min:g}, soc_max={self.soc_max:g}: give 0 <= soc_min < soc_max <= 1"
            )

    @property
    def most_import_kw(self) -> float:
        return min(self.max_grid_kw, self.import_limit_kw)

    @property
    def most_export_kw(self) -> float:
        return min(self.max_grid_kw, self.export_limit_kw)
