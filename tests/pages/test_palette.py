"""The palette: readable on its paper, and its lines told apart by every eye. Numbers by formulas, not by looking."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from pages.palette import COLOURS, LINES

Array = NDArray[np.float64]
# Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB.
SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TOLD_APART = 30.0
"""Distance in CIELAB; 2.3 is just noticeable side by side."""


def linear(colour: str) -> Array:
    """Linear RGB (3,) of "#rrggbb"."""
    encoded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2: (lighter + 0.05) / (darker + 0.05)."""
    dark, light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: Array) -> Array:
    """CIELAB (3,) under D65 of linear RGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0.0, 1.0) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0)
    return np.array([116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])])


@pytest.mark.parametrize("light", ["light", "dark"])
def test_text_and_lines_stand_out_from_both_papers(light: str) -> None:
    of = {name: getattr(colour, light) for name, colour in COLOURS.items()}
    written = set(of) - {"paper", "raised", "rule"}
    low = {(w, p): contrast(of[w], of[p]) for w in written for p in ("paper", "raised")}
    assert {pair: value for pair, value in low.items() if value < 4.5} == {}


@pytest.mark.parametrize("light", ["light", "dark"])
@pytest.mark.parametrize("eye", SEEN_BY)
def test_the_lines_of_a_panel_are_told_apart(light: str, eye: str) -> None:
    seen = {role: lab(SEEN_BY[eye] @ linear(getattr(COLOURS[role], light))) for role in LINES}
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(LINES, 2)}
    assert min(apart.values()) >= TOLD_APART, apart


def test_every_mark_is_one_colour_only() -> None:
    assert len({colour.light for colour in COLOURS.values()}) == len(COLOURS)
