"""The page of a fitted house model: how far ahead it can be trusted, what each input does, a typical stretch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Line, NumberAxis, Panel
from pages.drawing import write_picture
from pages.page import Block, Heading, Items, Page, text, write_page
from systems.assets.zone.arx_fit import predict_ahead, window_starts
from tuner.identify.house import HouseIdentification

Array = NDArray[np.float64]
MOST_FAULTS = 100


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


def charts(result: HouseIdentification) -> list[tuple[str, Chart]]:
    """(heading, chart) each, with one panel a room."""
    return [
        ("How far ahead it can be trusted", _lead_time(result)),
        ("What a step does", _steps(result)),
        ("A typical window", _stretch(result)),
        ("What one step leaves unexplained", _residuals(result)),
    ]


def _lead_time(result: HouseIdentification) -> Chart:
    hours, model, still = errors_by_lead_time(result)
    panels = [
        Panel(
            f"Room {room + 1}, K",
            [Line("as now", hours, still[:, room], "second", "dashes"), Line("model", hours, model[:, room])],
            y_range=(0.0, 1.05 * float(max(model.max(), still.max()))),
        )
        for room in range(model.shape[1])
    ]
    return Chart(
        "errors",
        "Root mean square error of the model and of persistence over the hours ahead, room by room.",
        panels,
        NumberAxis("hours ahead"),
        caption="Root mean square error on blocks that were left out of the fit; “as now”: the temperature stays.",
        columns=2,
    )


def _steps(result: HouseIdentification) -> Chart:
    model = result.model
    steps = round(24 * 3600 / model.dt_s)
    unit = np.broadcast_to(np.eye(model.nu)[:, None, :], (model.nu, steps, model.nu))
    response, _ = model.simulate(np.zeros((model.nu, model.nx)), unit)
    hours = np.arange(1, steps + 1) * model.dt_s / 3600.0
    panels = [
        Panel(
            f"Room {room + 1}, K",
            [
                Line("1 kW of its heat pump", hours, response[1 + room, :, room]),
                Line("10 K outdoors", hours, 10.0 * response[0, :, room], "second", "dashes"),
            ],
        )
        for room in range(model.ny)
    ]
    return Chart(
        "steps",
        "Rise of every room after a step of its heat pump and of the outdoor temperature.",
        panels,
        NumberAxis("hours after the step"),
        columns=2,
    )


def _stretch(result: HouseIdentification) -> Chart:
    """The window whose error is the median one: neither the best nor the worst."""
    log, model = result.clean.log, result.model
    horizon = round(result.ahead.hours * 3600 / log.dt_s)
    starts = window_starts(log.outputs, log.inputs, model.lags, horizon, every=36)
    predicted, truth = predict_ahead(model, log.outputs, log.inputs, starts, horizon)
    error = np.nanmean((predicted - truth) ** 2, axis=(1, 2))
    typical = int(np.argsort(error)[len(error) // 2])
    hours = np.arange(1, horizon + 1) * log.dt_s / 3600.0
    panels = [
        Panel(
            f"Room {room + 1}, °C",
            [
                Line("predicted", hours, predicted[typical, :, room], "second", "dashes"),
                Line("measured", hours, truth[typical, :, room]),
            ],
        )
        for room in range(model.ny)
    ]
    return Chart(
        "window",
        "Measured and predicted temperature of every room in the window of median error.",
        panels,
        NumberAxis("hours ahead"),
        columns=2,
    )


def _residuals(result: HouseIdentification) -> Chart:
    residuals = result.fit.residuals
    span = 4.0 * float(residuals.std())
    panels = []
    for room in range(residuals.shape[1]):
        share, edges = np.histogram(residuals[:, room], bins=60, range=(-span, span), density=True)
        mean = 1000 * float(result.model.innovation_mean[room])
        panels.append(Panel(f"Room {room + 1}, mean {mean:.0f} mK", [Line("", edges[:-1], share, kind="stairs")]))
    return Chart(
        "residuals",
        "Distribution of the one-step residuals of every room.",
        panels,
        NumberAxis("one-step residual, K"),
        columns=2,
    )


def house_model_page(result: HouseIdentification) -> Page:
    """What the model is worth, its problems and the faults of its log in words."""
    faults = result.clean.log.faults
    shown = [str(fault) for fault in faults[:MOST_FAULTS]]
    if len(faults) > MOST_FAULTS:
        shown.append(f"and {len(faults) - MOST_FAULTS} more")
    problems: Sequence[str] = list(result.problems)
    drawn: list[Block] = [block for title, chart in charts(result) for block in (Heading(title), chart)]
    ahead = result.ahead
    lead = (
        f"The model has problems and should not be used: {problems[0]}"
        if problems
        else f"The model may be used: {ahead.hours:g} h ahead it is wrong by {ahead.model_rmse_k.mean():.2f} K, "
        f"where “as now” is wrong by {ahead.persistence_rmse_k.mean():.2f} K."
    )
    return Page(
        title="House model",
        lead=lead,
        mood="bad" if problems else "good",
        about=f"fitted to {result.clean.log.source}: {result.clean.log.days:.1f} days, {result.usable_share:.1%} of "
        "the samples used",
        blocks=[
            *((Heading("Problems"), Items(problems)) if problems else ()),
            *drawn,
            Heading("Left out of the fit"),
            Items(shown) if shown else text("Nothing."),
        ],
    )


def write_plot(result: HouseIdentification, path: Path) -> None:
    """A self-contained .html page, or its charts one below the other as .png, .svg or .pdf."""
    if path.suffix.lower() == ".html":
        write_page(path, house_model_page(result))
    else:
        write_picture(path, [chart for _, chart in charts(result)])
