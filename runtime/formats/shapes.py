"""The shapes in which the world publishes a number or a forecast, told apart by themselves.

A forecast is a list of entries with their times, a table from time to value, columns of times and values, a start with
a step and values, or one of these inside what a program wraps around it (Home Assistant, evcc, Open-Meteo and others).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from itertools import pairwise
from typing import Any

from runtime.formats.literals import WEEK_S, NoValueError, PayloadError, is_moment, moment, number, span, zone_of
from runtime.formats.profile import Entry, Profile, Value, profile_of
from runtime.formats.units import kind_of

MAX_VALUES = 20_000
MAX_DEPTH = 8
MOST_PARTS = 100
"""A message of more parts is searched for a forecast only where programs are known to put it."""
MAX_SPAN_S = 400 * 86400.0
EARLIEST_S = 1e9

# Names are compared without case, "_", "-" and blanks. In the order of preference.
STARTS = (
    "start", "starts", "startsat", "starttime", "timestart", "starttimestamp", "validfrom", "from", "fromtime",
    "periodstart", "periodfrom", "deliverystart", "intervalstart", "startdate", "startdatetime", "datefrom",
    "hourstart", "begin", "begins", "readingdate", "datetime", "time", "timestamp", "date", "hour", "unixseconds", "ts",
)  # fmt: skip
MOMENTS = frozenset({"datetime", "time", "timestamp", "date", "hour", "unixseconds", "ts"})
"""Starts that say when a value was, not from when on it holds."""
ENDS = (
    "end", "ends", "endsat", "endtime", "timeend", "endtimestamp", "validto", "to", "totime", "till", "until",
    "periodend", "periodto", "deliveryend", "intervalend", "enddate", "enddatetime", "dateto", "hourend", "stop",
)  # fmt: skip
LENGTHS = ("period", "duration")
"""How long an entry holds, where it says its end only."""
VALUES = {
    "price": ("value", "total", "price", "valueincvat", "marketprice"),
    "temperature": ("value", "temperature", "temperature2m"),
    "power": ("value", "power", "pvestimate", "watts"),
    "irradiance": ("value", "shortwaveradiation", "globaltiltedirradiance", "ghi"),
}
DAYS = (("raw_today", "raw_tomorrow"), ("prices_today", "prices_tomorrow"), ("today", "tomorrow"))
NUMBERS = ("value", "state")
OF_THE_TIME_BEFORE = (
    "shortwaveradiation", "directradiation", "directnormalirradiance", "diffuseradiation", "globaltiltedirradiance",
    "terrestrialradiation",
)  # fmt: skip
"""How columns begin whose values are means over the time up to their own, as Open-Meteo says of its radiation."""
WRAPPERS = (
    "rates", "forecast", "forecasts", "detailedForecast", "prices", "priceInfo", "data", "results", "result",
    "hourly", "minutely_15", "watts", "attributes",
)  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What is known of a message beside its text: the unit that is asked for, the field, the zone of its times."""

    unit: str = ""
    value_key: str = ""
    zone: tzinfo | None = UTC

    def inside(self, document: Mapping[str, Any]) -> Context:
        return replace(self, zone=zone_of(document, self.zone))

    @property
    def preferred(self) -> tuple[str, ...]:
        """Names of the field that holds the value, as `_plain` writes them."""
        if self.value_key:
            return (_plain(self.value_key),)
        per = _plain(self.unit.replace("/", "_per_"))
        named = (per, f"price{per}") if "/" in self.unit else ()
        usual = VALUES.get(kind_of(self.unit).partition(" ")[0]) or [
            name for names in VALUES.values() for name in names
        ]
        return (*named, *usual)


@dataclass(frozen=True)
class _Lines:
    """The entries of a forecast, and whether their times say when a value was rather than from when on it holds."""

    entries: list[Entry]
    instants: bool = False
    named: bool = True
    """The field of the values bears a name of the quantity that is wanted, or needs none."""


