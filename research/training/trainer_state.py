"""The state of a training run between two iterations, and the file it survives in.

The file is an npz of plain arrays and one JSON text: no pickle, the same bytes for the same state, replaced atomically.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from research.training.episodes import Episode, episode_arrays
from research.training.policy import Array
from tuner.checkpoint_file import UNREADABLE, read_checkpoint, write_checkpoint
from tuner.errors import CheckpointError

FORMAT = 1


@dataclass(frozen=True)
class IterationRecord:
    """One line of the learning history; nothing in it depends on the machine's speed."""

    iteration: int
    cost: float
    """Mean over the held-in periods after the step."""
    td_error: float
    accepted: bool
    radius: float
    transitions: int
    masked: int
    failures: int
    solves: int
    at_bounds: int
    theta: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"theta": list(self.theta)}


@dataclass(frozen=True)
class Moments:
    """Running means (p,) of the gradient and of its square, and how many gradients they have seen."""

    mean: Array
    square: Array
    count: int


@dataclass(frozen=True)
class TrainerState:
    """Costs are per held-in period (n_periods,); replay holds the episodes that the next iteration sees again."""

    iteration: int
    theta: Array
    best_theta: Array
    start_costs: Array
    costs: Array
    best_costs: Array
    moments: Moments
    replay: tuple[Episode, ...]
    history: tuple[IterationRecord, ...]


def _identity(spec: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """What must agree between a checkpoint and the run that continues it. More iterations may be asked for."""
    chosen = asdict(spec)
    chosen.pop("iterations")
    return {"format": FORMAT, "spec": json.loads(json.dumps(chosen)), "names": list(names)}


def save_state(path: Path, state: TrainerState, spec: Any, names: tuple[str, ...]) -> None:
    """Write the checkpoint; a reader sees the old file or the new one, never half of it."""
    head = _identity(spec, names) | {
        "iteration": state.iteration,
        "gradients": state.moments.count,
        "replay": len(state.replay),
        "history": [record.as_json() for record in state.history],
    }
    arrays = {name: getattr(state, name) for name in ("theta", "best_theta", "start_costs", "costs", "best_costs")}
    arrays |= {"gradient_mean": state.moments.mean, "gradient_square": state.moments.square}
    for k, episode in enumerate(state.replay):
        arrays |= {f"episode{k}_{name}": value for name, value in episode_arrays(episode).items()}
    write_checkpoint(path, head, arrays)


def load_state(path: Path, spec: Any, names: tuple[str, ...]) -> TrainerState:
    """Raises CheckpointError when the file is missing, damaged, or of another run."""
    try:
        head, arrays = read_checkpoint(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint at {path}; start without --resume") from error
    except UNREADABLE as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({error}); delete it and start again") from error
    for key, value in _identity(spec, names).items():
        if head.get(key) != value:
            raise CheckpointError(
                f"{path} belongs to another run: its {key} is {head.get(key)}, this run has {value}; "
                "use the same options or another file"
            )
    replay = tuple(
        Episode(**{f.name: arrays[f"episode{k}_{f.name}"] for f in fields(Episode)}) for k in range(head["replay"])
    )
    history = tuple(IterationRecord(**(r | {"theta": tuple(r["theta"])})) for r in head["history"])
    moments = Moments(arrays["gradient_mean"], arrays["gradient_square"], head["gradients"])
    return TrainerState(
        head["iteration"], arrays["theta"], arrays["best_theta"], arrays["start_costs"], arrays["costs"],
        arrays["best_costs"], moments, replay, history,
    )  # fmt: skip
