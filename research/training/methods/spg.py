"""Stochastic policy gradient: the likelihood-ratio form with a Gaussian around the MPC.

    a ~ N(pi_theta(s), Sigma),   grad_theta log p(a|s) = (d pi_theta/d theta)' Sigma^-1 (a - pi_theta(s))
    grad_theta J = E[ grad_theta log p(a|s) A(s, a) ]
    A_t = sum_k (gamma lambda)^k delta_{t+k},   delta_t = L_t + gamma V(s_{t+1}) - V(s_t)

V is the critic's value of the state: the baseline, and the tail of an episode that was cut. The plant projects the
action to its bounds, so the score is that of the action before projection.
Sources: Williams, "Simple statistical gradient-following algorithms"; Schulman et al., "High-dimensional continuous
control using generalized advantage estimation"; "All AI Models are Wrong, but Some are Optimal" names the method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.training.critics.face import Critic
from research.training.episodes import Batch
from research.training.methods.face import BatchImprovement
from research.training.policy import Array
from tuner.learn.advantage import generalised_advantage


@dataclass(frozen=True)
class StochasticPolicyGradient:
    exploration_std: Array
    """(m,) square root of the diagonal of Sigma."""
    trace: float = 0.95
    """lambda: 1 is the Monte Carlo return (no bias from V), 0 the TD error (least variance)."""
    name: str = "spg"
    needs_q: bool = False
    on_policy: bool = True

    def improve(self, batch: Batch, critic: Critic, gamma: float) -> BatchImprovement:
        value = critic.value(batch.features, batch.policy_action)
        delta = batch.cost + gamma * critic.value(batch.next_features, batch.next_policy_action) - value
        advantage = generalised_advantage(delta, batch.segment, gamma * self.trace)
        scaled = (batch.raw_action - batch.policy_action) / self.exploration_std**2
        score = np.einsum("nmp,nm->np", batch.policy_jacobian, scaled)
        gradient = score.T @ (advantage - advantage.mean()) / len(batch)
        return BatchImprovement(gradient, float(np.sqrt(np.mean(delta**2))))
