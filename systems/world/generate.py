"""A world for a house from a seed: weather, prices and a tariff, and what its assets add (load, panels, draws)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import numpy as np

from systems.assets import asset_kinds
from systems.clock import LocalClock, local_clock
from systems.currency import usual_per_eur
from systems.house_file import House
from systems.prices import PRICE
from systems.series import TimeSeries, held_at
from systems.tariff import Tariff
from systems.weather import OUTDOOR_RANGE_C, SUN_RANGE_W_M2
from systems.world import Array, Exogenous, WorldColumn
from systems.world.foresight import Predicted, Published
from systems.world.household import PRICE_SHAPES, spot_prices
from systems.world.weather import ClimateSpec, Conditions, generate_conditions

OUTDOOR_ERROR_K = 1.0
SUN_ERROR = 0.2
HOUR_S = 3600.0


class WorldError(ValueError):
    """A world that cannot be made for this house."""

    exit_code = 78


@dataclass(frozen=True, eq=False)
class WorldSurroundings:
    """What the columns of assets are made of: the weather of all n steps and the clock on the wall."""

    conditions: Conditions
    clock: LocalClock
    climate: ClimateSpec
    seed: int

    @property
    def dt_s(self) -> float:
        return self.conditions.dt_s

    def rng(self, number: int) -> np.random.Generator:
        """A stream of its own for each asset: adding one leaves the others as they were."""
        return np.random.default_rng((self.seed, 1000 + number))


def generated_world(
    house: House,
    start: datetime,
    days: float,
    *,
    seed: int = 0,
    prices: str = "nordic",
    tariff: Tariff | None = None,
    climate: ClimateSpec | None = None,
    spot: TimeSeries | None = None,
) -> Exogenous:
    """`days` days from `start` (with UTC offset) on, at the model's step of the house.

    prices: one of PRICE_SHAPES, unless `spot` holds the column PRICE of `systems.prices`. Spot and tariff are in the
    currency of the house; without a tariff it is the default, at a usual rate. Raises WorldError for a step
    that does not divide an hour, a kind of prices that there is not, or prices that do not cover it.
    """
    dt_s, climate = house.grid.step_s, climate or ClimateSpec()
    if abs(HOUR_S / dt_s - round(HOUR_S / dt_s)) > 1e-9:
        raise WorldError(f"[grid] step is {dt_s:g} s, and weather comes by the hour; choose a step that divides one")
    if prices not in PRICE_SHAPES:
        raise WorldError(f"no price generator {prices!r}: there are {', '.join(PRICE_SHAPES)}")
    conditions = generate_conditions(seed, start=start.astimezone(UTC), days=days, dt_s=dt_s, climate=climate)
    clock = local_clock(start, dt_s, len(conditions), house.timezone)
    per_eur = usual_per_eur(house.currency)
    market = per_eur * spot_prices(prices, clock, seed) if spot is None else _covering(spot, conditions)
    around = WorldSurroundings(conditions, clock, climate, seed)
    columns: dict[str, WorldColumn] = {
        "outdoor": WorldColumn(
            np.clip(conditions.outdoor_c, *OUTDOOR_RANGE_C), Predicted(OUTDOOR_ERROR_K, 8.0, False, *OUTDOOR_RANGE_C)
        ),
        "sun": WorldColumn(conditions.irradiance_w_m2, Predicted(SUN_ERROR, 8.0, True, *SUN_RANGE_W_M2)),
        **_money(market, clock, tariff or Tariff().scaled(per_eur)),
    }
    for kind in asset_kinds():
        columns |= kind.world(house, around)
    source = f"generated, {prices}, seed {seed}" if spot is None else f"prices of {spot.source}, seed {seed}"
    return Exogenous(start, dt_s, house.timezone, columns, source)


def _covering(spot: TimeSeries, conditions: Conditions) -> Array:
    """Prices at every step (n,). Raises WorldError."""
    held = held_at(spot, PRICE, conditions.time_s)
    if not np.isfinite(held).all():
        first, last = (datetime.fromtimestamp(s, UTC) for s in conditions.time_s[[0, -1]])
        raise WorldError(
            f"the prices ({spot.source}, {spot.start:%Y-%m-%d} to {spot.end:%Y-%m-%d}) do not cover "
            f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, a day before and a few after what is run; change start, duration or "
            "prices"
        )
    return held


def _money(spot: Array, clock: LocalClock, tariff: Tariff) -> Mapping[str, WorldColumn]:
    buy, sell = tariff.buy_price(spot, clock.hour, clock.weekday), tariff.sell_price(spot)
    return {"buy": WorldColumn(buy, Published()), "sell": WorldColumn(sell, Published())}


def moment(text: str, zone: tzinfo) -> datetime:
    """A date or time as people write it, in a zone where it names none. Raises WorldError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise WorldError(f"{text!r} is no date; write it as 2024-01-15") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=zone)
