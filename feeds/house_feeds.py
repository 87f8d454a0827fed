"""The feeds of a house: which sources make which quantities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from feeds.feed import Derive, Feed, Slot
from feeds.panels import Shade, plane_power, shaded
from feeds.series import Channels
from feeds.setup import FeedSite, asked_of
from feeds.tariff import buying, selling
from runtime.formats.profile import Profile
from runtime.site.config import SiteFile
from runtime.site.feeds import LearnedSection, PriceSection, PriceSource, PvSection, SourceSection

PLAIN = "{}.plain"
"""Under this name the history keeps what the plane of an array alone would have given."""
ShadeOf = Callable[[str, float], Shade]
"""(array, now) -> what the log has taught of it."""


def unlearned(array: str, now_s: float) -> Shade:
    return Shade()


def feeds_of(site: SiteFile, house: FeedSite, credentials: Path | None, shade: ShadeOf = unlearned) -> list[Feed]:
    """Raises ConfigError for a token that cannot be read."""

    def slots(name: str, path: tuple[str, ...], sections: Sequence[SourceSection | None], most_kw: float) -> list[Slot]:
        """One for each source that is asked of somebody."""
        found = []
        for number, section in enumerate(sections):
            where = path if number == 0 else (*path, "second")
            asked = None if section is None else asked_of(site, house, section, where, credentials, most_kw)
            if asked is not None:
                found.append(Slot(asked, f"{name}.{number + 1}.json"))
        return found

    feeds, found = house.feeds, []
    if feeds.price is not None:
        sections: list[PriceSource | None] = [feeds.price, feeds.price.second]
        found.append(_price(house, feeds.price, slots("price", ("feeds", "price"), sections, 0.0)))
    weather = slots("weather", ("feeds", "weather"), [feeds.weather, feeds.weather and feeds.weather.second], 0.0)
    if weather:
        own = [(slot, _weather) for slot in weather]
        found.append(Feed("weather", {"outdoor": "degC", "sun": "W/m2"}, own, weather))
    for name, array in feeds.pv.items():
        asked = slots(name, ("feeds", "pv", name), [array, array.second], array.peak_kw)
        found.append(_pv(house, name, array, weather, asked, shade))
    for name, load in feeds.load.items():
        asked = slots(name, ("feeds", "load", name), [load, load.second], load.most_kw)
        found.append(_load(name, load, asked))
    return found


def factors_of(house: FeedSite) -> dict[str, Mapping[str, float]]:
    """What is measured of the quantities: quantity -> signal of the daemon -> factor."""
    tables: dict[str, PvSection | LearnedSection] = {**house.feeds.pv, **house.feeds.load}
    return {name: table.measured for name, table in tables.items() if table.measured is not None}


def _price(house: FeedSite, section: PriceSection, slots: Sequence[Slot]) -> Feed:
    def derive(gross: bool) -> Derive:
        net = 1.0 / (1.0 + section.vat) if gross else 1.0

        def of(channels: Channels, now_s: float) -> Mapping[str, Profile]:
            energy = channels["energy"]
            return {
                "buy": buying(section, energy, gross, house.zone),
                "sell": selling(section.feed_in, energy, house.zone, net),
            }

        return of

    unit = f"{house.feeds.currency}/kWh"
    sources = [
        (slot, derive(slot.asked.section.gross)) for slot in slots if isinstance(slot.asked.section, PriceSource)
    ]
    return Feed("price", {"buy": unit, "sell": unit}, sources, slots)


def _weather(channels: Channels, now_s: float) -> Mapping[str, Profile]:
    return {name: channels[name] for name in ("outdoor", "sun") if name in channels}


def _pv(
    house: FeedSite, name: str, section: PvSection, weather: Sequence[Slot], asked: Sequence[Slot], shade: ShadeOf
) -> Feed:
    """Of the weather's answers, of a program's own, or of one and then the other."""
    plain = PLAIN.format(name)

    def by_weather(channels: Channels, now_s: float) -> Mapping[str, Profile]:
        plane = plane_power(section, house.place, channels)
        if plane is None:
            return {}
        learned = shade(name, now_s)
        return {name: shaded(plane, learned, section.peak_kw, house.place), plain: plane}

    def said(channels: Channels, now_s: float) -> Mapping[str, Profile]:
        return {name: channels["power"]} if "power" in channels else {}

    from_weather: list[tuple[Slot, Derive]] = [(slot, by_weather) for slot in weather]
    from_program: list[tuple[Slot, Derive]] = [(slot, said) for slot in asked]
    first_is_weather = section.source == "weather"
    second_is_weather = section.second is not None and section.second.source == "weather"
    sources = [
        *(from_weather if first_is_weather else []),
        *from_program,
        *(from_weather if second_is_weather and not first_is_weather else []),
    ]
    return Feed(name, {name: "kW"}, sources, asked)


def _load(name: str, section: LearnedSection, asked: Sequence[Slot]) -> Feed:
    def said(channels: Channels, now_s: float) -> Mapping[str, Profile]:
        return {name: channels["power"]} if "power" in channels else {}

    sources: list[tuple[Slot, Derive]] = [(slot, said) for slot in asked]
    return Feed(name, {name: "kW"}, sources, asked, assumed=section.usual_kw, level=section.goes_on)
