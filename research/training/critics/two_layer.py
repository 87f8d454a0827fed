"""The face of critics on that of two layers; the policy's action is part of its state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.training.critics.face import check_fit_inputs
from research.training.episodes import Batch
from research.training.policy import Array
from tuner.critics.two_layer import FittedCritic, Samples, TwoLayer


@dataclass(frozen=True)
class TwoLayerMethod:
    learner: TwoLayer

    def fit(self, batch: Batch, gamma: float, theta_scale: Array) -> TwoLayerCritic:
        check_fit_inputs(batch, gamma)
        return TwoLayerCritic(self.learner.learn(_samples(batch), gamma))


@dataclass(frozen=True, eq=False)
class TwoLayerCritic:
    learned: FittedCritic

    def value(self, features: Array, policy_action: Array) -> Array:
        return self.learned.q(np.hstack([features, policy_action]))

    def q_gradient_a(self, batch: Batch) -> Array:
        return self.learned.slope(_samples(batch).state)

    def td_error(self, batch: Batch) -> Array:
        return self.learned.td_error(_samples(batch))


def _samples(batch: Batch) -> Samples:
    return Samples(
        np.hstack([batch.features, batch.policy_action]),
        batch.action - batch.policy_action,
        batch.cost,
        np.hstack([batch.next_features, batch.next_policy_action]),
    )
