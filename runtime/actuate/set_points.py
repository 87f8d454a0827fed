"""From actions to set-points by weighted sums, and back: what each output can be asked for, and what it rests at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runtime.actuate.shaping import power_of
from runtime.bundle.manifest import SignalSpec
from runtime.formats.units import conversion
from runtime.site.signals import OutputSection

Range = tuple[float, float]


def ranges(outputs: Mapping[str, OutputSection], actions: Sequence[SignalSpec]) -> dict[str, Range]:
    """Least and greatest set-point of each output, in its unit."""
    specs = {spec.name: spec for spec in actions}
    found = {}
    for name, output in outputs.items():
        if output.shape is not None:
            found[name] = output.span
            continue
        ends = []
        for action, factor in output.combine.items():
            convert = conversion(specs[action].unit, output.planned_unit)
            ends.append([factor * convert(specs[action].lower), factor * convert(specs[action].upper)])
        found[name] = (sum(map(min, ends)), sum(map(max, ends)))
    return found


def resting(outputs: Mapping[str, OutputSection], actions: Sequence[SignalSpec]) -> dict[str, float]:
    """The actions that stand for the safe values of the outputs; `set_points` the other way round, within bounds."""
    specs = {spec.name: spec for spec in actions}
    found: dict[str, float] = {}
    for output in outputs.values():
        mine = {a: f for a, f in output.combine.items() if a not in found and f}
        units = {a: conversion(specs[a].unit, output.planned_unit) for a in mine}
        least = {a: min(max(0.0, specs[a].lower), specs[a].upper) for a in mine}
        safe = output.safe if output.shape is None else power_of(output, output.safe, {})
        rest = safe - sum(f * units[a](least[a]) for a, f in mine.items())
        for action, factor in mine.items():
            spec, per_unit = specs[action], factor * units[action].factor
            found[action] = min(max(least[action] + rest / per_unit, spec.lower), spec.upper)
            rest -= per_unit * (found[action] - least[action])
    return found


def set_points(
    outputs: Mapping[str, OutputSection], actions: Sequence[SignalSpec], action: Sequence[float]
) -> dict[str, float]:
    """Set-point of each output: the sum of factor * action, each action converted to the output's unit first.

    Of an output with a shape the planned power in kW, which is not shaped yet.
    """
    values = dict(zip((spec.name for spec in actions), action, strict=True))
    units = {spec.name: spec.unit for spec in actions}
    return {
        name: sum(factor * conversion(units[a], output.planned_unit)(values[a]) for a, factor in output.combine.items())
        for name, output in outputs.items()
    }
