"""Figures 4 and 5 of "All AI Models are Wrong, but Some are Optimal", from computed numbers. Values are returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from pages.chart import Chart, Line, NumberAxis, Panel
from research.experiments.battery_study import BatteryStudy
from research.optimality_model import OptimalModel


def figure_4(study: BatteryStudy, number: int) -> Chart:
    """Value and policy of the real and of the model-based problem."""
    s = study.nodes
    return Chart(
        "figure4",
        f"Case {number}: value and policy of the world and of the expected-value model over the state.",
        [
            Panel(
                "Discounted return",
                [
                    Line("expected-value model", s, -study.v_hat.value, "second", "dashes"),
                    Line("world", s, -study.v_star.value),
                ],
            ),
            Panel(
                "Action a",
                [
                    Line("expected-value model", s, study.pi_hat.value, "second", "dashes"),
                    Line("world", s, study.pi_star.value),
                ],
            ),
        ],
        NumberAxis("state s"),
        caption=f"Case {number}: value V* and policy π* of the world, and those of the expected-value model.",
        columns=2,
    )


def figure_5(study: BatteryStudy, models: list[OptimalModel]) -> Chart:
    """Per model from the sufficient condition: what planning with it is worth less V*, and the model itself."""
    low, high = models[0].domain
    m = np.linspace(max(low, 0.0), min(high, 1.0), 2001)
    panels = []
    for model in models:
        offset = study.world.discount * model.delta / (1.0 - study.world.discount)
        planned = model.plan(study.solution.cost_to_go)
        apart = -planned.cost_to_go - offset + study.v_star.value
        told = f"Δ = {model.delta:.4g}"
        panels += [
            Panel(
                f"{told}: planned value, shifted by {-offset:.3g}, less V*",
                [Line("", study.nodes, apart)],
                x_title="state s",
            ),
            Panel(
                f"{told}: next state",
                [Line("expected value s + a", m, m, "second", "dashes"), Line("f", m, _with_gaps(model, m))],
                x_title="s + a",
            ),
        ]
    return Chart(
        "figure5",
        "Per Δ: the value of the problem planned with the model, less that of the world; and the model over s + a.",
        panels,
        caption="Models from the sufficient condition. Where the difference is zero the model gives the world's value.",
        columns=2,
    )


def _with_gaps(model: OptimalModel, m: Any) -> Any:
    """f on m, with the line broken at jumps."""
    f = model(m)
    for jump in model.jumps():
        f[np.argmin(np.abs(m - jump.at))] = np.nan
    return f
