"""A bench's socket, at which a process is told in JSON lines what to do and at what time."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any, TextIO

from runtime.errors import LinkError
from runtime.formats.text import document_text


def connect(path: Path) -> socket.socket:
    """The bench's socket. Raises LinkError when nobody listens."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(str(path))
    except OSError as error:
        channel.close()
        raise LinkError(f"{path}: no bench listens ({error.strerror}); `nisse hil` starts it itself") from error
    return channel


def parse(line: str, orders: Collection[str]) -> dict[str, Any]:
    """One of the orders with its time, or "stop". Raises LinkError."""
    try:
        order = json.loads(line)
    except ValueError:
        order = None
    if not isinstance(order, dict) or order.get("do") not in {*orders, "stop"}:
        known = " | ".join(f'"{name}"' for name in (*orders, "stop"))
        raise LinkError(f'the bench sent {line[:80]!r}; it must send {{"do": {known}, ...}}')
    if order["do"] != "stop" and not isinstance(order.get("time"), int | float):
        raise LinkError(f"the bench sent an order without a time: {line[:80]!r}")
    return order


def send(out: TextIO, document: dict[str, Any]) -> None:
    out.write(document_text(document) + "\n")
    out.flush()
