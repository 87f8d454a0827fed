"""What the world does to a home battery and the battery cannot change: prices and the forecast of the net load."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.battery.generator import Household, household_net_load, spot_prices
from systems.battery.tariff import Tariff
from systems.series import DEFAULT_MAX_GAP_S, Gap, describe_gaps, load_csv, resample

DAY_S = 86_400.0
PRICE_COLUMN = "price_eur_per_kwh"
GENERATED_START = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))
"""A Monday."""


@dataclass(frozen=True, eq=False)
class Exogenous:
    """Series of equal length n on one grid, step k from `start + k * dt_s`.

    The local clock (tariff hours, publication of prices) is the UTC offset of `start`, fixed over the series.
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

    def __len__(self) -> int:
        return len(self.buy_price)

    @property
    def steps_per_day(self) -> int:
        return round(DAY_S / self.dt_s)

    @property
    def steps_per_week(self) -> int:
        return 7 * self.steps_per_day

    @property
    def first_step_of_day(self) -> int:
        """How many steps after local midnight step 0 begins."""
        return local_clock(self.start, self.dt_s, 1)[3]

    def describe_gaps(self) -> str:
        """One line on what was filled; empty when nothing was."""
        return describe_gaps(self.gaps, self.source)

    def time(self, step: int) -> datetime:
        """Begin of a step, in the offset of `start`."""
        return self.start + timedelta(seconds=step * self.dt_s)

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


def local_clock(
    start: datetime, dt_s: float, n: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], int]:
    """Local hour of day (n,), weekday (n,) with Monday = 0, day of year (n,), and steps since midnight at the start."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    first = round((start - midnight).total_seconds() / dt_s)
    steps = first + np.arange(n)
    seconds = steps * dt_s
    days = np.floor(seconds / DAY_S).astype(np.int64)
    date = np.datetime64(midnight.date(), "D") + days
    day_of_year = (date - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + 1
    return (seconds % DAY_S) / 3600.0, (start.weekday() + days) % 7, day_of_year, first


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
) -> Exogenous:
    """Tariff and generated household around a spot price (n,) in EUR/kWh that is already on the grid of dt_s."""
    tariff, house = tariff or Tariff(), house or Household()
    hour, weekday, day_of_year, _ = local_clock(start, dt_s, len(spot))
    buy = tariff.buy_price(spot, hour, weekday)
    return Exogenous(
        start=start,
        dt_s=dt_s,
        buy_price=buy,
        sell_price=tariff.sell_price(spot),
        net_load_forecast=household_net_load(house, hour, weekday, day_of_year, seed),
        source=source,
        gaps=gaps,
    )


def from_price_file(
    path: Path | str,
    *,
    dt_s: float = 900.0,
    tariff: Tariff | None = None,
    house: Household | None = None,
    seed: int = 0,
    max_gap_s: float = DEFAULT_MAX_GAP_S,
) -> Exogenous:
    """Day-ahead prices from a CSV file (columns `time`, `price_eur_per_kwh`; see systems/series.py for the format).

    The household is generated. Raises SeriesError for a file that is not in the format.
    """
    spot = resample(load_csv(path, [PRICE_COLUMN], max_gap_s=max_gap_s), dt_s)
    return from_spot(
        spot[PRICE_COLUMN],
        spot.start,
        dt_s,
        tariff=tariff,
        house=house,
        seed=seed,
        source=Path(path).name,
        gaps=spot.gaps,
    )


def generated_spot(
    weeks: int, *, kind: str = "nordic", seed: int = 0, start: datetime = GENERATED_START, dt_s: float = 3600.0
) -> NDArray[np.float64]:
    """Generated spot prices in EUR/kWh, one per step from `start` on, constant within an hour."""
    hour, weekday, day_of_year, _ = local_clock(start, dt_s, round(weeks * 7 * DAY_S / dt_s))
    return spot_prices(kind, hour, weekday, day_of_year, seed)


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
