"""A researcher's own system in one file: its Problem, and the world that says what really happens.

    problem    a systems.problem.Problem, or a function that returns one
    World      a class without arguments: reset(rng) begins an episode, observe() -> (state (nx,), forecast
               (N + 1, nd)), step(action (na,)) -> what the decision cost in reality
    steps      decisions of an episode (default 100)
    learn      parameters, or groups of them, that may move (default: all)

The file travels to the workers as text, so that what they run is what was read.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from runtime.formats.plain_files import read_text
from systems.logs.log import Array
from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Problem

STEPS = 100


class OwnSystemError(ValueError):
    """A system file that cannot be used: one line, with the remedy."""

    exit_code = 65


class OwnWorld(Protocol):
    """The real system, or a simulation of it. All that is random in it comes from the generator of `reset`."""

    def reset(self, rng: np.random.Generator) -> None: ...

    def observe(self) -> tuple[Array, Array]: ...

    def step(self, action: Array) -> float: ...


@dataclass(frozen=True, eq=False)
class OwnSystem:
    """What a file defines, looked at."""

    problem: Problem
    make_world: Callable[[], OwnWorld]
    steps: int
    learn: tuple[str, ...]


@dataclass(frozen=True)
class SystemFile:
    """A system's file, read."""

    text: str
    name: str

    def run(self, world: OwnWorld, method: str, *args: Any) -> Any:
        """world.method(*args). Raises OwnSystemError for whatever the file raises."""
        try:
            return getattr(world, method)(*args)
        except Exception as error:
            raise OwnSystemError(f"{self.name}: World.{method} raised {_told(error, self.name)}; mend it") from error


def read_system(path: Path) -> SystemFile:
    """Raises OwnSystemError where it cannot be read."""
    try:
        return SystemFile(read_text(path), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise OwnSystemError(f"{path}: {reason}; name a Python file as docs show it (a system of your own)") from error


@lru_cache(maxsize=2)
def system_of(file: SystemFile) -> OwnSystem:
    """The file run, once a process. Raises OwnSystemError for what is missing, misshapen or random without leave."""
    module = ModuleType(f"nisse_own_{sha256(file.text.encode()).hexdigest()[:12]}")
    module.__file__ = file.name
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(file.text, file.name, "exec"), module.__dict__)
        found = module.__dict__
        problem = found.get("problem")
        problem = problem() if callable(problem) else problem
    except Exception as error:
        raise OwnSystemError(f"{_told(error, file.name)}; mend it and run again") from error
    if not isinstance(problem, Problem):
        raise OwnSystemError(
            f"{file.name}: `problem` is {type(problem).__name__}; define it as a systems.problem.Problem, or a "
            "function that returns one"
        )
    if misfit := _misfit(problem):
        raise OwnSystemError(f"{file.name}: {misfit}")
    world = found.get("World")
    lacking = [name for name in ("reset", "observe", "step") if not callable(getattr(world, name, None))]
    if world is None or lacking:
        what = "there is no class `World`" if world is None else f"World has no {lacking[0]}()"
        raise OwnSystemError(f"{file.name}: {what}; define World with reset(rng), observe() and step(action)")
    if not problem.theta:
        raise OwnSystemError(f"{file.name}: the problem has no theta to learn; give it at least one Parameter")
    steps, learn = found.get("steps", STEPS), found.get("learn", sorted({p.group for p in problem.theta}))
    if not isinstance(steps, int) or steps < 4:
        raise OwnSystemError(f"{file.name}: steps = {steps!r}; an episode needs a whole number of at least 4 decisions")
    if isinstance(learn, str) or not all(isinstance(name, str) for name in learn):
        raise OwnSystemError(f"{file.name}: learn = {learn!r}; write it as a tuple of names, as ('backoff',)")
    system = OwnSystem(problem, world, steps, tuple(learn))
    _try_world(file, system)
    return system


