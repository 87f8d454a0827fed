"""What the safety filter needs of each limit, worked out once: the limited output's own row of the one-step model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.bundle.safety_set import SafetySet, StateLimit

NO_EFFECT = 1e-12
Terms = tuple[tuple[int, float], ...]
"""(index, coefficient) of what is not 0: a state that is not known spoils only the outputs that need it."""


@dataclass(frozen=True)
class LimitedOutput:
    """y = row . s, and y+ = state . s + action . (gains * a) + forecast . d + offset.

    rests: y stays as it is where no action is taken, whatever the state and the forecast.
    """

    limit: StateLimit
    row: Terms
    state: Terms
    action: tuple[float, ...]
    forecast: Terms
    offset: float
    rests: bool

    @property
    def moved_by(self) -> frozenset[int]:
        """The actions that move it."""
        return frozenset(j for j, b in enumerate(self.action) if abs(b) > NO_EFFECT)

    def known(self, state: Sequence[float]) -> bool:
        """Whether all that it needs of the state is a number."""
        return not any(math.isnan(state[i]) for i, _ in (*self.row, *self.state))


def limited_outputs(safety: SafetySet, states: Sequence[str]) -> tuple[LimitedOutput, ...]:
    """One for each limit of the set; states: their names in order."""
    return tuple(_output(limit, safety, states) for limit in safety.limits)


def value(terms: Terms, vector: Sequence[float]) -> float:
    return sum(c * vector[i] for i, c in terms)


def _output(limit: StateLimit, safety: SafetySet, states: Sequence[str]) -> LimitedOutput:
    row = limit.row or tuple(float(name == limit.name) for name in states)

    def seen(matrix: Sequence[Sequence[float]]) -> tuple[float, ...]:
        used = [(r, line) for r, line in zip(row, matrix, strict=True) if r]
        width = len(matrix[0]) if matrix else 0
        return tuple(sum(r * line[j] for r, line in used) for j in range(width))

    state, forecast = seen(safety.state_matrix), seen(safety.forecast_matrix) if safety.forecast_matrix else ()
    offset = sum(r * c for r, c in zip(row, safety.offset, strict=True)) if safety.offset else 0.0
    rests = state == row and not any(forecast) and not offset
    return LimitedOutput(limit, _terms(row), _terms(state), seen(safety.action_matrix), _terms(forecast), offset, rests)


def _terms(vector: Sequence[float]) -> Terms:
    return tuple((i, float(v)) for i, v in enumerate(vector) if v)
