"""The ARX of four rooms that stands for the one of the literature, whose data are not public."""

from __future__ import annotations

from pathlib import Path

from systems.arx import ArxModel


def reference_model() -> ArxModel:
    """The ARX identified from a simulated heating season of a physical house.

    Its innovation mean (about 0.015 K a step) is what sun, people and the curvature of the heat pumps add:
    `deterministic()` drops it, as eq. (38) does, and is then about 1.5 K too cold over 12 h.
    """
    return ArxModel.load(Path(__file__).with_name("reference_arx.json"))
