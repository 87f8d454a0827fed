"""What a house owns, by name: which of its signals a device's profile brings, and which forecasts the feeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.bundle.manifest import SignalSpec
from runtime.devices.profile import DeviceProfile
from runtime.formats.units import is_price

PRICE, WEATHER = ("buy", "sell"), ("outdoor", "sun")
LEVELS = (1, 2, 3, 4)
"""Of SG-Ready: lock, normal, encouraged, forced."""
SHARES = (0.0, 0.35, 0.7, 1.0)
"""Of its largest power, about what a heat pump draws at each, until its owner knows better."""


@dataclass(frozen=True)
class OwnedDevice:
    """A device by its profile. `place`: an address, a serial port, or its place in the broker."""

    name: str
    profile_name: str
    profile: DeviceProfile
    place: str
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def by_broker(self) -> bool:
        return "mqtt" in self.profile.device.reached

    def table(self) -> str:
        host, _, port = self.place.partition(":")
        if self.by_broker:
            where = f"topic = {json.dumps(self.place)}"
        elif self.place.startswith("/"):
            where = f"serial = {json.dumps(self.place)}"
        else:
            where = f"host = {json.dumps(host)}" + (f"\nport = {port}" if port else "")
        values = ", ".join(f"{name} = {value:g}" for name, value in self.values.items())
        return (
            f"# {self.profile.device.name}: {self.profile.device.setup}\n"
            f"[device.{self.name}]\nprofile = {json.dumps(self.profile_name)}\n{where}\n"
            f"{f'values = {{ {values} }}' if values else ''}\n"
        )


@dataclass(frozen=True)
class OwnedFeeds:
    """Where the house is, and whom to ask for prices. Degrees north and east."""

    latitude: float
    longitude: float
    price_source: str
    price_zone: str


@dataclass(frozen=True)
class Wiring:
    """signal -> (device, reading); output -> (device, setting, actions); and inputs that only the feeds go by."""

    inputs: Mapping[str, tuple[OwnedDevice, str]]
    outputs: Mapping[str, tuple[OwnedDevice, str, tuple[SignalSpec, ...]]]
    learned: Mapping[str, tuple[OwnedDevice, str]]


def wiring(
    devices: Sequence[OwnedDevice],
    measured: Sequence[SignalSpec],
    meters: Sequence[str],
    actions: Sequence[SignalSpec],
) -> Wiring:
    """What fits by name and unit; what does not is left to the owner."""
    inputs: dict[str, tuple[OwnedDevice, str]] = {}
    outputs: dict[str, tuple[OwnedDevice, str, tuple[SignalSpec, ...]]] = {}
    learned: dict[str, tuple[OwnedDevice, str]] = {}
    wanted = [spec.name for spec in measured] + [name for name in meters if name not in {s.name for s in measured}]
    for device in devices:
        for reading in device.profile.read:
            signal = _signal(reading, device, [name for name in wanted if name not in inputs])
            if signal is not None:
                inputs[signal] = (device, reading)
            elif reading in {"pv_power", "battery_power"}:
                learned.setdefault(reading, (device, reading))
            elif reading == "power" and device.profile.device.kind == "heat pump":
                learned[f"{device.name}_meter"] = (device, reading)
        for setting in device.profile.write:
            moved = _moved(setting, device, actions)
            if moved and not any(set(moved) & set(others) for _, _, others in outputs.values()):
                outputs[f"{moved[0].name.removesuffix('charge')}power" if len(moved) == 2 and setting == "battery_power"
                        else f"{device.name}_{setting}"] = (device, setting, moved)  # fmt: skip
    return Wiring(inputs, outputs, learned)


def _signal(reading: str, device: OwnedDevice, wanted: Sequence[str]) -> str | None:
    """Of the signals that nothing brings yet, the one that a reading is."""
    kind = device.profile.device.kind
    ends: Mapping[str, tuple[str, ...]] = {
        "soc": ("soc",),
        "grid_power": ("grid_power",),
        "water": ("water_temperature",),
        "water_top": ("water_temperature",),
        "power": ("_meter",) if kind in {"heat pump", "relay"} else (),
    }
    fitting = [name for name in wanted if name.endswith(ends.get(reading, (reading,)))]
    own = [name for name in fitting if name.startswith(f"{device.name}_")]
    return next(iter(own or fitting), None)


def _moved(setting: str, device: OwnedDevice, actions: Sequence[SignalSpec]) -> tuple[SignalSpec, ...]:
    """The actions that a setting carries out together; none where only its owner can know."""
    pairs = [
        (a, b) for a in actions for b in actions
        if a.name.endswith("charge") and not a.name.endswith("discharge")
        and b.name == a.name.removesuffix("charge") + "discharge"
    ]  # fmt: skip
    if setting == "battery_power":
        return next(iter(pairs), ())
    taken = {action.name for pair in pairs for action in pair}
    powers = [a for a in actions if a.unit == "kW" and a.name not in taken]
    own = [a for a in powers if a.name.startswith(f"{device.name}_")] or powers
    if setting == "sg_ready":
        return tuple(own)
    return tuple(own[:1]) if setting == "surplus_power" and len(powers) == 1 else ()


def output_table(name: str, device: OwnedDevice, setting: str, actions: Sequence[SignalSpec]) -> str:
    signs = [(a.name, -1 if setting == "battery_power" and a.name.endswith("discharge") else 1) for a in actions]
    terms = ", ".join(f"{action} = {sign:g}.0" for action, sign in signs)
    where = f"sink = {json.dumps(device.name)}\nsetting = {json.dumps(setting)}\n"
    text = f"[outputs.{name}]\n{where}combine = {{ {terms} }}\n"
    if setting != "sg_ready":
        return text
    most = max(action.upper for action in actions)
    levels = ", ".join(f"{{ level = {n}, kw = {s * most:g} }}" for n, s in zip(LEVELS, SHARES, strict=True))
    return (
        f'{text}\n[outputs.{name}.shape]\nkind = "levels"\n'
        f"levels = [{levels}]   # what it draws at each, about: correct it when you have seen it\n"
        "hold_s = 600\nmin_run_s = 1200\nmin_rest_s = 600\n"
        "max_lowest_s = 7200        # SG-Ready locks for two hours at most\n"
    )


def balance(
    wired: Wiring, measured: Sequence[SignalSpec], actions: Sequence[SignalSpec], panels: bool
) -> dict[str, float]:
    """What nothing else draws, of what can be measured; empty where something of it cannot."""
    if "grid_power" not in wired.inputs or (panels and "pv_power" not in wired.learned):
        return {}
    terms = {"grid_power": 1.0} | ({"pv_power": 1.0} if panels else {})
    batteries = [action.name for action in actions if action.name.endswith("discharge")]
    if len(batteries) == 1 and "battery_power" in wired.learned:
        terms["battery_power"] = -1.0
    else:
        terms |= dict.fromkeys(batteries, 1.0) | {n.replace("discharge", "charge"): -1.0 for n in batteries}
    metered = [name for name in (*wired.learned, *(spec.name for spec in measured)) if name.endswith("_meter")]
    for action in actions:  # what is planned stands in where nothing measures what a machine draws
        meter = next((name for name in metered if action.name.startswith(name.removesuffix("meter"))), action.name)
        if action.unit == "kW" and not action.name.endswith("charge"):
            terms[meter] = -1.0
    return terms


def feeds_tables(feeds: OwnedFeeds, forecasts: Sequence[SignalSpec], learns: Mapping[str, float], pv: bool) -> str:
    """[feeds] of a house that needs these forecasts. pv: whether the power of its panels is measured."""
    money = next((spec.unit.partition("/")[0] for spec in forecasts if is_price(spec.unit)), "EUR")
    names = [spec.name for spec in forecasts]
    text = (
        "# Forecasts by nisse feed run: who is asked, and what a kWh then costs. All keys: docs/guide/feeds.md\n"
        f"[feeds]\nlatitude = {feeds.latitude:g}\nlongitude = {feeds.longitude:g}\ncurrency = {json.dumps(money)}\n"
    )
    if set(names) & set(PRICE):
        zone = f"zone = {json.dumps(feeds.price_zone)}\n" if feeds.price_zone else ""
        token = (
            'token_file = "price.token"   # one line, chmod 600\n' if feeds.price_source in {"entsoe", "tibber"} else ""
        )
        text += (
            f"\n[feeds.price]\nsource = {json.dumps(feeds.price_source)}\n{zone}{token}"
            "vat = 0.0                  # a share: 0.25\n"
            "tax = 0.0                  # per kWh, without VAT, as the two below\n"
            "markup = 0.0               # what the supplier takes\n"
            "grid_fee = { default = 0.0, schedule = "
            '[{ days = "mon-fri", from = "06:00", to = "22:00", value = 0.0 }] }\n'
            "feed_in = { factor = 1.0, add = 0.0 }   # or value = 0.08\n"
        )
    if set(names) & {*WEATHER} or any(name.startswith("pv") for name in names):
        text += '\n[feeds.weather]\nsource = "open-meteo"\n'
    arrays = [spec for spec in forecasts if spec.name == "pv" or spec.name.startswith("pv_")]
    for spec in arrays:
        learned = "measured = { pv_power = 1.0 }\n" if pv and len(arrays) == 1 else ""
        text += (
            f"\n[feeds.pv.{spec.name}]\npeak_kw = {spec.upper:g}\n"
            f"tilt = 35.0                # of the panels; azimuth from north, 90 is east\nazimuth = 180.0\n{learned}"
        )
    if "load" in names and learns:
        terms = ", ".join(f"{name} = {factor:g}.0" for name, factor in learns.items())
        text += f"\n[feeds.load]\nmeasured = {{ {terms} }}   # what the meter shows, less what goes into machines\n"
    return text + "\n"


def covered(feeds: OwnedFeeds | None, forecasts: Sequence[SignalSpec], learns: Mapping[str, float]) -> frozenset[str]:
    """Of the forecasts, those that the feeds bring."""
    if feeds is None:
        return frozenset()
    known = {*PRICE, *WEATHER} | ({"load"} if learns else set())
    return frozenset(s.name for s in forecasts if s.name in known or s.name == "pv" or s.name.startswith("pv_"))
