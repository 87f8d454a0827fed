"""How a household leaves what is usual: deviations that last a while, and short spikes (a kettle, a car)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LoadDeviation:
    """Of the load from what is usual."""

    std_kw: float = 0.35
    """Stationary standard deviation of the AR(1) part."""
    memory: float = 0.9
    """AR(1) coefficient over one step."""
    spikes_per_day: float = 3.0
    spike_min_kw: float = 1.0
    spike_max_kw: float = 3.5
    spike_max_steps: int = 4


def load_deviation(spec: LoadDeviation, n: int, steps_per_day: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Load minus what is usual, kW (n,): stationary AR(1) plus spikes of one to a few steps."""
    noise = rng.standard_normal(n).tolist()
    memory = spec.memory
    innovation = spec.std_kw * (1.0 - memory * memory) ** 0.5
    path, value = [], spec.std_kw * float(rng.standard_normal())
    for z in noise:
        path.append(value)
        value = memory * value + innovation * z
    deviation = np.array(path)
    count = int(rng.poisson(spec.spikes_per_day * n / steps_per_day))
    starts = rng.integers(0, n, count)
    lengths = rng.integers(1, spec.spike_max_steps + 1, count)
    heights = rng.uniform(spec.spike_min_kw, spec.spike_max_kw, count)
    for start, length, height in zip(starts, lengths, heights, strict=True):
        deviation[start : start + length] += height
    return deviation
