"""Commands by MQTT, `set/<name>` and `request/<verb>`: parsed from any bytes, bounded, rate-limited, answered."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Any

from runtime.bundle.manifest import Manifest
from runtime.decide.ladder import Level
from runtime.decide.overrides import CommandRefusedError, Overrides, as_data, changed, fitting, from_data, settable

MODES = {"auto": Level.MPC, "rule": Level.RULE, "safe": Level.SAFE}
VERBS = ("cycle", "reload")
CAP_PREFIX = "max_"
MAX_TEXT = 64
MAX_BYTES = 1024
COMMANDS_PER_S = 2.0
COMMANDS_BURST = 10
TOO_MANY = f"too many commands; at most {COMMANDS_PER_S:g} a second"
COMMANDS_PER_HOUR = 60
TOO_MANY_IN_THE_HOUR = (
    f"too many commands; {COMMANDS_PER_HOUR} at once and {COMMANDS_PER_HOUR} an hour in the long run: "
    "say less often what is wanted"
)
_TOPIC = re.compile(r"(set|request)/([a-z][a-z0-9_]{0,71})")


@dataclass(frozen=True)
class Order:
    """What somebody wants: `kind` is set or request, `name` the last part of the topic, `value` the payload's text."""

    kind: str
    name: str
    value: str
    transaction: str = ""
    until: str = ""
    """How long it holds, where that is said."""
    problem: str = ""
    """Why it cannot be understood; empty otherwise."""


@dataclass(frozen=True)
class Wishes:
    """What the operator allows the controller, until something else is said: also after a restart."""

    mode: str = "auto"
    caps: Mapping[str, float] = field(default_factory=dict)
    """Action -> largest value allowed, in the action's unit; actions not named have their own bound."""
    overrides: Overrides = field(default_factory=Overrides)
    """What is wanted otherwise than scheduled."""

    @property
    def ceiling(self) -> Level:
        """The best level allowed."""
        return MODES[self.mode]


def parse_order(topic: str, payload: bytes) -> Order:
    """The payload is plain text, a number, or JSON with "value", "until" and "transaction"; never raises."""
    match = _TOPIC.fullmatch(topic)
    kind, name = match.groups() if match else ("", "unknown")
    if len(payload) > MAX_BYTES:
        return Order(kind, name, "", problem=f"payload larger than {MAX_BYTES} bytes")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return Order(kind, name, "", problem="payload is not UTF-8")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Order(kind, name, _bounded(text))
    if isinstance(document, dict):
        value, transaction, until = (_bounded(document.get(key, "")) for key in ("value", "transaction", "until"))
        return Order(kind, name, value, transaction, until)
    return Order(kind, name, _bounded(document))


def wished(wishes: Wishes, order: Order, manifest: Manifest, now_s: float = 0.0, zone: tzinfo = UTC) -> Wishes:
    """The wishes after a `set/...` at a Unix time, by the clock of a time zone. Raises CommandRefusedError."""
    if order.name in settable(manifest):
        overrides = changed(wishes.overrides, order.name, order.value, order.until, manifest, now_s, zone)
        return replace(wishes, overrides=overrides)
    if order.name == "mode":
        if order.value not in MODES:
            raise CommandRefusedError(f"mode is one of {', '.join(MODES)}")
        return replace(wishes, mode=order.value)
    spec = next((a for a in manifest.actions if CAP_PREFIX + a.name == order.name), None)
    if spec is None:
        known = ("mode", *settable(manifest), *(CAP_PREFIX + a.name for a in manifest.actions))
        raise CommandRefusedError(f"nothing of that name can be set; known here: {', '.join(known)}")
    try:
        value = float(order.value)
    except ValueError:
        value = math.nan
    if not spec.lower <= value <= spec.upper:
        raise CommandRefusedError(f"{order.name} is a number from {spec.lower:g} to {spec.upper:g} {spec.unit}")
    caps = {name: cap for name, cap in wishes.caps.items() if name != spec.name}
    return replace(wishes, caps=caps if value == spec.upper else {**caps, spec.name: value})


def kept(wishes: Wishes) -> str:
    """As text to keep; `recalled` reads it."""
    document = {"mode": wishes.mode, "caps": dict(wishes.caps), "overrides": as_data(wishes.overrides)}
    return json.dumps(document, allow_nan=False)


def recalled(text: str | None, manifest: Manifest) -> Wishes:
    """The wishes from before a restart; none where nothing, or nothing that can be read, was kept."""
    try:
        document = json.loads(text or "{}")
        overrides = from_data(document["overrides"]) if "overrides" in document else Overrides()
        caps = {str(n): float(c) for n, c in document["caps"].items()}
        wishes = Wishes(str(document.get("mode", "auto")), caps, overrides)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Wishes()
    return still_valid(wishes, manifest) if wishes.mode in MODES else Wishes()


def still_valid(wishes: Wishes, manifest: Manifest) -> Wishes:
    """The wishes as they apply to another bundle: of actions and forecasts that it has, inside their bounds."""
    bounds = {a.name: a for a in manifest.actions}
    caps = {n: c for n, c in wishes.caps.items() if n in bounds and bounds[n].lower <= c <= bounds[n].upper}
    return replace(wishes, caps=caps, overrides=fitting(wishes.overrides, manifest))


def answer(order: Order, error: str = "") -> str:
    """The response to publish on `response/<name>`."""
    document = {"status": "error" if error else "ok", "error": error, "transaction": order.transaction}
    return json.dumps(document, separators=(",", ":"))


def relaxes(wishes: Wishes, before: Wishes) -> bool:
    """Whether the controller may do anything that it might not before: a stricter mode alone is no such thing."""
    return replace(wishes, mode=before.mode) != before or wishes.ceiling <= before.ceiling


class RateLimit:
    """A token bucket: `burst` at once, `per_s` in the long run."""

    def __init__(self, per_s: float = COMMANDS_PER_S, burst: int = COMMANDS_BURST) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens, self._then_s = float(burst), -math.inf

    def allows(self, now_s: float) -> bool:
        """Take a token, if there is one; now_s is monotonic."""
        self._tokens = min(self._burst, self._tokens + self._per_s * max(0.0, now_s - self._then_s))
        self._then_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def _bounded(value: Any) -> str:
    """Text of at most MAX_TEXT characters; a number as Python writes it; empty for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # str of a huge int is refused by Python itself, and no set-point is that long
        value = str(value) if isinstance(value, float) or abs(value) < 1 << 63 else ""
    return value.strip()[:MAX_TEXT] if isinstance(value, str) else ""
