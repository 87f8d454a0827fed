"""Figures 4 and 5 of "All AI Models are Wrong, but Some are Optimal", from computed numbers. Values are returns."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from research.experiments.battery_study import BatteryStudy
from research.experiments.output import ACCENT, MODEL, WORLD, new_figure
from research.optimality_model import OptimalModel

MODEL_COLOURS = (ACCENT, MODEL, "#2f8f4e", "#9a7d0a", "#8a1c4a")


def figure_4(study: BatteryStudy, number: int) -> Figure:
    """Value and policy of the real and of the model-based problem."""
    figure, axes = new_figure(2)
    value, policy = axes[0]
    value.plot(study.nodes, -study.v_star.value, color=WORLD, label="V*, world")
    value.plot(study.nodes, -study.v_hat.value, color=MODEL, linestyle="--", label="V̂*, expected-value model")
    policy.plot(study.nodes, study.pi_star.value, color=WORLD, label="π*")
    policy.plot(study.nodes, study.pi_hat.value, color=MODEL, linestyle="--", label="π̂*")
    _label(value, "s", "discounted return", f"Case {number}: value")
    _label(policy, "s", "action a", f"Case {number}: policy")
    return figure


def figure_5(study: BatteryStudy, models: list[OptimalModel]) -> Figure:
    """Left: V* and the value of the problem planned with each model. Right: the models over s + a."""
    figure, axes = new_figure(2)
    value, model_axes = axes[0]
    value.plot(study.nodes, -study.v_star.value, color=WORLD, linewidth=3, alpha=0.5, label="V*, world")
    low, high = models[0].domain
    m = np.linspace(max(low, 0.0), min(high, 1.0), 2001)
    model_axes.plot(m, m, color=WORLD, label="expected value s + a")
    for model, colour in zip(models, MODEL_COLOURS, strict=False):
        offset = study.world.discount * model.delta / (1.0 - study.world.discount)
        planned = model.plan(study.solution.cost_to_go)
        value.plot(
            study.nodes,
            -planned.cost_to_go - offset,
            color=colour,
            linestyle="--",
            label=f"Δ = {model.delta:.4g}, shifted by {-offset:.3g}",
        )
        model_axes.plot(m, _with_gaps(model, m), color=colour, label=f"f, Δ = {model.delta:.4g}")
    _label(value, "s", "discounted return", "Planned with each model")
    _label(model_axes, "s + a", "next state", "Models from the sufficient condition")
    return figure


def _with_gaps(model: OptimalModel, m: Any) -> Any:
    """f on m, with the line broken at jumps."""
    f = model(m)
    for jump in model.jumps():
        f[np.argmin(np.abs(m - jump.at))] = np.nan
    return f


def _label(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.legend(fontsize=8)
