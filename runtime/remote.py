"""Commands by MQTT, `set/<name>` and `request/<verb>`: parsed from any bytes, bounded, and always answered."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from runtime.ladder import Level

MODES = {"auto": Level.MPC, "rule": Level.RULE, "safe": Level.SAFE}
MAX_TEXT = 64
_NAME = re.compile(r"(?:set|request)/([a-z_]{1,40})")


@dataclass(frozen=True)
class Order:
    """What somebody wants: `name` is the last part of the topic, `value` the payload's text."""

    name: str
    value: str
    transaction: str = ""


def parse_order(topic: str, payload: bytes) -> Order:
    """The payload is plain text, or JSON {"value": ..., "transaction": "..."}; what is neither has an empty value."""
    match = _NAME.fullmatch(topic)
    name = match.group(1) if match else "unknown"
    try:
        text = payload[:1024].decode()
    except UnicodeDecodeError:
        return Order(name, "")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Order(name, _bounded(text))
    if isinstance(document, dict):
        return Order(name, _bounded(document.get("value", "")), _bounded(document.get("transaction", "")))
    return Order(name, _bounded(document))


def answer(order: Order, error: str = "") -> str:
    """The response to publish on `response/<name>`."""
    document = {"status": "error" if error else "ok", "error": error, "transaction": order.transaction}
    return json.dumps(document, separators=(",", ":"))


def _bounded(value: Any) -> str:
    return value.strip()[:MAX_TEXT] if isinstance(value, str) else ""
