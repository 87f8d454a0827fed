"""Theta from a record, five ways that do not learn a policy. All are least squares on what was not predicted.

    r_k = y_k - y_theta(s_k, a_k),   y = (power at the meter, s+)

likelihood        Gaussian, variances unknown:  min sum_i n log sum_k r_ki^2                 (maximum likelihood)
Bayesian          the same with theta ~ N(theta_0, scale^2): the mean of Laplace's posterior
policy-weighted   the same as the first, each r_k weighted by how likely its action is under the policy of that fit
value-aware       min sum_k e_k^2,  e_k = c_k r_k,meter + gamma [ V(s+_k) - V(s+_theta) ]: an error counts as what it is
                  worth; c_k the price of a kW over the decision
implicit          min sum_k delta_k^2,  delta_k = L_k + gamma V_theta(s+_k) - Q_theta(s_k, a_k): Q is the optimum of the
                  program at theta, differentiated through its optimality conditions, V_theta held (semi-gradient)

The last two take one Gauss-Newton step from theta_0 with V of the program at theta_0, damped as the learner's steps.
Sources: Farahmand, Barreto and Nikovski, "Value-aware loss function for model-based reinforcement learning" (2017);
Lambert et al., "Objective mismatch in model-based reinforcement learning" (2020; weighted likelihoods); Nikishin et
al., "Control-oriented model-based reinforcement learning with implicit differentiation" (2022); "All AI Models are
Wrong, but Some are Optimal", III-B.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.controller import Controller, DerivativeError
from research.value_aware.prediction import Prediction
from research.value_aware.record import ProgramRecord
from systems.design import HouseDesign
from systems.logs.log import Array
from tuner.learn.critic import StepOptions
from tuner.loop.label import Noise
from tuner.loop.policies import loaded

ROUNDS = 8
"""Of variances and theta in turn; they settle in three or four."""
RIDGE = 1e-9
"""So that an entry without influence stays where it is."""
WIDTH = 0.3
"""Of an entry's scale: the step of a difference of V along what the entry changes."""
LIMIT = 1.0
"""Largest change by a single step, in scales: as the learner's."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A theta (ntheta,) and, of the Bayesian one, the posterior covariance of its entries (p, p)."""

    theta: Array
    covariance: Array | None = None


def by_likelihood(
    prediction: Prediction, record: ProgramRecord, start: Array, *, prior: bool = False, weights: Array | None = None
) -> Fit:
    """Maximum likelihood, or with the prior the maximum of the posterior; `weights` (n,) of the decisions."""
    places, scale = prediction.measured(record), prediction.scale
    w = np.ones(len(record)) if weights is None else weights / weights.mean()
    theta, came = start.copy(), prediction.came(record)[:, places]
    # In units of scale, so that the ridge and the prior are the identity.
    against = np.eye(len(scale)) * (1.0 if prior else RIDGE)
    for _ in range(ROUNDS):
        predicted, slope = prediction.after(theta, record)
        left, rows = came - predicted[:, places], slope[:, places] * scale
        precision = 1.0 / np.maximum((w[:, None] * left**2).mean(axis=0), 1e-12)
        matrix = np.einsum("k,kip,i,kiq->pq", w, rows, precision, rows) + against
        target = np.einsum("k,kip,i,ki->p", w, rows, precision, left)
        target -= against @ ((theta - start)[prediction.entries] / scale)
        theta = moved(prediction, theta, np.linalg.solve(matrix, target), limit=np.inf)
    return Fit(theta, np.linalg.inv(matrix) * np.outer(scale, scale) if prior else None)


def policy_weights(design: HouseDesign, library: Path, record: ProgramRecord, theta: Array) -> Array:
    """(n,) density of each action about the policy at theta, of the largest possible; 0 where none is known."""
    controller, noise = loaded(design, library), Noise.of(design.problem)
    controller.set_theta(theta)
    controller.reset()
    policy = np.array(
        [solved_action(controller, x, d) for x, d in zip(record.states[:-1], record.forecasts, strict=False)]
    )
    distance = free(noise, record.action) - free(noise, policy)
    density = np.exp(-0.5 * np.sum((distance / free_std(noise)) ** 2, axis=1))
    return np.nan_to_num(density)


def free(noise: Noise, actions: Array) -> Array:
    """(n, m) of (n, na): of a power in and a power out their difference."""
    outs = [o for _, o in noise.pairs]
    found = actions.copy()
    for i, o in noise.pairs:
        found[:, i] -= found[:, o]
    return np.delete(found, outs, axis=1)


def free_std(noise: Noise) -> Array:
    return np.delete(noise.std, [o for _, o in noise.pairs])


