"""Prices from CSV files, per kWh in the currency of the house: the header or the user says the unit.


The column is `price_eur_per_kwh`, or the same with another unit: `price_eur_per_mwh`, `price_ct_per_kwh`,
`price_sek_per_kwh`. Its unit is never guessed: numbers that contradict it, or that no market pays, are an error that
names the likely one. Prices in another currency than the house's are converted at a rate that the user gives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systems.csv_rows import SeriesError, read_header
from systems.currency import most_per_eur
from systems.series import DEFAULT_MAX_GAP_S, TimeSeries, load_csv

PRICE = "price_eur_per_kwh"
"""The usual header, and the name of the column that `load_prices` gives, whatever the currency."""
LOWEST, HIGHEST = -0.65, 5.0
"""EUR/kWh, and as much in other money. The harmonised limits of the European day-ahead market are -0.5 and 4 (5 after a
rise), less a fee."""
HIGHEST_USUAL = 1.0
"""EUR/kWh, of half the prices of a day or more: no market has had such a day; ct/kWh and EUR/MWh have nothing else."""
HIGHEST_OF_TINY = 0.002
"""EUR/kWh: prices in EUR/kWh whose column says EUR/MWh are all below."""
DAY_OF_HOURS = 24
ENERGY = {"kwh": 1.0, "mwh": 1000.0}
MINOR = {
    "ct": "EUR", "snt": "EUR", "cent": "EUR", "cents": "EUR", "c": "EUR", "p": "GBP", "pence": "GBP", "rp": "CHF",
    "hal": "CZK", "ore": "SEK", "öre": "SEK", "øre": "NOK", "gr": "PLN",
}  # fmt: skip
"""Hundredths, and of which currency where the house has none that calls them so."""
SHARED = (
    ({"ct", "cent", "cents", "c"}, {"EUR", "USD", "CAD", "AUD", "NZD"}),
    ({"ore", "öre", "øre", "kr"}, {"SEK", "NOK", "DKK"}),
)
"""Names of money, and the currencies that use them: of these they are the house's own."""
SYMBOLS = {"€": "EUR", "£": "GBP", "euro": "EUR", "kr": "SEK"}
_UNIT = re.compile(r"^\s*([^\W\d_]+|€|£)\s*(?:/|_?per_?)\s*([kKmM][wW][hH])\s*$")
_HEADERS = (
    re.compile(r"^(?:\w*_)?price_([^\W\d_]+)_(?:per_)?([km]wh)$", re.IGNORECASE),
    re.compile(r"(?:^|[\W_])([^\W\d_]+|€|£)\.?\s*(?:/|\s+per\s+)\s*([km]wh)\b", re.IGNORECASE),
)
"""`price_eur_per_mwh`, and any name that holds a unit: `Day-ahead price [EUR/MWh]`."""


class PriceUnitError(ValueError):
    """A unit that is none of money per energy."""

    exit_code = 2


@dataclass(frozen=True)
class PriceUnit:
    """What a number in the file is worth: `factor` units of `currency` per kWh."""

    name: str
    currency: str
    factor: float


def price_unit(text: str, house: str = "EUR") -> PriceUnit:
    """Of `EUR/MWh`, `ct/kWh`, `öre/kWh`, `SEK_per_kWh`; house: its currency. Raises PriceUnitError."""
    found = _UNIT.match(text)
    if found is None:
        raise PriceUnitError(f"{text!r} is no unit of a price; write it as EUR/kWh, EUR/MWh, ct/kWh or SEK/kWh")
    money, energy = found[1].lower(), found[2].lower()
    own = any(money in names and house in currencies for names, currencies in SHARED)
    currency = house if own else MINOR.get(money) or SYMBOLS.get(money) or money.upper()
    if len(currency) != 3:
        raise PriceUnitError(f"{text!r}: {found[1]!r} is no currency; write its three letters, as in SEK/kWh")
    factor = (0.01 if money in MINOR else 1.0) / ENERGY[energy]
    return PriceUnit(f"{found[1]}/{'kWh' if energy == 'kwh' else 'MWh'}", currency, factor)


@dataclass(frozen=True)
class PriceOptions:
    """How a price file is to be read where it does not say so itself."""

    unit: str | None = None
    """Instead of what the header says, as `price_unit` takes it."""
    rate: float | None = None
    """Units of the file's currency that one unit of the house's costs."""
    zone: tzinfo | None = None
    """Of the local clock."""
    max_gap_s: float = DEFAULT_MAX_GAP_S
    currency: str = "EUR"
    """Of the house."""


