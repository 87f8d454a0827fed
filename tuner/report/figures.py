"""The figures of the report, as inline SVG: narrow and with large type, so that they can be read on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo

import matplotlib
import matplotlib.dates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tuner.evaluate.battery import DATA_FITTED, LABELS, NO_BATTERY, PERFECT, RULE, TUNED, UNBIASED, Evaluation
from tuner.report.svg import STYLE, WIDTH_IN

COLOURS = {
    NO_BATTERY: "#8a8f98", RULE: "#c58b2a", DATA_FITTED: "#3b6fb6", UNBIASED: "#7fa6d6", TUNED: "#1d8a5b",
    PERFECT: "#a05195",
}  # fmt: skip


@dataclass(frozen=True)
class LearningPoint:
    """One iteration of tuning: mean cost per week on held-in weeks, with an interval where known."""

    iteration: int
    cost_eur_per_week: float
    low: float | None = None
    high: float | None = None


def savings_figure(evaluation: Evaluation) -> Figure:
    """What each policy saves against no battery, paired by week: bills differ far more between weeks than policies."""
    with matplotlib.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(WIDTH_IN, 2.4), layout="constrained")
        names = [name for name in evaluation.policies if name != NO_BATTERY]
        for row, name in enumerate(names):
            saved = evaluation.policies[name].saving_eur_per_week
            error = [[saved.mean - saved.low], [saved.high - saved.mean]]
            ax.barh(row, saved.mean, color=COLOURS[name], height=0.62, xerr=error, ecolor="#444", capsize=2.5)
            end = (max(saved.high, 0.0), row)
            ax.annotate(f"{saved.mean:.2f}", end, (6, 0), textcoords="offset points", va="center")
        ax.set_yticks(range(len(names)), [LABELS[name] for name in names])
        ax.invert_yaxis()
        ax.margins(x=0.12)
        ax.axvline(0.0, color="#444", lw=0.8)
        ax.set_xlabel("EUR saved per week against no battery, 95 % interval")
        return figure


def differences_figure(evaluation: Evaluation) -> Figure:
    """What the tuned theta saved in each held-out week, paired."""
    saved = evaluation.week_costs[DATA_FITTED] - evaluation.week_costs[TUNED]
    improvement = evaluation.improvement
    assert improvement is not None
    with matplotlib.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(WIDTH_IN, 2.2), layout="constrained")
        positions = np.arange(len(saved))
        ax.bar(positions, saved, color=np.where(saved >= 0, COLOURS[TUNED], "#c0504d").tolist(), width=0.7)
        interval = improvement.eur_per_week
        ax.axhspan(interval.low, interval.high, color=COLOURS[TUNED], alpha=0.15, lw=0)
        ax.axhline(interval.mean, color=COLOURS[TUNED], lw=1.2)
        ax.axhline(0.0, color="#444", lw=0.8)
        labels = [f"{evaluation.split.exogenous.time(week):%d %b}" for week in evaluation.weeks]
        every = max(1, len(labels) // 6)
        ax.set_xticks(positions[::every], labels[::every])
        ax.set_ylabel("EUR saved in the week")
        return figure


def week_figure(evaluation: Evaluation) -> Figure:
    """The first held-out week: prices, state of charge, battery power, grid power."""
    shown = [name for name in (RULE, DATA_FITTED, TUNED) if name in evaluation.traces]
    exogenous = evaluation.split.exogenous
    start = evaluation.weeks[0]
    n = len(evaluation.traces[shown[0]].soc)
    times = [exogenous.time(start + k) for k in range(n)]
    with matplotlib.rc_context(STYLE):
        figure, axes = plt.subplots(4, 1, figsize=(WIDTH_IN, 7.0), sharex=True, layout="constrained")
        price, soc, power, grid = axes
        price.step(times, 100 * exogenous.buy_price[start : start + n], where="post", color="#444", label="buy")
        price.step(times, 100 * exogenous.sell_price[start : start + n], where="post", color="#aaa", label="sell")
        price.set_ylabel("ct/kWh")
        for name in shown:
            trace = evaluation.traces[name]
            line = {"color": COLOURS[name], "lw": 1.1, "label": LABELS[name], "alpha": 0.9}
            soc.plot(times, trace.soc, **line)
            if name != RULE:
                power.step(times, trace.power_kw, where="post", **line)
                grid.step(times, trace.grid_kw, where="post", **line)
        net_load = evaluation.traces[shown[0]].net_load_kw
        grid.step(times, net_load, where="post", color="#bbb", lw=0.8, label="net load", zorder=1)
        soc.set_ylabel("state of charge")
        soc.set_ylim(0, 1)
        power.set_ylabel("battery kW\n(+ charges)")
        grid.set_ylabel("grid kW\n(+ imports)")
        for ax in axes:
            ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.98), ncols=3, borderaxespad=0.0, handlelength=1.4)
        _date_axis(grid, times[0].tzinfo)
        return figure


def plan_figure(evaluation: Evaluation, name: str) -> Figure:
    """The plan that an MPC had at one moment, and what then happened."""
    trace = evaluation.traces[name]
    plan = trace.plan
    assert plan is not None
    exogenous = evaluation.split.exogenous
    n = len(plan.power_kw)
    begin = plan.start_step - trace.start_step
    times = [exogenous.time(evaluation.weeks[0] + begin + k) for k in range(n + 1)]
    happened = slice(begin, min(begin + n, len(trace.soc)))
    with matplotlib.rc_context(STYLE):
        figure, (price, soc, power) = plt.subplots(3, 1, figsize=(WIDTH_IN, 4.8), sharex=True, layout="constrained")
        price.step(times[:-1], 100 * plan.buy_price, where="post", color="#444", label="buy price as forecast, ct/kWh")
        price.set_ylabel("ct/kWh")
        realised = {"color": COLOURS[name], "lw": 1.3, "label": "happened"}
        planned = {"color": COLOURS[name], "lw": 1.1, "ls": "--", "label": f"planned at {times[0]:%a %H:%M}"}
        soc.plot(times, plan.soc, **planned)
        soc.plot(times[: happened.stop - begin], trace.soc[happened], **realised)
        soc.set_ylim(0, 1)
        soc.set_ylabel("state of charge")
        power.step(times[:-1], plan.power_kw, where="post", **planned)
        power.step(times[: happened.stop - begin], trace.power_kw[happened], where="post", **realised)
        power.plot(times[:-1], plan.net_load_kw, color="#bbb", lw=0.9, label="net load as forecast")
        power.set_ylabel("kW (+ charges)")
        for ax in (price, soc, power):
            ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.98), ncols=3, borderaxespad=0.0, handlelength=1.4)
        power.set_xlim(times[0], times[0] + timedelta(seconds=n * exogenous.dt_s))
        power.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M", tz=times[0].tzinfo))
        power.xaxis.set_major_locator(matplotlib.dates.HourLocator(interval=4, tz=times[0].tzinfo))
        return figure


def learning_figure(history: Sequence[LearningPoint]) -> Figure:
    """Cost on the held-in weeks against the iteration."""
    with matplotlib.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(WIDTH_IN, 2.4), layout="constrained")
        iterations = [point.iteration for point in history]
        ax.plot(iterations, [point.cost_eur_per_week for point in history], color=COLOURS[TUNED], marker="o", ms=3)
        banded = [point for point in history if point.low is not None and point.high is not None]
        if banded:
            lows = np.array([point.low for point in banded], dtype=float)
            highs = np.array([point.high for point in banded], dtype=float)
            ax.fill_between([p.iteration for p in banded], lows, highs, color=COLOURS[TUNED], alpha=0.15, lw=0)
        ax.axhline(history[0].cost_eur_per_week, color=COLOURS[DATA_FITTED], lw=0.9, ls="--", label="data-fitted")
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
        ax.set_xlabel("iteration")
        ax.set_ylabel("EUR per held-in week")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def _date_axis(ax: Axes, zone: tzinfo | None) -> None:
    ax.xaxis.set_major_locator(matplotlib.dates.DayLocator(tz=zone))
    ax.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%a %d", tz=zone))
    ax.margins(x=0.0)
