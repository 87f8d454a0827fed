"""What in a log cannot be true, by quantity: the rules that all assets share, so that no fit ever sees it.

Detected: dropouts, stuck sensors, spikes, values out of range, Fahrenheit among Celsius, watts among kilowatts. Nothing
is repaired: a converted value would be a guess, and a log is long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systems.logs.log import DAY_S, Array, LogColumn, LogError, LogFault, Mask, Quantity, faults_of, runs

Suspects = list[tuple[str, Mask, str]]
"""(kind, mask, what to say) in the order in which they are to be taken out; masks refer to the values as logged."""
STUCK_S = 3 * 3600.0
"""A thermometer that stays the same to the last digit for longer."""


@dataclass(frozen=True)
class Possible:
    """What a quantity can be, and by how much it can change between two samples of five minutes."""

    lowest: float
    highest: float
    jump: float


POSSIBLE = {
    Quantity.INDOOR: Possible(2.0, 45.0, 4.0),
    Quantity.OUTDOOR: Possible(-50.0, 45.0, 8.0),
    Quantity.WATER: Possible(0.0, 98.0, 25.0),
    Quantity.SUN: Possible(-20.0, 1600.0, np.inf),
}


def suspects_of(column: LogColumn, values: Array, dt_s: float, source: str) -> Suspects:
    """What the rules of its quantity find in (T,) values. Raises LogError for a column that is in another unit."""
    a_day = max(2, round(DAY_S / dt_s))
    if column.quantity is Quantity.POWER:
        return power_suspects(values, column.name, source, column.largest, stuck=a_day)
    if column.quantity is Quantity.NET_POWER:
        watts = watt_rows(np.abs(values), column.largest)
        refuse_whole_signal(watts, values, source, column.name, "watts", _watts_remedy(column.name))
        return [("watt", watts, f"beyond {column.largest:g} kW, so in watts")]
    if column.quantity is Quantity.SHARE:
        # What a share can do depends on what moves it: its asset judges that.
        return []
    possible = POSSIBLE[column.quantity]
    found: Suspects = []
    fahrenheit = np.zeros(len(values), dtype=bool)
    if column.quantity in (Quantity.INDOOR, Quantity.OUTDOOR):
        fahrenheit = fahrenheit_rows(values, possible.highest, possible.jump)
        name = f"{column.name.removesuffix('_c')}_f"
        remedy = f'name the column {name}, or map it with unit = "F"'
        refuse_whole_signal(fahrenheit, values, source, column.name, "degrees Fahrenheit", remedy)
        found.append(("fahrenheit", fahrenheit, "reads as degrees Fahrenheit"))
    with np.errstate(invalid="ignore"):
        outside = ((values < possible.lowest) | (values > possible.highest)) & ~fahrenheit
    found.append(("range", outside, f"outside {possible.lowest:g}..{possible.highest:g}"))
    rest = np.where(fahrenheit | outside, np.nan, values)
    if column.quantity is Quantity.SUN:
        return found
    found.append(("spike", spike_rows(rest, possible.jump), "a spike"))
    if column.quantity is not Quantity.WATER:  # a tank that nobody uses stands still
        found.append(("stuck", stuck_rows(rest, max(2, round(STUCK_S / dt_s))), "stuck at one value for hours"))
    return found


def _watts_remedy(name: str) -> str:
    return f'name the column {name.removesuffix("_kw")}_w, or map it with unit = "W"'


def cleaned(
    table: Array, signals: Sequence[str], row: NDArray[np.int64], suspects: Callable[[Array, str], Suspects]
) -> tuple[Array, list[LogFault]]:
    """The table (T, signals) with NaN for what `suspects` finds in each of its columns, and the faults."""
    table, faults = table.copy(), list[LogFault]()
    for column, signal in enumerate(signals):
        values = table[:, column]
        for kind, bad, detail in [("dropout", ~np.isfinite(values), "no value"), *suspects(values, signal)]:
            told = bad if kind == "dropout" else bad & np.isfinite(values)
            faults += faults_of(kind, signal, told, row, detail)
            values[bad] = np.nan
    return table, faults


def by_row(faults: Sequence[LogFault]) -> tuple[LogFault, ...]:
    return tuple(sorted(faults, key=lambda fault: (fault.first_row, fault.signal)))


def power_suspects(values: Array, signal: str, source: str, max_power_kw: float, *, stuck: int) -> Suspects:
    """Of a power that is never negative. Raises LogError for a column in watts."""
    watts = watt_rows(values, max_power_kw)
    refuse_whole_signal(watts, values, source, signal, "watts", "divide the column by 1000")
    powers = np.where(watts, np.nan, values)
    constant = stuck_rows(powers, stuck) & (np.abs(values) > 1e-9) & ~at_its_limit(powers)
    return [
        ("watt", watts, f"above {max_power_kw:g} kW, so in watts"),
        ("range", values < -0.05, "a negative power"),
        ("stuck", constant, "the same value to the last digit for over a day"),
    ]


def refuse_whole_signal(bad: Mask, values: Array, source: str, signal: str, unit: str, remedy: str) -> None:
    present = np.isfinite(values) & (values != 0.0)
    if present.sum() > 10 and bad[present].mean() > 0.9:
        raise LogError(f"{source}: column {signal!r} is in {unit}; {remedy}")


def watt_rows(values: Array, max_power_kw: float) -> Mask:
    """Powers in watts: values no heat pump draws in kW, and small ones that stand among them."""
    with np.errstate(invalid="ignore"):
        large, positive = values > max_power_kw, values > 0.0
    width = 25  # an hour to both sides
    kernel = np.ones(width)
    among = np.convolve(large, kernel, "same") > 0.5 * np.convolve(positive, kernel, "same")
    return large | (positive & among & (np.convolve(large, kernel, "same") > 2))


def fahrenheit_rows(values: Array, highest_c: float, jump_k: float) -> Mask:
    """Temperatures in Fahrenheit: stretches above any Celsius value, or next to a jump that is the conversion.

    The signal is cut where it jumps by more than `jump_k`; a piece is Fahrenheit when its end meets a neighbour after
    conversion to within 1.5 K and does not meet it as it is.
    """
    present = np.flatnonzero(np.isfinite(values))
    bad = np.zeros(len(values), dtype=bool)
    if len(present) == 0:
        return bad
    v = values[present]
    cuts = np.flatnonzero(np.abs(np.diff(v)) > jump_k) + 1
    pieces = np.split(np.arange(len(v)), cuts)
    suspect = np.zeros(len(pieces), dtype=bool)
    for i, piece in enumerate(pieces):
        # Above the range, and a believable temperature once converted: 85 °C is a sensor's power-on value, not 29 °C.
        converted = (v[piece] - 32.0) / 1.8
        if len(piece) >= 3 and np.median(v[piece]) > highest_c and np.ptp(v[piece]) > 0.0:
            suspect[i] = bool(np.all(np.abs(converted) < 50.0))
    for i in range(len(pieces) - 1):
        before, after = v[pieces[i][-1]], v[pieces[i + 1][0]]
        if abs((after - 32.0) / 1.8 - before) < 1.5 and len(pieces[i + 1]) >= 3:
            suspect[i + 1] = True
        if abs((before - 32.0) / 1.8 - after) < 1.5 and len(pieces[i]) >= 3:
            suspect[i] = True
    for piece, is_fahrenheit in zip(pieces, suspect.tolist(), strict=True):
        bad[present[piece]] |= is_fahrenheit
    return bad


def spike_rows(values: Array, jump_k: float) -> Mask:
    """Up to two samples that leap away from both their neighbours and back."""
    bad = np.zeros(len(values), dtype=bool)
    for width in (1, 2):
        before, after = values[: -width - 1], values[width + 1 :]
        with np.errstate(invalid="ignore"):
            together = np.abs(after - before) <= jump_k
            for offset in range(1, width + 1):
                middle = values[offset : len(values) - width - 1 + offset]
                leap = together & (np.abs(middle - before) > jump_k) & (np.abs(middle - after) > jump_k)
                bad[offset : len(values) - width - 1 + offset] |= leap
    return bad


def at_its_limit(values: Array) -> Mask:
    """Where a power is the highest of all, if it comes back there: a heater that is on for days stands at what it can,
    and a meter that is stuck stands anywhere, once."""
    top = float(np.nanmax(values, initial=0.0))
    with np.errstate(invalid="ignore"):
        there = values >= top * (1.0 - 1e-6)
    return there if len(runs(there)) > 1 else np.zeros(len(values), dtype=bool)


def stuck_rows(values: Array, shortest: int) -> Mask:
    """Stretches of one value, longer than `shortest` and than eight times the sensor's usual standstill.

    The second condition is for coarse sensors: one that resolves half a degree stands still for hours by nature.
    """
    same = np.concatenate([[False], np.diff(values) == 0.0])
    stretches = [(a - 1, b) for a, b in runs(same)]
    bad = np.zeros(len(values), dtype=bool)
    lengths = np.array([b - a for a, b in stretches if b - a < 20 * shortest])
    usual = float(np.percentile(lengths, 90)) if len(lengths) >= 20 else 1.0
    for a, b in stretches:
        if b - a > max(shortest, 8.0 * usual):
            bad[a:b] = True
    return bad
