"""Q-learning over MPC: theta such that the program's own Q_theta satisfies the Bellman equation.

    delta = L + gamma V_theta(s+) - c - Q_theta(s, a)
    theta <- theta + alpha E[delta grad_theta Q_theta(s, a)]

grad_theta Q is the envelope theorem: the partial derivative of the Lagrangian at the solution. c is the mean of
L + gamma V - Q over the batch: a constant in the stage cost changes no decision, but without it theta would be bent to
explain the level of a finite-horizon value.
Sources: "All AI Models are Wrong, but Some are Optimal", Section IV; Gros and Zanon, "Data-Driven Economic NMPC Using
Reinforcement Learning" (semi-gradient and its sensitivities).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.training.critics.face import Critic
from research.training.episodes import Batch
from research.training.methods.face import BatchImprovement


@dataclass(frozen=True)
class QLearning:
    name: str = "q"
    needs_q: bool = True
    on_policy: bool = False

    def improve(self, batch: Batch, critic: Critic, gamma: float) -> BatchImprovement:
        delta = batch.cost + gamma * batch.next_value - batch.q_value
        delta = delta - delta.mean()
        centred = batch.q_gradient - batch.q_gradient.mean(axis=0)
        gradient = -centred.T @ delta / len(batch)
        return BatchImprovement(gradient, float(np.sqrt(np.mean(delta**2))))
