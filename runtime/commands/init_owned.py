"""Which devices there are by name, and where the house is: questions of `nisse init`, and options that answer them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.devices.catalogue import profile_of, shipped
from runtime.devices.profile import NAME, DeviceProfile
from runtime.errors import ConfigError
from runtime.formats.toml_lines import did_you_mean
from runtime.site.feeds import NEEDS
from runtime.site.owned import OwnedDevice, OwnedFeeds
from runtime.site.questions import InitError, Questions
from runtime.site.template import SiteSignals, heats

DEVICE = re.compile(r"^([^=@]+)=([^=@]+)@(.+)$")
VALUE = re.compile(r"^([^=.]+)\.([^=]+)=(.+)$")
KINDS = (("inverter", "inverter, battery or meter"), ("pump", "heat pump or SG-Ready contact"))
PRICES = ("nordpool", "entsoe", "energy-charts", "awattar", "tibber")
"""Sources that need no more than a zone or a token."""


def ask_devices(args: argparse.Namespace, ask: Questions, signals: SiteSignals) -> tuple[OwnedDevice, ...]:
    """Raises InitError for a device that cannot be, with what to write instead."""
    values = _values(args.device_value)
    found = [_given(text, values) for text in args.device]
    if not found and not ask.silent:
        kinds = [KINDS[0]] * _has_battery(signals) + [KINDS[1]] * (heats(signals) > 0.0)
        found = [device for name, what in kinds if (device := _asked(name, what, ask)) is not None]
    names = [device.name for device in found]
    for name in names:
        if names.count(name) > 1:
            raise InitError(f"--device {name}: named twice; give each a name of its own")
    for name in values:
        if name not in names:
            raise InitError(f"--device-value {name}: no --device is called so{did_you_mean(name, names)}")
    return tuple(found)


def _has_battery(signals: SiteSignals) -> bool:
    return any(action.name.endswith("discharge") for action in signals.actions)


def _given(text: str, values: Mapping[str, Mapping[str, float]]) -> OwnedDevice:
    match = DEVICE.match(text)
    if match is None:
        raise InitError(f"--device {text}: write NAME=PROFILE@PLACE, such as inverter=goodwe-et@192.168.1.20")
    name, profile, place = match.groups()
    try:
        return _device(name, profile, place, values.get(name, {}))
    except (ConfigError, ValueError) as error:
        raise InitError(f"--device {text}: {_option(str(error), name)}; nothing is written") from error


def _device(name: str, profile_name: str, place: str, values: Mapping[str, float]) -> OwnedDevice:
    """Raises ConfigError and ValueError."""
    if re.match(NAME, name) is None:
        raise ValueError(f"{name!r} is no name: write lower-case letters a-z, digits and _")
    topic = place if "mqtt" in _profile(profile_name).device.reached else None
    profile = profile_of(profile_name, Path(), values, topic)
    serial = place.startswith("/")
    if topic is None and ("serial" if serial else "tcp") not in profile.device.reached:
        ways = " or ".join(profile.device.reached)
        raise ValueError(
            f"{profile_name} is reached by {ways}: give {'an address' if serial else 'a serial port, /dev/...'}"
        )
    return OwnedDevice(name, profile_name, profile, place, values)


def _profile(name: str) -> DeviceProfile:
    """For what it asks. Raises ConfigError."""
    return profile_of(name, Path())


def _option(message: str, name: str) -> str:
    """A value that is missing, as an option of this command."""
    found = re.search(r"give values = \{ (\w+) = (\S+) \}", message)
    return message if found is None else message.replace(found[0], f"add --device-value {name}.{found[1]}={found[2]}")


def _asked(name: str, what: str, ask: Questions) -> OwnedDevice | None:
    def known(answer: str) -> str:
        if answer and not answer.endswith(".toml") and answer not in shipped():
            raise ValueError(f"no profile {answer!r}{did_you_mean(answer, shipped())}; nisse device list shows all")
        return answer

    profile_name = ask(f"Which {what} is it, as nisse device list has it (empty: registers by hand)?", "", known)
    if not profile_name:
        return None
    try:
        profile = _profile(profile_name)
        ways = {"tcp": "its address, 192.168.1.20", "serial": "its serial port, /dev/...", "mqtt": "its MQTT topic"}
        where = " or ".join(ways[way] for way in profile.device.reached)
        place = ask(f"Where is it ({where})?", profile.device.topic, _not_empty)
        values = {
            key: ask(f"{key}: {one.text}, in {one.unit}?", f"{one.example:g}", float)
            for key, one in profile.parameter.items()
        }
        return _device(name, profile_name, place, values)
    except (ConfigError, ValueError) as error:
        raise InitError(f"{error}; nothing is written") from error


def _not_empty(answer: str) -> str:
    if not answer:
        raise ValueError("say where it is")
    return answer


def _values(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        match = VALUE.match(text)
        try:
            if match is None:
                raise ValueError
            found.setdefault(match[1], {})[match[2]] = float(match[3])
        except ValueError:
            raise InitError(
                f"--device-value {text}: write NAME.KEY=NUMBER, such as inverter.max_power_w=5000"
            ) from None
    return found


def ask_feeds(args: argparse.Namespace, ask: Questions, signals: SiteSignals) -> OwnedFeeds | None:
    """Raises InitError."""
    if not signals.forecasts:
        return None
    question = (
        "Where is the house, degrees north and east, for prices and weather from services (empty: you publish them)?"
    )
    place = ask(question, "", _place, args.place)
    if place is None:
        if args.price is not None:
            raise InitError("--price asks services; say where the house is with --place LAT,LON")
        return None
    wants_price = any(spec.name in {"buy", "sell"} for spec in signals.forecasts)
    source, zone = "nordpool", ""
    if wants_price:
        prices = f"Whom to ask for prices, as SOURCE:ZONE ({', '.join(PRICES)})?"
        source, zone = ask(prices, "nordpool:NO3", _price, args.price)
    return OwnedFeeds(*place, source, zone)


def _place(answer: str) -> tuple[float, float] | None:
    if not answer:
        return None
    try:
        north, east = (float(part) for part in answer.split(","))
    except ValueError:
        raise ValueError(f"{answer!r} is no place: write 63.43,10.39") from None
    if not (-90 <= north <= 90 and -180 <= east <= 180):
        raise ValueError(f"{answer!r} is not on the earth: degrees north from -90 to 90, east from -180 to 180")
    return north, east


def _price(answer: str) -> tuple[str, str]:
    source, _, zone = answer.partition(":")
    if source not in PRICES:
        raise ValueError(f"no source {source!r}{did_you_mean(source, PRICES)}")
    if "zone" in NEEDS[source] and not zone:
        raise ValueError(f"{source} needs a zone: write {source}:NO3")
    return source, zone
