"""The charts of the battery's report, as data: pure functions of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pages.chart import Bar, Bars, Chart, Limit, Line, NumberAxis, Panel, TimeAxis
from tuner.evaluate.battery import DATA_FITTED, LABELS, NO_BATTERY, RULE, TUNED, Evaluation

WEEK_S = 7 * 86400.0


@dataclass(frozen=True)
class LearningPoint:
    """One iteration of tuning: mean cost per week on held-in weeks, with an interval where known."""

    iteration: int
    cost_eur_per_week: float
    low: float | None = None
    high: float | None = None


def savings_chart(evaluation: Evaluation) -> Chart:
    """What each policy saves against no battery, paired by week: bills differ far more between weeks than policies."""
    shown = best(evaluation)
    bars = [
        Bar(LABELS[name], saved.mean, saved.low, saved.high, role="first" if name == shown else "quiet")
        for name, result in evaluation.policies.items()
        if name != NO_BATTERY and (saved := result.saving_eur_per_week)
    ]
    told = "; ".join(f"{bar.label} {bar.value:.2f} EUR" for bar in bars)
    return Chart(
        "savings",
        f"Saving per week against no battery: {told}.",
        [Bars("EUR saved per week against no battery; lines: 95 % interval", bars)],
    )


def differences_chart(evaluation: Evaluation) -> Chart:
    """What the tuned theta saved in each held-out week, paired. Needs a tuned theta."""
    improvement = evaluation.improvement
    assert improvement is not None
    saved = evaluation.week_costs[DATA_FITTED] - evaluation.week_costs[TUNED]
    mean = improvement.eur_per_week
    times = np.array([evaluation.split.exogenous.time(week).timestamp() for week in evaluation.weeks])
    margin = 0.5 * (float(np.diff(times).min()) if len(times) > 1 else WEEK_S)
    axis = TimeAxis(zone_of(evaluation), float(times[0]) - margin, float(times[-1]) + margin)
    panel = Panel(
        "EUR saved in the week",
        [Line("", times, saved, kind="columns")],
        limits=[Limit(mean.mean, f"mean {mean.mean:.2f}")],
        band=(mean.low, mean.high),
    )
    won = int((saved > 0).sum())
    return Chart(
        "differences",
        f"The tuned MPC is cheaper than the data-fitted one in {won} of {len(saved)} weeks, by {mean.mean:.2f} EUR in "
        "the mean.",
        [panel],
        axis,
        caption="Tuned against data-fitted MPC in the same weeks with the same disturbances. Shaded: 95 % interval of "
        "the mean.",
    )


def week_chart(evaluation: Evaluation) -> Chart:
    """The first held-out week under the best MPC and under the rule; tuned and data-fitted by their difference."""
    name = best(evaluation)
    trace, rule = evaluation.traces[name], evaluation.traces[RULE]
    exogenous, start, n = evaluation.split.exogenous, evaluation.weeks[0], len(trace.soc)
    x = _times(evaluation, start, n)
    part = slice(start, start + n)
    panels = [
        Panel(
            "Price, ct/kWh",
            [
                Line("buy", x, 100 * exogenous.buy_price[part], "first", "stairs"),
                Line("sell", x, 100 * exogenous.sell_price[part], "second", "stairs"),
            ],
        ),
        Panel(
            "State of charge, %",
            [Line("rule", x, 100 * rule.soc, "second"), Line(short(name), x, 100 * trace.soc, "first")],
            y_range=(0, 100),
        ),
    ]
    if TUNED in evaluation.traces:
        panels.append(_difference(evaluation, x))
    panels += [
        Panel("Battery, kW (+ charges)", [Line(short(name), x, trace.power_kw, "first", "stairs")]),
        Panel(
            "Grid, kW (+ imports)",
            [
                Line("no battery", x, trace.net_load_kw, "second", "stairs"),
                Line(short(name), x, trace.grid_kw, "first", "stairs"),
            ],
        ),
    ]
    return Chart(
        "week",
        f"Prices, state of charge, battery and grid power of the {LABELS[name]} in the week from "
        f"{exogenous.time(start):%d %B %Y}.",
        panels,
        _axis(evaluation, x, exogenous.dt_s),
    )


def _difference(evaluation: Evaluation, x: np.ndarray) -> Panel:
    apart = 100 * (evaluation.traces[TUNED].soc - evaluation.traces[DATA_FITTED].soc)
    return Panel("State of charge, tuned minus data-fitted, percentage points", [Line("", x, apart, "first")])


def plan_chart(evaluation: Evaluation) -> Chart:
    """The plan that the best MPC had at one moment, and what then happened."""
    name = best(evaluation)
    trace = evaluation.traces[name]
    plan = trace.plan
    assert plan is not None
    exogenous, n = evaluation.split.exogenous, len(plan.power_kw)
    begin = plan.start_step - trace.start_step
    x = _times(evaluation, evaluation.weeks[0] + begin, n + 1)
    until = min(begin + n, len(trace.soc)) - begin
    made = exogenous.time(evaluation.weeks[0] + begin)

    def happened(values: np.ndarray) -> np.ndarray:
        return values[begin : begin + until]

    panels = [
        Panel("Price as forecast, ct/kWh", [Line("buy", x[:-1], 100 * plan.buy_price, "first", "stairs")]),
        Panel(
            "State of charge, %",
            [
                Line("planned", x, 100 * plan.soc, "second", "dashes"),
                Line("happened", x[:until], 100 * happened(trace.soc), "first"),
            ],
            y_range=(0, 100),
        ),
        Panel(
            "Battery, kW (+ charges)",
            [
                Line("planned", x[:-1], plan.power_kw, "second", "dashed stairs"),
                Line("happened", x[:until], happened(trace.power_kw), "first", "stairs"),
            ],
        ),
        Panel(
            "Load less sun, kW",
            [
                Line("forecast", x[:-1], plan.net_load_kw, "second", "dashes"),
                Line("happened", x[:until], happened(trace.net_load_kw), "first", "stairs"),
            ],
        ),
    ]
    return Chart(
        "plan",
        f"A plan of the {LABELS[name]}, made on {made:%A at %H:%M}, and what happened in the hours after it.",
        panels,
        _axis(evaluation, x[:-1], exogenous.dt_s),
        caption=f"Of the {LABELS[name]}, on {made:%A at %H:%M}. A new plan is made every quarter of an hour; only its "
        "first step is carried out.",
    )


def learning_chart(history: Sequence[LearningPoint]) -> Chart:
    """Cost on the held-in weeks against the iteration."""
    x = np.array([point.iteration for point in history], float)
    cost = np.array([point.cost_eur_per_week for point in history], float)
    low, high = (np.array([np.nan if v is None else v for v in ends], float) for ends in zip(
        *((point.low, point.high) for point in history), strict=True))  # fmt: skip
    banded = bool(np.isfinite(low).any())
    line = Line("tuned", x, cost, "first", "line and dots", low if banded else None, high if banded else None)
    return Chart(
        "learning",
        f"Cost per held-in week over {len(history) - 1} iterations: from {cost[0]:.2f} to {cost[-1]:.2f} EUR.",
        [Panel("EUR per held-in week", [line], limits=[Limit(float(cost[0]), "start")])],
        NumberAxis("iteration", whole=True),
    )


def best(evaluation: Evaluation) -> str:
    """The MPC that the page is about: tuned where there is one."""
    return TUNED if TUNED in evaluation.traces else DATA_FITTED


def short(name: str) -> str:
    """The label of a line."""
    return LABELS[name].removesuffix(" MPC")


def zone_of(evaluation: Evaluation):  # type: ignore[no-untyped-def]
    exogenous = evaluation.split.exogenous
    return exogenous.zone or exogenous.start.tzinfo


def _times(evaluation: Evaluation, first: int, count: int) -> np.ndarray:
    exogenous = evaluation.split.exogenous
    return exogenous.time(first).timestamp() + exogenous.dt_s * np.arange(count)


def _axis(evaluation: Evaluation, x: np.ndarray, dt_s: float) -> TimeAxis:
    return TimeAxis(zone_of(evaluation), float(x[0]), float(x[-1] + dt_s))