def value_of(parent: Any, found: Any, context: Context) -> Value:
    """The number or forecast in `found`, part of a message; beside a list of values, `parent` says their times.

    Raises PayloadError.
    """
    if (sole := _sole(found)) is not None:
        found = sole
    if isinstance(found, list):
        return _profile(_in_list(found, parent, context))
    if isinstance(found, dict):
        lines = _in_object(found, context, 0)
        if lines is not None:
            return _profile(lines)
        name = next((name for name in NUMBERS if name in found), None)
        if name is None:
            raise PayloadError("an object without a value or a forecast that is known here; say where it is: pointer")
        return number(found[name])
    return number(found)


def _profile(lines: _Lines) -> Profile:
    """Raises PayloadError where no value is left, or a span is none."""
    if not 0 < len(lines.entries) <= MAX_VALUES:
        raise PayloadError(f"a forecast has 1 to {MAX_VALUES} values")
    for entry in lines.entries:
        if entry.end_s is not None and not 0.0 < entry.end_s - entry.start_s <= MAX_SPAN_S:
            raise PayloadError("an entry that ends before it begins, or months later")
    profile = profile_of(lines.entries, instants=lines.instants)
    if profile is None:
        raise NoValueError("a forecast without a single value")
    return profile


def _in_object(found: Mapping[str, Any], context: Context, depth: int) -> _Lines | None:
    """The forecast in an object, None where it has none. Raises PayloadError for one that is damaged."""
    if depth > MAX_DEPTH:
        return None
    context = context.inside(found)
    if isinstance(found.get("values"), list):
        return _in_list(found["values"], found, context)
    moments = [key for key in found if is_moment(key)]
    if moments and 2 * len(moments) >= len(found):
        return _in_table({key: found[key] for key in moments}, context)
    times = _named(found, STARTS)
    if times is not None and isinstance(found[times], list):
        return _in_columns(found, _field(found, context), times, context)
    days = next((pair for pair in DAYS if any(_has_entries(found.get(name)) for name in pair)), None)
    if days is not None:
        return _in_list([entry for day in days if _has_entries(found.get(day)) for entry in found[day]], None, context)
    if any(name in found for name in DAYS[0]) or any(all(found.get(n, 0) in ([], None) for n in pair) for pair in DAYS):
        raise NoValueError("neither today nor tomorrow has prices")
    known = _in_wrappers(found, context, depth)
    if known is not None:
        return known
    if len(found) > MOST_PARTS or any(name in found for name in (*NUMBERS, *WRAPPERS)):
        return None
    others = [(name, lines) for name in found if (lines := _in_child(name, found, context, depth)) is not None]
    if len(others) > 1:
        raise PayloadError(f"several forecasts, in {_some(found)}; say which: pointer")
    for name, _ in others:
        _refuse_energy(name, context, "pointer")
    return others[0][1] if others else None


def _in_wrappers(found: Mapping[str, Any], context: Context, depth: int) -> _Lines | None:
    """The forecast where programs are known to put one: of several the first that bears a name of what is wanted."""
    known: list[_Lines] = []
    trouble: PayloadError | None = None
    for name in WRAPPERS:
        try:
            lines = _in_child(name, found, context, depth)
        except PayloadError as error:
            trouble = trouble or error
            continue
        if lines is not None and lines.named:
            return lines
        known += [] if lines is None else [lines]
    if trouble is not None:
        raise trouble
    return known[0] if known else None


def _in_child(name: str, found: Mapping[str, Any], context: Context, depth: int) -> _Lines | None:
    child: Any = found.get(name)
    if _has_entries(child):
        return _in_list(child, found, context)
    child = _sole(child) or child
    return _in_object(child, context, depth + 1) if isinstance(child, dict) else None


def _sole(found: Any) -> dict[str, Any] | None:
    """The only thing in a list, as the one home of an account, where it has no time of its own."""
    alone = isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict)
    return found[0] if alone and _named(found[0], (*STARTS, *ENDS)) is None else None


