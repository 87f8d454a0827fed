"""A commented site file from a few answers: what `nisse init` writes, ready for `nisse check`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.bundle.manifest import ArxObserver, Manifest, SignalSpec
from runtime.decide.rules_data import HeatingCurveRule, ThermostatRule
from runtime.formats.units import conversion, is_price
from runtime.site.owned import OwnedDevice, OwnedFeeds, Wiring, balance, covered, feeds_tables, output_table, wiring

LINKS = ("serial", "mqtt")
OWN_CONTROL = "own"
MODEST = 1 / 3
FORECAST_MAX_AGE_S = 43_200
# What a device of this kind usually counts in: unit, Modbus type, scale.
_REGISTERS = {
    "1": ("%", "uint16", 1.0),
    "degC": ("degC", "int16", 0.1),
    "kW": ("W", "int16", 1.0),
}


@dataclass(frozen=True)
class SiteSignals:
    """What the controller reads and decides, as its bundle says."""

    system: str
    measured: tuple[SignalSpec, ...]
    forecasts: tuple[SignalSpec, ...]
    actions: tuple[SignalSpec, ...]
    cycle_s: float
    decide_every_s: float | None = None
    """Where decisions are rarer than cycles."""
    rules: tuple[str, ...] = ()
    """What the bundle itself brings for when the optimiser cannot decide."""
    heat: tuple[str, ...] = ()
    """Those actions that these rules keep zones warm by."""
    least: Mapping[str, float] = field(default_factory=dict)
    """Of actions whose compressor turns at no less."""
    meters: tuple[str, ...] = ()
    """Measured powers that rules and limits go by where there are any."""


@dataclass(frozen=True)
class Answers:
    """`bundle` is the path as it shall stand in the file; `link` is how the device is reached, serial or mqtt."""

    name: str
    timezone: str
    bundle: str
    trusted_keys: tuple[str, ...]
    link: str
    serial_port: str
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = 1883
    mqtt_username: str | None = None
    mqtt_tls: bool = False
    store: str | None = None
    """Where the log goes, if not beside the site file."""
    heat_safe: str = ""
    """What a heat pump does while no room is heard: a power in kW, or `own`; empty: a third of what it can."""
    device_timeout_s: float | None = None
    """After how long without a word the device takes over by itself; None: it keeps the last set-point."""
    devices: tuple[OwnedDevice, ...] = ()
    """Those that are known by name."""
    feeds: OwnedFeeds | None = None
    """Where forecasts come from, if the house asks services itself."""


def signals_of(manifest: Manifest) -> SiteSignals:
    """Those of a bundle. An observer wants to be updated at its own step, which may be shorter than the plan's."""
    observers = [group.estimator for group in manifest.groups if isinstance(group.estimator, ArxObserver)]
    cycle_s = min([manifest.dt_s, *(observer.dt_s for observer in observers)])
    signals = (manifest.measured, tuple(f for f in manifest.forecasts if f.schedule is None), manifest.actions)
    rules = tuple(f"{rule.kind} moves {', '.join(rule.actions)}" for rule in manifest.rules)
    heat = tuple(rule.action for rule in manifest.rules if isinstance(rule, ThermostatRule | HeatingCurveRule))
    least = {action: unit.least_kw for unit in manifest.compressors for action in unit.actions}
    meters = () if manifest.safety is None else manifest.safety.meters
    return SiteSignals(manifest.system, *signals, cycle_s, manifest.decide_every_s, rules, heat, least, meters)


def site_text(answers: Answers, signals: SiteSignals) -> str:
    """The file. Every value that only the owner of the house can know has a comment that says where to find it."""
    wired = wired_by(answers.devices, signals)
    panels = any(spec.name.startswith("pv") for spec in signals.forecasts)
    learns = {} if answers.feeds is None else balance(wired, signals.measured, signals.actions, panels)
    by_hand = left_by_hand(wired, signals)
    sections = [
        _head(answers, signals),
        _mqtt(answers),
        *([_serial(answers)] if answers.link == "serial" and by_hand else []),
        *(device.table() for device in answers.devices),
        _inputs(answers, signals, wired, learns),
        _outputs(answers, signals, wired),
        _rule(signals),
        *(
            [feeds_tables(answers.feeds, signals.forecasts, learns, "pv_power" in wired.learned)]
            if answers.feeds
            else []
        ),
    ]
    return "\n".join(sections)


