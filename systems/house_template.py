"""A short, commented house file from a few answers: what `nisse init` writes, ready for `nisse check`."""

from __future__ import annotations

import json
from dataclasses import dataclass

WATER, HEATER, BATTERY, ROOF = "water", "heater", "battery", "roof"
USUAL_KW = {"air-water": 3.5, "air-air": 1.5, "electric": 1.0}
HEATER_KW = 2.0
BASE_KW = 0.2


@dataclass(frozen=True)
class HeatSource:
    """A heat pump or heater: its kind, its largest electric power, what it feeds."""

    name: str
    kind: str
    max_kw: float
    feeds: tuple[str, ...]


@dataclass(frozen=True)
class HouseAnswers:
    """What there is. Powers in kW, 0 for what there is not; prices in `currency`."""

    name: str
    timezone: str
    currency: str = "EUR"
    zones: tuple[str, ...] = ()
    heat: tuple[HeatSource, ...] = ()
    tank_litres: float = 0.0
    pv_kw: float = 0.0
    battery_kwh: float = 0.0
    battery_kw: float = 0.0
    grid_kw: float = 11.0
    peak_charge: float = 0.0
    """For each kW of the month's highest import."""

    @property
    def metered(self) -> bool:
        """Whether power is more than bought: the meter and what is not controlled have to be known then."""
        return self.pv_kw > 0 or self.battery_kwh > 0 or self.peak_charge > 0


def house_text(answers: HouseAnswers) -> str:
    """The file."""
    parts = [_head(answers)]
    if answers.metered:
        parts.append(_meter(answers))
    if answers.pv_kw > 0:
        parts.append(
            f'[[pv]]\nname = "{ROOF}"\npeak_kw = {answers.pv_kw:g}\n'
            "# curtailable = true      # where the inverter can be told to give less\n"
        )
    if answers.battery_kwh > 0:
        parts.append(
            f'[[battery]]\nname = "{BATTERY}"\ncapacity_kwh = {answers.battery_kwh:g}\n'
            f"max_charge_kw = {answers.battery_kw:g}\nmax_discharge_kw = {answers.battery_kw:g}\n"
            "# wear_per_kwh = 0.03     # what a kWh in and out again costs in lost life\n"
        )
    parts += [_zone(name, first=name == answers.zones[0]) for name in answers.zones]
    if answers.tank_litres > 0:
        parts.append(
            f'[[tank]]\nname = "{WATER}"\nlitres = {answers.tank_litres:g}\n'
            "# A weekly hour at 60 degC, against legionella:\n"
            '# { default = 45, schedule = [{ days = "sun", from = "13:00", to = "14:00", value = 60 }] }\n'
            "lower = 45                # degC; below it a shower is cold\n"
            "upper = 65\n"
        )
    parts += [_heat(source) for source in answers.heat]
    return "\n".join(parts)


def _head(answers: HouseAnswers) -> str:
    return f"""# What there is in {answers.name}: nisse plans with it. All keys are in docs/reference/house-file.md.
# After a change: nisse check <this file>, and nisse build again.

[house]
name = {json.dumps(answers.name)}
timezone = {json.dumps(answers.timezone)}
currency = {json.dumps(answers.currency)}          # all prices are in it
"""


def _meter(answers: HouseAnswers) -> str:
    capacity = (
        f'capacity = {{ price_per_kw = {answers.peak_charge:g}, interval = "1 h" }}   # for the month\'s highest hour\n'
        if answers.peak_charge > 0
        else '# capacity = { price_per_kw = 5, interval = "1 h" }   # where the month\'s peak is charged\n'
    )
    return (
        f"[meter]\nimport_limit_kw = {answers.grid_kw:g}      # the main fuse\n"
        f"export_limit_kw = {answers.grid_kw:g}\n{capacity}"
        f"\n[load]                    # what is not controlled; it is forecast\nbase_kw = {BASE_KW:g}\n"
        f"peak_kw = {answers.grid_kw:g}\n"
    )


def _zone(name: str, *, first: bool) -> str:
    week = (
        '# By the week: { default = 21, schedule = [{ from = "22:00", to = "06:00", value = 19 }] }\n' if first else ""
    )
    return (
        f"[[zone]]\nname = {json.dumps(name)}\n{week}set_point = 21            # degC\n"
        "lower = 18                # the band that it may use to save\nupper = 23\n"
    )


def _heat(source: HeatSource) -> str:
    feeds = ", ".join(map(json.dumps, source.feeds))
    least = "" if source.kind == "electric" else "# min_power_kw = 0.3      # below it the compressor cannot turn\n"
    return (
        f'[[heat_pump]]\nname = {json.dumps(source.name)}\nkind = "{source.kind}"\nfeeds = [{feeds}]\n'
        f"max_power_kw = {source.max_kw:g}        # electric, not heat\n{least}"
    )