def _has_entries(found: Any) -> bool:
    """Whether this is a list of things with a time each."""
    if not isinstance(found, list) or not found:
        return False
    first = found[0]
    if isinstance(first, dict):
        return _named(first, STARTS) is not None or _says_length(first)
    return _is_row(first) and (is_moment(first[0]) if isinstance(first[0], str) else _is_late(first[0]))


def _in_list(found: list[Any], parent: Any, context: Context) -> _Lines:
    if not 0 < len(found) <= MAX_VALUES:
        raise PayloadError(f"a forecast has 1 to {MAX_VALUES} values")
    if all(isinstance(line, dict) for line in found):
        return _in_entries(found, context)
    if all(_is_row(line) for line in found):
        times = _times([line[0] for line in found], context)
        return _Lines(
            [Entry(start, moment(line[1], context.zone) if len(line) == 3 else None, _known(line[-1]))
             for start, line in zip(times, found, strict=True)]
        )  # fmt: skip
    if any(isinstance(line, dict | list) for line in found):
        raise PayloadError("a list of several kinds of things")
    if isinstance(parent, dict):
        context = context.inside(parent)
        times_key = _named(parent, STARTS)
        if times_key is not None and isinstance(parent[times_key], list):
            return _in_columns({**parent, "values": found}, "values", times_key, context)
        if "start" in parent and "step_s" in parent:
            return _regular(moment(parent["start"], context.zone), number(parent["step_s"]), found)
    raise PayloadError("a list of values needs 'start' and 'step_s' beside it, or a time with each value")


def _in_entries(found: Sequence[Mapping[str, Any]], context: Context) -> _Lines:
    start, end = _named(found[0], STARTS), _named(found[0], ENDS)
    value = _field(found[0], context)
    named = _plain(value) in context.preferred
    if start is None and _says_length(found[0]):
        return _Lines([_that_ends(line, str(end), value, context) for line in found], named=named)
    if start is None:
        raise PayloadError(f"entries without a time; known are start, time and others, found {_some(found[0])}")
    if any(start not in line for line in found):
        raise PayloadError(f"an entry without {start!r}")
    entries = []
    for line, begin in zip(found, _times([line[start] for line in found], context), strict=True):
        until = line.get(end) if end is not None else None
        entries.append(Entry(begin, None if until is None else _end(until, begin, context), _known(line.get(value))))
    return _Lines(entries, end is None and _plain(start) in MOMENTS, named)


def _says_length(line: Mapping[str, Any]) -> bool:
    return _named(line, ENDS) is not None and _named(line, LENGTHS) is not None


def _that_ends(line: Mapping[str, Any], end: str, value: str, context: Context) -> Entry:
    """An entry that says its end and how long it has held then."""
    length = _named(line, LENGTHS)
    if length is None or end not in line:
        raise PayloadError(f"an entry without {end!r} or its length")
    end_s = moment(line[end], context.zone)
    return Entry(end_s - span(line[length]), end_s, _known(line.get(value)))


def _in_table(found: Mapping[str, Any], context: Context) -> _Lines:
    if len(found) > MAX_VALUES:
        raise PayloadError(f"a forecast has 1 to {MAX_VALUES} values")
    entries = [
        Entry(moment(key, context.zone), None, _known(line[_field(line, context)] if isinstance(line, dict) else line))
        for key, line in found.items()
    ]
    return _Lines(entries, True)