def wired_by(devices: Sequence[OwnedDevice], signals: SiteSignals) -> Wiring:
    """What the devices that are known by name bring."""
    return wiring(devices, signals.measured, signals.meters, signals.actions)


def left_by_hand(wired: Wiring, signals: SiteSignals) -> list[str]:
    """Signals whose registers or topics only the owner knows."""
    moved = {action.name for _, _, actions in wired.outputs.values() for action in actions}
    measured = [spec.name for spec in signals.measured if spec.name not in wired.inputs]
    return measured + [action.name for action in signals.actions if action.name not in moved]


def _head(answers: Answers, signals: SiteSignals) -> str:
    keys = ", ".join(map(json.dumps, answers.trusted_keys))
    return f"""# The site file of {answers.name}: which controller decides over which devices, and how they are reached.
# After a change: nisse check <this file>, and systemctl reload nisse (links need a restart).

[site]
name = {json.dumps(answers.name)}             # part of every MQTT topic: nisse/{answers.name}/...
timezone = {json.dumps(answers.timezone)}

[controller]
bundle = {json.dumps(answers.bundle)}   # what nisse build wrote; paths count from this file's folder
trusted_keys = [{keys}]   # as nisse key show prints them; a bundle signed by another key is refused
{_rhythm(signals)}
{_store(answers)}
# [status]
# http_port = 9410           # /metrics (Prometheus) and /healthz on 127.0.0.1
"""


def _rhythm(signals: SiteSignals) -> str:
    if signals.decide_every_s is None:
        return f"cycle_s = {signals.cycle_s:g}              # time between two decisions\n"
    return (
        f"cycle_s = {signals.cycle_s:g}              # time between two cycles: read, estimate, check, actuate\n"
        f"# decide_every_s = {signals.decide_every_s:g}   "
        "# its own: time between two decisions, each held meanwhile; at most this, a multiple of cycle_s\n"
    )


def _store(answers: Answers) -> str:
    if answers.store is not None:
        return f"[store]\npath = {json.dumps(answers.store)}   # the log of every decision\n"
    return '# [store]                    # the log of every decision\n# path = "nisse.db"\n'


def _mqtt(answers: Answers) -> str:
    user = (
        f"username = {json.dumps(answers.mqtt_username)}\n"
        'password_file = "mqtt_password"   # one line, readable by nobody else (chmod 600); or, under systemd:\n'
        '# password_credential = "nisse_mqtt_password"\n'
        if answers.mqtt_username is not None
        else '# username = "nisse"\n# password_file = "mqtt_password"   # one line, chmod 600\n'
    )
    tls = 'tls = true\n# ca_file = "ca.pem"         # where the broker\'s certificate is not from a public authority\n'
    plain = "# tls = true               # for a broker on another machine\n"
    return f"""[mqtt]
host = {json.dumps(answers.mqtt_host)}
port = {answers.mqtt_port}
{user}{tls if answers.mqtt_tls else plain}
# [homeassistant]
# discovery = false          # the site appears in Home Assistant by itself unless this is said
"""


def _serial(answers: Answers) -> str:
    return f"""[serial.device]
protocol = "modbus"
port = {json.dumps(answers.serial_port)}   # use the name under /dev/serial/by-id/: it stays the same after a restart
baudrate = 19200             # these four are in the device's manual; 9600, "N" is common as well
parity = "E"
stopbits = 1
device_id = 1
"""


def _profiled(name: str, device: OwnedDevice, reading: str) -> str:
    return f"[inputs.{name}]\nsource = {json.dumps(device.name)}\nreading = {json.dumps(reading)}\n"


