"""The house's report: verdict in words, what each policy costs, a typical and the worst day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from pathlib import Path

import numpy as np

from pages.page import Block, Cell, Column, Heading, Page, Table, Text, write_page
from tuner.evaluate.house import FITTED, THERMOSTAT, TUNED, HouseEvaluation
from tuner.evaluate.statistics import Interval
from tuner.report.figures import LearningPoint, learning_chart
from tuner.report.house_figures import day_chart, rooms_chart, savings_chart, typical_and_worst


def house_page(
    evaluation: HouseEvaluation,
    source: str,
    *,
    title: str = "House: what the controllers are worth",
    history: Sequence[LearningPoint] = (),
    notes: Sequence[Text] = (),
    zone: tzinfo | None = UTC,
) -> Page:
    """The page. `history` is the learning curve, `notes` are what the caller adds, `zone` is the clock of the house."""
    days = typical_and_worst(evaluation)
    blocks: list[Block] = [Heading("What each policy costs"), savings_chart(evaluation), _costs(evaluation)]
    blocks += [_comfort(evaluation)]
    for day in days:
        blocks += [Heading(day.title), day_chart(evaluation, day, zone)]
    blocks += [Heading("Room by room"), rooms_chart(evaluation, days, zone)]
    if history:
        blocks += [Heading("Learning curve"), learning_chart(history)]
    if notes:
        blocks += [Heading("Build and bench"), *notes]
    better = TUNED in evaluation.results and evaluation.saving_percent(TUNED, FITTED).low > 0.0
    return Page(
        title=title,
        lead=evaluation.verdict,
        mood="good" if better else "plain",
        about=f"{len(evaluation.starts)} weeks of {source}, the same for every policy, in the simulated physical "
        "house, whose rooms, heat pumps and people are generated",
        blocks=blocks,
    )


def write_house_report(
    path: Path,
    evaluation: HouseEvaluation,
    source: str,
    *,
    title: str = "House: what the controllers are worth",
    history: Sequence[LearningPoint] = (),
    notes: Sequence[Text] = (),
    zone: tzinfo | None = UTC,
) -> None:
    """Write the page, whole or not at all."""
    write_page(path, house_page(evaluation, source, title=title, history=history, notes=notes, zone=zone))


def _costs(evaluation: HouseEvaluation) -> Table:
    cost = evaluation.spec.cost
    columns = (
        Column("policy"),
        Column("total, EUR", number=True),
        Column("electricity, EUR", number=True),
        Column("discomfort, EUR", number=True),
        Column("saving, %", number=True),
    )
    rows = [
        (
            name.replace("_", " "),
            _spread(evaluation.interval(name, lambda week: week.total_eur)),
            _spread(evaluation.interval(name, lambda week: week.cost_eur)),
            _spread(evaluation.interval(name, lambda week: week.comfort_eur)),
            "" if name == THERMOSTAT else _spread(evaluation.saving_percent(name, THERMOSTAT), digits=1),
        )
        for name in evaluation.results
    ]
    return Table(
        "What each policy costs per week",
        columns,
        rows,
        note="Per week; in small print 95 % intervals over weeks. Electricity is less the worth of the heat left in "
        f"the house. Discomfort: {cost.beta:g} EUR per K² and hour from {cost.setpoint_c:g} °C in every room, and what "
        f"leaving {cost.lower_c:g} to {cost.upper_c:g} °C costs, as in the MPC. Weeks differ more than policies do, so "
        "look at the savings of the total, which are paired week by week.",
    )


def _comfort(evaluation: HouseEvaluation) -> Table:
    weeks_of = evaluation.results
    rooms = len(next(iter(weeks_of.values()))[0].outside_kh)
    columns = (
        Column("policy"),
        Column("all rooms, K h", number=True),
        *(Column(f"room {room + 1}", number=True) for room in range(rooms)),
        Column("farthest, K", number=True),
    )
    rows = [
        (
            name.replace("_", " "),
            _spread(evaluation.interval(name, lambda week: float(week.outside_kh.sum()))),
            *(f"{value:.2f}" for value in np.mean([week.outside_kh for week in weeks], axis=0)),
            f"{max(week.worst_k for week in weeks):.2f}",
        )
        for name, weeks in weeks_of.items()
    ]
    return Table(
        "Outside the comfort band per week",
        columns,
        rows,
        note="Outside the comfort band, per week: kelvin times hours, and how far at the worst moment.",
    )


def _spread(of: Interval, digits: int = 2) -> Cell:
    return Cell(f"{of.mean:.{digits}f}", small=f"{of.low:.{digits}f} to {of.high:.{digits}f}")


def saving(evaluation: HouseEvaluation, name: str) -> str:
    """Paired saving of the total against the thermostat, %, with its 95 % interval."""
    if name == THERMOSTAT:
        return "0"
    interval = evaluation.saving_percent(name, THERMOSTAT)
    return f"{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})"