def solved_action(controller: Controller, x: Array, forecast: Array) -> Array:
    """(na,), NaN where the solve fails."""
    solution = controller.solve(x, forecast)
    if solution.ok:
        return solution.action
    controller.reset()
    return np.full_like(solution.action, np.nan)


@dataclass(frozen=True, eq=False)
class Worth:
    """What the program at theta_0 says of a record; NaN where it has no solution."""

    value: Array
    """(n + 1,) V(s_k)"""
    q: Array
    """(n,) Q(s_k, a_k)"""
    q_gradient: Array
    """(n, p) in units of scale"""
    surprise: Array
    """(n,) V(s+) - V(s+_theta), EUR"""
    surprise_slope: Array
    """(n, p) d V(s+_theta) / d theta in units of scale"""


def worth_of(design: HouseDesign, library: Path, prediction: Prediction, record: ProgramRecord, start: Array) -> Worth:
    """Some six solves a decision."""
    controller = loaded(design, library)
    controller.set_theta(start)
    controller.reset()
    n, scale, entries = len(record), prediction.scale, prediction.entries
    predicted, slope = prediction.after(start, record)
    forecasts = record.forecasts

    def value_at(k: int, x: Array) -> float:
        solution = controller.solve(x, forecasts[k])
        if not solution.ok:
            controller.reset()
        return solution.value if solution.ok else np.nan

    value = np.array([value_at(k, x) for k, x in enumerate(record.states)])
    q, gradient = np.full(n, np.nan), np.zeros((n, len(scale)))
    believed, along = np.full(n, np.nan), np.zeros((n, len(scale)))
    for k in range(n):
        solution = controller.solve_fixed(record.states[k], forecasts[k], record.action[k])
        if solution.ok:
            try:
                gradient[k] = controller.differentiate(action=False)[0][entries] * scale
                q[k] = solution.value
            except DerivativeError:
                pass
        else:
            controller.reset()
        believed[k] = value_at(k + 1, predicted[k, 1:])
        for j in range(len(scale)):
            step = slope[k, 1:, j] * scale[j] * WIDTH
            if np.abs(step).max() > 1e-9:
                along[k, j] = (value_at(k + 1, predicted[k, 1:] + step) - believed[k]) / WIDTH
    return Worth(value, q, gradient, value[1:] - believed, along)


def by_value(
    prediction: Prediction, record: ProgramRecord, start: Array, worth: Worth, gamma: float, prices: tuple[Array, Array]
) -> Fit:
    """prices: (n,) each, of a kWh bought and of one sold."""
    predicted, slope = prediction.after(start, record)
    price = np.where(record.grid_kw > 0.0, *prices) * record.hold_h
    error = price * (record.grid_kw - predicted[:, 0]) + gamma * worth.surprise
    rows = price[:, None] * slope[:, 0] * prediction.scale + gamma * worth.surprise_slope
    return Fit(moved(prediction, start, damped_step(rows, error)))


def by_implicit_gradient(
    prediction: Prediction, record: ProgramRecord, start: Array, worth: Worth, gamma: float
) -> Fit:
    """The mean of the error is left out: a horizon that ends has the level of Q wrong in every state.

    Where the solver ends hardly any Q to its tolerance there is no step.
    """
    error = record.stretch.deeds.cost + gamma * worth.value[1:] - worth.q
    rows = worth.q_gradient
    sound = np.isfinite(error)
    if sound.sum() < 2 * len(prediction.entries):
        return Fit(start.copy())
    centred = rows - rows[sound].mean(axis=0), error - error[sound].mean()
    return Fit(moved(prediction, start, damped_step(*centred)))


def damped_step(rows: Array, error: Array) -> Array:
    """(p,) argmin |error - rows step|^2 with the learner's damping, over the decisions without a gap."""
    sound = np.isfinite(error) & np.isfinite(rows).all(axis=1)
    rows, error = rows[sound], error[sound]
    matrix = rows.T @ rows
    damping = StepOptions().damping * max(float(np.trace(matrix)) / len(matrix), 1e-12)
    return np.asarray(np.linalg.solve(matrix + damping * np.eye(len(matrix)), rows.T @ error))


def moved(prediction: Prediction, theta: Array, step: Array, limit: float = LIMIT) -> Array:
    """theta after a step (p,) in units of scale, shortened to the limit as a whole, within the bounds."""
    parameters = prediction.design.problem.theta
    found = theta.copy()
    found[prediction.entries] += prediction.scale * step * min(1.0, limit / max(float(np.abs(step).max()), 1e-12))
    return np.clip(found, [p.lower for p in parameters], [p.upper for p in parameters])
