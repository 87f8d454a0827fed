"""Are the gradients right? Every derivative of the policy against finite differences, before any learning step.

A constraint that is only just becoming active rounds a corner of the solution, within a distance that differs by orders
of magnitude from one corner to the next. So the step of a difference shrinks until the difference settles: both sides
agree, and so do the two steps before. Where none settles, theta sits on a kink and no derivative exists; that is
counted, and more than a few are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from research.training.policy import Array, MpcPolicy, SystemObservation

TOLERANCE = 1e-4
SETTLED, SIDES = TOLERANCE / 2, 4 * TOLERANCE
"""Three steps agree to the one, differences to both sides, which are less exact, to the other."""
MARGIN = 0.02
"""The check keeps this fraction of their width from the bounds, since both sides must exist, and moves theta by as much
at most: it leaves the values where a feature of the program begins."""
STEPS = tuple(10 ** (-k / 2) for k in range(8, 19))
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


def differences(function: Callable[[Array], Array], theta: Array, i: int, h: float) -> tuple[Array, Array]:
    """Of function(theta) in entry i, flattened: the central one of fourth order, and how far two of second order are
    apart, which use points on their own side only, so that a kink at theta shows."""
    step = np.zeros_like(theta)
    step[i] = h
    below, before, at, after, above = (function(theta + k * step) for k in (-2, -1, 0, 1, 2))
    central = (8 * (after - before) - (above - below)) / (12 * h)
    forward, backward = (-3 * at + 4 * after - above) / (2 * h), (3 * at - 4 * before + below) / (2 * h)
    return central, np.abs(forward - backward)


def settled_differences(function: Callable[[Array], Array], theta: Array, i: int, width: float) -> Array:
    """Derivatives of function(theta), flattened, in entry i in units of its bound width; NaN where none settles."""
    result = np.full_like(function(theta), np.nan)
    steps: list[Array] = []
    for step in STEPS:
        now, apart = (width * d for d in differences(function, theta, i, step * width))
        steps = [*steps[-2:], now]
        if len(steps) < 3:
            continue
        scale = 1 + np.abs(now)
        agree = (apart <= SIDES * scale) & (np.ptp(steps, axis=0) <= SETTLED * scale)
        result = np.where(np.isnan(result) & agree, now, result)
        if not np.isnan(result).any():
            break
    return result


def off_values_of_note(theta: Array, bounds: tuple[Array, Array]) -> Array:
    """theta MARGIN inside its bounds at least, and moved a little, each entry by its own share of MARGIN."""
    lower, upper = bounds
    margin = MARGIN * (upper - lower)
    shares = 2 * np.modf(0.5 + (1 + np.arange(len(theta))) * (np.sqrt(5) - 1) / 2)[0] - 1
    moved: Array = np.clip(theta, lower + 2 * margin, upper - 2 * margin) + shares * margin
    return moved


def check_gradients(
    policy: MpcPolicy,
    observations: Sequence[SystemObservation],
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
    policy: MpcPolicy, observation: SystemObservation, action: Array, theta: Array
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
