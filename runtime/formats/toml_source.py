"""TOML with a memory of its lines: turns a validation error into `file:line: what is wrong, and what was meant`."""

from __future__ import annotations

import itertools
import re
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from runtime.formats.toml_lines import did_you_mean

Location = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-\"'. ]+?)\s*=")
_SYNTAX_LINE = re.compile(r"\(at line (\d+), column \d+\)")


class TomlSource:
    """One TOML file. `error_type(message)` is what its errors are raised as."""

    def __init__(self, path: Path, text: str, error_type: type[Exception]) -> None:
        self.path, self.text, self._error_type = path, text, error_type
        self._lines = locate(text)

    def load(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            found = _SYNTAX_LINE.search(str(error))
            line = int(found[1]) if found else self.text.count("\n") + 1
            what = _SYNTAX_LINE.sub("", str(error)).strip()
            raise self._error_type(f"{self.path}:{line}: not TOML ({what}): correct the line") from error
        except RecursionError as error:
            raise self._error_type(f"{self.path}: nested too deeply to be read; write fewer brackets") from error

    def line(self, location: Sequence[str | int]) -> int:
        """Line of a key or table, or of the nearest enclosing table that is written down."""
        place = tuple(location)
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def error(self, location: Sequence[str | int], message: str) -> Exception:
        return self._error_type(f"{self.path}:{self.line(location)}: {message}")

    def explain(self, error: ValidationError, model: type[BaseModel]) -> Exception:
        """The first problem of a validation, in one line, with the nearest known name for a misspelt one."""
        problems = error.errors(include_url=False)
        # A misspelt key is the reason when a required one is missing, so it is told first.
        first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        location: Location = tuple(first["loc"])
        # A part with brackets is one of several types that the value might have had.
        location = tuple(itertools.takewhile(lambda part: isinstance(part, int) or "[" not in part, location))
        name = ".".join(str(part) for part in location if not isinstance(part, int))
        match first["type"]:
            case "extra_forbidden":
                hint = did_you_mean(str(location[-1]), fields_at(model, location[:-1]))
                message = f"unknown key {location[-1]!r}{hint}"
            case "missing":
                message = f"{name} is missing: add it"
            case "value_error":
                text = first["msg"].removeprefix("Value error, ")
                message = f"{name}: {text}" if name else text
            case "literal_error":
                known = re.findall(r"'([^']+)'", str(first.get("ctx", {}).get("expected", "")))
                message = f"{name}: {_found(first['input'])} is none of them{did_you_mean(str(first['input']), known)}"
            case "too_short":
                message = f"{name}: name at least one; found {_found(first['input'])}"
            case "tuple_type" | "list_type":
                message = f"{name}: write a list, in brackets; found {_found(first['input'])}"
            case "model_type" | "dict_type":
                message = f"{name}: write a table, with its keys; found {_found(first['input'])}"
            case _:
                text = first["msg"].replace("Input should", "must", 1)
                text = f"{text[0].lower()}{text[1:]}"
                message = f"{name}: {text}, found {_found(first['input'])}; correct it"
        return self.error(location, message)


def _found(value: object, longest: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= longest else text[:longest] + "..."


def locate(text: str) -> dict[Location, int]:
    """Line (from 1) of every table and key that is written on a line of its own; array tables get an index."""
    lines: dict[Location, int] = {}
    counts: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is not None:
            table = _split(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                lines.setdefault(table, number)
                table = (*table, counts[table])
            elif table[:-1] in counts:  # a sub-table of the last element of an array of tables
                table = (*table[:-1], counts[table[:-1]], table[-1])
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault((*table, *_split(key[1])), number)
    return lines


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys that `model` knows at a location, as they are written in the file."""
    for part in location:
        if isinstance(part, int):
            continue
        found = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        nested = None if found is None else _model_in(found.annotation)
        if nested is None:
            return []
        model = nested
    return [f.alias or n for n, f in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in typing.get_args(annotation) if (m := _model_in(a)) is not None), None)