def _inputs(answers: Answers, signals: SiteSignals, wired: Wiring, learns: Mapping[str, float]) -> str:
    lines = ["# What the controller must know. `unit` is the unit in which the value arrives; it is converted."]
    age = max(60.0, 2 * signals.cycle_s)
    for address, spec in enumerate(signals.measured):
        if spec.name in wired.inputs:
            lines.append(f"{_comment(spec)}{_profiled(spec.name, *wired.inputs[spec.name])}")
            continue
        lines.append(f"{_comment(spec)}[inputs.{spec.name}]\n{_measured(answers, spec, address)}max_age_s = {age:g}\n")
    if answers.feeds is not None:
        used = {"pv_power", *learns} & wired.learned.keys()
        lines += [f"# For the feeds to learn from.\n{_profiled(n, *wired.learned[n])}" for n in sorted(used)]
    observed = {spec.name for spec in signals.measured}
    for name in dict.fromkeys(name for name in signals.meters if name not in observed):
        if name in wired.inputs:
            lines.append(
                f"# What the meter at the connection shows, positive is bought.\n{_profiled(name, *wired.inputs[name])}"
            )
            continue
        topic = "".join(f"# {line}\n" for line in _topic(name).splitlines())
        lines.append(
            "# What the meter at the connection shows now, positive is bought. With it the import limit is kept by\n"
            "# what is measured, and the battery's rule does without forecasts.\n"
            f'# [inputs.{name}]\n{topic}# unit = "kW"\n# max_age_s = 60\n'
        )
    lines.append(
        "# A forecast in any common shape: raw_today and raw_tomorrow of Nord Pool in Home Assistant, rates of evcc,\n"
        "# Open-Meteo, [{start, end, value}, ...], {time: value, ...}, {start, step_s, values}. Send it when it is new."
    )
    brought = covered(answers.feeds, signals.forecasts, learns)
    for spec in signals.forecasts:
        if spec.name in brought:
            lines.append(f'{_comment(spec)}[inputs.{spec.name}]\nsource = "feeds"\n')
            continue
        fixed = "# flat = true              # a tariff that never changes: then a plain number will do\n"
        lines.append(
            f"{_comment(spec)}[inputs.{spec.name}]\n{_topic(spec.name)}unit = {json.dumps(spec.unit)}\n"
            f"max_age_s = {FORECAST_MAX_AGE_S}          # of a plain number\n{fixed if is_price(spec.unit) else ''}"
        )
    return "\n".join(lines)


def _measured(answers: Answers, spec: SignalSpec, address: int) -> str:
    """Where a reading comes from, and its unit."""
    if answers.link != "serial":
        return f"{_topic(spec.name)}unit = {json.dumps(spec.unit)}\n"
    unit, kind, scale = _REGISTERS.get(spec.unit, (spec.unit, "int16", 1.0))
    return (
        'source = "device"\n'
        f'register = {{ kind = "input", address = {address}, type = "{kind}", scale = {scale:g} }}'
        f"   # from the device's manual\nunit = {json.dumps(unit)}\n"
    )


