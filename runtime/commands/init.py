"""`nisse init`: a commented site file, by a few questions or from options alone."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from runtime.bundle import Bundle, open_bundle
from runtime.config import load_site
from runtime.config_signals import zone
from runtime.errors import ConfigError, NisseError
from runtime.site_check import check_against
from runtime.site_template import (
    LINKS,
    METERS,
    OWN_CONTROL,
    USUAL,
    Answers,
    Signals,
    heats,
    signals_of,
    site_text,
    wants_meter,
)

EXIT_USAGE = 2
SERIAL_BY_ID = Path("/dev/serial/by-id")
LOCALTIME = Path("/etc/localtime")
ETC, STATE_DIRECTORY = Path("/etc"), Path("/var/lib/nisse")


class InitError(NisseError):
    """The questions cannot be asked, or the answers do not fit."""

    exit_code = EXIT_USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n  nisse init                                   # asks\n"
        "  nisse init --bundle cabin.nisse --yes        # the bundle says what is controlled\n"
        "  nisse init /etc/nisse/site.toml --system battery --mqtt-host 192.168.1.5 --yes"
    )
    parser.add_argument("path", type=Path, nargs="?", default=Path("site.toml"), help="where to write it (site.toml)")
    parser.add_argument("--system", choices=sorted(USUAL), help="what is controlled")
    parser.add_argument("--name", help="of the site; part of every MQTT topic")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="the controller; its signals are written out")
    parser.add_argument("--trusted-key", metavar="KEY", help="public key of its signer; otherwise the one it bears")
    parser.add_argument("--timezone", help="like Europe/Oslo; this machine's by default")
    parser.add_argument("--link", choices=LINKS, help="how the device is reached: Modbus on a serial line, or MQTT")
    parser.add_argument("--serial-port", metavar="PORT", help="the first one under /dev/serial/by-id by default")
    parser.add_argument("--meter-at", choices=METERS, help="where the power of the house is measured (house)")
    parser.add_argument(
        "--heat-safe", metavar="KW", help=f"power of a heat pump while no room can be read, or {OWN_CONTROL} control"
    )
    parser.add_argument(
        "--device-timeout", metavar="S", help="after how long unheard the device goes back to its own control"
    )
    parser.add_argument("--mqtt-host", metavar="HOST", help="the broker (127.0.0.1)")
    parser.add_argument("--mqtt-port", type=int, default=None, metavar="PORT", help="1883, or 8883 with --mqtt-tls")
    parser.add_argument("--mqtt-username", metavar="NAME", help="the password goes into a file beside the site file")
    parser.add_argument("--mqtt-tls", action="store_true", help="encrypt the connection to the broker")
    parser.add_argument("--yes", action="store_true", help="ask nothing: options and defaults decide")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    if not args.yes and not sys.stdin.isatty():
        raise InitError("no terminal to ask at; say what you know and add --yes")
    if args.path.exists() and not args.force:
        raise InitError(f"{args.path}: exists and is not replaced; name another file, or add --force")
    bundle = None if args.bundle is None else _open(args.bundle, args.path, given=True)
    known = "" if bundle is None else bundle.manifest.system
    system = args.system or known or _ask(args, "What is controlled (battery or house)?", "battery")
    if bundle is None and system not in USUAL:
        raise InitError(
            f"without its bundle the signals of {system!r} are not known; build it first and add --bundle "
            f"{system}.nisse (known without one: {', '.join(sorted(USUAL))})"
        )
    bundle_path = args.bundle or Path(
        _ask(args, "Which controller (the .nisse file that nisse build has written, or will)?", f"{system}.nisse")
    )
    if bundle is None:
        bundle = _open(bundle_path, args.path, given=False)
    signals = USUAL[system] if bundle is None else signals_of(bundle.manifest)
    if signals.system != system:
        raise InitError(f"{bundle_path}: is a controller for {signals.system}, not for {system}; name another one")
    answers = _answers(args, system, bundle_path, bundle, signals)
    _write(args.path, answers, signals, bundle)
    _tell(args, answers, bundle)
    return 0


def _answers(
    args: argparse.Namespace, system: str, bundle_path: Path, bundle: Bundle | None, signals: Signals
) -> Answers:
    link = args.link or _ask(
        args, "How does nisse reach the device: serial (Modbus on RS-485) or mqtt?", _usual_link(system)
    )
    if link not in LINKS:
        raise InitError(f"no link is called {link!r}; known here: {', '.join(LINKS)}")
    port = ""
    if link == "serial":
        port = args.serial_port or _ask(
            args, "Which serial port (the names under /dev/serial/by-id stay the same)?", _first_port()
        )
    meter_at = args.meter_at or (_asked_meter(args) if wants_meter(signals) else "none")
    if meter_at not in METERS:
        raise InitError(f"no meter stands at {meter_at!r}; known here: {', '.join(METERS)}")
    heat_safe = args.heat_safe or (_asked_heat(args, heats(signals)) if heats(signals) > 0.0 else "")
    timeout = args.device_timeout or _asked_timeout(args)
    key = args.trusted_key or (None if bundle is None else bundle.signer)
    return Answers(
        name=args.name or _ask(args, "Name of the site (lower case, part of every topic)?", system),
        timezone=args.timezone or _ask(args, "Time zone of the house?", machine_zone(LOCALTIME)),
        bundle=str(bundle_path),
        trusted_keys=() if key is None else (key,),
        link=link,
        serial_port=port,
        mqtt_host=args.mqtt_host
        or _ask(args, "Address of the MQTT broker, from which the forecasts come?", "127.0.0.1"),
        mqtt_port=args.mqtt_port or (8883 if args.mqtt_tls else 1883),
        mqtt_username=args.mqtt_username or _ask(args, "User name there (empty for none)?", "") or None,
        mqtt_tls=args.mqtt_tls,
        meter_at=meter_at,
        heat_safe=_power(heat_safe, heats(signals)),
        device_timeout_s=_seconds(timeout),
        # The service may write nothing in /etc.
        store=str(STATE_DIRECTORY / "nisse.db") if args.path.absolute().is_relative_to(ETC) else None,
    )


def _asked_meter(args: argparse.Namespace) -> str:
    return _ask(
        args,
        "Where is the power of your house measured: house (consumption less sun, without the battery), grid (the meter "
        "at the connection), or none?",
        "house",
    )


def _asked_heat(args: argparse.Namespace, most_kw: float) -> str:
    return _ask(
        args,
        "What shall a heat pump do while no thermometer can be read: a power in kW that keeps the house from getting "
        f"cold, or {OWN_CONTROL} where it has a thermostat of its own?",
        f"{most_kw / 3:.1f}",
    )


def _asked_timeout(args: argparse.Namespace) -> str:
    return _ask(
        args,
        "After how many seconds without a word from nisse does the device go back to its own control (empty: it does "
        "not, or you do not know)?",
        "",
    )


def _power(answer: str, most_kw: float) -> str:
    """The answer, if it is one. Raises InitError."""
    if answer in {"", OWN_CONTROL}:
        return answer
    try:
        known = 0.0 <= float(answer) <= most_kw
    except ValueError:
        known = False
    if not known:
        raise InitError(f"{answer!r} is no power between 0 and {most_kw:g} kW, nor {OWN_CONTROL}")
    return answer


def _seconds(answer: str) -> float | None:
    """Raises InitError."""
    try:
        seconds = float(answer) if answer else None
    except ValueError:
        raise InitError(f"{answer!r} is no number of seconds") from None
    return seconds


def _ask(args: argparse.Namespace, question: str, default: str) -> str:
    if args.yes:
        return default
    shown = f" [{default}]" if default else ""
    try:
        return input(f"{question}{shown} ").strip() or default
    except EOFError:
        raise InitError("the questions were not answered; nothing is written") from None


def _open(path: Path, site: Path, *, given: bool) -> Bundle | None:
    """The bundle, for its signals; None where it is still to be built. Any signer: the owner is asked to compare."""
    found = path if path.is_absolute() else site.parent / path
    if not found.exists():
        if given:
            raise InitError(f"{found}: no such bundle; paths count from the site file's folder")
        return None
    with tempfile.TemporaryDirectory(prefix="nisse-init-") as folder:
        return open_bundle(found, None, arch="any", unpack_dir=Path(folder))


def _write(path: Path, answers: Answers, signals: Signals, bundle: Bundle | None) -> None:
    """The file appears only if it is in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(site_text(answers, signals), encoding="utf-8")
    try:
        site = load_site(partial)
        if bundle is not None:
            check_against(site, bundle.manifest)
    except ConfigError as error:
        partial.unlink()
        message = str(error).replace(str(partial), "the answers")
        raise InitError(f"{message}; nothing is written") from error
    partial.replace(path)


def _tell(args: argparse.Namespace, answers: Answers, bundle: Bundle | None) -> None:
    print(f"wrote {args.path}")
    if bundle is None:
        print(f"next: nisse build ... --output {answers.bundle}, and its key into trusted_keys (nisse key show)")
    elif args.trusted_key is None:
        print(f"it trusts {bundle.signer}, which signed {answers.bundle}: compare with `nisse key show` at the builder")
    print(f"then: registers and topics in the file, nisse check {args.path}, nisse doctor {args.path}")
    if args.json is not None:
        document = {"path": str(args.path), "trusted_keys": answers.trusted_keys, "bundle_found": bundle is not None}
        args.json.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _usual_link(system: str) -> str:
    """An inverter speaks Modbus; thermometers and heat pumps of a house mostly come together at the broker."""
    return "serial" if system == "battery" else "mqtt"


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
