"""A scenario: one TOML file that says what is run, what is broken and when, and what must hold.

    [scenario]   name, house, site, duration, start, seed, clock, broker, bundle
    [plant]      where the house begins: home_soc, living_temperature, ...; forecast_error
    [tariff]     a price file or the built-in generator
    [world]      a file of measured weather, load or draws
    [feeds]      forecasts come from nisse's own feeds, which ask services on a loopback port
    [[device]]   a device reached over Modbus TCP by its profile, in place of the bench's own registers
    [[fault]]    signal or link, kind, at, for, and what the kind needs
    [random]     how many faults a day are drawn from the seed
    [[expect]]   a predicate (hil/predicates.py) and the window in which it must hold

Durations are numbers of seconds or texts such as "15 min" and "2 d 6 h". Paths are relative to the scenario file.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from hil.errors import ScenarioError
from hil.serving import FAULTS
from runtime.formats.duration import parse_duration
from runtime.formats.plain_files import read_text
from runtime.formats.toml_lines import did_you_mean
from runtime.formats.toml_source import TomlSource

SHIPPED = (Path(__file__).parent / "scenarios", Path(__file__).parents[1] / "scenarios")
"""Where scenarios are in an installed wheel, and in a checkout."""
SIGNAL_KINDS = ("off", "stuck", "garbage", "nan", "wrong", "slow", "delayed", "intermittent")
LINK_KINDS: dict[str, tuple[str, ...]] = {
    "serial": ("off", "garbage", "bad_crc", "exception", "slow", "cable_pull", "own_mode"),
    "mqtt": ("broker_kill",),
    "daemon": ("kill_9",),
    "disk": ("disk_full",),
    "clock": ("clock_jump",),
}
DEVICE_KINDS = ("silent", "exception", "other_transaction", "twice", "garbage", "cut", "hang_up", "slow")
MORE_LINKS: dict[str, tuple[str, ...]] = {
    "services": FAULTS,
    "feeds": ("kill_9",),
    "device": DEVICE_KINDS,
}
"""Of scenarios with [feeds] and with [[device]]."""
WITHIN_KINDS = ("kill_9", "broker_kill", "cable_pull")


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]


class ScenarioSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Head(ScenarioSection):
    """What is run."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    description: str = ""
    house: str
    """A house file, or the name of a shipped house."""
    site: str | None = None
    """A template of the site file, with $serial_port, $mqtt_port, $bundle, $trusted_key and $store to be filled in;
    without one the bench writes the file for the house and the bundle."""
    duration: Duration
    start: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    """With UTC offset; the plant's local clock."""
    seed: Annotated[int, Field(ge=0)] = 0
    clock: Literal["lockstep"] = "lockstep"
    broker: Literal["auto", "mosquitto", "amqtt"] = "auto"
    bundle: str | None = None
    set_point_timeout: Duration = 1800.0
    """The device's own: without a write for this long it falls back to 0."""
    between: Duration = 0.0
    """How often the daemon does what is due between cycles (on the wall clock every second), and how finely faults
    begin and end; 0: not at all, and at cycles only."""

    inside: Duration = 0.0
    """What load and sun do inside a step is told apart so finely, "1 min" say, and the daemon follows the meter; 0: a
    step is all one."""
    look: Duration = 10.0
    """How often the daemon looks at the meter then."""

    @model_validator(mode="after")
    def _has_offset(self) -> Head:
        if self.start.tzinfo is None:
            raise ValueError("start needs a UTC offset: write 2024-01-01T00:00:00+01:00")
        return self


class TariffSection(ScenarioSection):
    """Where prices come from: the generator (`nordic`, `continental`) or a CSV file (`time`, `price_eur_per_kwh`)."""

    generator: str = "nordic"
    prices: str | None = None


class WorldSection(ScenarioSection):
    """What is measured instead of generated: a CSV file with `time` and any of the house's forecasts by name."""

    file: str | None = None


class FeedsBench(ScenarioSection):
    """Prices, weather, sun, load and panels by nisse's own feeds; nothing is published by the bench."""

    learned: Duration = 0.0
    """How long they have watched the house before the scenario begins."""


