"""The charts of the house's report, as data: a typical day, the worst one, and both room by room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import numpy as np

from pages.chart import Bar, Bars, Chart, Limit, Line, NumberAxis, Panel, TimeAxis, zone_name
from tuner.evaluate.house import FITTED, THERMOSTAT, TUNED, HouseEvaluation
from tuner.house.data import STEPS_PER_DAY

DAY_S = 86400.0


@dataclass(frozen=True)
class Day:
    """One day of one policy."""

    policy: str
    week: int
    day: int
    title: str

    @property
    def part(self) -> slice:
        """Its samples in the week."""
        return slice(self.day * STEPS_PER_DAY, (self.day + 1) * STEPS_PER_DAY)


def typical_and_worst(evaluation: HouseEvaluation) -> tuple[Day, Day]:
    """Of the best MPC at hand: the day of median cost, and the one with the most K h outside the band.

    Where no day leaves the band, the worst is the one farthest from the set-point.
    """
    policy = TUNED if TUNED in evaluation.results else FITTED
    cost, conditions = evaluation.spec.cost, evaluation.conditions
    days, bill, outside = [], [], []
    for w, result in enumerate(evaluation.results[policy]):
        for d in range(7):
            day = Day(policy, w, d, "")
            first = evaluation.starts[w] + day.part.start
            price = conditions.price_eur_kwh[first : first + STEPS_PER_DAY]
            t = result.temperature_c[day.part]
            days.append((w, d))
            bill.append(float((cost.price_rate(result.power_kw[day.part], price) + cost.comfort_rate(t)).sum()))
            outside.append((float(cost.outside_band_k(t).sum()), float(np.abs(t - cost.setpoint_c).max())))
    typical = days[int(np.argsort(bill)[len(bill) // 2])]
    worst = days[max(range(len(days)), key=lambda i: outside[i])]
    return Day(policy, *typical, "A typical day"), Day(policy, *worst, "The worst day")


def savings_chart(evaluation: HouseEvaluation) -> Chart:
    """What each policy saves of the thermostat's total, paired week by week."""
    shown = TUNED if TUNED in evaluation.results else FITTED
    bars = [
        Bar(name.replace("_", " "), of.mean, of.low, of.high, role="first" if name == shown else "quiet")
        for name in evaluation.results
        if name != THERMOSTAT and (of := evaluation.saving_percent(name, THERMOSTAT))
    ]
    told = "; ".join(f"{bar.label} {bar.value:.1f} %" for bar in bars)
    title = "Saved of the thermostat's total, %; lines: 95 % interval"
    return Chart("savings", f"Saving of the thermostat's total: {told}.", [Bars(title, bars, digits=1)])


def day_chart(evaluation: HouseEvaluation, day: Day, zone: tzinfo | None) -> Chart:
    """Warmest and coldest room, all power together, price and outdoor temperature."""
    result, conditions, cost = evaluation.results[day.policy][day.week], evaluation.conditions, evaluation.spec.cost
    first = evaluation.starts[day.week] + day.part.start
    begin = conditions.start_s + conditions.dt_s * first
    x = begin + conditions.dt_s * np.arange(STEPS_PER_DAY)
    rooms, power = result.temperature_c[day.part], result.power_kw[day.part]
    around = slice(first, first + STEPS_PER_DAY)
    outdoor = conditions.outdoor_c[around]
    words, date = day.policy.replace("_", " "), datetime.fromtimestamp(begin, zone)
    panels = [
        Panel(
            "Rooms, °C",
            [
                Line("warmest", x, rooms.max(1), "second"),
                Line("coldest", x, rooms.min(1), "first"),
            ],
            limits=[Limit(cost.setpoint_c, "set-point")],
            band=(cost.lower_c, cost.upper_c),
        ),
        Panel("All heat pumps, kW", [Line("", x, power.sum(1), "first", "stairs")]),
        Panel("Price, EUR/kWh", [Line("", x, conditions.price_eur_kwh[around], "first", "stairs")]),
        Panel("Outdoors, °C", [Line("", x, outdoor, "first")]),
    ]
    return Chart(
        "day-" + day.title.lower().replace(" ", "-"),
        f"{day.title} of the {words} policy: rooms from {rooms.min():.1f} to {rooms.max():.1f} °C, "
        f"{outdoor.min():.0f} to {outdoor.max():.0f} °C outside.",
        panels,
        TimeAxis(zone, begin, begin + DAY_S),
        caption=f"The {words} policy on {date:%A} {date.day} {date:%B %Y}. Shaded: the comfort band, "
        f"{cost.lower_c:g} to {cost.upper_c:g} °C.",
    )


def rooms_chart(evaluation: HouseEvaluation, days: Sequence[Day], zone: tzinfo | None) -> Chart:
    """One panel a room; a line for each of the days."""
    cost, hours = evaluation.spec.cost, np.arange(STEPS_PER_DAY) * 24.0 / STEPS_PER_DAY
    begins = [
        evaluation.conditions.start_s + evaluation.conditions.dt_s * (evaluation.starts[d.week] + d.part.start)
        for d in days
    ]
    count = evaluation.results[days[0].policy][0].temperature_c.shape[1]
    panels = [
        Panel(
            f"Room {room + 1}, °C",
            [
                Line(
                    day.title.removeprefix("A ").removeprefix("The "),
                    hours,
                    evaluation.results[day.policy][day.week].temperature_c[day.part, room],
                    role,
                )
                for day, role in zip(days, ("first", "second"), strict=True)
            ],
            band=(cost.lower_c, cost.upper_c),
        )
        for room in range(count)
    ]
    clock = datetime.fromtimestamp(begins[0], zone)
    return Chart(
        "rooms",
        "Temperature of every room on the two days.",
        panels,
        NumberAxis(f"hours after {clock:%H:%M} local time, {zone_name(zone, begins[0])}"),
        columns=2,
    )
