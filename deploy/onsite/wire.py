"""How this side answers: one line of JSON each, the last of them `done` or `failed`."""

from __future__ import annotations

import json
import sys
from typing import Any


class OnsiteError(Exception):
    """What cannot be done here, and what to do about it, in one line."""


def tell(**document: Any) -> None:
    """One line to the other side."""
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for the person at the other end."""
    tell(say=text)