def _outputs(answers: Answers, signals: SiteSignals, wired: Wiring) -> str:
    lines = [
        "# What the controller moves: the weighted sum of its actions. `safe` is written when nothing else is sure\n"
        "# and when nisse ends, and stays in force until nisse is back."
    ]
    lines += [output_table(name, *wired.outputs[name]) for name in wired.outputs]
    moved = {action.name for _, _, actions in wired.outputs.values() for action in actions}
    left = tuple(action for action in signals.actions if action.name not in moved)
    for address, (name, combine, unit) in enumerate(_set_points(left), start=10):
        signs = ", ".join(f"{action} = {factor:g}.0" for action, factor in combine)
        told, scale = unit, 1.0
        if answers.link == "serial":
            told, kind, scale = _REGISTERS.get(unit, (unit, "int16", 1.0))
            where = (
                'sink = "device"\n'
                f'register = {{ kind = "holding", address = {address}, type = "{kind}", scale = {scale:g} }}\n'
                "refresh_s = 1800             # written on change, and again after this\n"
            )
        else:
            where = f'sink = "mqtt"\ntopic = "house/{name}/set"\n'
        most = next((a.upper for a in signals.actions if a.name == name), 0.0)
        least = signals.least.get(name, 0.0)
        safe, why = _safe(answers, least, most, unit, told) if name in signals.heat else (0.0, "the battery rests")
        if name not in signals.heat and len(combine) == 1:
            why = "what is right for this device while nothing is known"
        lines.append(
            f"[outputs.{name}]\n{where}{_by_itself(answers)}unit = {json.dumps(told)}\n"
            f"combine = {{ {signs} }}   # which way counts positive\nsafe = {safe!r}   # {why}\n"
        )
    return "\n".join(lines)


def _safe(answers: Answers, least: float, most: float, unit: str, told: str) -> tuple[float, str]:
    """What a heat pump is told while no room is heard, in the unit in which it is told, and why."""
    convert = conversion(unit, told)
    if answers.heat_safe == OWN_CONTROL:
        return float(convert(most)), "its own thermostat decides, up to this power"
    usual = max(least, round(most * MODEST, 1)) or most
    modest = usual if not answers.heat_safe else float(answers.heat_safe)
    if modest <= 0.0:
        return 0.0, "off: the house gets cold while no thermometer is heard"
    return float(convert(min(max(modest, least), most))), "modest heat: a house without readings is not left cold"


def _by_itself(answers: Answers) -> str:
    """What the device does when it hears nothing, as a line of the file."""
    if answers.device_timeout_s is not None:
        return (
            f"device_timeout_s = {answers.device_timeout_s:g}   "
            "# unheard for so long, it goes back to its own control; refreshed three times within it\n"
        )
    return (
        "# device_timeout_s = 120     # unheard for so long a device may go back to its own control; without that it\n"
        "#                            # keeps the last set-point, also through a power cut of this computer\n"
    )


def _rule(signals: SiteSignals) -> str:
    """What controls while the optimiser cannot: what the bundle brings, or all actions at rest."""
    if signals.rules:
        brought = "".join(f"#   {rule}\n" for rule in signals.rules)
        return (
            f"# What controls while the optimiser cannot comes with the bundle:\n{brought}"
            "# A rule of your own takes the place of the one that moves the same:\n"
            '# [[rule]]\n# kind = "hold"\n'
            f"# values = {{ {signals.actions[0].name} = {signals.actions[0].lower:g} }}\n"
        )
    return (
        "# What controls while the optimiser cannot.\n"
        '[rule]\nkind = "hold"             # all actions 0, or their nearest bound\n'
    )


def heats(signals: SiteSignals) -> float:
    """The least full power of the heat pumps, in kW; 0 where there are none."""
    return min((a.upper for a in signals.actions if a.name in signals.heat), default=0.0)


def _set_points(actions: Sequence[SignalSpec]) -> list[tuple[str, list[tuple[str, int]], str]]:
    """(output, [(action, sign)], unit): charge and discharge are one power with a sign in every inverter."""
    names = {a.name for a in actions}
    found: list[tuple[str, list[tuple[str, int]], str]] = []
    for action in actions:
        battery = action.name.removesuffix("discharge").removesuffix("charge")
        charge, discharge = f"{battery}charge", f"{battery}discharge"
        if not {charge, discharge} <= names:
            found.append((action.name, [(action.name, 1)], action.unit))
        elif action.name == charge:
            found.append((f"{battery}power", [(charge, 1), (discharge, -1)], action.unit))
    return found


def _topic(name: str) -> str:
    return (
        f'source = "mqtt"\ntopic = "house/{name}"\n# pointer = "/value"         # where in a JSON message, RFC 6901\n'
    )


def _comment(spec: SignalSpec) -> str:
    return f"# {spec.description}\n" if spec.description else ""
