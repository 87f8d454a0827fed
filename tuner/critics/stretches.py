"""The two-layer critic in the place of the compatible one, for a house that knows its own value.

As in `tuner.learn.critic`, the MPC's V_theta(s) stays, and the critic learns what is left of Q beside it:

    W(z) = Q(s, a) - V_theta(s),   z = (V_theta(s), pi(s), a - E[a|s])
    W(z) = L + gamma V_theta(s+) - V_theta(s) + gamma W(z+)

Having features of the state, W mends V_theta's own error about what is worth later; the compatible critic, which adds a
constant alone, needs its trace for that, and there is none here. grad_theta J and its Gauss-Newton step are those of
the compatible critic, with dW/da at the mean action for dQ/da.
Source: "Remarks on deep RL".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.critics.two_layer import Samples, TwoLayer
from tuner.errors import CriticError
from tuner.learn.critic import PolicyStep, StepOptions, gauss_newton, sums_of
from tuner.learn.transitions import Transitions

Array = NDArray[np.float64]
FEWEST = 50
"""Transitions that a net may be fitted to."""


def propose_by_two_layer(
    t: Transitions, distance: Array, options: StepOptions, gamma: float, learner: TwoLayer
) -> PolicyStep:
    """The full Gauss-Newton step from theta, `distance` (p,) away from the data fit. Raises CriticError."""
    samples = samples_of(t, gamma)
    if len(samples) < FEWEST:
        raise CriticError(f"{len(samples)} transitions follow one another; the two-layer critic needs {FEWEST}")
    learned = learner.learn(samples, gamma)
    sums = sums_of(t, gamma=gamma)
    slope = learned.slope(np.column_stack([t.value, t.policy]))
    gradient = (np.einsum("nap,na->p", t.policy_jacobian, slope) + sums.drift) / len(t)
    change = gauss_newton(gradient, sums.curvature / len(t), distance, options)
    return PolicyStep(change, gradient, float(np.sqrt(np.mean(learned.td_error(samples) ** 2))))


def followed(t: Transitions) -> NDArray[np.int64]:
    """Rows whose next state is that of the next row; where a part of a stretch was left out it is not."""
    return np.flatnonzero((t.segment[1:] == t.segment[:-1]) & (t.next_value[:-1] == t.value[1:]))


def samples_of(t: Transitions, gamma: float) -> Samples:
    """Those transitions after which another one is known."""
    delta = t.cost + gamma * t.next_value - t.value
    state, deviation = np.column_stack([t.value, t.policy]), t.action - t.mean_action
    here = followed(t)
    return Samples(state[here], deviation[here], delta[here], state[here + 1])
