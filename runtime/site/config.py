"""The site file: one TOML that says which bundle controls which signals over which links.

Every mistake is reported with file, line and, for a misspelt key, the key that was probably meant.
"""

from __future__ import annotations

from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictBool, ValidationError, field_validator, model_validator

from runtime.bundle.keys import public_key_bytes
from runtime.decide.decision import Rhythm
from runtime.decide.rules_data import Rule, WrittenRules, one_by_one
from runtime.devices.expand import DeviceSection, with_devices
from runtime.errors import ConfigError, KeyFileError
from runtime.formats.documents import parse_toml
from runtime.formats.plain_files import read_text
from runtime.formats.toml_lines import did_you_mean, line_of
from runtime.site.conflicts import check_conflicts
from runtime.site.errors import describe
from runtime.site.feeds import FeedsSection, with_feeds
from runtime.site.register import ModbusSection, SerialSection
from runtime.site.section import NonNegative, Positive, Section, known_zone, zone
from runtime.site.signals import FEEDS, FILE, MQTT, InputSection, OutputSection
from runtime.site.tracking import TrackingSection
from runtime.site.web import WebSection

MAX_SITE_BYTES = 1 << 20
SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Site(Section):
    name: SiteName
    timezone: str = "UTC"
    """In which published times are written, for people; the controller itself counts in Unix seconds."""

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return known_zone(name)


class ControllerSection(Section):
    bundle: Path
    trusted_keys: tuple[str, ...]
    """Public keys as `nisse key show` prints them; a bundle signed by another is refused."""
    cycle_s: Positive
    decide_every_s: Positive | None = None
    """Time between two decisions, held in the cycles between; the bundle's own by default, else every cycle."""
    solve_timeout_s: Positive = 10.0
    dwell_s: NonNegative | None = None
    """How long a better level must be available before the daemon returns to it; a minute or one cycle by default."""
    plan_max_age_s: NonNegative = 3600.0
    """How long the last good plan may be followed when no new one can be had."""
    trial_cycles: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 3
    """Decisions of a new bundle in shadow before it is obeyed, and again before its predecessor is let go."""

    @field_validator("trusted_keys")
    @classmethod
    def _are_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            try:
                public_key_bytes(key)
            except KeyFileError as error:
                raise ValueError(str(error)) from error
        return keys


class StoreSection(Section):
    path: Path = Path("nisse.db")
    max_transitions: Annotated[int, Field(gt=0, strict=True)] = 70_000
    """The oldest are dropped beyond this; at 15 minutes a cycle, two years."""


class MqttSection(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(gt=0, lt=65536, strict=True)] = 1883
    username: str | None = None
    password_file: Path | None = None
    password_credential: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] = None
    """Name of a systemd credential that holds the password; instead of password_file."""
    tls: StrictBool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    """A client certificate, PEM, where the broker asks for one; its key in key_file."""
    key_file: Path | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600, strict=True)] = 30

    @model_validator(mode="after")
    def _consistent(self) -> MqttSection:
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("give password_file or password_credential, not both")
        if (self.password_file or self.password_credential) and self.username is None:
            raise ValueError("a password needs a username")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("certificates are named but tls is off; add tls = true")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file come together")
        return self

    @property
    def is_local(self) -> bool:
        return self.host in {"localhost", "127.0.0.1", "::1"}


class HomeAssistantSection(Section):
    """The site as a device of Home Assistant, by MQTT discovery."""

    discovery: StrictBool = True
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")] = "homeassistant"


class StatusSection(Section):
    """Where the daemon can be looked at without a broker."""

    file: Path | None = None
    """State and plan after every cycle; under systemd `<runtime directory>/<site>.json` unless named here."""
    http_port: Annotated[int | None, Field(gt=0, lt=65536, strict=True)] = None
    """/metrics and /healthz on 127.0.0.1; off unless set."""


class ExplorationSection(Section):
    """Random steps on what the MPC decides, for a log that `nisse tune` can learn from; absent, there are none."""

    std: dict[str, Positive] = Field(min_length=1)
    """Standard deviation per action of the bundle, in its unit."""
    hold_s: Positive = 1800.0
    seed: Annotated[int, Field(ge=0, strict=True)] = 0


