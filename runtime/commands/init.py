"""The site file of `nisse init`: commented, by a few questions or from options alone."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from runtime.bundle.archive import Bundle, open_bundle
from runtime.bundle.manifest import Manifest
from runtime.commands.init_owned import ask_devices, ask_feeds
from runtime.errors import ConfigError
from runtime.site.check import check_against
from runtime.site.config import load_site
from runtime.site.questions import InitError, Questions, one_of
from runtime.site.section import known_zone, zone
from runtime.site.template import (
    LINKS,
    OWN_CONTROL,
    Answers,
    SiteSignals,
    heats,
    left_by_hand,
    signals_of,
    site_text,
    wired_by,
)

SERIAL_BY_ID = Path("/dev/serial/by-id")
LOCALTIME = Path("/etc/localtime")
ETC, STATE_DIRECTORY = Path("/etc"), Path("/var/lib/nisse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse init --bundle cabin.nisse              # asks; the bundle says what is controlled\n"
        "  nisse init /etc/nisse/site.toml --bundle cabin.nisse --mqtt-host 192.168.1.5 --yes"
    )
    parser.add_argument("path", type=Path, nargs="?", default=Path("site.toml"), help="where to write it (site.toml)")
    parser.add_argument("--name", help="of the site; part of every MQTT topic")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="the controller; its signals are written out")
    parser.add_argument("--trusted-key", metavar="KEY", help="public key of its signer; otherwise the one it bears")
    parser.add_argument("--timezone", help="like Europe/Oslo; this machine's by default")
    parser.add_argument("--link", choices=LINKS, help="how the device is reached: Modbus on a serial line, or MQTT")
    parser.add_argument("--serial-port", metavar="PORT", help="the first one under /dev/serial/by-id by default")
    parser.add_argument(
        "--heat-safe", metavar="KW", help=f"power of a heat pump while no room can be read, or {OWN_CONTROL} control"
    )
    parser.add_argument(
        "--device-timeout", metavar="S", help="after how long unheard the device goes back to its own control"
    )
    parser.add_argument(
        "--device", action="append", default=[], metavar="NAME=PROFILE@PLACE",
        help="a device by its profile (nisse device list), at an address, a serial port or an MQTT topic",
    )  # fmt: skip
    parser.add_argument(
        "--device-value", action="append", default=[], metavar="NAME.KEY=NUMBER", help="what its profile must know"
    )
    parser.add_argument("--place", metavar="LAT,LON", help="degrees north and east: forecasts by nisse feed run")
    parser.add_argument("--price", metavar="SOURCE:ZONE", help="with --place: whom to ask for prices (nordpool:NO3)")
    parser.add_argument("--mqtt-host", metavar="HOST", help="the broker (127.0.0.1)")
    parser.add_argument("--mqtt-port", type=int, default=None, metavar="PORT", help="1883, or 8883 with --mqtt-tls")
    parser.add_argument("--mqtt-username", metavar="NAME", help="the password goes into a file beside the site file")
    parser.add_argument("--mqtt-tls", action="store_true", help="encrypt the connection to the broker")
    parser.add_argument("--yes", action="store_true", help="ask nothing: options and defaults decide")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    """The site file of a bundle."""
    ask = questions(args, [args.path])
    bundle = _open(args.bundle, args.path)
    signals = signals_of(bundle.manifest)
    answers = ask_site(args, ask, str(args.bundle), signals, bundle.signer)
    site_beside(args.path, answers, signals, bundle.manifest).replace(args.path)
    _tell(args, answers, bundle)
    return 0


def questions(args: argparse.Namespace, written: list[Path]) -> Questions:
    """How to ask. Raises InitError where nobody can be asked, or a file is there that would be written."""
    if not args.yes and not sys.stdin.isatty():
        raise InitError("no terminal to ask at; say what you know and add --yes")
    there = next((path for path in written if path.exists()), None)
    if there is not None and not args.force:
        raise InitError(f"{there}: exists and is not replaced; name another file, or add --force")
    return Questions(silent=args.yes)


def ask_site(args: argparse.Namespace, ask: Questions, bundle: str, signals: SiteSignals, key: str | None) -> Answers:
    """What only the owner knows of devices and broker. bundle: its path, as in the file; key: who signs it."""
    owned, feeds = ask_devices(args, ask, signals), ask_feeds(args, ask, signals)
    link = args.link or "mqtt"
    if args.link is not None or left_by_hand(wired_by(owned, signals), signals):
        question = "How does nisse reach the device: serial (Modbus on RS-485) or mqtt?"
        question = question.replace("the device", "what was not named") if owned else question
        link = ask(question, _usual_link(signals), one_of(LINKS, "link"), args.link)
    port = ""
    if link == "serial":
        question = "Which serial port (the names under /dev/serial/by-id stay the same)?"
        port = ask(question, _first_port(), str, args.serial_port)
    most_kw = heats(signals)
    heat_safe = ""
    if most_kw > 0.0 or args.heat_safe is not None:
        heat_safe = ask(HEAT_QUESTION, f"{most_kw / 3:.1f}", _power(most_kw), args.heat_safe)
    timeout_s = ask(TIMEOUT_QUESTION, "", _seconds, args.device_timeout)
    key = args.trusted_key or key
    return Answers(
        name=ask("Name of the site (lower case, part of every topic)?", signals.system, _site_name, args.name),
        timezone=ask("Time zone of the house?", machine_zone(LOCALTIME), known_zone, args.timezone),
        bundle=bundle,
        trusted_keys=() if key is None else (key,),
        link=link,
        serial_port=port,
        mqtt_host=ask("Address of the MQTT broker, from which the forecasts come?", "127.0.0.1", str, args.mqtt_host),
        mqtt_port=args.mqtt_port or (8883 if args.mqtt_tls else 1883),
        mqtt_username=ask("User name there (empty for none)?", "", str, args.mqtt_username) or None,
        mqtt_tls=args.mqtt_tls,
        heat_safe=heat_safe,
        device_timeout_s=timeout_s,
        devices=owned,
        feeds=feeds,
        # The service may write nothing in /etc.
        store=str(STATE_DIRECTORY / "nisse.db") if args.path.absolute().is_relative_to(ETC) else None,
    )


HEAT_QUESTION = (
    "What shall a heat pump do while no thermometer can be read: a power in kW that keeps the house from getting "
    f"cold, or {OWN_CONTROL} where it has a thermostat of its own?"
)
TIMEOUT_QUESTION = (
    "After how many seconds without a word from nisse does the device go back to its own control (empty: it does "
    "not, or you do not know)?"
)


def _site_name(name: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name) is None:
        raise ValueError(f"{name!r} cannot be part of a topic: write lower-case letters a-z, digits, - and _")
    return name


def _power(most_kw: float) -> Callable[[str], str]:
    def meant(answer: str) -> str:
        if answer in {"", OWN_CONTROL}:
            return answer
        try:
            known = 0.0 <= float(answer) <= most_kw
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"{answer!r} is no power between 0 and {most_kw:g} kW, nor {OWN_CONTROL}")
        return answer

    return meant


def _seconds(answer: str) -> float | None:
    try:
        seconds = float(answer) if answer else None
    except ValueError:
        raise ValueError(f"{answer!r} is no number of seconds") from None
    if seconds is not None and not 0.0 < seconds < 1e7:
        raise ValueError(f"{answer!r} is no number of seconds above 0")
    return seconds


def _open(path: Path, site: Path) -> Bundle:
    """The bundle, for its signals. Any signer: the owner is asked to compare. Raises InitError where there is none."""
    found = path if path.is_absolute() else site.parent / path
    if not found.exists():
        raise InitError(f"{found}: no such bundle; paths count from the site file's folder")
    with tempfile.TemporaryDirectory(prefix="nisse-init-") as folder:
        return open_bundle(found, None, arch="any", unpack_dir=Path(folder))


def site_beside(path: Path, answers: Answers, signals: SiteSignals, manifest: Manifest) -> Path:
    """The file under another name beside `path`, to be renamed: it is in order. Raises InitError, leaves nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(site_text(answers, signals), encoding="utf-8")
        check_against(load_site(partial), manifest)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, ConfigError):
            message = str(error).replace(str(partial), "the answers")
            raise InitError(f"{message}; nothing is written") from error
        if isinstance(error, OSError):
            raise InitError(f"{path}: {error.strerror}; name a file that you may write") from error
        raise
    return partial


