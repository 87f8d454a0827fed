"""Pulses: a mean power that a compressor cannot turn at, delivered on and off within the decision that asks for it.

A program may decide on 0.3 kW where a compressor runs at 0.8 kW or not at all. What is owed, the integral of wanted
less delivered power, is carried on from cycle to cycle. A compressor starts when what is due up to the end of the
decision is at least half of its shortest pulse, and stops when less than half a cycle's worth is left: what rounding
leaves is carried over, so that the mean is kept within one pulse. Run and rest times are kept before anything else.

Pure: time comes in, a new state goes out. Powers in kW, energies in kW s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from runtime.bundle.records import Name, NonNegative, Positive, StrictRecord

NOTHING = 1e-9


class Compressor(StrictRecord):
    """What several actions share: together they are 0, or from `least_kw` to `most_kw`."""

    name: Name
    actions: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]
    least_kw: NonNegative = 0.0
    most_kw: Positive
    min_run_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0
    min_rest_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _possible(self) -> Compressor:
        if self.least_kw > self.most_kw:
            raise ValueError(f"least_kw {self.least_kw:g} of {self.name} is above its most_kw {self.most_kw:g}")
        if len(set(self.actions)) != len(self.actions):
            raise ValueError(f"{self.name} names an action twice")
        return self


@dataclass(frozen=True)
class CompressorRun:
    """Whether it is on, since when, what each purpose is owed, and what has been in force since `at_s`."""

    on: bool
    since_s: float
    at_s: float
    owed: tuple[float, ...]
    wanted: tuple[float, ...]
    delivered: tuple[float, ...]


@dataclass(frozen=True)
class CycleMoment:
    """A cycle: when it is, how long until the next, and how long this decision still holds."""

    now_s: float
    cycle_s: float
    left_s: float
    hold_s: float


def found(unit: Compressor, power: Sequence[float] | None, since_s: float, now_s: float) -> CompressorRun:
    """As it is met: with the powers that were written last; where they are not known it counts as off, and rests."""
    none = (0.0,) * len(unit.actions)
    if power is None:
        return CompressorRun(False, now_s, now_s, none, none, none)
    before = tuple(power)
    return CompressorRun(sum(before) > NOTHING, min(since_s, now_s), now_s, none, before, before)


def step(
    unit: Compressor,
    state: CompressorRun,
    wanted: Sequence[float],
    moment: CycleMoment,
    room_kw: float = math.inf,
    held_back: Sequence[bool] = (),
) -> CompressorRun:
    """The next state; `delivered` is what to write.

    wanted: mean power of each purpose. room_kw: more than that it may not draw now; what must run on runs on at its
    least. held_back: purposes that a limit has just reduced, which are owed nothing from before.
    """
    longest = unit.least_kw * max(moment.hold_s, unit.min_run_s, moment.cycle_s) + unit.most_kw * unit.min_rest_s
    owed = _owed(state, moment.now_s, longest, held_back)
    left_s = max(moment.left_s, moment.cycle_s)
    due = [max(0.0, o + w * left_s) for o, w in zip(owed, wanted, strict=True)]
    total, for_s = sum(due), moment.now_s - state.since_s
    most_kw = min(unit.most_kw, room_kw)
    possible = most_kw >= unit.least_kw and most_kw > NOTHING
    if state.on:
        enough = total <= max(unit.least_kw * moment.cycle_s / 2, NOTHING)
        on = for_s < unit.min_run_s - NOTHING or not (enough or not possible)
    else:
        pulse = unit.least_kw * max(unit.min_run_s, moment.cycle_s)
        on = for_s >= unit.min_rest_s - NOTHING and possible and total > NOTHING and total >= pulse / 2
    power = min(max(total / left_s, unit.least_kw), max(most_kw, unit.least_kw)) if on else 0.0
    return CompressorRun(
        on,
        state.since_s if on is state.on else moment.now_s,
        moment.now_s,
        owed,
        tuple(wanted),
        _shared(power, due, wanted),
    )


def _owed(state: CompressorRun, now_s: float, longest: float, held_back: Sequence[bool]) -> tuple[float, ...]:
    """What is wanted and not delivered until now; never more than a pulse and a rest can leave."""
    passed_s = max(0.0, now_s - state.at_s)
    owed = []
    for i, (o, w, p) in enumerate(zip(state.owed, state.wanted, state.delivered, strict=True)):
        value = min(max(o + (w - p) * passed_s, -longest), longest)
        owed.append(min(value, 0.0) if held_back and held_back[i] else value)
    return tuple(owed)


def _shared(power: float, due: Sequence[float], wanted: Sequence[float]) -> tuple[float, ...]:
    """The power by what each purpose is due; where none is, to what is wanted most."""
    weights = due if sum(due) > NOTHING else wanted if sum(wanted) > NOTHING else (1.0,) + (0.0,) * (len(due) - 1)
    total = sum(weights)
    return tuple(power * weight / total for weight in weights)
