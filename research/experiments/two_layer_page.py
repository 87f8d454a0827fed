"""The page of `nisse experiment two-layer`: how near the critic comes to the exact slope, and what limits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pages.chart import Chart, Limit, Line, Panel
from pages.page import Page
from pages.palette import LINES
from research.experiments.output import Statement, result_page
from research.two_layer import Agreement, Array, CriticCourse, Results

SOURCE = "Remarks on deep RL (lecture notes)"
WANTED = 0.95
"""Correlation with the exact slope."""
LABELS = {"semi": "semi-gradient", "both": "both sides", "tanh": "semi-gradient, tanh"}
Read = Callable[[CriticCourse], float]


def correlation(found: CriticCourse) -> float:
    return found.end.correlation


def error(found: CriticCourse) -> float:
    return found.end.error


def over(values: Sequence[float], digits: str = ".3f") -> str:
    """Median and range over the seeds."""
    numbers = np.array(values, dtype=float)
    if not np.isfinite(numbers).any():
        return "none"
    middle, low, high = np.nanmedian(numbers), np.nanmin(numbers), np.nanmax(numbers)
    return f"{middle:{digits}} ({low:{digits}} to {high:{digits}})"


def first_good(runs: Sequence[CriticCourse]) -> int | None:
    """Updates from which on every seed is above WANTED; None where some never is."""
    updates, courses = along(runs, lambda a: a.correlation)
    good = (courses >= WANTED).all(axis=0)
    stays = np.flatnonzero(~good)
    start = 0 if not len(stays) else int(stays[-1]) + 1
    return int(updates[start]) if start < len(updates) else None


def along(runs: Sequence[CriticCourse], read: Callable[[Agreement], float]) -> tuple[Array, Array]:
    """(updates (k,), values (seeds, k)) of the course."""
    return np.array(runs[0].updates, float), np.array([[read(a) for a in run.course] for run in runs])


def spread(label: str, x: Array, values: Array, number: int) -> Line:
    """Median and range over the seeds (seeds, k)."""
    low, high = values.min(axis=0), values.max(axis=0)
    return Line(label, x, np.median(values, axis=0), LINES[number], "line and dots", low, high)


def varied(label: str, of: dict[Any, list[CriticCourse]], read: Read, number: int) -> Line:
    return spread(
        label, np.array(list(of), float), np.array([[read(f) for f in runs] for runs in of.values()]).T, number
    )


def make_page(results: Results, transitions: int, updates: int, noise_std: float) -> Page:
    ends = results["variants"]
    good = first_good(ends["semi"])
    noiseless = next(iter(results["noise both"].values()))
    reached = f"from {good} updates on" if good is not None else "not in every seed"
    return result_page(
        title="A critic with two layers",
        summary=f"With {transitions} transitions and {updates} updates the semi-gradient finds dQ/da of a linear "
        f"regulator with a correlation of {over([correlation(f) for f in ends['semi']])} to the exact one, above "
        f"{WANTED} {reached}. With the gradient on both sides the slope is off by "
        f"{over([error(f) for f in ends['both']], '.2f')}, relative.",
        statements=(
            Statement(
                "The TD error is linearised with d = ∇e, through Q(z₊) as well.",
                f"Relative error of dQ/da without noise {over([error(f) for f in noiseless], '.1e')}, at the noise of "
                f"{noise_std:g}: {over([error(f) for f in ends['both']], '.2f')}; semi-gradient there: "
                f"{over([error(f) for f in ends['semi']], '.2f')}.",
                "The mean of e² is the error of the mean and γ² Var Q(z₊); the second is made small by a flat Q.",
            ),
            Statement(
                "Σ d d′/(d′d + 1)² ≥ ε: persistent excitation.",
                f"Smallest eigenvalue in the directions that Q depends on: "
                f"{over([f.excitation for f in ends['semi']], '.1e')} with y²/2, "
                f"{over([f.excitation for f in ends['tanh']], '.1e')} with tanh.",
                "In all weights it never holds with y²/2: w₁ → w₁/c², W₂ → c W₂ changes nothing. A net of tanh is "
                "richer than the data.",
            ),
            Statement(
                "For a small enough rate the weights converge to a bounded set.",
                "Largest norm of the weights by rate in the table below.",
                "d′d/(d′d + 1)² ≤ 1/4 bounds every step: up to a rate of 8 none can overshoot along its own d.",
            ),
        ),
        charts=[chart(results)],
        tables=(
            (
                "The critics",
                ["critic", "correlation with dQ/da", "relative error", "updates until above 0.95"],
                [
                    [
                        LABELS[name],
                        over([correlation(f) for f in runs], ".4f"),
                        over([error(f) for f in runs], ".3f"),
                        str(first_good(runs) or "never in every seed"),
                    ]
                    for name, runs in ends.items()
                ],
            ),
            (
                "By transitions, semi-gradient: relative error of dQ/da",
                ["transitions", "correlation", "two layers", "least squares on the same data"],
                [
                    [
                        str(n),
                        over([correlation(f) for f in runs], ".4f"),
                        over([error(f) for f in runs]),
                        over([f.least_squares.error for f in runs]),
                    ]
                    for n, runs in results["transitions"].items()
                ],
            ),
            (
                "By rate, semi-gradient",
                ["rate", "largest norm of the weights", "relative error"],
                [
                    [f"{rate:g}", over([f.largest_norm for f in runs], ".1f"), over([error(f) for f in runs])]
                    for rate, runs in results["rates"].items()
                ],
            ),
            (
                "Excitation",
                ["data", "smallest eigenvalue", "relative error", "refused"],
                [
                    [
                        name,
                        over([f.excitation for f in runs], ".1e"),
                        over([error(f) for f in runs], ".2f"),
                        runs[0].left.split(":")[0],
                    ]
                    for name, runs in results["excitation"].items()
                ],
            ),
        ),
        notes=(
            "Medians, and in brackets the range over the seeds. The exact slope is that of the discounted Lyapunov "
            "equation, at the policy's own action, in states of another trajectory.",
        ),
        source=SOURCE,
    )


def chart(results: Results) -> Chart:
    variants = results["variants"]

    def course(read: Callable[[Agreement], float]) -> list[Line]:
        return [spread(LABELS[name], *along(runs, read), k) for k, (name, runs) in enumerate(variants.items())]

    noisy = [
        varied(LABELS[name], {noise: runs for noise, runs in results[f"noise {name}"].items() if noise > 0.0}, error, k)
        for k, name in enumerate(("semi", "both"))
    ]
    return Chart(
        "two-layer",
        "The critic's dQ/da against the exact one: over the updates, the noise of the plant and the transitions.",
        [
            Panel(
                "Correlation with the exact dQ/da",
                course(lambda a: a.correlation),
                limits=[Limit(WANTED, str(WANTED))],
                log_x=True,
                y_range=(-1.0, 1.0),
                x_title="updates",
            ),
            Panel("Relative error of dQ/da", course(lambda a: a.error), log=True, log_x=True, x_title="updates"),
            Panel("Relative error against the noise", noisy, log=True, log_x=True, x_title="standard deviation of w"),
            Panel(
                "Relative error against the data",
                [
                    varied("semi-gradient", results["transitions"], error, 0),
                    varied("least squares", results["transitions"], lambda f: f.least_squares.error, 1),
                ],
                log=True,
                log_x=True,
                x_title="transitions",
            ),
        ],
        columns=2,
    )


def report(results: Results, transitions: int, updates: int) -> None:
    print(f"{transitions} transitions, {updates} updates, at the policy's own action:")
    for name, runs in results["variants"].items():
        print(
            f"{LABELS[name]}: correlation {over([correlation(f) for f in runs], '.4f')}, relative error "
            f"{over([error(f) for f in runs])}, above {WANTED} after {first_good(runs) or 'no'} updates"
        )
    for rate, runs in results["rates"].items():
        print(f"rate {rate:g}: largest norm of the weights {over([f.largest_norm for f in runs], '.1f')}")