class SiteFile(Section):
    """The whole file; `path` and `text` are where it came from."""

    path: Annotated[Path, Field(exclude=True)]
    text: Annotated[str, Field(exclude=True, repr=False)]
    site: Site
    controller: ControllerSection
    store: StoreSection = StoreSection()
    mqtt: MqttSection | None = None
    homeassistant: HomeAssistantSection = HomeAssistantSection()
    status: StatusSection = StatusSection()
    serial: dict[str, SerialSection] = Field(default_factory=dict)
    modbus: dict[str, ModbusSection] = Field(default_factory=dict)
    device: dict[str, DeviceSection] = Field(default_factory=dict)
    inputs: dict[str, InputSection]
    outputs: dict[str, OutputSection]
    rule: WrittenRules = ()
    exploration: ExplorationSection | None = None
    feeds: FeedsSection | None = None
    tracking: TrackingSection = TrackingSection()
    web: WebSection | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One rule each, however they are written."""
        return one_by_one(self.rule)

    @property
    def lines(self) -> dict[str, SerialSection | ModbusSection]:
        """Where devices are reached, but for the broker and files, by name."""
        return {**self.serial, **self.modbus}

    def speaks(self, line: str) -> str:
        """The protocol on a line."""
        return self.serial[line].protocol if line in self.serial else "modbus"

    def relative(self, path: Path) -> Path:
        """Paths in the file count from the file's folder."""
        return path if path.is_absolute() else self.path.parent / path

    def error(self, path: tuple[str | int, ...], message: str) -> ConfigError:
        """A ConfigError that points at the key `path`."""
        return _refusal(self.path, self.text, path, message)

    @property
    def zone(self) -> tzinfo:
        return zone(self.site.timezone)

    @property
    def theta_file(self) -> Path:
        """Where a theta update is looked for: beside the bundle."""
        bundle = self.relative(self.controller.bundle)
        return bundle.with_name(bundle.name + ".theta")

    @property
    def solve_deadline_s(self) -> float:
        """A solver that takes longer has failed: the cycle must not wait for it."""
        return min(self.controller.solve_timeout_s, 0.8 * self.controller.cycle_s)

    def rhythm(self, bundle_s: float | None) -> Rhythm:
        """How often decisions are made: as this file says, or else the bundle (`bundle_s`), or else in every cycle."""
        controller = self.controller
        return Rhythm(controller.decide_every_s or bundle_s or controller.cycle_s, controller.cycle_s)

    @property
    def dwell_s(self) -> float:
        chosen = self.controller.dwell_s
        return min(60.0, self.controller.cycle_s) if chosen is None else chosen


def _refusal(path: Path, text: str, where: tuple[str | int, ...], message: str) -> ConfigError:
    key = ".".join(part for part in where if isinstance(part, str))
    return ConfigError(f"{path}:{line_of(text, where)}: {key}: {message}")


def load_site(path: Path) -> SiteFile:
    """Read and validate a site file by itself (not yet against its bundle). Raises ConfigError."""
    try:
        text = read_text(path, MAX_SITE_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name the site file, for example /etc/nisse/site.toml") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        expanded = with_devices(with_feeds(document), path.parent, partial(_refusal, path, text))
        site = SiteFile.model_validate({**expanded, "path": path, "text": text})
    except ValidationError as error:
        raise ConfigError(describe(SiteFile, path, text, error)) from error
    _check_rhythm(site)
    _check_links(site)
    check_conflicts(site)
    return site


def _check_rhythm(site: SiteFile) -> None:
    """Decisions fall on cycles."""
    cycle_s, every_s = site.controller.cycle_s, site.controller.decide_every_s
    if every_s is not None and not Rhythm(every_s, cycle_s).on_cycles:
        below = max(1, int(every_s // cycle_s))
        raise site.error(
            ("controller", "decide_every_s"),
            f"{every_s:g} s is no multiple of cycle_s = {cycle_s:g}, and decisions are made in cycles; "
            f"write {below * cycle_s:g} or {(below + 1) * cycle_s:g}",
        )


def _check_links(site: SiteFile) -> None:
    """Every source and sink is a link of this file, and speaks its protocol."""
    links = {*site.lines, FILE, *([MQTT] if site.mqtt else [])}
    for name, entry in site.inputs.items():
        if entry.source == FEEDS:
            known = [] if site.feeds is None else site.feeds.units()
            named = entry.feed or name
            raise site.error(
                ("inputs", name, "feed" if entry.feed else "source"),
                f"[feeds] publishes no {named!r}{did_you_mean(named, known)}"
                if known
                else "there is no [feeds]; add it",
            )
        if entry.source not in links:
            raise site.error(
                ("inputs", name, "source"), f"no link is called {entry.source!r}{did_you_mean(entry.source, links)}"
            )
    for name, output in site.outputs.items():
        if output.sink not in links - {FILE}:
            raise site.error(
                ("outputs", name, "sink"),
                f"no link is called {output.sink!r}{did_you_mean(output.sink, links - {FILE})}",
            )
    places: list[tuple[tuple[str, str], str, InputSection | OutputSection]] = [
        *((("inputs", name), entry.source, entry) for name, entry in site.inputs.items()),
        *((("outputs", name), output.sink, output) for name, output in site.outputs.items()),
    ]
    for where, link, signal in places:
        if link in {MQTT, FILE}:
            continue
        protocol = site.speaks(link)
        key = "channel" if protocol == "framed" else "register"
        if signal.channel is None if key == "channel" else not signal.registers:
            table = "serial" if link in site.serial else "modbus"
            raise site.error(where, f"[{table}.{link}] speaks {protocol}; give a {key} instead")
    for table, names in (("serial", site.serial), ("modbus", site.modbus)):
        for name in names:
            if name in {MQTT, FILE, FEEDS} or (table == "modbus" and name in site.serial):
                raise site.error((table, name), "is the name of another link; call this one something else")