class NamedDevice(ScenarioSection):
    """A device of the plant by its profile, on a loopback port of Modbus TCP."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    profile: str
    """The name of a shipped one, or a file whose path ends with .toml."""
    values: dict[str, float] = Field(default_factory=dict)
    readings: dict[str, str] = Field(default_factory=dict)
    """Reading of the profile -> what it shows: a sensor or a power of the plant, such as home_kw."""
    settings: dict[str, str] = Field(default_factory=dict)
    """Setting of the profile -> the plant's set-point that it is."""


class Fault(ScenarioSection):
    """One thing that breaks. `at` counts from the start of the scenario; without `for` an event, else it lasts.

    signal kinds   off, stuck, garbage, nan, wrong (factor, offset), slow (every), delayed (delay), intermittent
                   (probability)
    serial kinds   off (silent device), garbage, bad_crc, exception, slow (delay, in real seconds), cable_pull
                   cable_pull, broker_kill and kill_9 also inside a cycle (within); own_mode: it takes set-points and
                   keeps its own
    others         mqtt: broker_kill; daemon and feeds: kill_9; disk: disk_full; clock: clock_jump (by)
                   services (which: one of them, or all), device (which: one by its name, or all)
    """

    signal: str | None = None
    link: str | None = None
    which: str = ""
    """Of several on one link: a service, such as entsoe or open_meteo, or a device by its name; without it, all."""
    kind: str
    at: Duration
    duration: Duration = Field(default=0.0, alias="for")
    factor: float = 1.0
    offset: float = 0.0
    every: Duration = 0.0
    delay: Duration = 0.0
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    by: float = 0.0
    """Seconds that the wall clock jumps; negative is back."""
    within: Literal["read", "write", "written"] | None = None
    """Not before the cycle but inside it: when the device is first read, first written to, or has just been written."""

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.signal or self.link, self.which, self.kind)))

    @property
    def end(self) -> float:
        return self.at + self.duration

    @model_validator(mode="after")
    def _kind_fits(self) -> Fault:
        if (self.signal is None) == (self.link is None):
            raise ValueError("a fault has either a signal or a link")
        links = {**LINK_KINDS, **MORE_LINKS}
        if self.link is not None and self.link not in links:
            raise ValueError(f"no link is called {self.link!r}: there are {', '.join(links)}")
        kinds = SIGNAL_KINDS if self.link is None else links[self.link]
        if self.which and self.link not in {"services", "device"}:
            raise ValueError("which is for the links services and device")
        if self.kind not in kinds:
            what = "a signal" if self.link is None else f"the link {self.link}"
            raise ValueError(f"{what} cannot fail as {self.kind!r}: it can {', '.join(kinds)}")
        if self.within is not None and self.kind not in WITHIN_KINDS:
            raise ValueError(f"{self.kind} cannot begin inside a cycle: within is for {', '.join(WITHIN_KINDS)}")
        needs = {"wrong": self.factor != 1.0 or self.offset != 0.0, "clock_jump": self.by != 0.0}
        if not needs.get(self.kind, True):
            raise ValueError(f"{self.kind} needs {'factor or offset' if self.kind == 'wrong' else 'by (seconds)'}")
        if self.kind in ("slow", "delayed") and self.link != "services" and self.every == 0.0 and self.delay == 0.0:
            raise ValueError(f"{self.kind} needs {'every' if self.kind == 'slow' and self.link is None else 'delay'}")
        if self.duration == 0.0 and self.kind != "clock_jump" and self.kind != "kill_9":
            raise ValueError(f"{self.kind} needs 'for', how long it lasts")
        return self


class RandomFaults(ScenarioSection):
    """So many faults a day, drawn from the scenario's seed, besides those that are written down."""

    faults_per_day: Annotated[float, Field(gt=0, le=48)]
    without: tuple[str, ...] = ()
    """Kinds that are not drawn."""
    stream: Annotated[int, Field(ge=0)] = 0
    """Another number is another schedule for the same plant, prices and weather."""

    @field_validator("without")
    @classmethod
    def _are_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        links = {**LINK_KINDS, **MORE_LINKS}
        known = {*SIGNAL_KINDS, *(kind for kinds in links.values() for kind in kinds)}
        for kind in kinds:
            if kind not in known:
                raise ValueError(f"no fault is of kind {kind!r}{did_you_mean(kind, sorted(known))}")
        return kinds


