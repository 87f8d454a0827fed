"""What a retune found and what became of its theta: verdict.json and its page, written anew whenever more is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from systems.commands.output import write_json
from tuner.report.retune import write_page

VERDICT, PAGE = "verdict.json", "verdict.html"
State = Literal["not sent", "packed", "under way", "in force", "taken back", "kept", "gone back"]
"""`packed`: a person installs it. `under way`: it went off, and no answer came back. `taken back`: the daemon did not
accept it. `kept` and `gone back`: what came of its week."""


def write_verdict(folder: Path, document: Mapping[str, Any], state: State, said: str) -> dict[str, Any]:
    """The document with the outcome in it, as it is on disk."""
    whole = {**document, "outcome": {"state": state, "said": said}}
    write_json(folder / VERDICT, whole)
    write_page(folder / PAGE, whole)
    return whole


def settle(folder: Path, serial: int, state: State, said: str) -> None:
    """Say on the page of the theta with this serial what became of it; nothing where the page is of another one."""
    try:
        document = json.loads((folder / VERDICT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(document, dict) and document.get("serial") == serial:
        write_verdict(folder, document, state, said)
