"""The page of an evaluation: the verdict, the bill by part, comfort by zone, a day, and what theta means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pages.page as kit
from pages.chart import Bar, Bars, Chart, Line, NumberAxis, Panel, TimeAxis
from pages.palette import Role
from systems.design import HouseDesign
from systems.world import Exogenous
from tuner.evaluate.comparison import RULE, TUNED, UNBIASED, Evaluation

METRICS = (
    "Means of a week. Total is the bill less what is left in store at the week's end, plus what no meter bills: "
    "discomfort, cold showers and wear at the prices of the house file. K h are kelvin outside the comfort band times "
    "hours."
)
PAIRED = (
    "Paired week by week; the ends are those of a 95 % interval by Student's t over months, whose weeks resemble each "
    "other, corrected for skewness. Hand-set weights and the search were chosen on the training weeks, where the tuner "
    "learned."
)
SHOWN_STATES = 4
SHOWN_PARAMETERS = 40


def write_page(
    path: Path,
    design: HouseDesign,
    world: Exogenous,
    found: Evaluation,
    verdict: str,
    says: Sequence[str],
    told: str,
) -> None:
    """Whole or not at all. says: sentences below the table."""
    rival, best = compared(found)
    kit.write_page(
        path,
        kit.Page(
            title=f"{found.house}: what control is worth",
            lead=verdict[0].upper() + verdict[1:] + ".",
            about=f"{len(found.weeks)} held-out weeks; {told}",
            blocks=[
                _table(found),
                _paired(found, best),
                *([kit.Items(list(says))] if says else []),
                _totals(found),
                kit.Heading("Each week"),
                _weeks(found, rival, best),
                kit.Heading("A typical day and the worst one"),
                *(_day(design, world, found, (best, rival), day, name) for name, day in _days(found, best)),
                *_changes(found, rival, best),
            ],
        ),
    )


def compared(found: Evaluation) -> tuple[str, str]:
    """(what is held against, what the page is about)."""
    return (found.fit, TUNED) if found.about == TUNED else (RULE, found.fit)


def _table(found: Evaluation) -> kit.Table:
    zones = list(next(iter(found.results.values()))[0].discomfort_kh)
    tank = any(r.cold_litres for results in found.results.values() for r in results)
    peaks = any(r.capacity for results in found.results.values() for r in results)
    headings = [f"total, {found.currency}", "energy", *(["peaks"] if peaks else []), "in store", "not billed"]
    headings += [f"{zone}, K h" for zone in zones] + (["cold litres"] if tank else [])
    rows = []
    for name, results in found.results.items():
        parts = [(r.energy, *([r.capacity] if peaks else []), -r.stored, sum(r.unbilled.values())) for r in results]
        values = np.column_stack([found.totals(name), np.array(parts)]).mean(0)
        comfort = [float(np.mean([r.discomfort_kh[zone] for r in results])) for zone in zones]
        litres = [f"{np.mean([r.cold_litres for r in results]):.0f}"] if tank else []
        rows.append([name, *(f"{v:.2f}" for v in values.tolist()), *(f"{v:.1f}" for v in comfort), *litres])
    columns = [kit.Column("policy"), *(kit.Column(heading, number=True) for heading in headings)]
    return kit.Table(f"What each policy costs, {found.currency} a week", columns, rows, note=METRICS)


def _paired(found: Evaluation, best: str) -> kit.Table:
    rows: list[list[kit.Cell | str]] = []
    for rival in found.rivals():
        saving = found.saving(best, rival)
        if saving is None:
            mean = float((found.totals(rival) - found.totals(best)).mean())
            rows.append([rival, f"{mean:+.3f}", "", ""])
            continue
        mood: kit.Mood = "good" if saving.low > 0.0 else "bad" if saving.high < 0.0 else "plain"
        ends = [f"{saving.low:+.3f}", f"{saving.high:+.3f}"]
        rows.append([rival, kit.Cell(f"{saving.mean:+.3f}", mood=mood), *ends])
    columns = [kit.Column("against"), *(kit.Column(t, number=True) for t in ("saves", "at least", "at most"))]
    return kit.Table(f"What {best} saves, {found.currency} a week", columns, rows, note=PAIRED)


def _totals(found: Evaluation) -> Chart:
    bars = [Bar(name, float(found.totals(name).mean()), role=_role(name)) for name in found.results]
    title = f"Total, {found.currency} a week"
    return Chart(
        "totals", f"{title}: {', '.join(f'{bar.label} {bar.value:.2f}' for bar in bars)}.", [Bars(title, bars)]
    )


def _role(name: str) -> Role:
    return "first" if name == TUNED else "second" if name == UNBIASED else "quiet"


def _weeks(found: Evaluation, rival: str, best: str) -> Chart:
    """Differences: bills differ far more between weeks than policies do."""
    saved = found.totals(rival) - found.totals(best)
    line = Line(best, np.arange(1.0, len(saved) + 1.0), saved, "first", "columns")
    panel = Panel(f"Saved against {rival}, {found.currency}", [line])
    caption = f"What {best} saves against {rival} in each week."
    return Chart("weeks", caption, [panel], NumberAxis("held-out week", whole=True), caption)


def _days(found: Evaluation, best: str) -> list[tuple[str, int]]:
    """(name, day of the first week): of the median cost, and of the highest."""
    trace = found.results[best][0].trace
    money = trace["buy"] * trace["grid_kw"] + sum(v for name, v in trace.items() if name.startswith("cost."))
    days = money.reshape(7, -1).sum(1)
    order = np.argsort(days)
    return [("A typical day", int(order[len(order) // 2])), ("The worst day", int(order[-1]))]


def _day(
    design: HouseDesign, world: Exogenous, found: Evaluation, shown: tuple[str, str], day: int, name: str
) -> Chart:
    """Price, what is drawn from the grid, and a few states, of both policies."""
    traces = {policy: found.results[policy][0].trace for policy in shown}
    first = next(iter(traces.values()))
    n = len(first["buy"]) // 7
    part = slice(day * n, (day + 1) * n)
    begin = world.time_s(found.weeks[0] + day * n)
    times = np.asarray(begin + design.house.grid.step_s * np.arange(n), dtype=np.float64)
    roles: tuple[Role, ...] = ("first", "second")

    def both(title: str, signal: str) -> Panel:
        lines = [
            Line(policy, times, trace[signal][part], role, "line" if signal.endswith("_temperature") else "stairs")
            for (policy, trace), role in zip(traces.items(), roles, strict=True)
        ]
        return Panel(title, lines)

    states = [s for s in first if s.endswith(("_temperature", "_soc"))][:SHOWN_STATES]
    words = {s: s.replace("_temperature", ", degC").replace("_soc", ", state of charge") for s in states}
    price = Panel(f"Price, {found.currency}/kWh", [Line("buy", times, first["buy"][part], "third", "stairs")])
    panels = [price, both("From the grid, kW", "grid_kw"), *(both(words[state], state) for state in states)]
    chart = name.lower().replace(" ", "-")
    says = f"{name} of the first held-out week: price, power from the grid, {', '.join(words.values())}."
    axis = TimeAxis(design.house.timezone, begin, begin + n * design.house.grid.step_s)
    return Chart(chart, says, panels, axis, caption=f"{name}, {world.time(found.weeks[0] + day * n):%A %d %B %Y}.")


def _changes(found: Evaluation, rival: str, best: str) -> list[kit.Block]:
    return [kit.Heading("What tuning changed"), _theta(found, rival)] if best == TUNED else []


def _theta(found: Evaluation, rival: str) -> kit.Table:
    contenders = {c.name: c.theta or () for c in found.contenders}
    rows: list[list[kit.Cell | str]] = [
        [kit.Cell(p.name, small=p.description), p.unit, f"{before:.4f}", f"{after:.4f}"]
        for p, before, after in zip(found.parameters, contenders[rival], contenders[TUNED], strict=True)
        if before != after
    ]
    columns = [kit.Column("parameter"), kit.Column("unit")]
    columns += [kit.Column(title, number=True) for title in ("before", "tuned")]
    return kit.Table("What tuning changed", columns, rows[:SHOWN_PARAMETERS])
