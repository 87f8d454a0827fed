"""What is wrong with a site file, in one line with file, line number and the key that was probably meant."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from runtime.decide.rules_data import KINDS
from runtime.formats.toml_lines import did_you_mean, line_of


def describe(file: type[BaseModel], path: Path, text: str, error: ValidationError) -> str:
    """The first mistake as one line; `file` is the model of the whole file, `path` and `text` where it came from."""
    # A misspelt key is both unknown and missing: unknown says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = _as_written(text, first["loc"])
    if first["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        where = (*where, "kind")
    line = line_of(text, where)
    key = ".".join(str(part) for part in where if not isinstance(part, int))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        message = f"unknown key {where[-1]!r}{did_you_mean(str(where[-1]), _known_keys(file, where[:-1]))}"
        return f"{path}:{line}: {message}{more}"
    if first["type"] == "missing":
        return f"{path}:{line}: {key} is missing; add it{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
    return f"{path}:{line}: {key}: {message}{shown}{more}"


def _as_written(text: str, location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The place in the file: a discriminated union puts its tag into it, and one rule need not be the first of many."""
    if len(location) > 3 and location[0] == "outputs" and location[2] == "shape":
        return (*location[:3], *location[4:])
    if not location or location[0] != "rule":
        return location
    number = location[1:2] if isinstance(tomllib.loads(text).get("rule"), list) else ()
    return ("rule", *number, *(part for i, part in enumerate(location) if i > 1 and not (i == 2 and part in KINDS)))


def _known_keys(file: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that the table at `path` may have."""
    annotations: list[Any] = [file]
    for part in (part for part in path if not isinstance(part, int)):
        annotations = [inner for annotation in annotations for inner in _step_into(annotation, part)]
    models = [model for annotation in annotations for model in _models(annotation)]
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    return sorted(keys - {"path", "text"})


def _step_into(annotation: Any, part: str | int) -> list[Any]:
    """The annotations of what stands under `part` in a value of type `annotation`."""
    if get_origin(annotation) is dict:
        return [get_args(annotation)[1]]
    fields = (item for model in _models(annotation) for item in model.model_fields.items())
    return [field.annotation for name, field in fields if part == (field.alias or name)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The tables in a type: itself, or those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
