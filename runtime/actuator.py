"""From actions to set-points in devices: written on change, refreshed slowly, read back, and safe at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.clock import Clock
from runtime.config_signals import OutputSection
from runtime.manifest import SignalSpec
from runtime.units import conversion

# Between two attempts to leave a device safe.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 0.5


class Sink(Protocol):
    """Where a set-point goes. `write` returns the problem, or an empty string when the set-point is in force.

    `session` changes when the device may have forgotten its set-points: it was unplugged, silent or restarted.
    """

    @property
    def session(self) -> int: ...

    def write(self, name: str, output: OutputSection, value: float) -> str: ...

    def insist(self) -> None:
        """Leave a device that failed alone no longer: the next write tries it at once."""

    def settled(self) -> str:
        """Whether what was written has arrived, where that shows later; the problem, or an empty string."""


@dataclass(frozen=True)
class Written:
    """A set-point as the device has it, or why it does not."""

    value: float
    problem: str = ""


@dataclass(frozen=True)
class _Held:
    value: float
    monotonic_s: float
    session: int


class Actuator:
    """Knows what every device was told last. A write that failed is repeated at the next opportunity."""

    def __init__(self, outputs: Mapping[str, OutputSection], sinks: Mapping[str, Sink], clock: Clock) -> None:
        self._outputs, self._sinks, self._clock = dict(outputs), dict(sinks), clock
        self._wanted: dict[str, float] = {}
        self._held: dict[str, _Held] = {}
        self._halted = False

    def apply(self, set_points: Mapping[str, float]) -> dict[str, Written]:
        """Bring the set-points (output -> value in its unit) into force."""
        self._wanted = dict(set_points)
        return self.tick()

    def tick(self) -> dict[str, Written]:
        """Write what changed, what failed before and what is due for a refresh; called between cycles too."""
        if self._halted:
            return {name: Written(value, "the daemon is stopping") for name, value in self._wanted.items()}
        return {name: self._hold(name, value) for name, value in self._wanted.items()}

    def safe(self) -> dict[str, Written]:
        """The devices' own defaults."""
        return self.apply({name: output.safe for name, output in self._outputs.items()})

    def halt(self) -> None:
        """Write nothing any more, but safe values at the end."""
        self._halted = True

    def leave_safe(self, patience_s: float) -> dict[str, Written]:
        """Tell every device its default, again while one does not take it, for `patience_s` of real time."""
        self._halted = True
        self._held.clear()  # whatever they were told before: they are told now
        deadline = time.monotonic() + patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            for sink in self._sinks.values():
                sink.insist()
            written = {name: self._hold(name, output.safe) for name, output in self._outputs.items()}
            unsettled = {name: sink.settled() for name, sink in self._sinks.items()}
            for name, one in written.items():
                if not one.problem and (problem := unsettled[self._outputs[name].sink]):
                    self._held.pop(name, None)
                    written[name] = Written(one.value, problem)
            if not any(one.problem for one in written.values()) or time.monotonic() + pause_s >= deadline:
                return written
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _hold(self, name: str, wanted: float) -> Written:
        output, held, now = self._outputs[name], self._held.get(name), self._clock.monotonic()
        value = _to_resolution(output, wanted)
        sink = self._sinks[output.sink]
        fresh = held is not None and now - held.monotonic_s < output.refresh_due_s
        if fresh and held is not None and (held.value, held.session) == (value, sink.session):
            return Written(value)
        problem = sink.write(name, output, value)
        if problem:
            self._held.pop(name, None)
        else:
            self._held[name] = _Held(value, now, sink.session)
        return Written(value, problem)


def _to_resolution(output: OutputSection, value: float) -> float:
    """What the register can hold: a change below its resolution is no change, and wears out no flash."""
    if output.channel is not None:
        return output.channel.value(output.channel.raw(value))
    register = output.register_
    if register is None or register.type == "float32":
        return value
    return round((value - register.offset) / register.scale) * register.scale + register.offset


def set_points(
    outputs: Mapping[str, OutputSection], actions: Sequence[SignalSpec], action: Sequence[float]
) -> dict[str, float]:
    """Set-point of each output: the sum of factor * action, each action converted to the output's unit first."""
    values = dict(zip((spec.name for spec in actions), action, strict=True))
    units = {spec.name: spec.unit for spec in actions}
    return {
        name: sum(factor * conversion(units[a], output.unit)(values[a]) for a, factor in output.combine.items())
        for name, output in outputs.items()
    }
