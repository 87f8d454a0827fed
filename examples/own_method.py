"""A learning method of one's own, in the place of those that `nisse tune --method` knows.

    .venv/bin/python examples/own_method.py examples/own_system.py --output theta.json

CACLA, the continuous actor-critic learning automaton: where the critic says that an explored action went better than
expected, the policy moves towards that action; where it went worse, nothing is learned. For costs, with the MPC as
actor,

    delta = L + gamma V_theta(s+) - V_theta(s)
    dtheta = argmin  sum over delta < 0 of | (d pi/d theta) dtheta - (a - pi_theta(s)) |^2

and a ridge, so that parameters without influence stay. Source: van Hasselt and Wiering, "Reinforcement Learning in
Continuous Action Spaces" (2007). Exploring, labelling by the compiled solver, trying on held-in episodes and the
verdict are those of every other method.
"""

from __future__ import annotations

import sys

import numpy as np

from nisse.cli import main
from tuner.learn.advantage import generalised_advantage
from tuner.learn.improve import METHODS, Array, Credit, Improvement, Method
from tuner.learn.transitions import Transitions


def cacla(t: Transitions, distance: Array, credit: Credit) -> Improvement:
    """n transitions of a moves under a theta of p entries -> the change (p,) that is asked for, in units of scale."""
    delta = t.cost + credit.gamma * t.next_value - t.value
    # The mean is the finite horizon's error of the level of V_theta, and no merit of an action.
    better = generalised_advantage(delta - delta.mean(), t.segment, credit.gamma * credit.trace) < 0.0
    jacobian = t.policy_jacobian[better].reshape(-1, len(distance))
    towards = (t.action - t.mean_action)[better].reshape(-1)
    curvature = jacobian.T @ jacobian
    ridge = credit.step.damping * np.trace(curvature) / len(distance)
    change = np.linalg.solve(curvature + ridge * np.eye(len(distance)), jacobian.T @ towards)
    return Improvement(change, float(np.sqrt(np.mean(delta**2))))


if __name__ == "__main__":
    METHODS["cacla"] = Method(cacla, needs_advantage=False, on_policy=True)
    sys.exit(main(["tune", *sys.argv[1:], "--method", "cacla"]))
