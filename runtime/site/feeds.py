"""The table [feeds] of a site file: where prices, weather, sun and load come from, and what a kWh then costs.

`nisse feed` asks and publishes; the daemon reads what it publishes, by `[inputs.NAME] source = "feeds"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, field_validator, model_validator

from runtime.formats.weekly import Weekly, WeeklyValue, weekly
from runtime.site.section import Finite, NonNegative, Positive, Section, known_zone
from runtime.site.signals import FEEDS, FILE, MQTT

TOPICS = "nisse-feeds"
"""Beside the daemon's own topics and not below them: who may publish forecasts may not command the daemon."""
STATUS = "status"
"""Below TOPICS, and as a file: whence each forecast, how old, until when."""
FORECAST_AGE_S = 172_800.0
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
QUANTITY = r"^[a-z][a-z0-9_]{0,62}$"

PriceName = Literal[
    "entsoe", "nordpool", "energy-charts", "tibber", "octopus", "awattar", "home-assistant", "evcc", "fixed"
]
NEEDS: Mapping[str, tuple[str, ...]] = {
    "entsoe": ("zone", "token"),
    "nordpool": ("zone",),
    "energy-charts": ("zone",),
    "tibber": ("token",),
    "octopus": ("product", "tariff"),
    "awattar": ("zone",),
    "home-assistant": ("url", "entity", "token"),
    "evcc": ("url",),
    "fixed": ("value",),
    "open-meteo": (),
    "met-norway": ("contact",),
    "weather": (),
    "learned": (),
}
"""Source -> the keys without which it cannot be asked; `token` is token_file or token_credential."""


def month_numbers(value: object) -> tuple[int, ...]:
    """Numbers (1: January) of "nov-mar" or "jan,jul". Raises ValueError."""
    if isinstance(value, list | tuple) and all(isinstance(month, int) and 1 <= month <= 12 for month in value):
        return tuple(value)
    found: list[int] = []
    for part in str(value).strip().lower().split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if first not in MONTHS or (dash and last not in MONTHS):
            raise ValueError(f"cannot read the months {value!r}: write 'nov-mar' or 'jan,jul'")
        begin, end = MONTHS.index(first), MONTHS.index(last or first)
        found += [(begin + i) % 12 + 1 for i in range((end - begin) % 12 + 1)]
    return tuple(dict.fromkeys(found))


class Season(Section):
    """What follows the week in some months of the year."""

    months: Annotated[tuple[int, ...], BeforeValidator(month_numbers)] = tuple(range(1, 13))
    week: WeeklyValue


def seasons(value: Any) -> Any:
    """A number, a week, or a list of weeks of which each names its months; the first that fits the month counts."""
    if isinstance(value, list | tuple):
        if not value or not all(isinstance(one, dict | Season) for one in value):
            raise ValueError('a list of seasons is [{ months = "nov-mar", default = 0.4, schedule = [...] }, ...]')
        return [_season(one) for one in value]
    return [{"week": weekly(value)}]


def _season(one: Any) -> Any:
    """`months` beside what makes a week."""
    if isinstance(one, Season) or "week" in one:
        return one
    return {
        **({"months": one["months"]} if "months" in one else {}),
        "week": weekly({k: v for k, v in one.items() if k != "months"}),
    }


def whole_year(value: tuple[Season, ...]) -> tuple[Season, ...]:
    missing = [name for number, name in enumerate(MONTHS, 1) if not any(number in one.months for one in value)]
    if missing:
        raise ValueError(f"no season names {', '.join(missing)}; add one without months at the end for the rest")
    return value


SeasonalValue = Annotated[tuple[Season, ...], BeforeValidator(seasons), AfterValidator(whole_year)]


def week_of(value: tuple[Season, ...], month: int) -> Weekly:
    """The week that holds in a month (1 to 12)."""
    return next(season.week for season in value if month in season.months)


