"""One picture of a fitted house model: how far ahead it can be trusted, what each input does, a typical stretch."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from systems.assets.zone.arx_fit import predict_ahead, window_starts
from tuner.identify.house import HouseIdentification

Array = NDArray[np.float64]
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d6a9f")


def errors_by_lead_time(result: HouseIdentification) -> tuple[Array, Array, Array]:
    """(hours (H,), model RMSE (H, rooms), persistence RMSE (H, rooms)), K; blocks predicted by models without them."""
    fit, log = result.fit, result.clean.log
    horizon, lags = round(result.ahead.hours * 3600 / log.dt_s), fit.model.lags
    starts = window_starts(log.outputs, log.inputs, lags, horizon, every=36)
    squares, still, count = np.zeros((horizon, log.rooms)), np.zeros((horizon, log.rooms)), 0
    for block, model in zip(np.array_split(fit.rows, len(fit.leave_one_out)), fit.leave_one_out, strict=True):
        inside = starts[(starts - lags >= block[0]) & (starts + horizon <= block[-1])]
        inside = inside[np.isfinite(log.outputs[inside[:, None] + np.arange(horizon + 1)]).all((1, 2))]
        if len(inside) == 0:
            continue
        predicted, truth = predict_ahead(model, log.outputs, log.inputs, inside, horizon)
        squares += ((predicted - truth) ** 2).sum(0)
        still += ((log.outputs[inside][:, None, :] - truth) ** 2).sum(0)
        count += len(inside)
    hours = np.arange(1, horizon + 1) * log.dt_s / 3600.0
    return hours, np.sqrt(squares / max(count, 1)), np.sqrt(still / max(count, 1))


def draw(result: HouseIdentification) -> Figure:
    """Four panels on a light ground."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    _draw_lead_time(axes[0, 0], result)
    _draw_steps(axes[0, 1], result)
    _draw_stretch(axes[1, 0], result)
    _draw_residuals(axes[1, 1], result)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_lead_time(axis: Axes, result: HouseIdentification) -> None:
    hours, model, still = errors_by_lead_time(result)
    for room in range(model.shape[1]):
        axis.plot(hours, model[:, room], color=COLOURS[room % 4], label=f"room {room + 1}")
        axis.plot(hours, still[:, room], color=COLOURS[room % 4], linestyle=":", linewidth=1)
    axis.set(
        xlabel="hours ahead", ylabel="RMSE (K)", title="Held-out error: model (solid), persistence (dotted)", ylim=0
    )
    axis.legend(frameon=False, fontsize=8)


def _draw_steps(axis: Axes, result: HouseIdentification) -> None:
    model = result.model
    steps = round(24 * 3600 / model.dt_s)
    unit = np.broadcast_to(np.eye(model.nu)[:, None, :], (model.nu, steps, model.nu))
    response, _ = model.simulate(np.zeros((model.nu, model.nx)), unit)
    hours = np.arange(1, steps + 1) * model.dt_s / 3600.0
    for room in range(model.ny):
        axis.plot(hours, response[1 + room, :, room], color=COLOURS[room % 4], label=f"room {room + 1}, own heat pump")
        axis.plot(hours, 10.0 * response[0, :, room], color=COLOURS[room % 4], linestyle=":", linewidth=1)
    axis.set(xlabel="hours", ylabel="K per kW (dotted: K per 10 K outdoors)", title="Response to a step")
    axis.legend(frameon=False, fontsize=8)


def _draw_stretch(axis: Axes, result: HouseIdentification) -> None:
    """The window whose error is the median one: neither the best nor the worst."""
    log, model = result.clean.log, result.model
    horizon = round(result.ahead.hours * 3600 / log.dt_s)
    starts = window_starts(log.outputs, log.inputs, model.lags, horizon, every=36)
    predicted, truth = predict_ahead(model, log.outputs, log.inputs, starts, horizon)
    error = np.nanmean((predicted - truth) ** 2, axis=(1, 2))
    typical = int(np.argsort(error)[len(error) // 2])
    hours = np.arange(1, horizon + 1) * log.dt_s / 3600.0
    for room in range(model.ny):
        axis.plot(hours, truth[typical, :, room], color=COLOURS[room % 4], linewidth=1)
        axis.plot(hours, predicted[typical, :, room], color=COLOURS[room % 4], linestyle="--")
    axis.set(xlabel="hours ahead", ylabel="°C", title="A typical window: measured (solid), predicted (dashed)")


def _draw_residuals(axis: Axes, result: HouseIdentification) -> None:
    residuals = result.fit.residuals
    span = 4.0 * residuals.std()
    for room in range(residuals.shape[1]):
        axis.hist(
            residuals[:, room], bins=80, range=(-span, span), histtype="step", density=True, color=COLOURS[room % 4]
        )
    mean = ", ".join(f"{1000 * m:.0f}" for m in result.model.innovation_mean)
    axis.set(xlabel="one-step residual (K)", yticks=[], title=f"Innovations; mean {mean} mK per step")


def write_plot(result: HouseIdentification, path: Path) -> None:
    """A .png, .svg or .pdf, or a self-contained .html page with the problems and faults in words."""
    figure = draw(result)
    try:
        if path.suffix.lower() != ".html":
            figure.savefig(path, dpi=120)
            return
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120)
    finally:
        plt.close(figure)
    path.write_text(_page(result, base64.b64encode(picture.getvalue()).decode()), encoding="utf-8")


def _page(result: HouseIdentification, picture: str) -> str:
    def items(lines: list[str]) -> str:
        return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"

    faults = result.clean.log.faults
    shown = [str(fault) for fault in faults[:100]]
    if len(faults) > 100:
        shown.append(f"and {len(faults) - 100} more")
    problems = items(list(result.problems)) if result.problems else "<p>None: the model may be used.</p>"
    left_out = items(shown) if shown else "<p>Nothing.</p>"
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        "<title>House model</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
        "padding:0 1rem;color:#222}img{max-width:100%}li{margin:.2rem 0}</style>"
        f"<h1>House model fitted to {html.escape(result.clean.log.source)}</h1>"
        f"<p>{result.clean.log.days:.1f} days, {result.usable_share:.1%} of the samples used.</p>"
        f"<img alt='errors, step responses, a typical window, residuals' src='data:image/png;base64,{picture}'>"
        f"<h2>Problems</h2>{problems}<h2>Left out of the fit</h2>{left_out}</html>\n"
    )