def load_prices(path: Path | str, options: PriceOptions | None = None) -> TimeSeries:
    """Prices per kWh in the house's currency, as the column PRICE, held between rows.

    Raises SeriesError, naming the likely unit.
    """
    path, options = Path(path), options or PriceOptions()
    name, unit = _column(path, read_header(path), options)
    series = load_csv(path, [name], max_gap_s=options.max_gap_s, hold=True, zone=options.zone)
    rate = 1.0
    if unit.currency != options.currency:
        if options.rate is None:
            own = options.currency
            remedy = f"say how many {unit.currency} one {own} costs (--exchange-rate), or convert them to {own}/kWh"
            raise SeriesError(path, f"prices in {unit.name}, and the house counts in {own}", remedy, row=1, column=name)
        rate = options.rate
    price = series[name] * (unit.factor / rate)
    _refuse_implausible(series, name, price, unit, options.currency)
    return replace(series, values={PRICE: price})


def _column(path: Path, header: list[str], options: PriceOptions) -> tuple[str, PriceUnit]:
    """The column of prices, and their unit: the one that is named `price_..._per_...`, or `price` with a unit given."""
    own = options.currency
    unit = None if options.unit is None else price_unit(options.unit, own)
    named: list[tuple[str, PriceUnit]] = []
    for pattern in _HEADERS:
        found = [(name, pattern.search(name)) for name in header]
        named = named or [(name, price_unit(f"{m[1]}/{m[2]}", own)) for name, m in found if m is not None]
    if PRICE in header:
        named = [(PRICE, price_unit("EUR/kWh"))]
    elif unit is not None and not named and "price" in header:
        named = [("price", unit)]
    if len(named) > 1:
        columns = " and ".join(repr(name) for name, _ in named)
        raise SeriesError(path, f"more than one column of prices: {columns}", f"name the right one {PRICE}", row=1)
    if not named:
        return PRICE, unit or price_unit("EUR/kWh")
    name, said = named[0]
    return name, unit or said


def _refuse_implausible(
    series: TimeSeries, column: str, price: NDArray[np.float64], unit: PriceUnit, currency: str
) -> None:
    """Raises SeriesError for numbers that contradict their unit."""
    raw, place, per_eur = series[column], Path(series.source), most_per_eur(currency)
    eur = price / per_eur
    extreme = int(np.argmax(np.where((eur < LOWEST) | (eur > HIGHEST), np.abs(eur), 0.0)))
    row = None if series.rows is None else int(series.rows[extreme])
    usual = float(np.median(np.abs(eur)))
    if not LOWEST <= eur[extreme] <= HIGHEST:
        market = f"{per_eur * LOWEST:g} to {per_eur * HIGHEST:g} {currency}/kWh"
        said = f"{raw[extreme]:g} {unit.name} is no price of a market ({market})"
    elif len(eur) >= DAY_OF_HOURS and usual > HIGHEST_USUAL:
        said, row = f"half of the prices are above {np.median(np.abs(raw)):g} {unit.name}, as on no market", None
    elif unit.factor < 1.0 and 0.0 < np.abs(eur).max() < HIGHEST_OF_TINY:
        said, row = f"no price is above {np.abs(raw).max():g} {unit.name}", None
    else:
        return
    raise SeriesError(place, said, _likely(np.abs(raw), unit, currency), row=row, column=column)


def _likely(raw: NDArray[np.float64], unit: PriceUnit, own: str) -> str:
    """What else the numbers may be."""
    usual, highest = (float(value) / most_per_eur(own) for value in (np.median(raw), raw.max()))
    if unit.factor < 1.0 and highest <= HIGHEST:
        return f"are they in {own}/kWh? then name the column price_{own.lower()}_per_kwh"
    fits = [
        name
        for name, factor in (("ct/kWh", 0.01), (f"{own}/MWh", 0.001))
        if name != unit.name and highest * factor <= HIGHEST and 0.01 <= usual * factor <= 0.4
    ]
    if not fits:
        return "correct it, or say the unit of the file (--price-unit, with --exchange-rate for another currency)"
    columns = " or ".join(f"price_{name.lower().replace('/', '_per_')}" for name in fits)
    return (
        f"are they in {' or '.join(fits)}? then name the column {columns}, or give --price-unit "
        "(with --exchange-rate for another currency)"
    )
