"""The record of a run: one canonical JSON line per cycle, so that equal runs are equal bytes.

Line 1 is the header (scenario, seed, cycle, bundle); every other line is one cycle: what the plant was, which faults
acted, what the daemon said, what the device was told. Nothing that depends on the computer's speed is in here: solver
and cycle times go to a second file, `timing.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.errors import BenchError
from runtime.formats.documents import parse_json
from runtime.formats.plain_files import LARGEST_DATA, read_text

FORMAT_VERSION = 1


class RunRecordError(BenchError):
    """A record cannot be read."""

    exit_code = 65


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and null for numbers that are not finite; shortest exact decimals."""
    return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


@dataclass(frozen=True)
class BenchCycle:
    """One cycle of the bench. Times in seconds; `elapsed_s` counts from the start of the scenario.

    `plant` holds the true quantities over the step that follows (name -> value, units in the names), `seen` what the
    daemon could read (measured values after faults), `action` and `plan` what the daemon reported, `set_point` what the
    device holds, `applied` the mean of that over the step, in which its time-out may strike. `level` is "off" when the
    daemon did not run.
    """

    elapsed_s: float
    time_s: float
    level: str
    reason: str
    plant: Mapping[str, float]
    seen: Mapping[str, float | None]
    set_point: Mapping[str, float]
    applied: Mapping[str, float]
    action: Mapping[str, float]
    plan: Mapping[str, Sequence[float]]
    faults: tuple[str, ...]
    inside: Mapping[str, Any] = field(default_factory=dict)
    """Where minutes are told apart: `applied` (name -> mean set-points of each), `grid_kw` of each, the share of the
    daemon's looks at which it tracked (`on`), and `why` it did not."""

    def line(self) -> str:
        return canonical({name: value for name, value in vars(self).items() if name != "inside" or value})


@dataclass(frozen=True)
class BenchTiming:
    """Real times of one cycle in seconds; not part of the record. None when the daemon did not run.

    `solver_s` is None as well where it held a decision: a program that decides every half hour solves every half hour.
    """

    cycle_s: float | None
    solver_s: float | None
    link_s: float | None
    overhead_s: float | None
    bench_s: float
    life: int = 1
    """How many times the daemon has been started."""
    memory_mb: float | None = None
    """Resident memory of the daemon and its solver process after the cycle; None where /proc does not tell."""


@dataclass(frozen=True)
class RunRecord:
    """A whole run. `header` has scenario, house, seed, start_s, step_s, bundle, format_version."""

    header: Mapping[str, Any]
    cycles: tuple[BenchCycle, ...]

    @property
    def step_s(self) -> float:
        return float(self.header["step_s"])

    def to_bytes(self) -> bytes:
        lines = [canonical(self.header), *(cycle.line() for cycle in self.cycles)]
        return ("\n".join(lines) + "\n").encode()

    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def write(self, path: Path) -> None:
        path.write_bytes(self.to_bytes())


def read_record(path: Path) -> RunRecord:
    """The record in `path`, equal to the one that was written.

    Raises:
        RecordError: not a record, of another format version, or damaged (with the line).
    """
    try:
        lines = read_text(path, LARGEST_DATA).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunRecordError(f"{path}: no bench record ({error}): name the record.jsonl of a run") from error
    number = 1
    try:
        header = parse_json(lines[0])
        if header.get("format_version") != FORMAT_VERSION:
            raise RunRecordError(
                f"{path}: record format {header.get('format_version')!r}, this version reads {FORMAT_VERSION}: run the "
                "scenario again"
            )
        cycles = []
        for line in lines[1:]:
            number += 1
            fields = parse_json(line)
            cycles.append(BenchCycle(**{**fields, "faults": tuple(fields["faults"])}))
    except (IndexError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunRecordError(f"{path}:{number}: not a bench record ({error}): run the scenario again") from error
    return RunRecord(header, tuple(cycles))


def write_timing(path: Path, timing: Sequence[BenchTiming]) -> None:
    path.write_text("".join(canonical(vars(t)) + "\n" for t in timing), encoding="utf-8")


def read_timing(path: Path) -> tuple[BenchTiming, ...]:
    """What `write_timing` wrote; nothing when there is no such file. Raises RecordError for a damaged one."""
    if not path.exists():
        return ()
    try:
        return tuple(BenchTiming(**parse_json(line)) for line in read_text(path, LARGEST_DATA).splitlines())
    except (ValueError, TypeError) as error:
        raise RunRecordError(
            f"{path}: not the timing of a run ({error}): remove it or run the scenario again"
        ) from error
