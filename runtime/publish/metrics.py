"""What the daemon measures of itself, in the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.decide.ladder import Level
from runtime.formats.text import plain
from runtime.inputs.signals import USABLE

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Snapshot:
    """The last cycle as it was published, and the counts up to it. Ages are measured with `monotonic_s`."""

    state: Mapping[str, Any]
    monotonic_s: float
    healthy_for_s: float
    """How long after `monotonic_s` the next cycle is overdue."""
    cycles: Mapping[str, int]
    """Level -> cycles."""
    commands: Mapping[str, int]
    """ok, error -> commands."""


def metrics(snapshot: Snapshot | None, monotonic_s: float, version: str) -> str:
    """The page; before the first cycle it says only that the daemon is there."""
    lines = [*_family("nisse_info", "gauge", "The software.", [({"version": version}, 1.0)])]
    lines += _family("process_resident_memory_bytes", "gauge", "Resident memory.", [({}, _resident_bytes())])
    if snapshot is not None:
        for family in _families(snapshot, monotonic_s):
            lines += family
    return "\n".join(lines) + "\n"


def _families(snapshot: Snapshot, monotonic_s: float) -> Iterator[list[str]]:
    state = snapshot.state
    inputs, solver, timing = state["inputs"], state["solver"], state["timing"]
    yield _family("nisse_cycles_total", "counter", "Cycles by level.", _by("level", snapshot.cycles))
    yield _family("nisse_commands_total", "counter", "Commands by result.", _by("status", snapshot.commands))
    yield _family(
        "nisse_level", "gauge", "1 for the level in force.",
        [({"level": level.label}, float(state["level"] == level.label)) for level in Level],
    )  # fmt: skip
    age = monotonic_s - snapshot.monotonic_s
    yield _family("nisse_last_cycle_age_seconds", "gauge", "Since the last complete cycle.", [({}, age)])
    parts = [({"part": part.removesuffix("_s")}, timing[part]) for part in ("solve_s", "link_s", "overhead_s")]
    yield _family("nisse_cycle_seconds", "gauge", "Where the time of the last cycle went.", parts)
    made = state.get("decision") or {}
    # Only where decisions are rarer than cycles.
    yield _family("nisse_decision_age_seconds", "gauge", "Of the decision acted on.", [({}, made.get("age_s"))])
    for key, text in (("iterations", "Of the last solve."), ("residual", "KKT residual of the last solve.")):
        yield _family(f"nisse_solver_{key}", "gauge", text, [({}, solver.get(key))])
    for key, text in (("value", "In the unit of the bundle."), ("age_s", "Since the input was received.")):
        name = "nisse_input_value" if key == "value" else "nisse_input_age_seconds"
        yield _family(name, "gauge", text, [({"signal": n, "unit": i["unit"]}, i[key]) for n, i in inputs.items()])
    valid = [({"signal": n}, float(i["validity"] in USABLE)) for n, i in inputs.items()]
    yield _family("nisse_input_valid", "gauge", "1 while the input is used.", valid)
    yield _family("nisse_action", "gauge", "As actuated; absent at level safe.", _by("signal", state["action"]))
    outputs = state["outputs"].items()
    yield _family("nisse_output", "gauge", "Set-points.", [({"output": n}, o["value"]) for n, o in outputs])
    in_force = [({"output": n}, float(not o["problem"])) for n, o in outputs]
    yield _family("nisse_output_in_force", "gauge", "1 while the device has its set-point.", in_force)
    writes = {name: output["writes"] for name, output in outputs if output.get("writes")}
    for key, name, text in (
        ("today", "nisse_output_writes_today", "Writes to the device that count, since midnight."),
        ("budget", "nisse_output_write_budget", "How many may be made in a day."),
        ("kept_alive", "nisse_output_keepalives_today", "Writes that the device's own time-out asks for."),
    ):
        yield _family(name, "gauge", text, [({"output": n}, usage[key]) for n, usage in writes.items()])
    changed = float(state["filter"]["changed"])
    yield _family("nisse_filter_changed", "gauge", "1 if the safety filter changed the action.", [({}, changed)])
    yield _family("nisse_notices", "gauge", "Troubles that do not stop control.", [({}, float(len(state["notices"])))])
    labels = {key: str(state["bundle"][key]) for key in ("name", "system", "digest")}
    yield _family("nisse_bundle_info", "gauge", "The bundle in force.", [(labels, 1.0)])


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str], float | None]]) -> list[str]:
    """One metric; a sample without a value is left out, and a metric without samples with it."""
    lines = [
        f"{name}{_labels(labels)} {float(value):.10g}" for labels, value in samples if isinstance(value, int | float)
    ]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines] if lines else []


def _labels(labels: Mapping[str, str]) -> str:
    escaped = (f'{key}="{_escape(value)}"' for key, value in labels.items())
    return "{" + ",".join(escaped) + "}" if labels else ""


def _escape(value: str) -> str:
    return plain(value).replace("\\", "\\\\").replace('"', '\\"')


def _by(label: str, values: Mapping[str, float]) -> list[tuple[dict[str, str], float]]:
    return [({label: name}, float(value)) for name, value in values.items()]


def _resident_bytes() -> float | None:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:  # not Linux
        return None
    return float(int(pages) * os.sysconf("SC_PAGE_SIZE"))
