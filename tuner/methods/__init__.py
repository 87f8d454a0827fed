"""The learning methods that can be chosen, by name."""

from __future__ import annotations

from collections.abc import Callable

from tuner.methods.dpg import DeterministicPolicyGradient
from tuner.methods.face import Method
from tuner.methods.q_learning import QLearning
from tuner.methods.spg import StochasticPolicyGradient
from tuner.policy import Array

METHODS: dict[str, Callable[[Array], Method]] = {
    "dpg": lambda exploration_std: DeterministicPolicyGradient(),
    "q": lambda exploration_std: QLearning(),
    "spg": lambda exploration_std: StochasticPolicyGradient(exploration_std),
}
"""Name -> maker(standard deviation of the exploration per action)."""
