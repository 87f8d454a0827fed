"""What the house saved lately, in a sentence: from the small file that `nisse savings --json` writes elsewhere."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from runtime.formats.plain_files import read_plain

SAVINGS_FILE = "savings.json"
FORMAT = "nisse-savings-1"
MAX_BYTES = 1 << 18
LONGEST_CURRENCY = 12
SHOWN_DAYS = 21
"""An older file says nothing of now."""


def saved(file: Path, now_s: float) -> str:
    """Of the last seven days of the log that the file is about; empty where there is no such file, or an old one."""
    try:
        document = json.loads(read_plain(file, MAX_BYTES))
        return _told(document, now_s) if document["format"] == FORMAT else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return ""


def _told(document: dict[str, Any], now_s: float) -> str:
    until = datetime.fromisoformat(str(document["until"]))
    if not -1.0 < (now_s - until.timestamp()) / 86_400.0 < SHOWN_DAYS:
        return ""
    week, money = document["week"], str(document["currency"])[:LONGEST_CURRENCY]
    total, energy, peaks = (float(week[name]) for name in ("total", "energy", "capacity"))
    days = float(week["days"])
    if not all(map(math.isfinite, (total, energy, peaks, days))):
        return ""
    ends = (week["low"], week["high"])
    span = "" if None in ends else f" ({float(ends[0]):.2f} to {float(ends[1]):.2f})"
    word = "saved" if total >= 0.0 else "lost"
    return (
        f"In {days:.0f} days until {until:%d.%m.} {word} {abs(total):.2f} {money} against the simple rules{span}: "
        f"energy {energy:+.2f}, peaks {peaks:+.2f}."
    )
