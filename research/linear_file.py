"""A linear system with costs and sets from a TOML file.

A = [[0.9, 0.1], [0.0, 0.9]]      # s+ = A s + B a + w
B = [[0.0], [0.3]]
Q = [[2.0, 0.0], [0.0, 0.5]]      # stage cost s'Qs + a'Ra
R = [[0.5]]
noise_std = 0.1                   # of each w, where w is random
start = [0.5, 0.0]                # s_0
state = { limit = [1.0, 2.0] }    # |s_i| <= limit_i, or { F = [[1, 1]], b = [1] } for F s <= b
action = { limit = [0.5] }
disturbance = { limit = [0.02, 0.02] }
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.formats.documents import read_toml
from systems.polytope import Polytope, box, make_polytope, require_bounded, require_nonempty
from systems.set_errors import BadSystem

Array = NDArray[np.float64]
MATRICES, SETS = ("A", "B", "Q", "R"), ("state", "action", "disturbance")


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """A (n, n), B (n, m), Q (n, n), R (m, m), start (n,), sets of states, actions and disturbances."""

    a: Array
    b: Array
    q: Array
    r: Array
    noise_std: float
    start: Array
    state: Polytope
    action: Polytope
    disturbance: Polytope


def read_linear(path: Path, default: LinearProblem) -> LinearProblem:
    """What the file leaves out is the default's. Raises BadSystem or EmptySet, naming file, entry and value."""
    try:
        held = read_toml(path)
    except OSError as error:
        raise BadSystem(f"{path}: cannot be read ({error.strerror}); name a TOML file") from error
    except ValueError as error:
        raise BadSystem(f"{path}: {error}; see `nisse experiment invariant-sets --help` for an example") from error
    known = {*MATRICES, *SETS, "noise_std", "start"}
    if unknown := sorted(set(held) - known):
        raise BadSystem(f"{path}: {unknown[0]!r} is no entry; it takes {', '.join(sorted(known))}")
    values = {name: _numbers(path, name, held[name]) for name in (*MATRICES, "noise_std", "start") if name in held}
    sets = {name: _polytope(path, name, held[name]) for name in SETS if name in held}
    return check_linear(
        LinearProblem(
            values.get("A", default.a),
            values.get("B", default.b),
            values.get("Q", default.q),
            values.get("R", default.r),
            float(values.get("noise_std", np.array(default.noise_std)).item()),
            values.get("start", default.start),
            sets.get("state", default.state),
            sets.get("action", default.action),
            sets.get("disturbance", default.disturbance),
        ),
        str(path),
    )


def check_linear(problem: LinearProblem, name: str) -> LinearProblem:
    """The problem itself. Raises BadSystem where sizes do not fit, EmptySet where a set holds no point."""
    n, m = len(problem.a), problem.b.shape[-1]
    if problem.a.shape != (n, n):
        raise BadSystem(f"{name}: A must be square, and has shape {problem.a.shape}")
    if m == 0:
        raise BadSystem(f"{name}: B has shape {problem.b.shape}: give a column for each action")
    wanted = {"B": (n, m), "Q": (n, n), "R": (m, m), "start": (n,)}
    for entry, shape in wanted.items():
        found = getattr(problem, entry.lower()).shape
        if found != shape:
            words = " x ".join(str(size) for size in shape)
            raise BadSystem(f"{name}: {entry} has shape {found}, and with A {problem.a.shape} it must be {words}")
    for entry, size in (("state", n), ("action", m), ("disturbance", n)):
        polytope = getattr(problem, entry)
        if polytope.dimension != size:
            raise BadSystem(f"{name}: {entry} bounds {polytope.dimension} numbers, and there are {size}")
        require_nonempty(polytope, f"{name}: {entry}")
    require_bounded(problem.disturbance, f"{name}: disturbance")
    if not problem.noise_std >= 0.0:
        raise BadSystem(f"{name}: noise_std is {problem.noise_std:g}; a standard deviation is a number from 0 up")
    if (problem.disturbance.offsets < 0.0).any():
        raise BadSystem(f"{name}: disturbance must hold 0, and a row says 0 <= {problem.disturbance.offsets.min():g}")
    for entry, kind in (("Q", "semidefinite"), ("R", "definite")):
        matrix = getattr(problem, entry.lower())
        lowest = float(np.linalg.eigvalsh((matrix + matrix.T) / 2.0)[0])
        if not np.allclose(matrix, matrix.T) or lowest < (-1e-12 if entry == "Q" else 1e-12):
            raise BadSystem(f"{name}: {entry} must be symmetric and positive {kind}; lowest eigenvalue {lowest:.3g}")
    return problem


def _numbers(path: Path, name: str, value: Any) -> Array:
    try:
        found = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise BadSystem(f"{path}: {name}: rows of one length with numbers are needed, not {value!r}") from error
    if not np.isfinite(found).all() or found.ndim != {"noise_std": 0, "start": 1}.get(name, 2):
        raise BadSystem(f"{path}: {name}: {value!r} is not what it takes; see `nisse experiment invariant-sets --help`")
    return found


def _polytope(path: Path, name: str, value: Any) -> Polytope:
    if not isinstance(value, dict) or set(value) not in ({"limit"}, {"F", "b"}):
        raise BadSystem(f"{path}: {name}: write {{ limit = [...] }}, or {{ F = [[...]], b = [...] }}, not {value!r}")
    try:
        return box(value["limit"]) if "limit" in value else make_polytope(value["F"], value["b"])
    except (TypeError, ValueError) as error:
        raise BadSystem(f"{path}: {name}: {error}") from error