class SourceSection(Section):
    """Whom to ask. Every source takes some of these keys, and says which of them it lacks."""

    source: str
    token_file: Path | None = None
    """A file whose first line is the token; never shown, logged or recorded."""
    token_credential: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] = None
    """Instead of a file: the name of a systemd credential."""
    url: str | None = None
    """Where the service is: of Home Assistant or evcc in the house, or instead of a service's own address."""
    asks_per_day: Annotated[int, Field(ge=4, le=1440, strict=True)] = 96
    """A bound on requests, whatever goes wrong; a service may allow fewer."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> SourceSection:
        if self.token_file is not None and self.token_credential is not None:
            raise ValueError("give token_file or token_credential, not both")
        for key in NEEDS.get(self.source, ()):
            there = (self.token_file or self.token_credential) if key == "token" else getattr(self, key, None)
            if there is None:
                raise ValueError(f"{self.source} needs {'token_file' if key == 'token' else key}; add it")
        if self.url is not None and not re.match(r"^https?://[^\s/@]+(/\S*)?$", self.url):
            raise ValueError(f"url = {self.url!r} is no address; write it like http://192.168.1.5:8123, without a user")
        return self


class PriceSource(SourceSection):
    source: PriceName
    zone: str | None = None
    """The bidding zone, NO3 or DE-LU; for aWATTar the country, de or at."""
    product: str | None = None
    tariff: str | None = None
    """Octopus: the codes on the account's page."""
    home: str | None = None
    """Tibber: the id of the home, where the account has several."""
    entity: str | None = None
    value: SeasonalValue | None = None
    """Fixed: money per kWh."""
    exchange_rate: Positive | None = None
    """Units of the house's currency for one of the source's, where the source has another."""
    includes_vat: StrictBool | None = None
    """Whether its prices do; by default those of tibber, octopus, home-assistant, evcc and fixed."""

    @property
    def gross(self) -> bool:
        retail = self.source in {"tibber", "octopus", "home-assistant", "evcc", "fixed"}
        return retail if self.includes_vat is None else self.includes_vat


class FeedIn(Section):
    """What a kWh to the grid earns: `value`, or `factor` times the market's price plus `add`; all without VAT."""

    value: SeasonalValue | None = None
    factor: Finite = 0.0
    add: Finite = 0.0
    nothing_when_negative: StrictBool = False
    """Nothing is paid while the market's price is below 0, as German and other rules have it."""


class PriceSection(PriceSource):
    """Buying: (market + markup + tax + grid_fee) times (1 + vat); a source that includes VAT is not taxed again."""

    vat: NonNegative = 0.0
    markup: SeasonalValue = (Season(week=Weekly(default=0.0)),)
    """Of the supplier, per kWh."""
    tax: SeasonalValue = (Season(week=Weekly(default=0.0)),)
    grid_fee: SeasonalValue = (Season(week=Weekly(default=0.0)),)
    """Per kWh, by hour, weekday and season."""
    fees_include_vat: StrictBool = False
    hourly: StrictBool = False
    """The bill is by the hour: quarters count with the mean of theirs."""
    feed_in: FeedIn = FeedIn()
    second: PriceSource | None = None

    @field_validator("vat")
    @classmethod
    def _is_a_share(cls, vat: float) -> float:
        if vat > 1.0:
            raise ValueError("a share: write 0.25 for 25 %")
        return vat


class WeatherSource(SourceSection):
    source: Literal["open-meteo", "met-norway"]
    contact: str | None = None
    """MET Norway asks every program for an address at which its user can be reached."""


class WeatherSection(WeatherSource):
    second: WeatherSource | None = None


Measured = dict[Annotated[str, Field(pattern=QUANTITY)], Finite]
"""Signal of the daemon's state (input or action) -> factor: their weighted sum is what really was."""


class PvSource(SourceSection):
    source: Literal["weather", "home-assistant", "evcc"] = "weather"
    entity: str | None = None


class PvSection(PvSource):
    """One array of panels. By `weather`: irradiance on its plane, then a scale and shading learned from `measured`."""

    peak_kw: Positive
    tilt: Annotated[float, Field(ge=0, le=90, strict=True)] = 30.0
    azimuth: Annotated[float, Field(ge=0, le=360, strict=True)] = 180.0
    """Degrees from north, 90 east, 180 south."""
    measured: Measured | None = None
    second: PvSource | None = None


class LearnedSource(SourceSection):
    source: Literal["learned", "home-assistant"] = "learned"
    entity: str | None = None


class LearnedSection(LearnedSource):
    """What the house itself tells: its load, what is drawn from a tank."""

    measured: Measured | None = None
    usual_kw: NonNegative = 0.3
    """What stands in until a week has been seen."""
    most_kw: Positive = 25.0
    goes_on: StrictBool = True
    """What deviates from the usual now fades over some hours: right for a load, wrong for what a shower draws."""
    second: LearnedSource | None = None

    @model_validator(mode="after")
    def _can_learn(self) -> LearnedSection:
        if self.source == "learned" and self.measured is None:
            raise ValueError("learned needs measured = { NAME = 1.0 }, the inputs and actions whose sum it is")
        return self


