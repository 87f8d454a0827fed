"""What a daemon remembers of bundles: the last good one, refused ones, the newest accepted; kept twice on the disk.

A power cut leaves the old record or the new one. Where one of the two copies is damaged the other one serves.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.bundle.serials import Stamp, as_record, from_record, later
from runtime.formats.plain_files import read_plain, replace_durably

RECORD, COPY = "record.json", "record.copy.json"
KEPT_REFUSALS = 16
MAX_RECORD_BYTES = 1 << 20

log = logging.getLogger("nisse.bundles")


@dataclass(frozen=True)
class CopiesRecord:
    """good: bundle and theta that stood their trial last. begun: those that a site without such began with."""

    good: dict[str, str] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Identity -> why."""
    newest: dict[str, Stamp] = field(default_factory=dict)
    """`bundle` and `theta`, as last accepted."""

    def with_refusal(self, identity: str, reason: str) -> CopiesRecord:
        refused = {**self.refused, identity: reason}
        return replace(self, refused=dict(list(refused.items())[-KEPT_REFUSALS:]))


def read_record(folder: Path) -> CopiesRecord:
    """What can be read of it. The newest serial numbers are those of both copies."""
    documents = [_read(folder / name) for name in (RECORD, COPY)]
    known = next((d for d in documents if d is not None), {})
    tables = {name: _texts(known.get(name)) for name in ("good", "begun", "refused")}
    newest = [from_record(d.get("newest")) for d in documents if d is not None]
    kinds = {kind for stamps in newest for kind in stamps}
    merged: dict[str, Stamp] = {}
    for kind in sorted(kinds):
        best: Stamp | None = None
        for stamps in newest:
            best = later(best, stamps.get(kind))
        if best is not None:
            merged[kind] = best
    return CopiesRecord(**tables, newest=merged)


def write_record(folder: Path, record: CopiesRecord) -> None:
    """Trouble is logged: what became of bundles is forgotten at the end then."""
    document = {
        "good": record.good,
        "begun": record.begun,
        "refused": record.refused,
        "newest": as_record(record.newest),
    }
    content = json.dumps(document).encode()
    for name in (RECORD, COPY):
        try:
            replace_durably(folder / name, content)
        except OSError as error:
            log.error("%s: %s; what became of bundles is forgotten at the end", folder / name, error.strerror)


def _read(file: Path) -> dict[str, Any] | None:
    """None for none, or for one that makes no sense."""
    try:
        document: Any = json.loads(read_plain(file, MAX_RECORD_BYTES, follow=False))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s: cannot be read (%s)", file, error)
        return None
    return document if isinstance(document, dict) else None


def _texts(table: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}