def _misfit(problem: Problem) -> str:
    """Where a function of the problem does not fit its signals, and what would; empty where all do."""
    sizes = {"x": problem.nx, "u": problem.nu, "d": problem.nd, "z": problem.nz, "p": problem.np}
    soft, soft_terminal = (len(p.linear) for p in (problem.soft_penalty, problem.soft_terminal_penalty))
    functions = {
        "dynamics": (problem.dynamics, STAGE_INPUTS, problem.nx), "stage_cost": (problem.stage_cost, STAGE_INPUTS, 1),
        "terminal_cost": (problem.terminal_cost, TERMINAL_INPUTS, 1), "soft": (problem.soft, STAGE_INPUTS, soft),
        "soft_terminal": (problem.soft_terminal, TERMINAL_INPUTS, soft_terminal),
        "hard": (problem.hard, STAGE_INPUTS, None),
    }  # fmt: skip
    for name, (function, inputs, rows) in functions.items():
        if function is None:
            continue
        if tuple(function.name_in()) != inputs:
            return f"{name} has the inputs {', '.join(function.name_in())}; name them {', '.join(inputs)}"
        for argument in inputs:
            if function.numel_in(argument) != sizes[argument]:
                return (
                    f"{name} takes {function.numel_in(argument)} numbers as {argument}, and the problem names "
                    f"{sizes[argument]}: states are x, actions and auxiliaries u, forecasts d, features z, theta p"
                )
        if rows is not None and function.numel_out(0) != rows:
            what = "one price a row in its SoftPenalty" if name.startswith("soft") else "as many as the problem has"
            return f"{name} gives {function.numel_out(0)} numbers where {rows} are due; give {what}"
    return ""


def begun(file: SystemFile, system: OwnSystem, rng: np.random.Generator) -> OwnWorld:
    """A world at the start of an episode. Raises OwnSystemError."""
    try:
        world = system.make_world()
    except Exception as error:
        raise OwnSystemError(f"{file.name}: World() raised {_told(error, file.name)}; it takes no arguments") from error
    file.run(world, "reset", rng)
    return world


def observed(file: SystemFile, system: OwnSystem, world: OwnWorld) -> tuple[Array, Array]:
    """(state (nx,), forecast (N + 1, nd)). Raises OwnSystemError for other shapes and for what is not finite."""
    problem, seen = system.problem, file.run(world, "observe")
    shapes = (problem.nx,), (problem.horizon + 1, problem.nd)
    try:
        state, forecast = (np.asarray(part, dtype=float) for part in seen)
    except (TypeError, ValueError) as error:
        raise OwnSystemError(f"{file.name}: observe() must return (state, forecast), two arrays of numbers") from error
    if problem.nd == 0:
        forecast = forecast.reshape(problem.horizon + 1, 0) if forecast.size == 0 else forecast
    for name, part, shape in zip(("state", "forecast"), (state, forecast), shapes, strict=True):
        if part.shape != shape:
            raise OwnSystemError(
                f"{file.name}: the {name} of observe() has shape {part.shape}; the problem's is {shape}, return that"
            )
        if not np.all(np.isfinite(part)):
            raise OwnSystemError(f"{file.name}: the {name} of observe() is not finite; keep the world within bounds")
    return state, forecast


def paid(file: SystemFile, world: OwnWorld, action: Array) -> float:
    """What a decision cost. Raises OwnSystemError for what is no finite number."""
    cost = file.run(world, "step", action)
    try:
        value = float(cost)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise OwnSystemError(f"{file.name}: step() returned {cost!r}; return the cost as a finite number")
    return value


def _try_world(file: SystemFile, system: OwnSystem) -> None:
    """Two episodes of a seed must agree: what is random outside of it can be neither paired nor resumed."""
    middle = np.array([(a.lower + a.upper) / 2 for a in system.problem.actions])
    seen = []
    for _ in range(2):
        world = begun(file, system, np.random.default_rng(0))
        state, _ = observed(file, system, world)
        costs = [paid(file, world, middle.copy()) for _ in range(3)]
        seen.append(np.concatenate([state, costs, observed(file, system, world)[0]]))
    if not np.array_equal(seen[0], seen[1]):
        raise OwnSystemError(
            f"{file.name}: two episodes of the same seed differ; draw all that is random from the rng of reset(rng), "
            "and begin every episode anew there"
        )


def _told(error: BaseException, name: str) -> str:
    """Where in the file, and what: one line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    message = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    where = name if line is None else f"{name}:{line}"
    return f"{where}: {type(error).__name__}: {message}"
