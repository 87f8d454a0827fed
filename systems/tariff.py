"""From a spot price to what a household pays for a kWh and what it gets for one."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.formats.documents import read_toml
from systems.currency import most_per_eur

DAY_HOURS = (6, 22)
HIGHEST_FEE = 0.6
"""EUR/kWh, and as much in other money. Grid fees and taxes are below half of it everywhere; fees in ct/kWh, p/kWh or
öre/kWh are above."""
HIGHEST_VAT = 0.5
"""A fraction; the highest in Europe is 0.27."""


class TariffError(ValueError):
    """A tariff file that cannot be used; the message names file, key and remedy."""

    exit_code = 78


@dataclass(frozen=True)
class Tariff:
    """Per kWh in the currency of the house; Norwegian-like defaults in EUR.

    Fees and tax are given with VAT; the day fee holds on working days 6-22 h.
    """

    vat: float = 0.25
    """On the spot price, as a fraction."""
    grid_fee_day: float = 0.045
    grid_fee_night: float = 0.030
    """Nights and weekends."""
    tax: float = 0.016
    supplier_fee: float = 0.005
    sell_fee: float = 0.003
    """What the buyer of surplus keeps; surplus earns spot without VAT."""
    feed_in: float | None = None
    """A fixed price for surplus, in place of spot less `sell_fee`."""

    def buy_price(
        self, spot: NDArray[np.float64], hour: NDArray[np.float64], weekday: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """EUR/kWh (n,) from spot (n,), local hour of day (n,) and weekday (n,), Monday = 0."""
        day = (hour >= DAY_HOURS[0]) & (hour < DAY_HOURS[1]) & (weekday < 5)
        grid_fee = np.where(day, self.grid_fee_day, self.grid_fee_night)
        return spot * (1 + self.vat) + grid_fee + self.tax + self.supplier_fee

    def scaled(self, factor: float) -> Tariff:
        """The same fees in a currency of which one unit of this costs `factor`."""
        fees = {f.name: factor * getattr(self, f.name) for f in fields(self) if f.name not in {"vat", "feed_in"}}
        return Tariff(vat=self.vat, feed_in=None if self.feed_in is None else factor * self.feed_in, **fees)

    def sell_price(self, spot: NDArray[np.float64]) -> NDArray[np.float64]:
        """EUR/kWh (n,) from spot (n,); may lie above the buy price, as a fixed feed-in does in cheap hours."""
        return spot - self.sell_fee if self.feed_in is None else np.full_like(spot, self.feed_in)


def load_tariff(path: Path | str, currency: str = "EUR") -> Tariff:
    """A TOML file with any of the fields of Tariff, e.g. `vat = 0.19`, its fees in `currency`. Raises TariffError."""
    try:
        content = read_toml(path)
    except OSError as error:
        raise TariffError(f"{path}: {error.strerror}; name a TOML file that can be read") from error
    except ValueError as error:
        raise TariffError(f"{path}: not a TOML file ({error}); write lines like: vat = 0.25") from error
    names = [field.name for field in fields(Tariff)]
    for key, value in content.items():
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"a tariff has {', '.join(names)}"
            raise TariffError(f"{path}: unknown key {key!r}; {remedy}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TariffError(
                f"{path}: {key} = {value!r} is not a finite number; write {currency}/kWh (vat as a fraction)"
            )
        if key == "vat" and not 0.0 <= value <= HIGHEST_VAT:
            hint = f"is it in per cent? write {value / 100:g}" if value > HIGHEST_VAT else "write it as 0.25"
            raise TariffError(f"{path}: vat = {value:g} is no fraction of the price; {hint}")
        if key != "vat" and abs(value) > HIGHEST_FEE * most_per_eur(currency):
            hint = f"are the fees in ct/kWh? write {key} = {value / 100:g}, and the others likewise"
            raise TariffError(f"{path}: {key} = {value:g} {currency}/kWh is no fee of a household; {hint}")
    return Tariff(**{key: float(value) for key, value in content.items()})
