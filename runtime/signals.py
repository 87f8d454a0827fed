"""Values that come from outside: parsed, dated, judged. Any bytes may arrive; only PayloadError leaves the parser."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from runtime.errors import ConfigError
from runtime.manifest import SignalSpec
from runtime.units import IDENTITY, Conversion, conversion

MAX_PAYLOAD_BYTES = 256 << 10
MAX_VALUES = 20_000


class PayloadError(ValueError):
    """A message that holds no usable value; the text says why."""


class Validity(StrEnum):
    """What may be done with a value: `ok` is used, and so are its two substitutes; the others are not."""

    OK = "ok"
    HELD = "held"
    """The last good value stands in."""
    ESTIMATED = "estimated"
    """The model's value stands in."""
    MISSING = "missing"
    STALE = "stale"
    MALFORMED = "malformed"
    OUT_OF_RANGE = "out_of_range"
    FROZEN = "frozen"


USABLE = frozenset({Validity.OK, Validity.HELD, Validity.ESTIMATED})


@dataclass(frozen=True)
class Profile:
    """A forecast: values[i] holds from start_s + i * step_s (Unix seconds) for step_s."""

    start_s: float
    step_s: float
    values: tuple[float, ...]

    @property
    def end_s(self) -> float:
        return self.start_s + self.step_s * len(self.values)


Value = float | Profile


@dataclass(frozen=True)
class Arrival:
    """What a link delivered last for one input: a value or the reason why there is none.

    `monotonic_s` dates the last good value, which outlives later bad ones until it is too old.
    """

    value: Value | None
    monotonic_s: float
    problem: str = ""


@dataclass(frozen=True)
class Sample:
    """One input in the process image, in the bundle's unit."""

    name: str
    value: Value | None
    age_s: float | None
    validity: Validity
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the value may be used."""
        return self.validity in USABLE


def sample(spec: SignalSpec, arrival: Arrival | None, convert: Conversion, max_age_s: float, now_s: float) -> Sample:
    """Convert and judge what arrived; `now_s` is monotonic."""
    if arrival is None:
        return Sample(spec.name, None, None, Validity.MISSING, "nothing received yet")
    if arrival.value is None:
        return Sample(spec.name, None, None, Validity.MALFORMED, arrival.problem)
    age = now_s - arrival.monotonic_s
    value = _converted(arrival.value, convert)
    if age > max_age_s:
        problem = arrival.problem or f"older than {max_age_s:g} s"
        return Sample(spec.name, value, age, Validity.STALE, problem)
    least, most = (value, value) if isinstance(value, float) else (min(value.values), max(value.values))
    if least < spec.lower or most > spec.upper:
        worst = least if least < spec.lower else most
        problem = f"{worst:g} {spec.unit} is outside [{spec.lower:g}, {spec.upper:g}]"
        return Sample(spec.name, value, age, Validity.OUT_OF_RANGE, problem)
    return Sample(spec.name, value, age, Validity.OK, arrival.problem)


def parse_payload(payload: bytes, pointer: str = "", *, unit: str = "", unit_pointer: str = "") -> Value:
    """A number, or a forecast {"start": ISO 8601 or Unix s, "step_s": s, "values": [...]}; `pointer` is RFC 6901.

    A pointer may lead to the list of values: start and step_s are then read beside it. unit_pointer: where the message
    names its unit, which is converted to `unit`. Raises PayloadError.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError(f"larger than {MAX_PAYLOAD_BYTES >> 10} kB")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        raise PayloadError("not JSON") from None
    value = _value(*_resolve(document, pointer))
    return _converted(value, _named_unit(document, unit_pointer, unit)) if unit_pointer else value


def _value(parent: Any, found: Any) -> Value:
    if isinstance(found, dict):
        if "values" not in found:
            raise PayloadError("an object without 'values'")
        parent, found = found, found["values"]
    if isinstance(found, list):
        return _profile(parent, found)
    return _number(found)


def _named_unit(document: Any, pointer: str, unit: str) -> Conversion:
    """From the unit that the message names to `unit`."""
    _, named = _resolve(document, pointer)
    try:
        return conversion(named, unit) if isinstance(named, str) else conversion("no unit", unit)
    except ConfigError:
        raise PayloadError(f"in {str(named)[:20]!r}, which is no {unit!r}") from None


def _profile(parent: Any, values: list[Any]) -> Profile:
    if not isinstance(parent, dict) or "start" not in parent or "step_s" not in parent:
        raise PayloadError("a list of values needs 'start' and 'step_s' beside it")
    if not 0 < len(values) <= MAX_VALUES:
        raise PayloadError(f"a forecast has 1 to {MAX_VALUES} values")
    step_s = _number(parent["step_s"])
    if not 1.0 <= step_s <= 7 * 86400.0:
        raise PayloadError(f"step_s = {step_s:g} is not between one second and a week")
    return Profile(_time(parent["start"]), step_s, tuple(_number(value) for value in values))


def _time(value: Any) -> float:
    if not isinstance(value, str):
        return _number(value)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise PayloadError(f"start {value[:40]!r} has no time zone")
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise PayloadError(
            str(error) if isinstance(error, PayloadError) else f"start {value[:40]!r} is no time"
        ) from None


def _number(value: Any) -> float:
    # bool is an int in Python; true is no measurement
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PayloadError(f"{type(value).__name__} instead of a number")
    try:
        number = float(value)
    except OverflowError:
        raise PayloadError("a number too large") from None
    if not math.isfinite(number):
        raise PayloadError("not a finite number")
    return number


def _resolve(document: Any, pointer: str) -> tuple[Any, Any]:
    """(what holds it, the value) at a JSON pointer."""
    parent, found = None, document
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        parent = found
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(found):
            found = found[int(key)]
        else:
            raise PayloadError(f"nothing at {pointer!r}")
    return parent, found


def _converted(value: Value, convert: Conversion) -> Value:
    if convert == IDENTITY:
        return value
    if isinstance(value, float):
        return convert(value)
    return Profile(value.start_s, value.step_s, tuple(convert(v) for v in value.values))
