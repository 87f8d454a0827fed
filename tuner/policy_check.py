"""Are the gradients right? Every derivative of the policy against finite differences, before any learning step.

A constraint that is only just becoming active rounds a corner of the solution, within a distance that differs by orders
of magnitude from one corner to the next. So the step of a difference shrinks until the difference settles: both sides
agree, and so does the step before. Where none settles, theta sits on a kink and no derivative exists; that is counted,
and more than a few are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.policy import Array, MpcPolicy, Observation

TOLERANCE = 1e-4
SETTLED = TOLERANCE / 4
"""Both sides, and two steps, agree to this."""
MARGIN = 0.02
"""Distance from the bounds at which the check is made, as a fraction of their width; and how far theta is moved at
most, so that it leaves the values where a feature of the program begins."""
STEPS = tuple(10.0**-k for k in range(3, 10))
"""Of the differences, as fractions of the bound width, tried in this order."""
MOST_SKIPPED = 0.05
"""Share of the differences that may sit on a kink."""


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
    """Differences that settle at no step: on a kink."""

    def summary(self) -> str:
        return (
            f"gradients agree with finite differences to {self.worst:.1e} "
            f"({self.compared} compared, {self.skipped} skipped on a kink)"
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


def settled_differences(function: Callable[[Array], Array], theta: Array, i: int, width: float) -> Array:
    """Derivatives of function(theta), flattened, in entry i in units of its bound width; NaN where none settles."""
    result: Array | None = None
    before: Array | None = None
    for step in STEPS:
        forward, backward = one_sided_differences(function, theta, i, step * width)
        now = (forward + backward) / 2 * width
        if result is None or before is None:
            result = np.full_like(now, np.nan)
        else:
            allowed = SETTLED * (1 + np.abs(now))
            agree = (np.abs(forward - backward) * width <= allowed) & (np.abs(now - before) <= allowed)
            result = np.where(np.isnan(result) & agree, now, result)
        if not np.isnan(result).any():
            break
        before = now
    return np.empty(0) if result is None else result


def off_values_of_note(theta: Array, bounds: tuple[Array, Array]) -> Array:
    """theta moved a little, each entry by its own share of MARGIN, and MARGIN inside its bounds."""
    lower, upper = bounds
    width = upper - lower
    shares = 2 * np.modf(0.5 + (1 + np.arange(len(theta))) * (np.sqrt(5) - 1) / 2)[0] - 1
    moved: Array = np.clip(theta + MARGIN * width * shares, lower + MARGIN * width, upper - MARGIN * width)
    return moved


def check_gradients(
    policy: MpcPolicy,
    observations: Sequence[Observation],
    actions: Sequence[Array],
    bounds: tuple[Array, Array],
    names: Sequence[str],
    *,
    tolerance: float = TOLERANCE,
) -> GradientReport:
    """Compare dV, dQ and d pi with finite differences at the observations; actions are the `a` of Q(s, a).

    Theta is moved by MARGIN at most: both sides must exist, and many a default sits where a feature of the program
    begins, on a kink. Raises GradientCheckError with the numbers when a derivative is off by more than the tolerance,
    or too many differences sit on a kink.
    """
    width = bounds[1] - bounds[0]
    theta0 = policy.theta.copy()
    theta = off_values_of_note(theta0, bounds)
    worst, where, compared, skipped = 0.0, "nowhere", 0, 0
    try:
        for k, (observation, action) in enumerate(zip(observations, actions, strict=True)):
            for kind, function, analytic in _quantities(policy, observation, action, theta):
                for i, name in enumerate(names):
                    derivative = analytic[:, i] * width[i]
                    difference = settled_differences(function, theta, i, width[i])
                    smooth = np.isfinite(difference)
                    skipped += int(np.sum(~smooth))
                    compared += int(np.sum(smooth))
                    error = np.where(smooth, np.abs(difference - derivative) / (1 + np.abs(difference)), 0.0)
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
            f"gradient self-check failed: {where}, relative error {worst:.1e} > {tolerance:.0e}; nothing was tuned: "
            "keep the theta you have, and report this line with the prices and the seed"
        )
    if skipped > MOST_SKIPPED * (compared + skipped):
        raise GradientCheckError(
            f"gradient self-check says nothing: {skipped} of {compared + skipped} differences sit on a kink; "
            "try again with another seed, which looks at other states"
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
