"""The law of tracking: from the meter's reading to the power of each battery, numbers in and numbers out.

    others  = meter - sum of what batteries do
    sought  = clip(others - given, 0, target) - others      what is given comes first, then the chosen import
    sum+    = sum + gain (sought - sum)             and then, each stronger than the one before:
              within [lowest, highest] of the decision;
              import at most `import_kw`, export at most `export_kw`, as far as the batteries' own ranges allow

Powers count positive from the grid and into a battery, kW. Several batteries share one sum, so that none works against
another: each starts from what the plan gave it and takes of the rest by the room that it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Range = tuple[float, float]
Powers = tuple[float, ...]


@dataclass(frozen=True)
class Aim:
    """What a decision is for the meter. The tuples have an entry for each battery."""

    grid_kw: float
    """The import that the plan chose, at least 0: what is beyond it is covered, and nothing is bought to reach it."""
    planned_kw: Powers
    """What the plan gives each: held where nothing is tracked."""
    within_kw: tuple[Range, ...]
    """Lowest and highest power that the decision allows."""
    able_kw: tuple[Range, ...]
    """Lowest and highest power of the machine: what keeping the import low may use."""
    given_kw: float = 0.0
    """What is given before anything is bought, at least 0: a load that falls short lowers the import first."""


@dataclass(frozen=True)
class Caps:
    """What the meter may show at most, kW, whatever the decision allows."""

    import_kw: float = math.inf
    export_kw: float = math.inf


NO_CAPS = Caps()


@dataclass(frozen=True)
class TrackingGains:
    """How fast: the share of the error that one step takes away, and the error that is none (kW)."""

    gain: float = 0.6
    deadband_kw: float = 0.03


def followed(meter_kw: float, batteries_kw: Sequence[float], aim: Aim, caps: Caps, tuning: TrackingGains) -> Powers:
    """The power of each battery from now on. batteries_kw: what they have done while the meter read `meter_kw`."""
    now = sum(batteries_kw)
    others = meter_kw - now
    sought = _clip(others - aim.given_kw, (0.0, aim.grid_kw)) - others
    error = sought - now
    total = now + tuning.gain * error if abs(error) > tuning.deadband_kw else now
    total = _clip(total, _sum(aim.within_kw))
    # The caps are met at once, and not by a share of the error: a peak that is measured is paid for.
    least, most = _sum(aim.able_kw)
    total = min(total, max(caps.import_kw - others, least))
    total = max(total, min(-caps.export_kw - others, most))
    allowed = aim.within_kw if _clip(total, _sum(aim.within_kw)) == total else aim.able_kw
    if abs(total - now) <= 1e-9 and _inside(batteries_kw, allowed):
        return tuple(batteries_kw)  # nothing is moved from one to the other for nothing
    return shared(total, aim)


def shared(total_kw: float, aim: Aim) -> Powers:
    """The sum as powers of the batteries: what the plan gave, and the rest by the room within the decision; what that
    cannot take by the room that the machines have beyond it."""
    powers = [_clip(p, r) for p, r in zip(aim.planned_kw, aim.within_kw, strict=True)]
    for ranges in (aim.within_kw, aim.able_kw):
        rest = total_kw - sum(powers)
        room = [(up - p if rest > 0.0 else p - lo) for p, (lo, up) in zip(powers, ranges, strict=True)]
        whole = sum(max(r, 0.0) for r in room)
        if whole > 0.0 and rest:
            share = math.copysign(min(abs(rest) / whole, 1.0), rest)
            powers = [p + share * max(r, 0.0) for p, r in zip(powers, room, strict=True)]
    return tuple(powers)


def nudged(powers: Powers, aim: Aim, by_kw: float) -> Powers:
    """The same, but for a small move within what the decision allows; the same where it leaves no room."""
    least, most = _sum(aim.within_kw)
    now = sum(powers)
    wanted = next((now + step for step in (by_kw, -by_kw) if least <= now + step <= most), now)
    return powers if wanted == now else shared(wanted, aim)


def left_of_interval_kw(allowed_kwh: float, imported_kwh: float, left_s: float, least_s: float = 30.0) -> float:
    """The mean import of the rest of a tariff's interval that brings it to what it may import; never below 0.

    least_s: the end of an interval is not chased, where a Wh more or less would move kilowatts.
    """
    return max(0.0, (allowed_kwh - imported_kwh) * 3600.0 / max(left_s, least_s))


def _sum(ranges: Sequence[Range]) -> Range:
    return sum(lo for lo, _ in ranges), sum(up for _, up in ranges)


def _inside(powers: Sequence[float], ranges: Sequence[Range]) -> bool:
    return all(lo - 1e-9 <= p <= up + 1e-9 for p, (lo, up) in zip(powers, ranges, strict=True))


def _clip(value: float, within: Range) -> float:
    return min(max(value, within[0]), within[1])
