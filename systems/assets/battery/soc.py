"""What of a battery's state of charge cannot be true, judged by the energy that went through it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from systems.logs.cleaning import Suspects, refuse_whole_signal
from systems.logs.log import DAY_S, Array, LogError, Mask, runs

SOC_TOLERANCE = 0.02
"""By which a state of charge may lie outside 0..1 and still be the sensor's way of saying full or empty."""
LEAST_LEAP = 0.1
"""Of the state of charge, beyond twice what the powers explain: no battery, a sensor."""
LONGEST_LEAP_S = DAY_S
"""A leap away that does not come back within a day is a new reckoning of the state of charge, not a dropout."""
MANY_LEAPS = 0.2
"""Of the samples."""
STUCK_ENERGY = 0.15
"""Of the capacity, through the battery while its state of charge stands still."""


class Pack(Protocol):
    """What has to be known of the battery."""

    @property
    def capacity_kwh(self) -> float: ...

    @property
    def max_charge_kw(self) -> float: ...

    @property
    def max_discharge_kw(self) -> float: ...


def soc_suspects(
    soc: Array, charge_kw: Array, discharge_kw: Array, dt_s: float, battery: Pack, source: str, signal: str = "soc"
) -> Suspects:
    """Of a state of charge (T,), judged by the energy that went through the battery. Raises LogError for per cent."""
    with np.errstate(invalid="ignore"):
        outside = (soc < -SOC_TOLERANCE) | (soc > 1.0 + SOC_TOLERANCE)
        remedy = f"name the column {signal}_percent"
        refuse_whole_signal(soc > 1.0 + SOC_TOLERANCE, soc, source, signal, "per cent", remedy)
        slightly = ((soc < 0.0) | (soc > 1.0)) & ~outside
    rest = np.where(outside | slightly, np.nan, soc)
    per_kw = dt_s / 3600.0 / battery.capacity_kwh
    moved = per_kw * np.nan_to_num(charge_kw - discharge_kw)
    # Where powers are missing, the battery may have done what it can.
    through = np.where(
        np.isfinite(charge_kw - discharge_kw),
        np.abs(moved),
        per_kw * max(battery.max_charge_kw, battery.max_discharge_kw),
    )
    longest, many = round(LONGEST_LEAP_S / dt_s), MANY_LEAPS * np.isfinite(rest).sum()
    leapt, anew = _leaps(rest, moved, through, longest)
    if (leapt | anew).sum() > many:
        if np.logical_or(*_leaps(rest, -moved, through, longest)).sum() <= many:
            raise LogError(
                f"{source}: column {signal!r} falls while the battery charges, so its power counts the other way "
                "round; it must be positive when charging: multiply the column by -1"
            )
        raise LogError(
            f"{source}: column {signal!r} does not follow the powers (it leaps in {(leapt | anew).sum()} samples); "
            f"check the capacity ({battery.capacity_kwh:g} kWh) and that powers are in kW, at the battery's terminals"
        )
    stuck = _stuck_soc(np.where(leapt | anew, np.nan, rest), np.abs(moved))
    return [
        ("range", outside, "not within 0..1"),
        ("range", slightly, f"outside 0..1 by less than {SOC_TOLERANCE:g}"),
        ("spike", leapt, "leaps away and back, as no battery can"),
        ("jump", anew, "leaps to a new level: the battery reckoned anew"),
        ("stuck", stuck, "stands still while the battery works"),
    ]


def _leaps(soc: Array, moved: Array, through: Array, longest: int) -> tuple[Mask, Mask]:
    """(samples of pieces that leap away and back within `longest` steps, first samples of a new level).

    moved, through (T,): what the powers say has changed, and at most can have changed, in each step.
    """
    leapt, anew = np.zeros(len(soc), dtype=bool), np.zeros(len(soc), dtype=bool)
    there = np.flatnonzero(np.isfinite(soc))
    level = (soc - np.concatenate([[0.0], np.cumsum(moved)[:-1]]))[there]
    most = np.concatenate([[0.0], np.cumsum(through)[:-1]])[there]
    leaps = (np.flatnonzero(np.abs(np.diff(level)) > LEAST_LEAP + np.diff(most)) + 1).tolist()
    done = 0
    for place, k in enumerate(leaps):
        if k < done:
            continue
        end = int(np.searchsorted(there, there[k] + longest, side="right"))
        away = np.abs(level[k:end] - level[k - 1])
        home = [j for j in leaps[place + 1 :] if j < end and away[j - k] <= LEAST_LEAP + most[j] - most[k - 1]]
        # Without a leap back, the true value has come to where the sensor waits.
        home = home or (k + np.flatnonzero(away <= LEAST_LEAP / 2)).tolist()
        if home:
            leapt[there[k : home[0]]] = True
            done = home[0] + 1
        else:
            anew[there[k]] = True
    return leapt, anew


def _stuck_soc(soc: Array, throughput: Array) -> Mask:
    """Stretches of one value, to the last digit, through which much more energy went than the sensor's step."""
    bad = np.zeros(len(soc), dtype=bool)
    same = np.concatenate([[False], np.diff(soc) == 0.0])
    for a, b in runs(same):
        if throughput[a - 1 : b - 1].sum() > STUCK_ENERGY:
            bad[a:b] = True
    return bad
