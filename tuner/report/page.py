"""The battery's report: verdict in words, bills, a week, a plan, theta."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pages.page import Block, Cell, Column, Heading, Page, Table, Text, quiet, text, write_page
from systems.battery.problem import home_battery
from tuner.evaluate.battery import DATA_FITTED, LABELS, PERFECT, RULE, TUNED, Evaluation
from tuner.report.figures import (
    LearningPoint,
    differences_chart,
    learning_chart,
    plan_chart,
    savings_chart,
    week_chart,
)


def battery_page(
    evaluation: Evaluation,
    *,
    title: str = "Battery: what tuning was worth",
    history: Sequence[LearningPoint] = (),
    notes: Sequence[Text] = (),
) -> Page:
    """The page. `history` is the learning curve; `notes` are what the caller adds (build, bench, run times)."""
    verdict = evaluation.verdict
    better = evaluation.improvement is not None and evaluation.improvement.better
    blocks: list[Block] = [*(text(sentence) for sentence in explain(evaluation))]
    blocks += [Heading("Bill per week"), savings_chart(evaluation), _bills(evaluation)]
    if evaluation.improvement is not None:
        blocks += [Heading("What tuning saved, week by week"), differences_chart(evaluation)]
    blocks += [Heading("The first held-out week"), week_chart(evaluation)]
    blocks += [Heading("A plan, and what happened"), plan_chart(evaluation)]
    if history:
        blocks += [Heading("Learning curve"), learning_chart(history)]
    blocks += [
        Heading("Parameters"),
        _parameters(evaluation),
        quiet(
            "Limits of what this shows: the battery is a simulator, the household is generated, and weeks of one "
            "series depend on one another. A perfect forecast still uses the data-fitted model of the battery."
        ),
        *notes,
    ]
    disturbances = "disturbance" if evaluation.seeds == 1 else "disturbances"
    return Page(
        title=title,
        lead=f"{verdict[0].upper()}{verdict[1:]}.",
        mood="good" if better else "plain",
        about=f"{evaluation.origin} · {len(evaluation.weeks)} held-out weeks from "
        f"{evaluation.split.boundary_time:%Y-%m-%d} on, {evaluation.seeds} {disturbances} each",
        blocks=blocks,
    )


def write_report(
    path: Path,
    evaluation: Evaluation,
    *,
    title: str = "Battery: what tuning was worth",
    history: Sequence[LearningPoint] = (),
    notes: Sequence[Text] = (),
) -> None:
    """Write the page, whole or not at all."""
    write_page(path, battery_page(evaluation, title=title, history=history, notes=notes))


def explain(evaluation: Evaluation) -> list[str]:
    """The table in words: what the battery saves, what the MPC adds, how far the perfect forecast is."""
    mean = {name: result.cost_eur_per_week.mean for name, result in evaluation.policies.items()}
    nothing, fitted, perfect = mean["no_battery"], mean[DATA_FITTED], mean[PERFECT]
    best = min(mean[TUNED], fitted) if TUNED in mean else fitted
    sentences = [
        f"Without a battery the generated household pays {nothing:.2f} EUR per week; with the self-consumption rule "
        f"{mean[RULE]:.2f} EUR, with the data-fitted MPC {fitted:.2f} EUR."
    ]
    if TUNED in mean:
        sentences[0] += f" The tuned MPC pays {mean[TUNED]:.2f} EUR per week."
    if nothing - perfect > 0.01:
        share = 100 * (nothing - best) / (nothing - perfect)
        sentences.append(
            f"An MPC that knew all coming prices and loads would pay {perfect:.2f} EUR; "
            f"of that possible saving the better MPC gets {share:.0f} %."
        )
    made_of = evaluation.made_of
    sentences.append(f"{made_of[0].upper()}{made_of[1:]}.")
    failed = sum(result.solves_failed for result in evaluation.policies.values())
    if failed:
        sentences.append(f"{failed} solves failed; the battery stayed idle in those steps.")
    return sentences


def _bills(evaluation: Evaluation) -> Table:
    columns = (
        Column("policy"),
        Column("bill, EUR", number=True),
        Column("bought, kWh", number=True),
        Column("sold, kWh", number=True),
        Column("a solve, ms", number=True),
    )
    rows = [
        (
            LABELS[name],
            Cell(
                f"{(cost := result.cost_eur_per_week).mean:.2f}",
                small=f"{cost.low:.2f} to {cost.high:.2f}",
            ),
            f"{result.import_kwh_per_week:.0f}",
            f"{result.export_kwh_per_week:.0f}",
            f"{result.solve_ms_mean:.2f}" if result.solve_ms_mean else "",
        )
        for name, result in evaluation.policies.items()
    ]
    return Table(
        "Bill and energy per week by policy",
        columns,
        rows,
        note="Per week, with 95 % intervals in small print. The bill counts bought less sold energy; energy left in or "
        "missing from the battery at the end of the week is valued at the week's mean buy price. Intervals are over "
        "weeks and allow for their small number: each end is the farther one of Student's t and of Hall's.",
    )


def _parameters(evaluation: Evaluation) -> Table:
    thetas = {name: theta for name, theta in evaluation.thetas.items() if name != PERFECT}
    rows = [
        (
            Cell(parameter.description or parameter.name, code=parameter.name),
            *(f"{theta[parameter.name]:.4f}" for theta in thetas.values()),
            parameter.unit,
        )
        for parameter in home_battery().theta
    ]
    columns = (Column("theta"), *(Column(LABELS[name], number=True) for name in thetas), Column("unit"))
    return Table("Parameters of the MPCs", columns, rows)