class FeedsSection(Section):
    """`nisse feed` publishes `buy` and `sell`, `outdoor` and `sun`, and one quantity for each table of pv and load."""

    latitude: Annotated[float | None, Field(ge=-90, le=90, strict=True)] = None
    longitude: Annotated[float | None, Field(ge=-180, le=180, strict=True)] = None
    altitude_m: Annotated[int | None, Field(ge=-500, le=9000, strict=True)] = None
    timezone: str | None = None
    """Of fees and feed-in; the site's by default."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    folder: Path = Path("feeds")
    """Answers, errors and what was learned; without [mqtt] also the forecasts themselves."""
    horizon_h: Annotated[int, Field(ge=6, le=96, strict=True)] = 48
    price: PriceSection | None = None
    weather: WeatherSection | None = None
    pv: dict[Annotated[str, Field(pattern=QUANTITY)], PvSection] = Field(default_factory=dict)
    load: dict[Annotated[str, Field(pattern=QUANTITY)], LearnedSection] = Field(default_factory=dict)

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        return name if name is None else known_zone(name)

    @field_validator("pv", "load", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any, info: Any) -> Any:
        """A single table is of the quantity that is called like it."""
        keys = (PvSection if info.field_name == "pv" else LearnedSection).model_fields
        single = isinstance(value, dict) and any(key in keys for key in value)
        return {info.field_name: value} if single else value

    @model_validator(mode="after")
    def _place(self) -> FeedsSection:
        wants_place = self.weather is not None or any(one.source == "weather" for one in self.pv.values())
        if wants_place and (self.latitude is None or self.longitude is None):
            raise ValueError("weather and sun need latitude and longitude; add them under [feeds]")
        if self.weather is None and any(one.source == "weather" for one in self.pv.values()):
            raise ValueError('pv by weather needs [feeds.weather], for example source = "open-meteo"')
        twice = self.units().keys() if len(self.units()) == self._count() else None
        if twice is None:
            raise ValueError("one quantity twice; give each table of pv and load a name of its own")
        return self

    @property
    def measured(self) -> dict[str, str]:
        """Signals of the daemon from which the feeds learn, and the table that names each."""
        tables: dict[str, PvSection | LearnedSection] = {
            **{f"pv.{name}": one for name, one in self.pv.items()},
            **{f"load.{name}": one for name, one in self.load.items()},
        }
        return {signal: table for table, one in tables.items() for signal in one.measured or {}}

    def _count(self) -> int:
        prices = 2 if self.price is not None else 0
        return prices + (2 if self.weather is not None else 0) + len(self.pv) + len(self.load)

    def units(self) -> dict[str, str]:
        """What is published: quantity -> unit."""
        found: dict[str, str] = {}
        if self.price is not None:
            found |= dict.fromkeys(("buy", "sell"), f"{self.currency}/kWh")
        if self.weather is not None:
            found |= {"outdoor": "degC", "sun": "W/m2"}
        return found | dict.fromkeys((*self.pv, *self.load), "kW")


def topic_of(site: str, quantity: str) -> str:
    return f"{TOPICS}/{site}/{quantity}"


def file_of(quantity: str) -> str:
    """In the folder of the feeds, where there is no broker."""
    return f"{quantity}.forecast.json"


def with_feeds(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with every input from `feeds` led to the topic, or the file, where the feeds publish it.

    What is wrong in it stays as it is: the validation that follows says so.
    """
    inputs, feeds, site = document.get("inputs"), document.get(FEEDS, {}), document.get("site", {})
    if not isinstance(inputs, dict) or not isinstance(feeds, dict) or not isinstance(site, dict):
        return dict(document)
    led = {name: _led(name, entry, feeds, site, MQTT in document) for name, entry in inputs.items()}
    return {**document, "inputs": led}


def _led(name: str, entry: Any, feeds: Mapping[str, Any], site: Mapping[str, Any], by_broker: bool) -> Any:
    if not isinstance(entry, dict) or entry.get("source") != FEEDS:
        return entry
    quantity = entry.get("feed", name)
    unit = _unit_of(quantity, feeds)
    if unit is None:  # not of the feeds, or they are not in order: whoever checks the links says so
        return {"unit": "1", "max_age_s": FORECAST_AGE_S, **entry}
    where: dict[str, Any] = {"source": MQTT, "topic": topic_of(str(site.get("name")), quantity)}
    if not by_broker:
        where = {"source": FILE, "path": Path(str(feeds.get("folder", FEEDS))) / file_of(quantity)}
    usual = {"unit": unit, "unit_pointer": "/unit", "max_age_s": FORECAST_AGE_S}
    return {**usual, **where, **{key: value for key, value in entry.items() if key != "source"}, "feed": quantity}


def _unit_of(quantity: Any, feeds: Mapping[str, Any]) -> str | None:
    """As `FeedsSection.units` has it, of tables that are not validated yet."""
    try:
        return FeedsSection.model_validate(dict(feeds)).units().get(quantity)
    except ValueError:
        return None
