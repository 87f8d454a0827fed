"""From actions to set-points in devices: written on change, refreshed slowly, read back, and safe at the end.

Every output has a budget of writes. Safe values are written whatever it says. A device that refuses a set-point, or
holds another one, is asked again after pauses that grow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from runtime.actuate.delivery import Delivery
from runtime.actuate.write_budget import Usage, WriteBudget
from runtime.clock import Clock
from runtime.site.signals import OutputSection

FAILED_CYCLES = 3
"""An output that its device has not taken for so many cycles is not delivered."""
REFUSED_PAUSE_S, DOUBTED_PAUSE_S = 300.0, 3600.0
RELAPSE_S, RELAPSE_FIRST_S, RELAPSE_LAST_S = 600.0, 10.0, 3600.0
"""A device that takes some set-points and refuses others: how long it is not believed after it did so again."""
KEPT_EVERY = 20
"""Writes between cycles, of which one is kept on the disk before it is made: disks wear out too."""
RESOLUTION = 1e-4
"""Of the range: what is less is no change, where neither register nor step say so."""

# Between two attempts to leave a device safe, and how often one is asked that takes it and reads back otherwise.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 0.5
DOUBTED_ATTEMPTS = 3

Range = tuple[float, float]


class Sink(Protocol):
    """Where a set-point goes."""

    def session_of(self, output: OutputSection) -> int:
        """Changes when the device of this output may have forgotten its set-points."""

    def write(self, name: str, output: OutputSection, value: float, *, released: bool) -> Delivery:
        """released: give the device back to its own control instead, where the output says how."""

    def insist(self) -> None:
        """Leave a device that failed alone no longer: the next write tries it at once."""

    def settled(self) -> str:
        """Whether what was written has arrived, where that shows later; the problem, or an empty string."""


@dataclass(frozen=True)
class Written:
    """A set-point as the device has it, or why it does not."""

    value: float
    problem: str = ""
    arrived: bool = True
    wanted: float | None = None
    """Another value, which waits because the budget of writes is short."""
    writes: Usage | None = None


@dataclass(frozen=True)
class _Held:
    value: float
    released: bool
    monotonic_s: float
    session: int


@dataclass(frozen=True)
class _Trouble:
    """A set-point that is not in force, and when it is tried again."""

    value: float
    released: bool
    session: int
    delivery: Delivery
    retry_s: float


@dataclass
class _State:
    """What is known of one output."""

    held: _Held | None = None
    trouble: _Trouble | None = None
    pause_s: float = 0.0
    written_s: float = -math.inf
    failed_cycles: int = 0
    heard: bool = True
    """The device said something at the last write."""
    spent: bool = False
    relapse_s: float = 0.0
    tripped_s: float = -math.inf
    doubted_until_s: float = -math.inf
    last: Written | None = None


class Actuator:
    """Knows what every device was told last, and what it was told today."""

    def __init__(
        self,
        outputs: Mapping[str, OutputSection],
        sinks: Mapping[str, Sink],
        clock: Clock,
        budget: WriteBudget,
        ranges: Mapping[str, Range],
    ) -> None:
        """ranges: least and greatest set-point of each output."""
        self._outputs, self._sinks, self._clock, self._budget = dict(outputs), dict(sinks), clock, budget
        self._ranges = dict(ranges)
        self._wanted: dict[str, float] = {}
        self._safe = self._halted = self._adjusting = False
        self._states = {name: _State() for name in outputs}

    def allot(self, budget: WriteBudget, ranges: Mapping[str, Range]) -> None:
        """Budget and ranges as they are known once log and bundle are open."""
        self._budget, self._ranges = budget, dict(ranges)

    def apply(self, set_points: Mapping[str, float]) -> dict[str, Written]:
        """Bring the set-points (output -> value in its unit) into force; once a cycle."""
        self._wanted, self._safe = dict(set_points), False
        return self._cycle()

    def safe(self) -> dict[str, Written]:
        """The devices' own defaults, whatever the budget says."""
        self._wanted, self._safe = {name: output.safe for name, output in self._outputs.items()}, True
        return self._cycle()

    def adjust(self, set_points: Mapping[str, float]) -> dict[str, Written]:
        """Between cycles: other values for some outputs, as far as the writes of the day are not needed by cycles."""
        if self._safe or self._halted:
            return {}
        self._adjusting = True
        try:
            return {name: self._adjusted(name, wanted) for name, wanted in set_points.items()}
        finally:
            self._adjusting = False

    def _adjusted(self, name: str, wanted: float) -> Written:
        output, held = self._outputs[name], self._states[name].held
        value = meant(output, wanted, self._ranges.get(name))
        if held is not None and held.value != value and not self._budget.spares(name):
            return Written(held.value, wanted=value, writes=self._budget.usage(name))
        self._wanted[name] = wanted
        return self._hold(name, wanted, safe=False)

    def halt(self) -> None:
        """Write nothing any more, but safe values at the end."""
        self._halted = True

    def leave_safe(self, patience_s: float) -> dict[str, Written]:
        """Tell every device its default, again while one does not take it, for `patience_s` of real time."""
        self._halted = True
        for state in self._states.values():  # whatever they were told before: they are told now
            state.held = state.trouble = None
        deadline = time.monotonic() + patience_s
        pause_s, attempts = FIRST_PAUSE_S, 0
        while True:
            for sink in self._sinks.values():
                sink.insist()
            attempts += 1
            written = {name: self._hold(name, output.safe, safe=True) for name, output in self._outputs.items()}
            unsettled = {name: sink.settled() for name, sink in self._sinks.items()}
            for name, one in written.items():
                if not one.problem and (problem := unsettled[self._outputs[name].sink]):
                    self._states[name].held = None
                    written[name] = Written(one.value, problem, arrived=False)
            open_ones = [one for one in written.values() if one.problem]
            doubted = attempts >= DOUBTED_ATTEMPTS and all(one.arrived for one in open_ones)
            if not open_ones or doubted or time.monotonic() + pause_s >= deadline:
                self._budget.remember()
                return written
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def tick(self) -> dict[str, Written]:
        """Write what waits, what failed before and what is due for a refresh; called between cycles too."""
        return self._all()

    def undelivered(self) -> dict[str, str]:
        """The outputs that their devices do not take, and why; the devices' own defaults apply there."""
        now_s, found = self._clock.monotonic(), {}
        for name, state in self._states.items():
            if state.spent and self._budget.usage(name).left < 1:
                found[name] = f"its {self._budget.usage(name).budget} writes of the day are spent"
            elif state.failed_cycles >= FAILED_CYCLES or now_s < state.doubted_until_s:
                problem = "" if state.last is None else state.last.problem
                found[name] = problem or "its device has refused set-points again and again"
        return found

    def notices(self) -> dict[str, str]:
        """What the operator should know of each output; empty where all is well."""
        undelivered = self.undelivered()
        return {name: undelivered.get(name) or self._doubt(state) for name, state in self._states.items()}

    def _doubt(self, state: _State) -> str:
        """A device that has twice held something else."""
        trouble = state.trouble
        if trouble is None or not trouble.delivery.arrived or state.pause_s < 2.0:
            return ""
        return (
            f"{trouble.delivery.problem}; asked again in {state.pause_s:.0f} s. If the device keeps steps, give its "
            "step; if it cannot be read, readback = false"
        )

    def _cycle(self) -> dict[str, Written]:
        found = self._all()
        for name, written in found.items():
            state = self._states[name]
            if written.arrived:
                continue
            state.failed_cycles += 1
            if state.failed_cycles == FAILED_CYCLES and state.trouble is not None and state.trouble.delivery.answered:
                self._trip(state)
        return found

    def _trip(self, state: _State) -> None:
        """It refuses. The first time it is believed as soon as it takes one again, then later and later."""
        now_s = self._clock.monotonic()
        again = now_s - state.tripped_s < max(RELAPSE_S, 2 * state.relapse_s)
        state.relapse_s = min(RELAPSE_LAST_S, 2 * state.relapse_s or RELAPSE_FIRST_S) if again else 0.0
        state.tripped_s, state.doubted_until_s = now_s, now_s + state.relapse_s

    def _all(self) -> dict[str, Written]:
        if self._halted:
            return {n: Written(value, "the daemon is stopping", arrived=False) for n, value in self._wanted.items()}
        found = {}
        for name, wanted in self._wanted.items():
            written = self._hold(name, wanted, safe=self._safe)
            state = self._states[name]
            if written.arrived:
                state.failed_cycles = 0
            state.last = found[name] = Written(
                written.value, written.problem, written.arrived, written.wanted, self._budget.usage(name)
            )
        return found

    def _hold(self, name: str, wanted: float, *, safe: bool) -> Written:
        output, state, now_s = self._outputs[name], self._states[name], self._clock.monotonic()
        value, sink = meant(output, wanted, self._ranges.get(name)), self._sinks[output.sink]
        session = sink.session_of(output)
        held = state.held if state.held is not None and state.held.session == session else None
        trouble = state.trouble if state.trouble is not None and state.trouble.session == session else None
        released = safe and bool(output.release)
        changed = held is None or (held.value, held.released) != (value, released)
        same = trouble is not None and (trouble.value, trouble.released) == (value, released)
        if trouble is not None and now_s < trouble.retry_s and not self._halted:
            # A device that refuses is not asked with every new number either; but a safe value is another question.
            refused = not trouble.delivery.arrived
            if same or (refused and not safe):
                return Written(value, trouble.delivery.problem, trouble.delivery.arrived)
        due = held is None or now_s - held.monotonic_s >= output.refresh_due_s
        if not (changed or due or same):
            return Written(value)
        keeps_alive = output.kept_alive and held is not None and due
        if keeps_alive or (safe and (changed or self._halted)):
            return self._write(name, value, released, counted=not keeps_alive)
        share = 0.0 if held is None else abs(value - held.value) / self._span(name)
        if self._budget.allows(name, 1.0 if held is None else share, now_s - state.written_s):
            state.spent = False
            return self._write(name, value, released, counted=True)
        if self._budget.usage(name).left < 1 and changed and not safe:
            rest = self._hold(name, output.safe, safe=True)
            state.spent = True
            return Written(rest.value, rest.problem or "the writes of the day are spent", arrived=False, wanted=value)
        if held is None:
            return Written(value, "waits: the writes of the day are nearly spent", arrived=False)
        problem = trouble.delivery.problem if same and trouble is not None else ""
        return Written(held.value, problem, wanted=value if changed else None)

    def _write(self, name: str, value: float, released: bool, *, counted: bool) -> Written:
        output, state, now_s = self._outputs[name], self._states[name], self._clock.monotonic()
        sink = self._sinks[output.sink]
        if counted:
            # On the disk before the device has it, so that a crash in between does not hide a write. A device that
            # says nothing is tried every second, and is no reason to write to the disk every second; and at the end
            # no disk comes before a safe value.
            kept = not self._adjusting or self._budget.usage(name).today % KEPT_EVERY == 0
            self._budget.spend(name, lasting=state.heard and kept and not self._halted)
        delivery = sink.write(name, output, value, released=released)
        if counted and (delivery.answered != state.heard or not delivery.answered):
            self._budget.settle(name, made=delivery.answered, lasting=delivery.answered != state.heard)
        elif not counted and delivery.answered:
            self._budget.keep_alive(name)
        state.heard = delivery.answered
        if delivery.answered:
            state.written_s = now_s
        state.held = _Held(value, released, now_s, sink.session_of(output)) if delivery.arrived else None
        if not delivery.problem:
            state.trouble, state.pause_s = None, 0.0
            return Written(value)
        if not delivery.answered:  # the link has pauses of its own for a silent device
            state.trouble = None
            return Written(value, delivery.problem, arrived=False)
        longest_s = DOUBTED_PAUSE_S if delivery.arrived else REFUSED_PAUSE_S
        state.pause_s = min(longest_s, 2 * state.pause_s or 1.0)
        state.trouble = _Trouble(value, released, sink.session_of(output), delivery, now_s + state.pause_s)
        return Written(value, delivery.problem, delivery.arrived)

    def _span(self, name: str) -> float:
        least, most = self._ranges.get(name, (0.0, 0.0))
        return most - least if most > least else math.inf


def meant(output: OutputSection, value: float, within: Range | None) -> float:
    """What the device can be told: whole steps, and what its register or channel can hold; never a negative zero."""
    if output.limits is not None:
        value = min(max(value, output.limits[0]), output.limits[1])
    step = output.step
    if step is not None:
        rounded = round(value / step) * step
        if within is not None and within[0] <= value <= within[1] and not within[0] <= rounded <= within[1]:
            # What was checked is the value inside its bounds; half a step beyond them was not.
            rounded = (math.floor if rounded > value else math.ceil)(value / step) * step
        value = rounded
    register = output.main_register(value)
    if output.channel is not None:
        value = output.channel.value(output.channel.raw(value))
    elif register is not None and register.scale_register is None and not register.type.startswith("float"):
        value = round((value - register.offset) / register.scale) * register.scale + register.offset
    elif step is None:
        span = within[1] - within[0] if within is not None else 0.0
        value = round(value, -math.floor(math.log10(RESOLUTION * span)) if span > 0.0 else 6)
    return value + 0.0
