"""The feeds of a house: which sources make which quantities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from feeds.feed import Feed
from feeds.series import Channels
from feeds.setup import Asked, House, asked_of
from feeds.tariff import buying, selling
from runtime.formats.profile import Profile
from runtime.site.config import SiteFile
from runtime.site.feeds import PriceSection, PriceSource


def feeds_of(site: SiteFile, house: House, credentials: Path | None) -> list[Feed]:
    """Raises ConfigError for a token that cannot be read."""
    found = []
    if house.feeds.price is not None:
        found.append(_price(site, house, house.feeds.price, credentials))
    if house.feeds.weather is not None:
        weather = house.feeds.weather
        sections = [weather, *([weather.second] if weather.second else [])]
        wheres = [("feeds", "weather"), ("feeds", "weather", "second")]
        asked = [asked_of(site, house, s, w, credentials) for s, w in zip(sections, wheres, strict=False)]
        found.append(Feed("weather", {"outdoor": "degC", "sun": "W/m2"}, _there(asked), _weather))
    return found


def _there(asked: list[Asked | None]) -> list[Asked]:
    return [one for one in asked if one is not None]


def _price(site: SiteFile, house: House, section: PriceSection, credentials: Path | None) -> Feed:
    sections: list[PriceSource] = [section, *([section.second] if section.second else [])]
    wheres = [("feeds", "price"), ("feeds", "price", "second")]
    asked = [asked_of(site, house, s, w, credentials) for s, w in zip(sections, wheres, strict=False)]

    def derive(channels: Channels, number: int) -> Mapping[str, Profile]:
        gross = sections[number].gross
        net = 1.0 / (1.0 + section.vat) if gross else 1.0
        energy = channels["energy"]
        return {
            "buy": buying(section, energy, gross, house.zone),
            "sell": selling(section.feed_in, energy, house.zone, net),
        }

    unit = f"{house.feeds.currency}/kWh"
    return Feed("price", {"buy": unit, "sell": unit}, _there(asked), derive)


def _weather(channels: Channels, number: int) -> Mapping[str, Profile]:
    return {name: channels[name] for name in ("outdoor", "sun") if name in channels}
