"""What people change while a house runs: set-points and bands, being away, hot water now.

A bundle's scheduled forecasts are the wishes of a house. An override stands in for the schedule from now until a time
that is known, so the plan sees it end: before somebody comes home the house is warm again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from runtime.bundle.manifest import ForecastSpec, Manifest
from runtime.bundle.safety_set import StateLimit
from runtime.formats.duration import parse_duration

SET_POINT, LOWER, UPPER = "_set_point", "_lower", "_upper"
AWAY, AWAY_TEMPERATURE, HOT_WATER = "away", "away_temperature", "hot_water_now"
AUTO, HOLD, OFF = "auto", "hold", "off"
"""As values: what the schedule says, what is in force now, and, of a zone, nothing but that it does not freeze."""
USUAL_AWAY_C = 16.0
AWAY_RANGE_C = (5.0, 25.0)
HOT_WATER_S = 2 * 3600.0
LONGEST_HOT_WATER_S = 24 * 3600.0
HOT_SHARE = 0.75
"""How far from the lower to the upper bound of a tank hot water now is."""
LONGEST_S = 366 * 86400.0
WHEN = "hours from now, 90 min, 17:30, or 2026-01-15T17:30"
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class CommandRefusedError(ValueError):
    """A command that must not be obeyed; the text says why and what would be accepted."""


@dataclass(frozen=True)
class Comfort:
    """The scheduled forecasts of a zone, or of a tank, which has no set-point."""

    asset: str
    lower: ForecastSpec
    upper: ForecastSpec
    set_point: ForecastSpec | None = None

    @property
    def specs(self) -> tuple[ForecastSpec, ...]:
        return (*((self.set_point,) if self.set_point else ()), self.lower, self.upper)

    @property
    def target(self) -> ForecastSpec:
        """What a person calls the temperature wanted: a tank's is the one below which a shower is cold."""
        return self.set_point or self.lower


@dataclass(frozen=True)
class Hold:
    """A value until a Unix time; until something else is said where that is None."""

    value: float
    until_s: float | None = None


@dataclass(frozen=True)
class Away:
    """Nobody is at home, until a Unix time; until something else is said where that is None."""

    until_s: float | None = None


@dataclass(frozen=True)
class Overrides:
    """All that is wanted otherwise than scheduled. A hold counts more than being away."""

    holds: Mapping[str, Hold] = field(default_factory=dict)
    """Forecast -> what it is instead."""
    away: Away | None = None
    away_c: float = USUAL_AWAY_C
    """Temperature of the zones while away; a zone that is scheduled to be colder stays so."""
    hot_water_until_s: float | None = None
    off: Mapping[str, float | None] = field(default_factory=dict)
    """Zone -> until when it is not heated but against frost; until something else is said where that is None."""

    def at(self, time_s: float) -> Overrides:
        """Those that have not ended."""
        water = self.hot_water_until_s
        return replace(
            self,
            holds={name: hold for name, hold in self.holds.items() if _lasts(hold.until_s, time_s)},
            away=self.away if self.away is not None and _lasts(self.away.until_s, time_s) else None,
            hot_water_until_s=water if water is not None and time_s < water else None,
            off={zone: until_s for zone, until_s in self.off.items() if _lasts(until_s, time_s)},
        )


def comforts(manifest: Manifest) -> tuple[Comfort, ...]:
    """The zones and tanks of a bundle, by its scheduled forecasts, each within what the safety filter keeps of it."""
    limits = {} if manifest.safety is None else {limit.name: limit for limit in manifest.safety.limits if not limit.row}
    known = {spec.name: spec for spec in manifest.forecasts if spec.schedule is not None}
    found = []
    for name, lower in known.items():
        asset = name.removesuffix(LOWER)
        upper, set_point = known.get(asset + UPPER), known.get(asset + SET_POINT)
        alike = {spec.steps for spec in (lower, upper, set_point) if spec is not None}
        if name.endswith(LOWER) and upper is not None and len(alike) == 1:
            kept = limits.get(f"{asset}_temperature")
            inside = [
                spec if kept is None or spec is None else _within(spec, kept) for spec in (lower, upper, set_point)
            ]
            found.append(Comfort(asset, inside[0] or lower, inside[1] or upper, inside[2]))
    return tuple(found)


