"""How a device answers a set-point that is no power, from a log: least squares, and whether the log can tell.

power = kw_at_zero + kw_per_unit * set_point + kw_per_degree * outdoor
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.errors import ConfigError
from runtime.formats.plain_files import open_text

FEWEST = 20
SURE = 2.0
"""A slope counts that is so many of its standard errors away from zero."""


@dataclass(frozen=True)
class CurveResponse:
    """The numbers of a `response` shape, the standard error of each, and what they leave unexplained."""

    kw_at_zero: float
    kw_per_unit: float
    kw_per_degree: float
    errors: tuple[float, float, float]
    left_kw: float
    """Standard deviation of the rest."""
    count: int


def response(set_point: Sequence[float], power_kw: Sequence[float], outdoor: Sequence[float] | None) -> CurveResponse:
    """Fitted by least squares; rows with a gap do not count. Raises ConfigError where the log cannot tell."""
    columns = [np.ones(len(set_point)), np.asarray(set_point, dtype=float)]
    columns += [] if outdoor is None else [np.asarray(outdoor, dtype=float)]
    design, target = np.column_stack(columns), np.asarray(power_kw, dtype=float)
    whole = np.isfinite(design).all(axis=1) & np.isfinite(target)
    design, target = design[whole], target[whole]
    if len(target) < FEWEST:
        raise ConfigError(f"{len(target)} whole rows are too few to learn a response from; give {FEWEST} or more")
    if np.linalg.matrix_rank(design - design.mean(axis=0) * [0.0, *[1.0] * (design.shape[1] - 1)]) < design.shape[1]:
        raise ConfigError(
            "the set-point or the weather never changed by itself; move it by hand for some days and log again"
        )
    found, *_ = np.linalg.lstsq(design, target, rcond=None)
    rest = target - design @ found
    variance = float(rest @ rest) / max(1, len(target) - design.shape[1])
    errors = np.sqrt(np.diag(variance * np.linalg.inv(design.T @ design)))
    if abs(found[1]) < SURE * errors[1]:
        raise ConfigError(
            f"power changes by {found[1]:.3f} ± {SURE * errors[1]:.3f} kW for each unit, which may be nothing; "
            "move the set-point further, for longer, and log means of an hour"
        )
    third = (float(found[2]), float(errors[2])) if outdoor is not None else (0.0, 0.0)
    first = (float(errors[0]), float(errors[1]), third[1])
    return CurveResponse(float(found[0]), float(found[1]), third[0], first, variance**0.5, len(target))


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[float]]:
    """Columns of a CSV file with a header; an empty or foreign cell is a gap. Raises ConfigError."""
    try:
        with open_text(path) as file:
            rows = csv.DictReader(file)
            missing = [name for name in names if name not in (rows.fieldnames or [])]
            if missing:
                known = ", ".join(rows.fieldnames or []) or "nothing"
                raise ConfigError(f"{path}: no column {missing[0]!r}; it has {known}")
            table = list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a CSV file with a header") from error
    return {name: [_number(row[name]) for row in table] for name in names}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
