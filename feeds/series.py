"""Profiles as the feeds handle them: joined, cut, laid on a regular grid, and as JSON documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.formats.profile import Entry, Profile, profile_of

Channels = Mapping[str, Profile]
"""What a source says: channel -> profile. `energy` (money/kWh), `outdoor` (degC), `sun`,
`direct` and `diffuse` (W/m2; on the level, on the beam, from the sky), `power` (kW)."""


def entries_of(profile: Profile) -> list[Entry]:
    cells = zip(profile.starts_s, profile.ends_s, profile.values, strict=True)
    return [Entry(start, end, value) for start, end, value in cells]


def over(older: Profile | None, newer: Profile) -> Profile:
    """What the newer says, and the older where the newer says nothing."""
    if older is None:
        return newer
    first, last = newer.start_s, newer.end_s
    kept = [
        *(e for e in entries_of(older) if e.end_s is not None and e.end_s <= first),
        *(e for e in entries_of(older) if e.start_s >= last),
    ]
    joined = profile_of([*kept, *entries_of(newer)], instants=newer.instants)
    return newer if joined is None else joined


def since(profile: Profile, time_s: float) -> Profile | None:
    """Without the cells that have ended by then."""
    kept = [k for k, end in enumerate(profile.ends_s) if end > time_s]
    if not kept:
        return None
    first = kept[0]
    return Profile(
        profile.starts_s[first:], profile.ends_s[first:], profile.values[first:], profile.instants, profile.note
    )


def covered_until(profile: Profile, now_s: float) -> float:
    """Until when it says something without a gap from now on; `now_s` where it does not cover the present."""
    until = now_s
    for start, end in zip(profile.starts_s, profile.ends_s, strict=True):
        if start > until:
            break
        until = max(until, end)
    return until


def on_grid(profile: Profile, start_s: float, step_s: float, count: int, *, smooth: bool = False) -> list[float | None]:
    """(count,) means over [start + k step, start + (k + 1) step); None where less than half of a step is known."""
    found: list[float | None] = []
    for k in range(count):
        mean, share = profile.mean(start_s + k * step_s, start_s + (k + 1) * step_s, smooth=smooth)
        found.append(mean if share >= 0.5 and math.isfinite(mean) else None)
    return found


def to_document(channels: Channels) -> dict[str, Any]:
    return {
        name: {
            "starts": list(p.starts_s),
            "ends": list(p.ends_s),
            "values": list(p.values),
            **({"instants": True} if p.instants else {}),
        }
        for name, p in channels.items()
    }


def from_document(document: Any) -> dict[str, Profile]:
    """Raises ValueError, KeyError or TypeError for one that is damaged."""
    found = {}
    for name, one in dict(document).items():
        starts, ends, values = (tuple(map(float, one[key])) for key in ("starts", "ends", "values"))
        ordered = all(a < b for a, b in zip(starts, ends, strict=True))
        apart = all(end <= start for end, start in zip(ends, starts[1:], strict=False))
        if not values or len(values) != len(starts) or not ordered or not apart or not all(map(math.isfinite, values)):
            raise ValueError(f"{name}: no profile")
        found[str(name)] = Profile(starts, ends, values, bool(one.get("instants")))
    return found


@dataclass(frozen=True)
class Part:
    """A stretch of a published forecast, and where it comes from."""

    start_s: float
    end_s: float
    origin: str


def layered(layers: Iterable[tuple[str, Sequence[float | None]]], count: int) -> tuple[list[float | None], list[str]]:
    """The first layer that says something, cell by cell: values, and the origin of each ("" where nobody does)."""
    values: list[float | None] = [None] * count
    origins = [""] * count
    for origin, row in layers:
        for k, value in enumerate(row):
            if values[k] is None and value is not None:
                values[k], origins[k] = value, origin
    return values, origins


def parts(origins: Sequence[str], start_s: float, step_s: float) -> list[Part]:
    """Equal neighbours as one stretch."""
    found: list[Part] = []
    for k, origin in enumerate(origins):
        begin = start_s + k * step_s
        if found and found[-1].origin == origin:
            found[-1] = Part(found[-1].start_s, begin + step_s, origin)
        else:
            found.append(Part(begin, begin + step_s, origin))
    return [part for part in found if part.origin]
