"""The verdict page of the house: table, verdict in words, a typical and the worst day."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tuner.evaluate.house import FITTED, THERMOSTAT, TUNED, HouseEvaluation
from tuner.evaluate.statistics import Interval
from tuner.house.data import STEPS_PER_DAY
from tuner.report.figures import LearningPoint, learning_figure
from tuner.report.svg import to_svg

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d6a9f")


@dataclass(frozen=True)
class Day:
    """One day of one policy."""

    policy: str
    week: int
    day: int
    title: str


def typical_and_worst(evaluation: HouseEvaluation) -> tuple[Day, Day]:
    """Of the best MPC at hand: the day of median cost, and the one with the most K h outside the band.

    Where no day leaves the band, the worst is the one farthest from the set-point.
    """
    policy = TUNED if TUNED in evaluation.results else FITTED
    cost, conditions = evaluation.spec.cost, evaluation.conditions
    days, bill, outside = [], [], []
    for w, result in enumerate(evaluation.results[policy]):
        for d in range(7):
            part = slice(d * STEPS_PER_DAY, (d + 1) * STEPS_PER_DAY)
            first = evaluation.starts[w] + part.start
            price = conditions.price_eur_kwh[first : first + STEPS_PER_DAY]
            t = result.temperature_c[part]
            days.append((w, d))
            bill.append(float((cost.price_rate(result.power_kw[part], price) + cost.comfort_rate(t)).sum()))
            outside.append((float(cost.outside_band_k(t).sum()), float(np.abs(t - cost.setpoint_c).max())))
    typical = days[int(np.argsort(bill)[len(bill) // 2])]
    worst = days[max(range(len(days)), key=lambda i: outside[i])]
    return Day(policy, *typical, "A typical day"), Day(policy, *worst, "The worst day")


def draw_days(evaluation: HouseEvaluation) -> Figure:
    """Rooms with the comfort band, powers, and price with outdoor temperature; one column per day."""
    figure, axes = plt.subplots(3, 2, figsize=(11, 8), layout="constrained", sharex=True, sharey="row")
    for column, day in zip(axes.T, typical_and_worst(evaluation), strict=True):
        _draw_day(column, evaluation, day)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    # The days share their axes: a price of one must not leave the picture because the other was cheaper.
    lowest, highest = axes[2, 0].dataLim.y0, max(axis.dataLim.y1 for axis in axes[2])
    axes[2, 0].set_ylim(min(0.0, lowest, axes[2, 1].dataLim.y0), 1.05 * highest)
    axes[0, 0].set_ylabel("rooms, °C")
    axes[1, 0].set_ylabel("heat pumps, kW")
    axes[2, 0].set_ylabel("price, EUR/kWh")
    axes[0, 0].legend(loc="lower left", frameon=False, fontsize=8, ncols=4)
    return figure


def _draw_day(column: Sequence[Axes], evaluation: HouseEvaluation, day: Day) -> None:
    part = slice(day.day * STEPS_PER_DAY, (day.day + 1) * STEPS_PER_DAY)
    result, cost = evaluation.results[day.policy][day.week], evaluation.spec.cost
    first = evaluation.starts[day.week] + part.start
    outdoor = evaluation.conditions.outdoor_c[first : first + STEPS_PER_DAY]
    hours = np.arange(STEPS_PER_DAY) / 12.0
    for room in range(result.temperature_c.shape[1]):
        label = f"room {room + 1}"
        column[0].plot(hours, result.temperature_c[part, room], color=COLOURS[room % 4], label=label)
        column[1].step(hours, result.power_kw[part, room], where="post", color=COLOURS[room % 4], linewidth=0.8)
    for bound in (cost.lower_c, cost.upper_c):
        column[0].axhline(bound, color="#888", linewidth=0.8, linestyle="--")
    column[0].axhline(cost.setpoint_c, color="#888", linewidth=0.8, linestyle=":")
    column[0].set_title(
        f"{day.title} of {day.policy.replace('_', ' ')} ({outdoor.min():.0f} to {outdoor.max():.0f} °C outside)"
    )
    price = evaluation.conditions.price_eur_kwh[first : first + STEPS_PER_DAY]
    column[2].step(hours, price, where="post", color="#444")
    column[2].set_xlabel("hours (UTC)")
    column[2].set_xticks(range(0, 25, 3))


def write_house_report(
    path: Path,
    evaluation: HouseEvaluation,
    source: str,
    *,
    title: str = "House: what the controllers are worth",
    history: Sequence[LearningPoint] = (),
    notes: Sequence[str] = (),
) -> None:
    """One self-contained page, written whole or not at all. `history` is the learning curve, `notes` are sentences."""
    figure = draw_days(evaluation)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    plt.close(figure)
    page = _page(evaluation, source, base64.b64encode(picture.getvalue()).decode(), title)
    if history:
        curve = to_svg(learning_figure(history), "learning curve")
        page += f"<h2>Learning</h2><p>EUR per held-in week after each iteration.</p><figure>{curve}</figure>"
    if notes:
        page += "<h2>Build and bench</h2>" + "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page + "</html>\n", encoding="utf-8")
    partial.replace(path)


def _page(evaluation: HouseEvaluation, source: str, picture: str, title: str) -> str:
    rows, cost = [], evaluation.spec.cost
    for name, weeks in evaluation.results.items():
        outside = np.mean([week.outside_kh for week in weeks], axis=0)
        cells = [
            html.escape(name.replace("_", " ")),
            _spread(evaluation.interval(name, lambda week: week.cost_eur)),
            _spread(evaluation.interval(name, lambda week: week.comfort_eur)),
            _spread(evaluation.interval(name, lambda week: week.total_eur)),
            saving(evaluation, name).replace(" (", "<small>").replace(")", "</small>"),
            " / ".join(f"{value:.2f}" for value in outside),
            _spread(evaluation.interval(name, lambda week: float(week.outside_kh.sum()))),
            f"{max(week.worst_k for week in weeks):.2f}",
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = (
        "policy",
        "EUR/week",
        "comfort, EUR/week",
        "total, EUR/week",
        "saving, %",
        "K h outside, room by room",
        "K h outside, all",
        "worst, K",
    )
    head = "".join(f"<th>{text}</th>" for text in heads)
    better = TUNED in evaluation.results and evaluation.saving_percent(TUNED, FITTED).low > 0.0
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{html.escape(title)}</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;"
        "max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}img{max-width:100%}table{border-collapse:collapse;"
        "display:block;overflow-x:auto}td,th{padding:.3rem .55rem;border-bottom:1px solid #ddd;text-align:right;"
        "white-space:nowrap;vertical-align:top}small{display:block;color:#667}td:first-child,th:first-child{text-align:left}h1{font-size:1.5rem;line-height:1.25}"
        "h2{font-size:1.1rem;margin-top:2rem}th{white-space:normal;vertical-align:bottom;color:#556}"
        ".verdict{padding:.75rem 1rem;border-left:4px solid #8a8f98;background:#f5f6f7}"
        ".verdict.better{border-color:#1d8a5b;background:#eef8f3}figure{margin:0;max-width:46rem}"
        "figure svg{width:100%;height:auto}"
        "</style>"
        f"<h1>{html.escape(title)}</h1>"
        f"<p class='verdict{' better' if better else ''}'>{html.escape(evaluation.verdict)}</p>"
        f"<table><tr>{head}</tr>{''.join(rows)}</table>"
        f"<p>{len(evaluation.starts)} weeks of {html.escape(source)}, the same for every policy, in the simulated "
        "physical house, whose rooms, heat pumps and "
        "people are generated. EUR/week: electricity, less the worth of the heat left in the house. Comfort: "
        f"{cost.beta:g} EUR per K² and hour from {cost.setpoint_c:g} °C in every room, and what leaving "
        f"{cost.lower_c:g}..{cost.upper_c:g} °C costs, as in the MPC. In small print: 95 % "
        "intervals over weeks. Weeks differ more than policies do, so look at the savings of the total, "
        "which are paired week by week.</p>"
        "<img alt='rooms, powers and prices of a typical and of the worst day' "
        f"src='data:image/png;base64,{picture}'>"
    )


def _spread(of: Interval) -> str:
    return f"{of.mean:.2f}<small>{of.low:.2f} to {of.high:.2f}</small>"


def saving(evaluation: HouseEvaluation, name: str) -> str:
    """Paired saving of the total against the thermostat, %, with its 95 % interval."""
    if name == THERMOSTAT:
        return "0"
    interval = evaluation.saving_percent(name, THERMOSTAT)
    return f"{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})"
