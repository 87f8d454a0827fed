"""`nisse device`: which devices are known by name, what a profile says, and whether one of them answers as it says."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime.devices.catalogue import find, shipped
from runtime.devices.expand import DeviceSection
from runtime.devices.profile import DeviceProfile, DeviceReading, DeviceSetting, load_profile
from runtime.devices.trial import TrialReading, trial
from runtime.errors import ConfigError
from runtime.formats.toml_lines import did_you_mean
from runtime.formats.units import conversion
from runtime.site.config import load_site

EXIT_OK, EXIT_CHECK_FAILED = 0, 1
UNTRIED = "no profile has been tried on a real device here; each fact names its source"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  nisse device list\n  nisse device list --json devices.json\n  nisse device show fronius-gen24\n"
        "  nisse device try fronius-gen24 --host 192.168.1.20 --value max_charge_w=5000\n"
        "  nisse device try inverter --site /etc/nisse/site.toml --write battery_power=500"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="the profiles there are", description="The profiles there are.")
    listed.add_argument("--json", type=Path, metavar="PATH", help="write them as JSON")
    show = actions.add_parser("show", help="what a profile says", description="What a profile says.")
    show.add_argument("name", help="a profile, or a file of your own that ends with .toml")
    seen = actions.add_parser(
        "response",
        help="how a heat pump's power follows its set-point, from a log",
        description="From a log, how much power a device draws at a set-point that is no power: numbers for a shape.",
    )
    seen.add_argument("log", type=Path, help="CSV with a header, a row an hour or so")
    seen.add_argument("--set-point", required=True, metavar="COLUMN", help="what the device was told, in its unit")
    seen.add_argument("--power", required=True, metavar="COLUMN", help="what it drew")
    seen.add_argument("--power-unit", default="W", metavar="UNIT", help="in which unit (W)")
    seen.add_argument("--outdoor", metavar="COLUMN", help="the temperature outdoors, degC")
    tried = actions.add_parser(
        "try",
        help="read everything, write nothing; or, with --write, one set-point and back",
        description="Read everything that a profile names, and write nothing; with --write, one set-point and back. "
        "Many devices take one connection only: stop the daemon first.",
    )
    tried.add_argument("name", help="a profile with --host, --serial or --topic; a device of the site file with --site")
    tried.add_argument("--site", type=Path, metavar="FILE", help="the site file that has the device")
    tried.add_argument("--host", help="where it is reached by Modbus TCP")
    tried.add_argument("--port", type=int, metavar="N", help="its port, where that is not the usual one")
    tried.add_argument("--serial", metavar="PORT", help="or its serial port")
    tried.add_argument("--topic", help="or its place in the broker")
    tried.add_argument("--broker", default="127.0.0.1", metavar="HOST[:PORT]", help="the broker (127.0.0.1:1883)")
    tried.add_argument("--device-id", type=int, metavar="N", help="its id on the line, where its owner changed it")
    tried.add_argument("--value", action="append", default=[], metavar="NAME=X", help="what the profile must know")
    tried.add_argument("--write", metavar="SETTING=X", help="bring this into force, look, and take it back")
    tried.add_argument("--wait", type=float, default=10.0, metavar="S", help="how long to wait for messages (10)")
    tried.add_argument("--json", type=Path, metavar="PATH", help="write the readings as JSON")


def run(args: argparse.Namespace) -> int:
    match args.action:
        case "list":
            return _list(args.json)
        case "show":
            return _show(load_profile(find(args.name, Path.cwd())), args.name)
        case "response":
            return _response(args)
        case _:
            return _try(args)


def _list(path: Path | None) -> int:
    profiles = {name: load_profile(file) for name, file in shipped().items()}
    for name, profile in profiles.items():
        device = profile.device
        print(f"{name:<20} {device.kind:<10} {'/'.join(device.reached):<11} {device.name}")
    print(f"\n{UNTRIED}")
    if path is not None:
        found = [{"name": n, "kind": p.device.kind, "device": p.device.name} for n, p in profiles.items()]
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return EXIT_OK


def _show(profile: DeviceProfile, name: str) -> int:
    device = profile.device
    print(f"{device.name} ({device.kind}), reached by {' or '.join(device.reached)}\n")
    print(f"set up   {device.setup}\nwear     {device.wear}\n")
    for parameter, one in profile.parameter.items():
        usual = "must be given" if one.default is None else f"{one.default:g} unless given"
        print(f"value    {parameter:<22} {one.text} in {one.unit}; {usual}")
    for reading, fact in profile.read.items():
        print(f"read     {reading:<22} {_span(fact)}  {fact.text}{'; not every one has it' if fact.optional else ''}")
    for called, setting in profile.write.items():
        print(f"write    {called:<22} {_span(setting)}  {setting.text}")
        print(f"         {'':<22} safe {_safe(setting)}, {setting.writes_per_day} writes a day")
    print("\nsources")
    for key, source in profile.source.items():
        print(f"  {key}: {source.title}, {source.date}; {source.place}")
    print(f"\n{UNTRIED}: nisse device try {name}")
    return EXIT_OK


def _response(args: argparse.Namespace) -> int:
    from runtime.devices.response import read_columns, response  # numpy, which nothing else here needs

    names = [args.set_point, args.power, *([args.outdoor] if args.outdoor else [])]
    columns = read_columns(args.log, names)
    to_kw = conversion(args.power_unit, "kW")
    outdoor = columns[args.outdoor] if args.outdoor else None
    found = response(columns[args.set_point], [to_kw(one) for one in columns[args.power]], outdoor)
    zero, unit, degree = found.errors
    print(f"# from {found.count} rows of {args.log.name}; {found.left_kw:.2f} kW of each row are not explained by it")
    print('kind = "response"')
    print(f"kw_at_zero = {found.kw_at_zero:.3f}      # ± {2 * zero:.3f}")
    print(f"kw_per_unit = {found.kw_per_unit:.3f}     # ± {2 * unit:.3f}")
    if args.outdoor:
        print(f'outdoor = "{args.outdoor}"\nkw_per_degree = {found.kw_per_degree:.3f}   # ± {2 * degree:.3f}')
    return EXIT_OK


def _span(fact: DeviceReading | DeviceSetting) -> str:
    return f"{f'{fact.range[0]:g} to {fact.range[1]:g} {fact.unit}':<24}"


def _safe(setting: DeviceSetting) -> str:
    return "its own control" if setting.release else f"{setting.safe:g} {setting.unit}"


def _try(args: argparse.Namespace) -> int:
    name, section, around, folder = _device(args)
    setting, value = _wanted(args.write)
    profile = load_profile(find(section.profile, folder))
    if setting is not None and setting not in profile.write:
        hint = did_you_mean(setting, profile.write) if profile.write else "; it has none"
        raise ConfigError(f"--write: {section.profile} has no setting {setting!r}{hint}")
    if setting is not None:
        least, most = profile_range(section, folder, setting)
        if not least <= value <= most:
            raise ConfigError(f"--write: {setting} goes from {least:g} to {most:g}; give a value between")
    with trial(name, section, around, folder, setting) as device:
        found = device.readings(args.wait)
        for one in found:
            print(_line(one))
        if setting is not None:
            for text in device.write(setting, value):
                print(text, flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    bad = [one for one in found if not one.good and not one.optional]
    print(
        f"\n{len(found) - len([one for one in found if not one.good])} of {len(found)} readings are as the profile says"
    )
    return EXIT_CHECK_FAILED if bad else EXIT_OK


def profile_range(section: DeviceSection, folder: Path, setting: str) -> tuple[float, float]:
    """With the values of this house."""
    return load_profile(find(section.profile, folder), section.values, section.topic).write[setting].range


def _line(one: TrialReading) -> str:
    shown = "" if one.value is None else f"{one.value:g} {one.unit}"
    mark = "ok  " if one.good else "none" if one.optional else "BAD "
    return f"{mark} {one.name:<22} {shown:<16} {one.problem or one.text}"


def _device(args: argparse.Namespace) -> tuple[str, DeviceSection, dict[str, Any], Path]:
    """Its name, where it is, what it needs of a site file, and where paths count from."""
    if args.site is not None:
        site = load_site(args.site)
        if args.name not in site.device:
            hint = did_you_mean(args.name, site.device) if site.device else "; add [device.NAME]"
            raise ConfigError(f"{args.site}: no device is called {args.name!r}{hint}")
        section = site.device[args.name]
        around: dict[str, Any] = {} if site.mqtt is None else {"mqtt": site.mqtt.model_dump(exclude_unset=True)}
        if section.line is not None and section.line in site.lines:
            table = "serial" if section.line in site.serial else "modbus"
            around[table] = {section.line: site.lines[section.line].model_dump(exclude_unset=True)}
        return args.name, section, around, args.site.parent
    given = {
        key: value
        for key in ("host", "port", "serial", "topic", "device_id")
        if (value := getattr(args, key)) is not None
    }
    values = dict(_number(text, "--value") for text in args.value)
    if args.write is None:  # what is only needed for set-points need not be known for looking
        parameters = load_profile(find(args.name, Path.cwd())).parameter
        values = {name: one.example for name, one in parameters.items() if one.default is None} | values
    try:
        section = DeviceSection.model_validate({"profile": args.name, "values": values, **given})
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    host, _, port = args.broker.partition(":")
    return "device", section, {"mqtt": {"host": host, "port": int(port or 1883)}} if args.topic else {}, Path.cwd()


def _wanted(text: str | None) -> tuple[str | None, float]:
    return (None, 0.0) if text is None else _number(text, "--write")


def _number(text: str, option: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise ConfigError(f"{option} {text}: write NAME=NUMBER") from None