def _within(spec: ForecastSpec, kept: StateLimit) -> ForecastSpec:
    low = spec.lower if kept.lower is None else max(spec.lower, kept.lower)
    high = spec.upper if kept.upper is None else min(spec.upper, kept.upper)
    return spec.model_copy(update={"lower": low, "upper": high})


def settable(manifest: Manifest) -> tuple[str, ...]:
    """What may be said of comfort here, as the last part of a topic `set/...`."""
    found = comforts(manifest)
    tanks = any(comfort.set_point is None for comfort in found)
    names = [spec.name for comfort in found for spec in comfort.specs]
    return (*names, *((AWAY, AWAY_TEMPERATURE) if found else ()), *((HOT_WATER,) if tanks else ()))


def moment(text: str, now_s: float, zone: tzinfo, longest_s: float = LONGEST_S) -> float:
    """The Unix time meant. Raises CommandRefusedError.

    Hours from now, a duration with its unit, the next time that the site's clock says so, or ISO 8601, by that clock
    where it has no offset.
    """
    clock = _CLOCK.fullmatch(text)
    try:
        if clock is not None:
            now = datetime.fromtimestamp(now_s, zone)
            then = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
            found = (then if then > now else then + timedelta(days=1)).timestamp()
        elif "-" in text[4:]:
            then = datetime.fromisoformat(text)
            found = (then if then.tzinfo else then.replace(tzinfo=zone)).timestamp()
        elif text[-1:].isalpha() and text[:1].isdigit():
            found = now_s + parse_duration(text)
        else:
            found = now_s + 3600.0 * float(text)
    except (ValueError, OverflowError):
        found = math.nan
    if math.isnan(found):
        raise CommandRefusedError(f"cannot read the time {text!r}: say {WHEN}")
    if not now_s < found <= now_s + longest_s:
        days = longest_s / 86400.0
        raise CommandRefusedError(f"{text!r} is not within the next {days:g} days: say {WHEN}")
    return found


def changed(
    before: Overrides, name: str, value: str, until: str, manifest: Manifest, now_s: float, zone: tzinfo
) -> Overrides:
    """The overrides after `set/<name>`, one of `settable`. Raises CommandRefusedError."""
    now = before.at(now_s)
    match name:
        case "away":
            return _away(now, value.lower() if value.isalpha() else value, until, now_s, zone)
        case "away_temperature":
            return replace(now, away_c=_number(name, value, *AWAY_RANGE_C, "degC"))
        case "hot_water_now":
            return _hot_water(now, value.lower() if value.isalpha() else value, until, now_s, zone)
    comfort = next(c for c in comforts(manifest) if name in {spec.name for spec in c.specs})
    spec = next(spec for spec in comfort.specs if spec.name == name)
    others = {held: hold for held, hold in now.holds.items() if held != name}
    if value == OFF and spec is comfort.set_point:
        return replace(now, off={**now.off, comfort.asset: moment(until, now_s, zone) if until else None})
    if spec is comfort.set_point:  # whoever says what a zone should be wants it heated again
        now = replace(now, off={zone: until_s for zone, until_s in now.off.items() if zone != comfort.asset})
    if value == AUTO:
        return replace(now, holds=others)
    in_force = _now(comfort, now, zone, now_s)
    if value == HOLD:
        value = str(in_force[name])
    number = _number(name, value, spec.lower, spec.upper, spec.unit, _words(comfort, spec))
    if until:
        until_s: float | None = moment(until, now_s, zone)
    elif now.away is not None:
        until_s = now.away.until_s
    else:
        until_s = None if spec.schedule is None else spec.schedule.next_switch(zone, now_s)
    wanted = replace(now, holds={**others, name: Hold(number, until_s)})
    _check_band(comfort, spec, number, in_force)
    return wanted


def _words(comfort: Comfort, spec: ForecastSpec) -> str:
    """What may be said in place of a number."""
    return f", {HOLD}, {OFF}, or {AUTO}" if spec is comfort.set_point else f", {HOLD}, or {AUTO}"


def _away(now: Overrides, value: str, until: str, now_s: float, zone: tzinfo) -> Overrides:
    """Who leaves means it of the whole house: what was held before ends with it."""
    if value == "off":
        return replace(now, away=None, holds={} if now.away is not None else now.holds)
    when = until if value == "on" else value
    if not when and value != "on":
        raise CommandRefusedError(f"{AWAY} is on, off, or when somebody is back: {WHEN}")
    return replace(now, holds={}, hot_water_until_s=None, away=Away(moment(when, now_s, zone) if when else None))


