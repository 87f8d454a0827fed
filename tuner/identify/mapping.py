"""Foreign names of log columns: read from a file, or proposed where a name resembles one that is missing.

[columns]
living_c = "sensor.living_room_temperature"
hp_kw = { column = "Energy heat pump", unit = "kWh" }
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from runtime.formats.plain_files import read_text
from systems.logs.log import LogColumn, LogError
from systems.toml_text import TomlSource, did_you_mean
from tuner.identify.units import UNITS, LogUnit, unit_of

LIKE = 0.45
"""Share of a name's words that make it a proposal."""
WORDS = {
    "temperature": "c", "temp": "c", "temperatur": "c", "power": "kw", "leistung": "kw", "battery": "soc",
    "consumption": "load", "solar": "pv", "outside": "outdoor", "ambient": "outdoor", "irradiance": "sun",
    "radiation": "sun", "grid": "import", "house": "load",
}  # fmt: skip


@dataclass(frozen=True)
class Foreign:
    """A column of a file and what unit it is in; None: what its name says, or the column's own."""

    column: str
    unit: LogUnit | None = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str
    unit: str | None = None


def _entry(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    columns: dict[str, Annotated[_Entry, BeforeValidator(_entry)]]


def read_map(path: Path, columns: Sequence[LogColumn]) -> dict[str, Foreign]:
    """Raises LogError for a name or unit that the house has not."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"--map {path}: {error}; name a file with a table [columns]") from error
    source = TomlSource(path, text, LogError)
    try:
        entries = _File.model_validate(source.load()).columns
    except ValidationError as error:
        raise source.explain(error, _File) from error
    known, found = {column.name: column for column in columns}, dict[str, Foreign]()
    for name, entry in entries.items():
        if name not in known:
            hint = did_you_mean(name, list(known))
            raise source.error(("columns", name), f"no asset of this house learns from {name!r}{hint}")
        unit = None if entry.unit is None else unit_of(known[name], entry.unit)
        if entry.unit is not None and unit is None:
            units = ", ".join(unit.name for unit in UNITS[known[name].quantity])
            raise source.error(("columns", name), f"{name} cannot be in {entry.unit!r}; it may be in {units}")
        found[name] = Foreign(entry.column, unit)
    return found


def propose(missing: Sequence[LogColumn], spare: Sequence[str]) -> dict[str, str]:
    """A foreign name for each missing column that one resembles enough; each is proposed once, the likeliest first."""
    scores = sorted(
        ((likeness(column.name, name), column.name, name) for column in missing for name in spare), reverse=True
    )
    found: dict[str, str] = {}
    for score, column, name in scores:
        if score >= LIKE and column not in found and name not in found.values():
            found[column] = name
    return found


def likeness(ours: str, foreign: str) -> float:
    """0 to 1: shared words, with what they are commonly called, and spelling."""
    mine, theirs = _words(ours), _words(foreign.rpartition(".")[2])
    shared = len(set(mine) & set(theirs)) / len(set(mine) | set(theirs)) if mine and theirs else 0.0
    spelling = difflib.SequenceMatcher(None, " ".join(mine), " ".join(theirs)).ratio()
    # What one calls a temperature is no power, however alike the rest.
    same_kind = (mine[-1:] == theirs[-1:]) or mine[-1] in theirs if mine and theirs else False
    return (shared + spelling) / 2 if same_kind else 0.0


def _words(name: str) -> list[str]:
    return [WORDS.get(word, word) for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def map_text(proposal: Mapping[str, str]) -> str:
    """A file that `read_map` reads."""
    lines = ["# Proposed by nisse: which column of the log is meant by each of ours. Look at it, and correct it.", ""]
    return (
        "\n".join([*lines, "[columns]", *(f"{ours} = {json.dumps(theirs)}" for ours, theirs in proposal.items())])
        + "\n"
    )
