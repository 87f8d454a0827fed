"""The learning methods that can be chosen, by name."""

from __future__ import annotations

from collections.abc import Callable

from research.training.methods.dpg import DeterministicPolicyGradient
from research.training.methods.face import BatchMethod
from research.training.methods.q_learning import QLearning
from research.training.methods.spg import StochasticPolicyGradient
from research.training.policy import Array

METHODS: dict[str, Callable[[Array], BatchMethod]] = {
    "dpg": lambda exploration_std: DeterministicPolicyGradient(),
    "q": lambda exploration_std: QLearning(),
    "spg": lambda exploration_std: StochasticPolicyGradient(exploration_std),
}
"""Name -> maker(standard deviation of the exploration per action)."""
