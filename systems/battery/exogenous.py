"""What the world does to a home battery and the battery cannot change: prices and the forecast of the net load."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.battery.generator import Household, household_net_load, spot_prices
from systems.battery.tariff import Tariff
from systems.clock import DAY_S, LocalClock, local_clock
from systems.prices import PRICE, PriceOptions, load_prices
from systems.series import Gap, describe_gaps, resample

GENERATED_START = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))
"""A Monday."""


@dataclass(frozen=True, eq=False)
class Exogenous:
    """Series of equal length n on one grid, step k from `start + k * dt_s`.

    The local clock (tariff hours, publication of prices, habits) is that of `zone`.
    """

    start: datetime
    """With UTC offset."""
    dt_s: float
    buy_price: NDArray[np.float64]
    """EUR/kWh (n,)."""
    sell_price: NDArray[np.float64]
    """EUR/kWh (n,), below the buy price or above it."""
    net_load_forecast: NDArray[np.float64]
    """kW (n,), as known the day before."""
    source: str = ""
    gaps: tuple[Gap, ...] = ()
    """What was missing in the file and has been filled."""
    zone: tzinfo | None = None
    """None: the UTC offset of `start`, all along."""

    def __len__(self) -> int:
        return len(self.buy_price)

    @property
    def steps_per_day(self) -> int:
        return round(DAY_S / self.dt_s)

    @property
    def steps_per_week(self) -> int:
        return 7 * self.steps_per_day

    @cached_property
    def clock(self) -> LocalClock:
        return local_clock(self.start, self.dt_s, len(self), self.zone)

    def midnight(self, step: int) -> int:
        """The step, possibly before the series, at which the local day of `step` begins."""
        hour = local_clock(self.time(step), self.dt_s, 1, self.zone).hour[0]
        # An hour may have been skipped or repeated since: look at the clock again.
        first = step - round(hour * 3600.0 / self.dt_s)
        wall = local_clock(self.time(first), self.dt_s, 1, self.zone).hour[0]
        return first - round((wall if wall < 12.0 else wall - 24.0) * 3600.0 / self.dt_s)

    def describe_gaps(self) -> str:
        """One line on what was filled; empty when nothing was."""
        return describe_gaps(self.gaps, self.source)

    def time(self, step: int) -> datetime:
        """Begin of a step, in the offset that the local clock has then."""
        moment = self.start + timedelta(seconds=step * self.dt_s)
        if self.zone is None:
            return moment
        return moment.astimezone(timezone(moment.astimezone(self.zone).utcoffset() or timedelta()))

    def step_at(self, time: datetime) -> int:
        """The step that `time` falls in; may lie outside the series."""
        return int((time - self.start).total_seconds() // self.dt_s)

    def slice(self, begin: int, end: int) -> Exogenous:
        """Steps begin..end-1 as a series of its own, whose step 0 is `begin`."""
        return replace(
            self,
            start=self.time(begin),
            buy_price=self.buy_price[begin:end],
            sell_price=self.sell_price[begin:end],
            net_load_forecast=self.net_load_forecast[begin:end],
        )


def from_spot(
    spot: NDArray[np.float64],
    start: datetime,
    dt_s: float = 900.0,
    *,
    tariff: Tariff | None = None,
    house: Household | None = None,
    seed: int = 0,
    source: str = "",
    gaps: tuple[Gap, ...] = (),
    zone: tzinfo | None = None,
) -> Exogenous:
    """Tariff and generated household around a spot price (n,) in EUR/kWh that is already on the grid of dt_s."""
    tariff, house = tariff or Tariff(), house or Household()
    clock = local_clock(start, dt_s, len(spot), zone)
    buy = tariff.buy_price(spot, clock.hour, clock.weekday)
    return Exogenous(
        start=start,
        dt_s=dt_s,
        buy_price=buy,
        sell_price=tariff.sell_price(spot),
        net_load_forecast=household_net_load(house, clock, seed),
        source=source,
        gaps=gaps,
        zone=zone,
    )


def from_price_file(
    path: Path | str,
    *,
    dt_s: float = 900.0,
    tariff: Tariff | None = None,
    house: Household | None = None,
    seed: int = 0,
    options: PriceOptions | None = None,
) -> Exogenous:
    """Day-ahead prices from a CSV file (columns `time`, `price_eur_per_kwh`; see systems/prices.py for the format).

    The household is generated. Raises SeriesError for a file that is not in the format.
    """
    spot = resample(load_prices(path, options), dt_s)
    return from_spot(
        spot[PRICE],
        spot.start,
        dt_s,
        tariff=tariff,
        house=house,
        seed=seed,
        source=Path(path).name,
        gaps=spot.gaps,
        zone=spot.zone,
    )


def generated_spot(
    weeks: int, *, kind: str = "nordic", seed: int = 0, start: datetime = GENERATED_START, dt_s: float = 3600.0
) -> NDArray[np.float64]:
    """Generated spot prices in EUR/kWh, one per step from `start` on, constant within an hour."""
    return spot_prices(kind, local_clock(start, dt_s, round(weeks * 7 * DAY_S / dt_s)), seed)


def generated(
    weeks: int = 60,
    *,
    kind: str = "nordic",
    seed: int = 0,
    start: datetime | None = None,
    dt_s: float = 900.0,
    tariff: Tariff | None = None,
    house: Household | None = None,
) -> Exogenous:
    """The built-in series: `weeks` weeks of generated prices and household from a Monday on. Kinds: PRICE_SHAPES."""
    start = start or GENERATED_START
    spot = generated_spot(weeks, kind=kind, seed=seed, start=start, dt_s=dt_s)
    name = f"built-in generator, {kind}, seed {seed}, from {start:%Y-%m-%d}"
    return from_spot(spot, start, dt_s, tariff=tariff, house=house, seed=seed, source=name)
