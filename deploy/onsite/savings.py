"""What was saved, laid beside the daemon's log, where the page of the house looks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.onsite.log import described
from deploy.onsite.places import put

FILE = "savings.json"


def keep_savings(site: Path, text: str) -> dict[str, Any]:
    """`text` is the whole file; where it lies now."""
    _, _, log = described(site)
    target = log.with_name(FILE)
    put(target, text.encode(), 0o644)
    return {"kept": str(target)}
