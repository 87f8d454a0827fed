"""The critics that can be chosen, by name."""

from __future__ import annotations

from collections.abc import Callable

from tuner.critics.face import CriticMethod
from tuner.critics.lstdq import Lstdq
from tuner.critics.two_layer import TwoLayer

CRITICS: dict[str, Callable[[int], CriticMethod]] = {
    "lstdq": lambda seed: Lstdq(),
    "two-layer": lambda seed: TwoLayer(seed=seed),
}
"""Name -> maker(seed)."""
