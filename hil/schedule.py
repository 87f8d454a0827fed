"""Random schedules of faults: from a seed alone, so that the same seed is the same schedule on every machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from hil.plant import Plant
from hil.scenario import LINK_KINDS, SIGNAL_KINDS, Fault, Scenario

MAX_FAULTS = 4
SHORTEST_S, LONGEST_S = 900.0, 10_800.0
QUIET_END_S = 3600.0
"""Nothing is broken in the last part of a run, so that there is something to recover in."""
DAY_S = 86_400.0
NEVER_DRAWN = ("own_mode",)
"""Kinds that came after the first schedules were recorded: a seed stays the schedule that it was."""
LATE_S = 2.5
"""Real seconds: beyond the two attempts of a second each that the scenarios' site files give a serial device."""


def signals_of(scenario: Scenario, plant: Plant) -> list[str]:
    """What can be broken by name: sensors, and forecasts where the bench publishes them."""
    return sorted({*plant.measured(), *(plant.forecasts() if scenario.feeds is None else ())})


def draw(
    rng: np.random.Generator,
    signals: Sequence[str],
    duration_s: float,
    links: Mapping[str, Sequence[str]] = LINK_KINDS,
    without: Collection[str] = (),
) -> tuple[Fault, ...]:
    """One to MAX_FAULTS faults of any signal or link, each over before the quiet end. Times are whole minutes."""
    count = int(rng.integers(1, MAX_FAULTS + 1))
    return tuple(draw_one(rng, signals, duration_s, without, links) for _ in range(count))


def draw_one(
    rng: np.random.Generator,
    signals: Sequence[str],
    duration_s: float,
    without: Collection[str] = (),
    links: Mapping[str, Sequence[str]] = LINK_KINDS,
) -> Fault:
    """One fault, of any kind but those in `without`. links: link -> kinds."""
    places = [("signal", name, kind) for name in signals for kind in SIGNAL_KINDS if kind not in without]
    # Links are fewer than signals: weighted so that half of all faults are theirs.
    undrawn = {*without, *NEVER_DRAWN}
    broken = [("link", name, kind) for name, kinds in links.items() for kind in kinds if kind not in undrawn]
    pool = broken if rng.random() < 0.5 else places
    place, name, kind = pool[int(rng.integers(len(pool)))]
    begin = float(rng.integers(0, round((duration_s - QUIET_END_S - SHORTEST_S) / 60.0))) * 60.0
    longest = min(LONGEST_S, duration_s - QUIET_END_S - begin)
    options: dict[str, dict[str, float]] = {
        "wrong": {"factor": float(rng.choice([-1.0, 0.5, 2.0, 1000.0]))},
        "slow": {"delay": LATE_S} if place == "link" else {"every": 1800.0},
        "delayed": {"delay": 3600.0},
        "intermittent": {"probability": float(rng.choice([0.2, 0.5, 0.8]))},
        "clock_jump": {"by": float(rng.choice([-86400.0, -3600.0, 3600.0, 86400.0]))},
    }
    lasts = float(rng.integers(round(SHORTEST_S / 60.0), round(longest / 60.0) + 1)) * 60.0
    values = {place: name, "kind": kind, "at": begin, "for": lasts, **options.get(kind, {})}
    return Fault.model_validate(values)


def with_random_faults(scenario: Scenario, plant: Plant) -> Scenario:
    """The scenario with the faults that its [random] asks for, in order of time behind its own."""
    asked = scenario.random
    if asked is None:
        return scenario
    rng, duration_s = np.random.default_rng([scenario.head.seed, asked.stream]), scenario.head.duration
    count = round(asked.faults_per_day * duration_s / DAY_S)
    signals = signals_of(scenario, plant)
    drawn = [draw_one(rng, signals, duration_s, asked.without, scenario.links) for _ in range(count)]
    faults = (*scenario.faults, *sorted(drawn, key=lambda fault: fault.at))
    return scenario.model_copy(update={"faults": faults, "random": None})
