"""The record of a smart-home experiment: everything needed to go on after an interruption, and to report.

Written after every iteration, whole or not at all. A resumed run is bit for bit the one that was not interrupted,
because all randomness is drawn anew per agent and day from the seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.checkpoint_file import UNREADABLE, read_checkpoint, write_checkpoint
from tuner.house.data import ExperimentData
from tuner.house.protocol import AgentState, SmartHomeSpec
from tuner.learn.critic import Sums

Array = NDArray[np.float64]
FORMAT = 3


class RecordError(ValueError):
    """A record that cannot be resumed."""

    exit_code = 65


@dataclass(frozen=True, eq=False)
class Record:
    """Iterations 0 (data-fitted) to k; first axes: iteration, model."""

    identity: str
    """Hash of the protocol and of the data."""
    beta: float
    thetas: Array
    """(k + 1, models, ntheta)"""
    costs: Array
    """(k + 1, models, periods, 3) price, comfort, violation, EUR"""
    td_error: Array
    """(k + 1, models) EUR per decision"""
    failures: Array
    """(k + 1, models) failed solves so far, of learning and judging"""
    states: tuple[AgentState, ...]
    seconds: dict[str, float]

    @property
    def iterations(self) -> int:
        return len(self.thetas) - 1


def identity_of(spec: SmartHomeSpec, data: ExperimentData) -> str:
    """The number of iterations is left out: a record may be carried further."""
    document = dataclasses.asdict(spec)
    document.pop("iterations")
    digest = hashlib.sha256(json.dumps([FORMAT, document], sort_keys=True).encode())
    for conditions in (data.learning, data.evaluation):
        digest.update(np.float64(conditions.start_s).tobytes())
        for values in (conditions.outdoor_c, conditions.irradiance_w_m2, conditions.price_eur_kwh):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def save_record(path: Path, record: Record) -> None:
    """Atomic: the file is the old one or the new one."""
    arrays: dict[str, Array] = {name: getattr(record, name) for name in ("thetas", "costs", "td_error", "failures")}
    for i, state in enumerate(record.states):
        arrays |= {f"state{i}_{name}": np.asarray(getattr(state, name)) for name in _STATE}
        arrays |= {f"state{i}_sums_{f.name}": np.asarray(getattr(state.sums, f.name)) for f in fields(Sums)}
    header = {
        "format": FORMAT,
        "identity": record.identity,
        "beta": record.beta.hex(),
        "models": len(record.states),
        "seconds": record.seconds,
    }
    write_checkpoint(path, header, arrays)


_STATE = ("theta", "outputs", "inputs", "day", "td_error", "failures")


def load_record(path: Path, identity: str) -> Record:
    """Raises RecordError for a file of another protocol, other data or another version."""
    try:
        header, arrays = read_checkpoint(path)
    except UNREADABLE as error:
        raise RecordError(f"{path}: not a record of this experiment ({error}); delete it to begin anew") from error
    if header.get("format") != FORMAT or header.get("identity") != identity:
        raise RecordError(f"{path}: made with other options or other data; delete it or choose another --output")
    states: list[AgentState] = []
    for i in range(int(header["models"])):
        sums = Sums(*(_plain(arrays[f"state{i}_sums_{f.name}"]) for f in fields(Sums)))
        values = {name: _plain(arrays[f"state{i}_{name}"]) for name in _STATE}
        states.append(
            AgentState(sums=sums, **values | {"day": int(values["day"]), "failures": int(values["failures"])})
        )
    return Record(
        identity,
        float.fromhex(header["beta"]),
        *(arrays[name] for name in ("thetas", "costs", "td_error", "failures")),
        tuple(states),
        header["seconds"],
    )


def _plain(value: Array) -> Array | float:
    return float(value) if value.ndim == 0 else value


def extend(
    record: Record, states: Sequence[AgentState], costs: Array, failures: Array, seconds: dict[str, float]
) -> Record:
    """The record with one more iteration."""
    return dataclasses.replace(
        record,
        thetas=np.concatenate([record.thetas, np.array([[state.theta for state in states]])]),
        costs=np.concatenate([record.costs, costs[None]]),
        td_error=np.concatenate([record.td_error, [[state.td_error for state in states]]]),
        failures=np.concatenate([record.failures, failures[None]]),
        states=tuple(states),
        seconds={name: record.seconds.get(name, 0.0) + seconds[name] for name in seconds},
    )
