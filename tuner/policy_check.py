"""Are the gradients right? Every derivative of the policy against finite differences, before any learning step.

A solution map is piecewise smooth: next to a change of the active set the two one-sided differences disagree and no
derivative exists. A little farther off, where a constraint is only just active, the barrier of an interior-point method
still rounds the corner, and the difference changes when its step is widened. Both are recognised by their disagreement,
skipped and counted, never silently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.policy import Array, MpcPolicy, Observation

TOLERANCE = 1e-4
MARGIN = 0.02
"""Distance from the bounds at which the check is made, as a fraction of their width."""
WIDER = 10.0
"""A second difference with a step wider by this must agree, or a change of the active set is near."""
MINIMUM_COMPARED = 0.25
"""Share of the differences that must be comparable, or the check says nothing."""


class GradientCheckError(RuntimeError):
    """A derivative does not agree with its finite difference; learning with it would be noise."""

    exit_code = 1


@dataclass(frozen=True)
class GradientReport:
    """What the check found. Errors are relative to 1 + |derivative in units of the bound width|."""

    worst: float
    where: str
    compared: int
    skipped: int
    """Differences next to a change of the active set."""

    def summary(self) -> str:
        return (
            f"gradients agree with finite differences to {self.worst:.1e} "
            f"({self.compared} compared, {self.skipped} skipped next to an active-set change)"
        )


def one_sided_differences(function: Callable[[Array], Array], theta: Array, i: int, h: float) -> tuple[Array, Array]:
    """(forward, backward) second-order one-sided differences of function(theta) in entry i, flattened.

    They use points on their own side only, so that a kink at theta shows as a disagreement of the two.
    """
    step = np.zeros_like(theta)
    step[i] = h
    f0 = function(theta)
    forward = (-3 * f0 + 4 * function(theta + step) - function(theta + 2 * step)) / (2 * h)
    backward = (3 * f0 - 4 * function(theta - step) + function(theta - 2 * step)) / (2 * h)
    return forward, backward


def check_gradients(
    policy: MpcPolicy,
    observations: Sequence[Observation],
    actions: Sequence[Array],
    bounds: tuple[Array, Array],
    names: Sequence[str],
    *,
    relative_step: float = 1e-4,
    tolerance: float = TOLERANCE,
) -> GradientReport:
    """Compare dV, dQ and d pi with finite differences at the observations; actions are the `a` of Q(s, a).

    Theta is moved inside its bounds by MARGIN first: both sides must exist, and many a default sits at a bound because
    a feature of the program begins there, with a kink. Raises GradientCheckError with the
    numbers when a derivative is off by more than the tolerance, or too few points are comparable.
    """
    lower, upper = bounds
    width = upper - lower
    theta0 = policy.theta.copy()
    margin = MARGIN * width
    theta = np.clip(theta0, lower + margin, upper - margin)
    worst, where, compared, skipped = 0.0, "nowhere", 0, 0
    try:
        for k, (observation, action) in enumerate(zip(observations, actions, strict=True)):
            for kind, function, analytic in _quantities(policy, observation, action, theta):
                for i, name in enumerate(names):
                    h = relative_step * width[i]
                    forward, backward = one_sided_differences(function, theta, i, h)
                    wider = sum(one_sided_differences(function, theta, i, WIDER * h)) / 2 * width[i]
                    difference, derivative = (forward + backward) / 2 * width[i], analytic[:, i] * width[i]
                    scale = 1 + np.abs(difference)
                    smooth = np.abs(forward - backward) * width[i] <= tolerance * scale
                    smooth &= np.abs(wider - difference) <= tolerance * scale
                    smooth &= np.isfinite(difference)
                    skipped += int(np.sum(~smooth))
                    compared += int(np.sum(smooth))
                    error = np.where(smooth, np.abs(difference - derivative) / scale, 0.0)
                    j = int(np.argmax(error))
                    if error[j] > worst:
                        worst = float(error[j])
                        where = (
                            f"d{kind}[{j}]/d{name} at point {k}: derivative {derivative[j] / width[i]:.8g}, "
                            f"finite difference {difference[j] / width[i]:.8g}"
                        )
    finally:
        policy.set_theta(theta0)
        policy.reset()
    if worst > tolerance:
        raise GradientCheckError(
            f"gradient self-check failed: {where}, relative error {worst:.1e} > {tolerance:.0e}; "
            "tighten the solver tolerance or repair the sensitivities before tuning"
        )
    if compared < MINIMUM_COMPARED * (compared + skipped):
        raise GradientCheckError(
            f"gradient self-check says nothing: {skipped} of {compared + skipped} differences sit next to an "
            "active-set change; check at other states or start from a theta off its kinks"
        )
    return GradientReport(worst, where, compared, skipped)


def _quantities(
    policy: MpcPolicy, observation: Observation, action: Array, theta: Array
) -> list[tuple[str, Callable[[Array], Array], Array]]:
    """(name, function of theta -> flat array, analytic Jacobian (len, ntheta)) for V with pi, and for Q."""

    def decide(point: Array) -> Array:
        policy.set_theta(point)
        decision = policy.decide(observation, gradients=False)
        return np.concatenate([decision.action, [decision.value]])

    def q(point: Array) -> Array:
        policy.set_theta(point)
        return np.array([policy.q(observation, action, gradients=False).value])

    policy.set_theta(theta)
    decision = policy.decide(observation)
    value = policy.q(observation, action)
    out: list[tuple[str, Callable[[Array], Array], Array]] = []
    if decision.ok:
        out.append(("(pi,V)", decide, np.vstack([decision.action_jacobian, decision.value_gradient])))
    if value.ok:
        out.append(("Q", q, value.gradient[None, :]))
    return out
