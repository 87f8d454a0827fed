"""From the bytes of a message to a value: any bytes may arrive, only PayloadError leaves."""

from __future__ import annotations

import json
import math
from datetime import UTC, tzinfo
from typing import Any

from runtime.errors import ConfigError
from runtime.formats.literals import PayloadError, finite, moment, number
from runtime.formats.profile import Profile, Value
from runtime.formats.shapes import Context, value_of
from runtime.formats.units import IDENTITY, Conversion, conversion, is_price, kind_of

MAX_PAYLOAD_BYTES = 256 << 10
HOME_ASSISTANT_UNIT = "unit_of_measurement"


def parse_payload(
    payload: bytes,
    pointer: str = "",
    *,
    unit: str = "",
    unit_pointer: str = "",
    value_key: str = "",
    zone: tzinfo | None = UTC,
) -> Value:
    """A number, or a forecast in one of the shapes of `runtime.formats.shapes`; `pointer` is RFC 6901.

    unit: in which the value is wanted. unit_pointer: where the message names its own, which is converted to that; a
    whole state of Home Assistant names it without being asked, and one that is not known here is refused. value_key:
    the field of the value in each entry of a list. zone: of times without an offset, where the message names none.
    Raises PayloadError.
    """
    document = _document(payload)
    parents, found = resolve(document, pointer)
    context = Context(unit, value_key, zone)
    for parent in parents:
        context = context.inside(parent) if isinstance(parent, dict) else context
    value = value_of(parents[-1] if parents else None, found, context)
    if unit_pointer:
        named = resolve(document, unit_pointer)[1]
        return _converted(value, _named_unit(named if isinstance(named, str) else "no unit", unit, str(named)))
    said = found.get("attributes", {}) if isinstance(found, dict) else {}
    said = said.get(HOME_ASSISTANT_UNIT) if isinstance(said, dict) else None
    said = said.strip() if isinstance(said, str) else ""
    if unit and said and not _of_something_else(value, said, unit):
        return _converted(value, _named_unit(said, unit, said))
    return value


def parse_time(payload: bytes, pointer: str, zone: tzinfo | None = UTC, latest_s: float = math.inf) -> float:
    """Unix seconds of the time that a message names at `pointer`. Raises PayloadError.

    latest_s: of the two moments that one time of the clock may mean, in autumn, the later one is meant up to this.
    """
    parents, found = resolve(_document(payload), pointer)
    for parent in parents:
        zone = Context(zone=zone).inside(parent).zone if isinstance(parent, dict) else zone
    first_s = moment(found, zone)
    second_s = moment(found, zone, {first_s})
    return second_s if second_s <= latest_s else first_s


def _document(payload: bytes) -> Any:
    """What JSON says, or the bare text of a number, as many programs send it."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError(f"larger than {MAX_PAYLOAD_BYTES >> 10} kB")
    try:
        text = payload.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise PayloadError("not JSON") from None
    if not text.startswith(("{", "[", '"')) and text not in {"true", "false", "null"}:
        return number(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise PayloadError("not JSON") from None


def resolve(document: Any, pointer: str) -> tuple[list[Any], Any]:
    """(what holds it, from the outside in; the value) at a JSON pointer. Raises PayloadError."""
    parents, found = [], document
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        parents.append(found)
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isascii() and key.isdigit() and len(key) < 6 and int(key) < len(found):
            found = found[int(key)]
        else:
            raise PayloadError(f"nothing at {pointer!r}")
    return parents, found


def _of_something_else(value: Value, said: str, unit: str) -> bool:
    """A state of the energy of a day may carry the forecast of its power: what it names is the unit of the state."""
    prices = is_price(said) and is_price(unit)
    return isinstance(value, Profile) and kind_of(said) != kind_of(unit) and not prices


def _named_unit(named: str, unit: str, shown: str) -> Conversion:
    """From the unit that the message names to `unit`."""
    try:
        return conversion(named, unit)
    except ConfigError:
        raise PayloadError(f"in {shown[:20]!r}, which is no {unit!r}") from None


def _converted(value: Value, convert: Conversion) -> Value:
    if convert == IDENTITY:
        return value
    if isinstance(value, Profile):
        converted = value.converted(convert)
        for one in converted.values:
            finite(one)
        return converted
    return finite(convert(value))