def _hot_water(now: Overrides, value: str, until: str, now_s: float, zone: tzinfo) -> Overrides:
    if value == "off":
        return replace(now, hot_water_until_s=None)
    when = until if value == "on" else value
    if not when and value != "on":
        raise CommandRefusedError(f"{HOT_WATER} is on (for {HOT_WATER_S / 3600:g} h), off, or until when: {WHEN}")
    until_s = moment(when, now_s, zone, LONGEST_HOT_WATER_S) if when else now_s + HOT_WATER_S
    return replace(now, hot_water_until_s=until_s)


def _number(name: str, value: str, lower: float, upper: float, unit: str, more: str = "") -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not lower <= number <= upper:
        raise CommandRefusedError(f"{name} is a number from {lower:g} to {upper:g} {unit}{more}")
    return number


def _check_band(comfort: Comfort, spec: ForecastSpec, number: float, now: Mapping[str, float]) -> None:
    """A bound stays on its side of what is wanted now. A set-point takes its band along."""
    above, below = spec is comfort.lower, spec is comfort.upper
    limit = (comfort.set_point or comfort.upper) if above else (comfort.set_point or comfort.lower)
    at = now[limit.name]
    if (above and number > at) or (below and number < at):
        side = "above" if above else "below"
        raise CommandRefusedError(
            f"{spec.name} of {number:g} {spec.unit} would be {side} {limit.name}, {at:g} now; set that first"
        )


def _now(comfort: Comfort, overrides: Overrides, zone: tzinfo, now_s: float) -> dict[str, float]:
    """What is in force, from schedules alone."""
    columns = {s.name: s.schedule.column(zone, now_s, 1.0, 1) for s in comfort.specs if s.schedule is not None}
    return {name: column[0] for name, column in _overridden(comfort, columns, overrides, now_s, 1.0).items()}


def overridden(
    columns: Mapping[str, tuple[float, ...]], manifest: Manifest, overrides: Overrides, time_s: float
) -> dict[str, tuple[float, ...]]:
    """The columns of the forecasts from a Unix time on, (N + 1) steps values each, with what is wanted otherwise.

    Those that are not there, since their source is silent, stay away.
    """
    found, now = dict(columns), overrides.at(time_s)
    if not now.holds and not now.off and now.away is None and now.hot_water_until_s is None:
        return found
    for comfort in comforts(manifest):
        if all(spec.name in columns for spec in comfort.specs):
            found |= _overridden(comfort, columns, now, time_s, manifest.dt_s / comfort.lower.steps)
    return found


