"""From the table [feeds] of a site file to the sources that it names, with their tokens read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

from feeds.errors import FeedError
from feeds.source import Money, Place, Source
from runtime.formats.plain_files import read_text
from runtime.site.config import SiteFile
from runtime.site.feeds import (
    FeedsSection,
    LearnedSource,
    PriceSource,
    PvSource,
    SourceSection,
    WeatherSource,
)
from runtime.site.section import zone

MOST_SECRET_BYTES = 1 << 14


class FeedsMissingError(FeedError):
    """The site file has no table [feeds]."""

    exit_code = 78


@dataclass(frozen=True)
class Asked:
    """A source, and what must be known to ask it and to judge its answers."""

    source: Source
    section: SourceSection
    identity: str
    """Of its settings: what is on the disk of others is not used."""
    house: str
    currency: str
    zone: tzinfo
    most_kw: float = 100.0
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def asks_per_day(self) -> int:
        return self.section.asks_per_day


@dataclass(frozen=True)
class FeedSite:
    """What all feeds of a site share."""

    name: str
    zone: tzinfo
    feeds: FeedsSection

    @property
    def place(self) -> Place:
        """Raises FeedError."""
        f = self.feeds
        if f.latitude is None or f.longitude is None:
            raise FeedError("[feeds] has no latitude and longitude")
        return Place(f.latitude, f.longitude, f.altitude_m)


def house_of(site: SiteFile) -> FeedSite:
    """Raises FeedsMissingError."""
    if site.feeds is None:
        raise FeedsMissingError(
            f'{site.path}: has no table [feeds]; add one, such as price = {{ source = "entsoe", ... }}'
        )
    own = site.feeds.timezone
    return FeedSite(site.site.name, site.zone if own is None else zone(own), site.feeds)


def asked_of(
    site: SiteFile, house: FeedSite, section: SourceSection, where: tuple[str, ...], credentials: Path | None,
    most_kw: float = 100.0,
) -> Asked | None:  # fmt: skip
    """The source of a table; None where nothing is asked. Raises ConfigError for a token that cannot be read."""
    token = token_of(site, section, where, credentials)
    source = _source(house, section, token or "")
    if source is None:
        return None
    own = section.model_dump(mode="json", exclude={"second", "token_file", "token_credential", "asks_per_day"})
    about = json.dumps([own, house.feeds.currency, house.feeds.latitude, house.feeds.longitude], sort_keys=True)
    return Asked(
        source, section, hashlib.sha256(about.encode()).hexdigest()[:16], house.name, house.feeds.currency, house.zone,
        most_kw, (token,) if token else (),
    )  # fmt: skip


def token_of(site: SiteFile, section: SourceSection, where: tuple[str, ...], credentials: Path | None) -> str | None:
    """The first line of the file, never shown. Raises ConfigError, which names the place and not the content."""
    if section.token_credential is not None:
        if credentials is None:
            raise site.error((*where, "token_credential"), "no credentials were handed over; use token_file")
        file, key = credentials / section.token_credential, "token_credential"
    elif section.token_file is not None:
        file, key = site.relative(section.token_file), "token_file"
    else:
        return None
    try:
        token = read_text(file, MOST_SECRET_BYTES).splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError):
        token = ""
    if not token or not token.isascii() or not token.isprintable():
        raise site.error((*where, key), f"no token on the first line of {file}")
    return token


def _source(house: FeedSite, section: SourceSection, token: str) -> Source | None:
    match section:
        case PriceSource():
            return _price(house, section, token)
        case WeatherSource():
            return _weather(house, section)
        case PvSource():
            return _shaped(house, section, token, "power", "kW")
        case LearnedSource():
            return _shaped(house, section, token, "power", "kW")
    return None


def _price(house: FeedSite, section: PriceSource, token: str) -> Source | None:
    """Each brings its module only where it is asked."""
    money, at = Money(house.feeds.currency, section.exchange_rate), section.url
    zone_name = section.zone or ""
    match section.source:
        case "entsoe":
            from feeds.sources import entsoe

            return entsoe.Entsoe(zone_name, token, money, url=at or entsoe.URL)
        case "nordpool":
            from feeds.sources import nordpool

            return nordpool.NordPool(zone_name, money, url=at or nordpool.URL)
        case "energy-charts":
            from feeds.sources import energy_charts

            return energy_charts.EnergyCharts(zone_name, money, url=at or energy_charts.URL)
        case "awattar":
            from feeds.sources import awattar

            if zone_name.lower() not in awattar.URLS:
                raise FeedError(f"aWATTar has de and at, and no zone {zone_name!r}")
            return awattar.Awattar(zone_name.lower(), money, at or awattar.URLS[zone_name.lower()])
        case "tibber":
            from feeds.sources import tibber

            return tibber.Tibber(token, money, section.home, url=at or tibber.URL)
        case "octopus":
            from feeds.sources import octopus

            return octopus.Octopus(section.product or "", section.tariff or "", money, url=at or octopus.URL)
        case "fixed":
            from feeds.sources.fixed import Fixed

            return Fixed(section.value, house.zone) if section.value is not None else None
    return _shaped(house, section, token, "energy", f"{house.feeds.currency}/kWh")


def _weather(house: FeedSite, section: WeatherSource) -> Source:
    if section.source == "met-norway":
        from feeds.sources import met_norway

        return met_norway.MetNorway(house.place, section.contact or "", url=section.url or met_norway.URL)
    from feeds.sources import open_meteo

    return open_meteo.OpenMeteo(house.place, url=section.url or open_meteo.URL)


def _shaped(
    house: FeedSite, section: PriceSource | PvSource | LearnedSource, token: str, channel: str, unit: str
) -> Source | None:
    """A program in the house that has the forecast already; None for what is made here."""
    from feeds.sources.shaped import Shaped

    base = (section.url or "").rstrip("/")
    if section.source == "home-assistant":
        url = f"{base}/api/states/{section.entity}"
        return Shaped(f"home-assistant {section.entity}", url, channel, unit, house.zone, token=token)
    if section.source == "evcc":
        kind, arrives = ("grid", "") if channel == "energy" else ("solar", "W")
        return Shaped(f"evcc {kind}", f"{base}/api/tariff/{kind}", channel, unit, house.zone, arrives=arrives)
    return None
