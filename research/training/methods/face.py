"""The common face of learning methods: from a batch and a critic to a direction in theta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from research.training.critics.face import Critic
from research.training.episodes import Batch
from research.training.policy import Array


@dataclass(frozen=True)
class BatchImprovement:
    """What a method asks for. The trainer decides how far to go."""

    gradient: Array
    """(p,) of the method's objective, which is to be lowered."""
    td_error: float
    """Root mean square."""


class BatchMethod(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def needs_q(self) -> bool:
        """Needs Q_theta(s, a) and its gradient in the batch."""
        ...

    @property
    def on_policy(self) -> bool:
        """May only see experience of the current theta."""
        ...

    def improve(self, batch: Batch, critic: Critic, gamma: float) -> BatchImprovement: ...
