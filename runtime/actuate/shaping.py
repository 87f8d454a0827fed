"""From planned powers to levels and shifts, and what the device then draws: for devices that take no power.

Levels are a state machine of one output: pure, with the times that a compressor or a relay wants between switchings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.bundle.manifest import SignalSpec
from runtime.formats.units import conversion
from runtime.site.shape import PLANNED, LevelsShape, ResponseShape
from runtime.site.signals import OutputSection


@dataclass(frozen=True)
class At:
    """The level that an output stands at, and since when."""

    index: int
    since_s: float


def next_level(shape: LevelsShape, at: At | None, power_kw: float, now_s: float) -> At:
    """The level for a planned power, as far as the times allow; at the start the nearest."""
    wanted = _nearest(shape, power_kw)
    if at is None:
        return At(wanted, now_s)
    stood_s, rest = now_s - at.since_s, at.index == 0
    if rest and shape.max_lowest_s is not None and stood_s >= shape.max_lowest_s:
        return At(max(wanted, 1), now_s)
    if wanted == at.index or not _clearly(shape, at.index, wanted, power_kw):
        return at
    least_s = shape.hold_s
    if rest:
        least_s = max(least_s, shape.min_rest_s)
    elif wanted == 0:
        least_s = max(least_s, shape.min_run_s)
    return At(wanted, now_s) if stood_s >= least_s else at


def _nearest(shape: LevelsShape, power_kw: float) -> int:
    return min(range(len(shape.levels)), key=lambda k: abs(shape.levels[k].kw - power_kw))


def _clearly(shape: LevelsShape, index: int, wanted: int, power_kw: float) -> bool:
    """Past the middle between the two levels by the margin."""
    here, there = shape.levels[index].kw, shape.levels[wanted].kw
    middle, apart = (here + there) / 2, abs(there - here)
    return abs(power_kw - middle) >= shape.margin * apart / 2 - 1e-12


def set_point_of(shape: ResponseShape, power_kw: float, values: Mapping[str, float]) -> float:
    """The set-point at which the device draws this; not yet brought inside its limits."""
    return (power_kw - shape.kw_at_zero - _weather(shape, values)) / shape.kw_per_unit


def power_of(output: OutputSection, set_point: float, values: Mapping[str, float]) -> float:
    """kW that the device draws at a set-point: of levels that of the nearest, of a response never less than 0."""
    shape = output.shape
    if isinstance(shape, LevelsShape):
        return min(shape.levels, key=lambda one: abs(one.level - set_point)).kw
    if isinstance(shape, ResponseShape):
        return max(0.0, shape.kw_at_zero + shape.kw_per_unit * set_point + _weather(shape, values))
    return conversion(output.unit, PLANNED)(set_point)


def _weather(shape: ResponseShape, values: Mapping[str, float]) -> float:
    """Without a reading, that of the reference."""
    outdoor = shape.reference if shape.outdoor is None else values.get(shape.outdoor, shape.reference)
    return shape.kw_per_degree * (outdoor - shape.reference)


class Shaper:
    """Of the outputs of a site; remembers the level that each stands at."""

    def __init__(self) -> None:
        self._at: dict[str, At] = {}

    def shaped(
        self,
        outputs: Mapping[str, OutputSection],
        planned: Mapping[str, float],
        values: Mapping[str, float],
        now_s: float,
    ) -> dict[str, float]:
        """Set-points; `planned` are those of plain outputs, and kW of the others."""
        found = dict(planned)
        for name, power in planned.items():
            output = outputs[name]
            if isinstance(output.shape, LevelsShape):
                self._at[name] = next_level(output.shape, self._at.get(name), power, now_s)
                found[name] = output.shape.levels[self._at[name].index].level
            elif isinstance(output.shape, ResponseShape):
                found[name] = _within(output, set_point_of(output.shape, power, values))
        return found

    def left_to(self, outputs: Mapping[str, OutputSection], now_s: float) -> None:
        """The devices have their safe values: those count as levels too."""
        for name, output in outputs.items():
            if isinstance(output.shape, LevelsShape):
                levels = output.shape.levels
                index = min(range(len(levels)), key=lambda k: abs(levels[k].level - output.safe))
                at = self._at.get(name)
                self._at[name] = at if at is not None and at.index == index else At(index, now_s)


def _within(output: OutputSection, value: float) -> float:
    return value if output.limits is None else min(max(value, output.limits[0]), output.limits[1])


def drawn(
    action: Sequence[float],
    outputs: Mapping[str, OutputSection],
    actions: Sequence[SignalSpec],
    told: Mapping[str, float],
    values: Mapping[str, float],
) -> tuple[float, ...]:
    """The actions as shaped devices carry them out: what one draws is shared as the plan shared it."""
    found, names = list(action), [spec.name for spec in actions]
    for name, output in outputs.items():
        if output.shape is None or name not in told:
            continue
        places = [names.index(a) for a in output.combine]
        shares = [
            f * conversion(actions[j].unit, PLANNED).factor
            for j, f in zip(places, output.combine.values(), strict=True)
        ]
        power = power_of(output, told[name], values)
        planned = sum(f * action[j] for f, j in zip(shares, places, strict=True))
        for f, j in zip(shares, places, strict=True):
            wanted = action[j] * power / planned if abs(planned) > 1e-9 else power / (f * len(places))
            found[j] = min(max(wanted, actions[j].lower), actions[j].upper)
    return tuple(found)
