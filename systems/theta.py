"""Parameter files: what `nisse identify` and `nisse tune` write, and `evaluate` and `build` read.

    {"system": "battery", "theta": {"charge_efficiency": 0.94, ...}, "provenance": {...}}

Names that are left out keep the default of the problem. A plain {name: value} object is read as well.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from runtime.formats.documents import read_json
from systems.problem import Parameter


class ThetaFileError(ValueError):
    """A parameter file that does not fit the problem; the message names file, parameter and remedy."""

    exit_code = 65


class Parametrised(Protocol):
    """What a parameter file belongs to: a problem, or the table of its parameters alone."""

    @property
    def name(self) -> str: ...

    @property
    def theta(self) -> tuple[Parameter, ...]: ...


def read_theta(path: Path | str, problem: Parametrised) -> dict[str, float]:
    """All parameters of `problem` by name, in its order. Raises ThetaFileError."""
    try:
        content = read_json(path)
    except OSError as error:
        raise ThetaFileError(f"{path}: {error.strerror}; name a file written by `nisse tune` or `identify`") from error
    except ValueError as error:
        raise ThetaFileError(f"{path}: not a JSON file ({error}); name one written by `nisse tune`") from error
    if not isinstance(content, dict):
        raise ThetaFileError(f"{path}: not a JSON object; it needs the form {{'theta': {{name: value}}}}")
    system = content.get("system", problem.name)
    if system != problem.name:
        raise ThetaFileError(f"{path}: is for system {system!r}, not {problem.name!r}; name the file of this system")
    values = content.get("theta", content)
    if not isinstance(values, dict):
        raise ThetaFileError(f"{path}: 'theta' is not an object of names and values; see `nisse tune --help`")
    return check_theta(values, problem, str(path))


def check_theta(values: Mapping[str, Any], problem: Parametrised, source: str = "theta") -> dict[str, float]:
    """All parameters of `problem`, those in `values` replaced. Raises ThetaFileError for names, types and bounds."""
    parameters = {p.name: p for p in problem.theta}
    for name, value in values.items():
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(parameters)}"
            raise ThetaFileError(f"{source}: {problem.name} has no parameter {name!r}; {remedy}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ThetaFileError(f"{source}: {name} is {value!r}; it must be a finite number")
        p = parameters[name]
        if not p.lower <= value <= p.upper:
            raise ThetaFileError(
                f"{source}: {name} = {value:g} {p.unit} is outside {p.lower:g}..{p.upper:g}; correct it"
            )
    return {name: float(values.get(name, p.default)) for name, p in parameters.items()}


def write_theta(
    path: Path | str, problem: Parametrised, values: Mapping[str, float], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a parameter file, whole or not at all. Raises ThetaFileError when the values do not fit the problem."""
    content = {
        "system": problem.name,
        "theta": check_theta(values, problem),
        "provenance": dict(provenance or {}),
    }
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(target)