def _tell(args: argparse.Namespace, answers: Answers, bundle: Bundle) -> None:
    print(f"wrote {args.path}")
    if args.trusted_key is None:
        print(f"it trusts {bundle.signer}, which signed {answers.bundle}: compare with `nisse key show` at the builder")
    print(f"then: registers and topics in the file, nisse check {args.path}, nisse doctor {args.path}")
    if args.json is not None:
        document = {"path": str(args.path), "trusted_keys": answers.trusted_keys, "bundle_found": True}
        args.json.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _usual_link(signals: SiteSignals) -> str:
    """An inverter speaks Modbus; thermometers and heat pumps of a house mostly come together at the broker."""
    return "mqtt" if heats(signals) > 0.0 else "serial"


def _first_port() -> str:
    ports = sorted(SERIAL_BY_ID.iterdir()) if SERIAL_BY_ID.is_dir() else []
    return str(ports[0]) if ports else "/dev/ttyUSB0"


def machine_zone(localtime: Path) -> str:
    """The zone that /etc/localtime points at; UTC where that is no link into the database, or unknown."""
    _, found, name = str(localtime.resolve()).partition("/zoneinfo/")
    try:
        zone(name)
    except (OSError, ValueError, KeyError):
        return "UTC"
    return name if found else "UTC"
