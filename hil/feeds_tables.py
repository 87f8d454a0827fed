"""The table [feeds] of a house on the bench: its market, its weather, its panels, and what its load is learned from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hil.plant import Plant
from systems.tariff import DAY_HOURS, Tariff

TOKEN_FILE = "entsoe.token"
ZONE = "NO3"


@dataclass(frozen=True)
class FeedsTables:
    """`text`, with $services to be filled in; the quantities that it brings, the inputs that it learns from."""

    text: str
    quantities: tuple[str, ...]
    measured: tuple[str, ...]


def feeds_tables(plant: Plant, place: tuple[float, float], told: Collection[str]) -> FeedsTables:
    """place: degrees north and east. told: what can be read in the house besides what its controller needs."""
    house = plant.house
    text = _head(place, house.currency) + _price(Tariff()) + _WEATHER
    quantities, measured = ["buy", "sell", "outdoor", "sun"], []
    arrays = house.of("pv")
    for pv in arrays:
        name = "pv" if len(arrays) == 1 else f"pv_{pv.name}"
        shown = f"{pv.name}_kw"
        learned = f"measured = {{ {shown} = 1.0 }}\n" if shown in told else ""
        text += (
            f"[feeds.pv.{name}]\npeak_kw = {pv.peak_kw:g}\ntilt = {pv.tilt:g}\nazimuth = {pv.azimuth:g}\n{learned}\n"
        )
        quantities.append(name)
        measured += [shown] if learned else []
    balance = _balance(plant, told)
    if house.of("load") and balance:
        terms = ", ".join(f"{name} = {factor:.1f}" for name, factor in balance.items())
        text += f"[feeds.load]\nmeasured = {{ {terms} }}\nusual_kw = {house.only('load').base_kw:g}\n"
        quantities.append("load")
        measured += balance
    return FeedsTables(text, tuple(quantities), tuple(dict.fromkeys(measured)))


def _balance(plant: Plant, told: Collection[str]) -> dict[str, float]:
    """What is drawn by nothing else: bought, less what goes into machines, and what the panels give."""
    terms = {
        "grid_power": 1.0,
        **{f"{pv.name}_kw": 1.0 for pv in plant.house.of("pv")},
        **{f"{battery.name}_kw": -1.0 for battery in plant.house.of("battery")},
        **{f"{pump.name}_meter": -1.0 for pump in plant.house.of("heat_pump")},
    }
    return terms if all(name in told for name in terms) else {}


def _head(place: tuple[float, float], currency: str) -> str:
    return f"""[feeds]
latitude = {place[0]:g}
longitude = {place[1]:g}
currency = "{currency}"

"""


def _price(tariff: Tariff) -> str:
    """What `generated_world` makes of the market's price, in the feeds' words."""
    hours = f'from = "{DAY_HOURS[0]:02d}:00", to = "{DAY_HOURS[1]:02d}:00"'
    day = f'{{ days = "mon-fri", {hours}, value = {tariff.grid_fee_day} }}'
    return f"""[feeds.price]
source = "entsoe"
zone = "{ZONE}"
token_file = "{TOKEN_FILE}"
url = "$services/api"
vat = {tariff.vat}
markup = {tariff.supplier_fee}
tax = {tariff.tax}
grid_fee = {{ default = {tariff.grid_fee_night}, schedule = [{day}] }}
fees_include_vat = true
feed_in = {{ factor = 1.0, add = {-tariff.sell_fee} }}
second = {{ source = "nordpool", zone = "{ZONE}", url = "$services" }}

"""


_WEATHER = """[feeds.weather]
source = "open-meteo"
url = "$services"
second = { source = "met-norway", contact = "bench@example.org", url = "$services" }

"""
