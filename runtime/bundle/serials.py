"""What is newer: serial numbers of bundles and theta updates, and the order of those from before there were any.

A signature says who made something, not that it is the latest. So whoever may write in a bundle's place, without a key,
could bring back what was given up. A serial number grows with every bundle or update; one that is not larger than the
last accepted one is refused, unless the operator at the machine allows that very one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runtime.errors import BundleOlderError
from runtime.formats.plain_files import read_plain, replace_durably

PERMISSION = "allow-older.json"
MAX_PERMISSION_BYTES = 1 << 12


@dataclass(frozen=True)
class Stamp:
    """What tells one bundle or theta update from another, and which is newer."""

    digest: str
    serial: int = 0
    """0: from before there were serial numbers, and older than any that has one."""
    created_s: float = 0.0
    """Unix time at which it was made; 0 where it does not say."""

    def problem(self, accepted: Stamp | None) -> str:
        """Why it is no news after `accepted`, the last one accepted; empty where it is news, or is that one itself."""
        if accepted is None or self.digest == accepted.digest or self.serial > accepted.serial:
            return ""
        if self.serial or accepted.serial:
            return f"serial number {self.serial or 'missing'}, and {accepted.serial} was accepted before"
        # Neither has a number: the day decides, where both have one.
        if self.created_s and self.created_s < accepted.created_s:
            return "made before the one that was accepted last"
        return ""


def stamp(digest: str, serial: int, created: str) -> Stamp:
    """created: ISO 8601, or empty."""
    try:
        made_s = datetime.fromisoformat(created).timestamp()
    except (ValueError, OverflowError, OSError):
        made_s = 0.0
    return Stamp(digest, serial, made_s)


def check_news(what: str, new: Stamp, accepted: Stamp | None) -> None:
    """Raises BundleOlderError."""
    problem = new.problem(accepted)
    if problem:
        raise BundleOlderError(
            f"{what} {new.digest[:16]} is older: {problem}; make a new one, or allow it with --allow-older"
        )


def as_record(stamps: dict[str, Stamp]) -> dict[str, Any]:
    """As JSON; `from_record` reads it."""
    return {kind: {"digest": s.digest, "serial": s.serial, "created_s": s.created_s} for kind, s in stamps.items()}


def from_record(document: Any) -> dict[str, Stamp]:
    """What can be understood of it."""
    found = {}
    for kind, entry in document.items() if isinstance(document, dict) else ():
        try:
            found[str(kind)] = Stamp(str(entry["digest"]), int(entry["serial"]), float(entry["created_s"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return found


def later(one: Stamp | None, other: Stamp | None) -> Stamp | None:
    """The newer of two memories of the same thing."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda s: (s.serial, s.created_s))


def permit(folder: Path, digests: list[str]) -> Path:
    """Let the daemon whose state is in `folder` take these although they are older. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / PERMISSION
    replace_durably(file, json.dumps({"digests": digests}).encode(), mode=0o644)
    return file


def permitted(folder: Path) -> frozenset[str]:
    """What the operator allows; nothing where that cannot be read."""
    try:
        document = json.loads(read_plain(folder / PERMISSION, MAX_PERMISSION_BYTES, follow=False))
        return frozenset(map(str, document["digests"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()
