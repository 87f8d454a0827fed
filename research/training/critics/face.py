"""The common face of critics: fitted to a batch, they know values, action gradients and their own TD error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from research.training.episodes import Batch
from research.training.policy import Array
from tuner.errors import CriticError


class Critic(Protocol):
    """A fitted approximation of V and Q of the current policy, discounted with the gamma it was fitted with."""

    def value(self, features: Array, policy_action: Array) -> Array:
        """V(s) (n,) of state features phi(s) (n, f) and pi(s) (n, m)."""
        ...

    def q_gradient_a(self, batch: Batch) -> Array:
        """dQ/da at a = pi_theta(s) (n, m)."""
        ...

    def td_error(self, batch: Batch) -> Array:
        """L + gamma Q(s+, pi(s+)) - Q(s, a) (n,)."""
        ...


class CriticMethod(Protocol):
    """How a critic is made from data."""

    def fit(self, batch: Batch, gamma: float, theta_scale: Array) -> Critic:
        """theta_scale (p): the width of each parameter's bounds. Raises CriticError."""
        ...


@dataclass(frozen=True)
class Standardiser:
    """phi -> (1, (phi - mean) / spread): a constant feature, and the others of comparable size for the ridge."""

    mean: Array
    spread: Array

    @classmethod
    def of(cls, features: Array) -> Standardiser:
        spread = features.std(axis=0)
        # A feature that does not vary in this batch carries nothing beyond the constant.
        return cls(features.mean(axis=0), np.where(spread > 1e-12, spread, np.inf))

    def __call__(self, features: Array) -> Array:
        return np.column_stack([np.ones(len(features)), (features - self.mean) / self.spread])


def check_fit_inputs(batch: Batch, gamma: float) -> None:
    """Raises CriticError for an empty batch or a discount outside (0, 1)."""
    if not 0.0 < gamma < 1.0:
        raise CriticError(f"the discount of the critic is {gamma}; it must lie strictly between 0 and 1")
    if len(batch) == 0:
        raise CriticError(
            "no usable transition: every solve failed; look for prices out of scale, or start from the data fit"
        )