def _overridden(
    comfort: Comfort, columns: Mapping[str, tuple[float, ...]], overrides: Overrides, time_s: float, step_s: float
) -> dict[str, tuple[float, ...]]:
    """Each step as in its middle, the first one as it is now."""
    names = [spec.name for spec in comfort.specs]
    rows = []
    for k, row in enumerate(zip(*(columns[name] for name in names), strict=True)):
        there = overrides.at(time_s + (k + 0.5) * step_s if k else time_s)
        scheduled = dict(zip(names, row, strict=True))
        wanted = _zone(comfort, scheduled, there) if comfort.set_point else _tank(comfort, scheduled, there)
        rows.append([min(max(wanted[spec.name], spec.lower), spec.upper) for spec in comfort.specs])
    return {name: tuple(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _zone(comfort: Comfort, scheduled: Mapping[str, float], there: Overrides) -> dict[str, float]:
    """The band travels with the set-point and goes on containing it. Off: as cold as the safety filter lets it be."""
    assert comfort.set_point is not None
    name, low, high = comfort.set_point.name, comfort.lower.name, comfort.upper.name
    if comfort.asset in there.off:
        return {name: comfort.set_point.lower, low: comfort.lower.lower, high: scheduled[high]}
    wanted = scheduled[name] if there.away is None else min(scheduled[name], there.away_c)
    wanted = there.holds[name].value if name in there.holds else wanted
    moved = wanted - scheduled[name]
    bounds = {
        bound: there.holds[bound].value if bound in there.holds else scheduled[bound] + moved for bound in (low, high)
    }
    return {name: wanted, low: min(bounds[low], wanted), high: max(bounds[high], wanted)}


def _tank(comfort: Comfort, scheduled: Mapping[str, float], there: Overrides) -> dict[str, float]:
    """Away: the lowest bound of the week. Hot water now: a share of the way up to the upper bound."""
    low, high = comfort.lower.name, comfort.upper.name
    schedule = comfort.lower.schedule
    least = scheduled[low] if there.away is None or schedule is None else min(schedule.lowest, scheduled[low])
    least = there.holds[low].value if low in there.holds else least
    most = there.holds[high].value if high in there.holds else scheduled[high]
    if low in there.holds:
        most = max(most, least)
    least = min(least, most)
    if there.hot_water_until_s is not None:
        least += HOT_SHARE * (most - least)
    return {low: least, high: most}


def as_data(overrides: Overrides) -> dict[str, Any]:
    """To keep; `from_data` reads it."""
    away = overrides.away
    return {
        "holds": {name: [hold.value, hold.until_s] for name, hold in overrides.holds.items()},
        "away": None if away is None else {"until_s": away.until_s},
        "away_c": overrides.away_c,
        "hot_water_until_s": overrides.hot_water_until_s,
        "off": dict(overrides.off),
    }


def from_data(data: Any) -> Overrides:
    """Raises KeyError, TypeError, ValueError or AttributeError for anything that `as_data` has not made."""
    away = data["away"]
    return Overrides(
        {str(name): Hold(_finite(value), _time(until_s)) for name, (value, until_s) in data["holds"].items()},
        None if away is None else Away(_time(away["until_s"])),
        _finite(data["away_c"]),
        _time(data["hot_water_until_s"]),
        {str(zone): _time(until_s) for zone, until_s in data.get("off", {}).items()},
    )


def fitting(overrides: Overrides, manifest: Manifest) -> Overrides:
    """As they apply to another bundle: of signals that it has, inside their bounds."""
    known = {spec.name: spec for comfort in comforts(manifest) for spec in comfort.specs}
    inside = {n: h for n, h in overrides.holds.items() if n in known and known[n].lower <= h.value <= known[n].upper}
    low, high = AWAY_RANGE_C
    zones = {comfort.asset for comfort in comforts(manifest) if comfort.set_point is not None}
    off = {zone: until_s for zone, until_s in overrides.off.items() if zone in zones}
    return replace(overrides, holds=inside, away_c=min(max(overrides.away_c, low), high), off=off)


def comfort_document(
    overrides: Overrides,
    manifest: Manifest,
    columns: Mapping[str, tuple[float, ...]],
    time_s: float,
    zone: tzinfo,
) -> dict[str, Any]:
    """What is wanted now and why, for `state`; nothing for a bundle without comfort."""
    found = comforts(manifest)
    if not found:
        return {}
    now = overrides.at(time_s)

    def when(until_s: float | None) -> str | None:
        return None if until_s is None else datetime.fromtimestamp(until_s, zone).isoformat(timespec="minutes")

    def one(comfort: Comfort) -> dict[str, Any]:
        values = {
            spec.name.removeprefix(f"{comfort.asset}_"): round(columns[spec.name][0], 3)
            for spec in comfort.specs
            if spec.name in columns
        }
        held = now.holds.get(comfort.target.name)
        by, until_s = "schedule", None
        if comfort.asset in now.off:
            by, until_s = OFF, now.off[comfort.asset]
        elif comfort.set_point is None and now.hot_water_until_s is not None:
            by, until_s = HOT_WATER, now.hot_water_until_s
        elif held is not None:
            by, until_s = "command", held.until_s
        elif now.away is not None:
            by, until_s = AWAY, now.away.until_s
        return {**values, "unit": comfort.target.unit, "by": by, "until": when(until_s)}

    water = now.hot_water_until_s
    return {
        "comfort": {comfort.asset: one(comfort) for comfort in found},
        "away": {
            "on": now.away is not None,
            "until": when(now.away.until_s) if now.away is not None else None,
            "temperature": now.away_c,
        },
        "hot_water": {"on": water is not None, "until": when(water)},
    }


def _lasts(until_s: float | None, time_s: float) -> bool:
    return until_s is None or time_s < until_s


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _time(value: Any) -> float | None:
    return None if value is None else _finite(value)
