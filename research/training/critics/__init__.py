"""The critics that can be chosen, by name."""

from __future__ import annotations

from collections.abc import Callable

from research.training.critics.face import CriticMethod
from research.training.critics.lstdq import Lstdq
from research.training.critics.two_layer import TwoLayerMethod
from tuner.critics.two_layer import TwoLayer

CRITICS: dict[str, Callable[[int], CriticMethod]] = {
    "lstdq": lambda seed: Lstdq(),
    "two-layer": lambda seed: TwoLayerMethod(TwoLayer(seed=seed)),
}
"""Name -> maker(seed)."""