class Expect(ScenarioSection):
    """A predicate, and the window (from the start of the scenario) in which it must hold."""

    that: str
    begin: Duration = Field(default=0.0, alias="from")
    until: Duration | None = None
    unless: Literal["fault"] | None = None
    """"fault": failing is allowed where it began under a fault or within two cycles after it."""


class Scenario(ScenarioSection):
    """A validated scenario file. `directory` is where its relative paths start."""

    head: Head = Field(alias="scenario")
    plant: dict[str, float] = Field(default_factory=dict)
    tariff: TariffSection = TariffSection()
    world: WorldSection = WorldSection()
    feeds: FeedsBench | None = None
    devices: tuple[NamedDevice, ...] = Field(default=(), alias="device")
    faults: tuple[Fault, ...] = Field(default=(), alias="fault")
    random: RandomFaults | None = None
    expectations: tuple[Expect, ...] = Field(default=(), alias="expect")
    directory: Path = Path()
    source: str = ""
    """The file's text: part of what the record identifies."""

    def path(self, relative: str) -> Path:
        return (self.directory / relative).expanduser()

    @property
    def links(self) -> dict[str, tuple[str, ...]]:
        """What can be broken in it besides signals: link -> kinds."""
        more = {"services", "feeds"} if self.feeds is not None else set[str]()
        more |= {"device"} if self.devices else set()
        return {**LINK_KINDS, **{name: kinds for name, kinds in MORE_LINKS.items() if name in more}}

    @property
    def house_path(self) -> Path:
        """The file, or a plain name where that is of a shipped house."""
        own = self.path(self.head.house)
        return own if own.suffix or own.exists() else Path(self.head.house)


def shipped_scenario(name: str) -> Path:
    """The file of a scenario that comes with nisse, `battery-week` or `battery-week.toml`.

    Raises:
        ScenarioError: there is none of this name; the message lists those there are.
    """
    folder = next(folder for folder in SHIPPED if folder.is_dir())
    path = folder / f"{name.removesuffix('.toml')}.toml"
    if not path.is_file():
        names = sorted(p.stem for p in folder.glob("*.toml"))
        raise ScenarioError(f"{name}: no such scenario{did_you_mean(name, names)}")
    return path


def load_scenario(path: Path) -> Scenario:
    """Read and validate a scenario file.

    Raises:
        ScenarioError: with file, line, what is wrong and the nearest known name.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(
            f"{path}: cannot be read ({error}): name a scenario file such as scenarios/battery-week.toml"
        ) from error
    return parse_scenario(text, path)


def parse_scenario(text: str, path: Path) -> Scenario:
    """As `load_scenario`, from the file's text."""
    source = TomlSource(path, text, ScenarioError)
    data: dict[str, Any] = source.load()
    for reserved in ("directory", "source"):
        if reserved in data:
            raise source.error((reserved,), "unknown key: remove it")
    try:
        scenario = Scenario.model_validate({**data, "directory": path.parent, "source": text})
    except ValidationError as error:
        raise source.explain(error, Scenario) from error
    _check_times(scenario, source)
    return scenario


def _check_times(scenario: Scenario, source: TomlSource) -> None:
    """What concerns several sections at once. Raises ScenarioError with the line of the one to change."""
    end = scenario.head.duration
    if not scenario.expectations:
        raise source.error((), "nothing is expected: add at least one [[expect]] with that = 'soc >= 0.03'")
    for i, fault in enumerate(scenario.faults):
        if fault.link is not None and fault.link not in scenario.links:
            needs = "[[device]]" if fault.link == "device" else "[feeds]"
            raise source.error(("fault", i, "link"), f"{fault.label} needs {needs} in this scenario; add it")
        if fault.at >= end:
            raise source.error(("fault", i, "at"), f"{fault.label} begins after the end: at must be below {end:g} s")
    for i, expect in enumerate(scenario.expectations):
        if expect.begin >= (end if expect.until is None else expect.until):
            raise source.error(("expect", i), f"the window of {expect.that!r} is empty: set from below until")
