"""Deterministic policy gradient over MPC.

    grad_theta J = E[ (d pi_theta / d theta)' grad_a Q(s, a) |_{a = pi_theta(s)} ]

d pi/d theta comes from the implicit function theorem on the program's optimality system, grad_a Q from a critic.
Sources: Silver et al., "Deterministic Policy Gradient Algorithms"; "All AI Models are Wrong, but Some are Optimal",
Section IV; "AI for Operational Decisions".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.training.critics.face import Critic
from research.training.episodes import Batch
from research.training.methods.face import BatchImprovement


@dataclass(frozen=True)
class DeterministicPolicyGradient:
    name: str = "dpg"
    needs_q: bool = False
    on_policy: bool = False

    def improve(self, batch: Batch, critic: Critic, gamma: float) -> BatchImprovement:
        jacobian = batch.policy_jacobian
        gradient = np.einsum("nmp,nm->p", jacobian, critic.q_gradient_a(batch)) / len(batch)
        return BatchImprovement(gradient, float(np.sqrt(np.mean(critic.td_error(batch) ** 2))))
