"""One self-contained HTML page: verdict in words, table, plots, theta. No other file, no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from systems.battery.problem import home_battery
from tuner.evaluate.battery import DATA_FITTED, LABELS, PERFECT, RULE, TUNED, Evaluation
from tuner.report.figures import (
    COLOURS,
    LearningPoint,
    differences_figure,
    learning_figure,
    plan_figure,
    savings_figure,
    week_figure,
)
from tuner.report.svg import to_svg

TEMPLATE = Path(__file__).with_name("page.html.j2")


def render_report(
    evaluation: Evaluation,
    *,
    title: str = "Battery: what tuning was worth",
    history: Sequence[LearningPoint] = (),
    notes: Sequence[str] = (),
) -> str:
    """The page. `history` is the learning curve; `notes` are sentences the caller adds (build, bench, run times)."""
    plan_of = TUNED if TUNED in evaluation.traces else DATA_FITTED
    figures = {"savings": to_svg(savings_figure(evaluation), "saving per week by policy")}
    if evaluation.improvement is not None:
        figures["differences"] = to_svg(differences_figure(evaluation), "saving of each held-out week")
    figures["week"] = to_svg(week_figure(evaluation), "one held-out week")
    figures["plan"] = to_svg(plan_figure(evaluation, plan_of), "a plan and what happened")
    if history:
        figures["learning"] = to_svg(learning_figure(history), "learning curve")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        evaluation=evaluation,
        sentences=explain(evaluation),
        figures=figures,
        labels=LABELS,
        colours=COLOURS,
        plan_of=LABELS[plan_of],
        parameters=home_battery().theta,
        notes=notes,
    )


def write_report(
    path: Path,
    evaluation: Evaluation,
    *,
    title: str = "Battery: what tuning was worth",
    history: Sequence[LearningPoint] = (),
    notes: Sequence[str] = (),
) -> None:
    """Write the page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(render_report(evaluation, title=title, history=history, notes=notes), encoding="utf-8")
    partial.replace(path)


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
        sentences.append(f"The tuned MPC pays {mean[TUNED]:.2f} EUR per week.")
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