def _in_columns(found: Mapping[str, Any], field: str, name: str, context: Context) -> _Lines:
    times, values = found[name], found[field]
    if not isinstance(values, list) or len(values) != len(times):
        raise PayloadError("columns of times and values that are not of one length")
    moments = _times(times, context)
    named = _plain(field) in (*context.preferred, "values")
    if _plain(field).startswith(OF_THE_TIME_BEFORE) and len(moments) > 1 and not _plain(field).endswith("instant"):
        edges = pairwise([2 * moments[0] - moments[1], *moments])
        return _Lines(
            [Entry(*edge, _known(value)) for edge, value in zip(edges, values, strict=True) if edge[0] < edge[1]],
            named=named,
        )
    entries = [Entry(start, None, _known(value)) for start, value in zip(moments, values, strict=True)]
    return _Lines(entries, _plain(name) in MOMENTS, named)


def _regular(start_s: float, step_s: float, values: Sequence[Any]) -> _Lines:
    if not 1.0 <= step_s <= WEEK_S:
        raise PayloadError(f"step_s = {step_s:g} is not between one second and a week")
    edges = [start_s + k * step_s for k in range(len(values) + 1)]
    return _Lines(list(map(Entry, edges, edges[1:], map(_known, values))))


def _field(found: Mapping[str, Any], context: Context) -> str:
    """The name of the field that holds the values. Raises PayloadError where that is not clear."""
    for wanted in context.preferred:
        for name in found:
            if _plain(name) == wanted:
                return name
    if context.value_key:
        raise PayloadError(f"nothing is called {context.value_key!r}; found {_some(found)}")
    rest = {name: value for name, value in found.items() if _plain(name) not in (*STARTS, *ENDS, *LENGTHS)}
    # As numbers, as text, or not there yet: the first of these in which it is clear.
    for kind in (_is_value, _is_text_of_number, lambda value: value is None):
        others = [name for name, value in rest.items() if kind(value)]
        if len(others) == 1:
            _refuse_energy(others[0], context, "value_key")
            return others[0]
        if others:
            break
    raise PayloadError(f"which of {_some(found)} is the value? say it: value_key")


def _refuse_energy(name: str, context: Context, option: str) -> None:
    """An energy is no power, least of all one that is counted up over the day. Raises PayloadError."""
    plain = _plain(name)
    if kind_of(context.unit) == "power" and plain.startswith(("watthours", "energy")):
        raise PayloadError(f"{name[:20]!r} is an energy, and a power is wanted; say where that is: {option}")


def _is_value(value: Any) -> bool:
    return isinstance(value, int | float | list) and not isinstance(value, bool)


def _is_text_of_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(number(value))
    except PayloadError:
        return False


def _named(found: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The key that is one of `names`, the first of them that is there."""
    plain = {_plain(key): key for key in found}
    return next((plain[name] for name in names if name in plain), None)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _some(found: Mapping[str, Any]) -> str:
    return ", ".join(repr(name[:20]) for name in list(found)[:6]) or "nothing"


def _is_late(value: Any) -> bool:
    """Whether a number may be the time of a forecast of these days: a pair of small ones is something else."""
    return isinstance(value, int | float) and value > EARLIEST_S


def _is_row(line: Any) -> bool:
    """A time, perhaps the end, and the value."""
    return isinstance(line, list) and len(line) in (2, 3) and not any(isinstance(part, dict | list) for part in line)


def _times(values: Sequence[Any], context: Context) -> list[float]:
    """Of a list: what comes again of the hour that a clock shows twice is meant later, in the order of time."""
    backwards = moment(values[0], context.zone) > moment(values[-1], context.zone) if values else False
    taken: set[float] = set()
    times = []
    for value in reversed(values) if backwards else values:
        times.append(moment(value, context.zone, taken))
        taken.add(times[-1])
    return times[::-1] if backwards else times


def _end(value: Any, begin_s: float, context: Context) -> float:
    """Of an entry; in the hour that a clock shows twice, the first moment after its beginning."""
    end_s = moment(value, context.zone)
    return end_s if end_s > begin_s else moment(value, context.zone, {end_s})


def _known(value: Any) -> float | None:
    """The number, None for one that the message says it does not have."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if type(value) is float and math.isfinite(value):
        return value  # nearly all of them are
    try:
        return number(value)
    except NoValueError:
        return None
