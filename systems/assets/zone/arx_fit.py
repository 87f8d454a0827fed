"""Fits the ARX model of a house: ridge regression towards persistence, its strength chosen by blocked cross-validation.

    min_theta  sum_t || y_{t+1} - y_t - theta' (phi_t - m) - c ||^2  +  lambda n sum_j var(phi_j) || theta_j ||^2

phi_t stacks the hour of outputs and inputs of eq. (37) in "All AI Models are Wrong, but Some are Optimal". The penalty
pulls towards y_{t+1} = y_t, which is what a house does when nothing is known, rather than towards 0 °C. The constant
part of the residual is the mean mu of the innovations: what sun and people add on average. Blocks in time, because
neighbouring rows share eleven of twelve lags and a random split would test on what it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systems.arx import ArxModel

Array = NDArray[np.float64]
LAGS = 12
STRENGTHS = tuple(float(s) for s in np.logspace(-6, 1, 8))
HORIZON = 144
"""Steps of the long prediction: 12 h, the horizon of the MPC."""


@dataclass(frozen=True, eq=False)
class Regression:
    """The rows of the least-squares problem that have a whole hour of history and a next value."""

    rows: NDArray[np.int64]
    """(n,) t of each row."""
    phi: Array
    """(n, L ny + L nu): y_t .. y_{t-L+1}, then u_t .. u_{t-L+1}."""
    change: Array
    """(n, ny): y_{t+1} - y_t, K."""
    ny: int
    nu: int
    lags: int


@dataclass(frozen=True, eq=False)
class FoldSums:
    """Sufficient statistics of a set of rows; sums, so that folds are added and taken away."""

    n: int
    sum_phi: Array
    sum_change: Array
    gram: Array
    cross: Array

    def __sub__(self, other: FoldSums) -> FoldSums:
        return FoldSums(
            self.n - other.n,
            self.sum_phi - other.sum_phi,
            self.sum_change - other.sum_change,
            self.gram - other.gram,
            self.cross - other.cross,
        )


@dataclass(frozen=True, eq=False)
class ArxFit:
    """A fitted model with what is needed to judge it."""

    model: ArxModel
    strength: float
    """The chosen lambda."""
    strengths: tuple[float, ...]
    cv_rmse_k: Array
    """(len(strengths),) root mean square error of 12-hour-ahead predictions on held-out blocks, K."""
    leave_one_out: tuple[ArxModel, ...]
    """The model without each block at the chosen strength: a jackknife."""
    residuals: Array
    """(n, ny): one-step residuals of the deterministic part, their mean included, K."""
    rows: NDArray[np.int64]

    def jackknife_std(self, values: Sequence[Array]) -> Array:
        """Standard error of a statistic from its values on the leave-one-out models."""
        v = np.array(values)
        return np.asarray(np.sqrt((len(v) - 1) / len(v) * ((v - v.mean(0)) ** 2).sum(0)))


def build_regression(outputs: Array, inputs: Array, lags: int = LAGS) -> Regression:
    """From outputs (T, ny) and inputs (T, nu); NaN marks what is missing and takes out the rows it touches."""
    (steps, ny), nu = outputs.shape, inputs.shape[1]
    width = lags * (ny + nu)
    if steps <= lags:
        return Regression(np.empty(0, dtype=np.int64), np.empty((0, width)), np.empty((0, ny)), ny, nu, lags)

    def windows(values: Array) -> Array:
        """(T - L, L, n): row i is values i+L-1 .. i, newest first."""
        return np.lib.stride_tricks.sliding_window_view(values, lags, axis=0)[:-1].transpose(0, 2, 1)[:, ::-1]

    phi = np.hstack([windows(outputs).reshape(steps - lags, -1), windows(inputs).reshape(steps - lags, -1)])
    change = outputs[lags:] - outputs[lags - 1 : -1]
    good = np.isfinite(phi).all(1) & np.isfinite(change).all(1)
    return Regression(np.flatnonzero(good) + lags - 1, phi[good], change[good], ny, nu, lags)


def moments(phi: Array, change: Array) -> FoldSums:
    return FoldSums(len(phi), phi.sum(0), change.sum(0), phi.T @ phi, phi.T @ change)


@dataclass(frozen=True)
class ArxOptions:
    """How the regression is set up; docs/reference/house.md compares the choices with the physical house."""

    lags: int = LAGS
    strengths: tuple[float, ...] = STRENGTHS
    blocks: int = 8
    horizon: int = HORIZON
    """Steps ahead that cross-validation looks at."""
    constant: bool = True
    """Estimate the constant c; without it (eq. 37 to the letter) the gains absorb sun and people."""
    invariant: bool = True
    """Coefficients of all temperatures sum to zero: warming everything, outdoors included, changes only the level."""


def ridge_path(
    m: FoldSums, strengths: Sequence[float], *, ny: int, nu: int, options: ArxOptions
) -> list[tuple[Array, Array]]:
    """For each strength: theta (p, ny) as deviation from persistence, and the mean of the residual (ny,)."""
    mean_phi, mean_change = m.sum_phi / m.n, m.sum_change / m.n
    # In units of each column's own spread, so that one strength means the same for K and kW.
    scale = np.sqrt(np.maximum(np.diag(m.gram) / m.n - mean_phi**2, 1e-12))
    gram, cross = m.gram / m.n, m.cross / m.n
    if options.constant:
        gram, cross = gram - np.outer(mean_phi, mean_phi), cross - np.outer(mean_phi, mean_change)
    basis = np.eye(len(scale))
    if options.invariant:
        # Eliminate the newest outdoor temperature: its coefficient is minus the sum of the other temperatures'.
        newest_outdoor = options.lags * ny
        basis[newest_outdoor] = -(np.arange(len(scale)) < newest_outdoor).astype(float)
        basis[newest_outdoor, newest_outdoor::nu] = -1.0
        basis, scale = np.delete(basis, newest_outdoor, axis=1), np.delete(scale, newest_outdoor)
    basis = basis / scale
    # One eigendecomposition serves every strength: (G + lambda I)^-1 = Q (Lambda + lambda)^-1 Q'.
    values, vectors = np.linalg.eigh(basis.T @ gram @ basis)
    rotated = vectors.T @ (basis.T @ cross)
    result = []
    for strength in strengths:
        theta = basis @ (vectors @ (rotated / (np.maximum(values, 0.0) + strength)[:, None]))
        result.append((theta, mean_change - mean_phi @ theta))
    return result


def to_model(theta: Array, mean: Array, covariance: Array, ny: int, nu: int, lags: int, dt_s: float) -> ArxModel:
    """The ARX whose deviation from persistence is theta (L ny + L nu, ny)."""
    outputs = theta[: lags * ny].reshape(lags, ny, ny).transpose(0, 2, 1).copy()
    outputs[0] += np.eye(ny)
    inputs = theta[lags * ny :].reshape(lags, nu, ny).transpose(0, 2, 1)
    return ArxModel(outputs, inputs, mean, covariance, dt_s)


def predict_ahead(
    model: ArxModel, outputs: Array, inputs: Array, starts: NDArray[np.int64], horizon: int = HORIZON
) -> tuple[Array, Array]:
    """(predictions, truth), each (len(starts), horizon, ny), °C: known inputs, outputs known up to each start t.

    The mean of the innovations is part of the prediction. Windows must lie inside the data.
    """
    back, ahead = np.arange(-model.lags + 1, 1), np.arange(horizon)
    state = model.state_from_history(outputs[starts[:, None] + back], inputs[starts[:, None] + back[:-1]])
    mean = np.broadcast_to(model.innovation_mean, (len(starts), horizon, model.ny))
    predicted, _ = model.simulate(state, inputs[starts[:, None] + ahead], mean)
    return predicted, outputs[starts[:, None] + ahead + 1]


def window_starts(outputs: Array, inputs: Array, lags: int, horizon: int, every: int) -> NDArray[np.int64]:
    """Starts t with complete history and complete future inputs; the future outputs may have gaps."""
    steps = len(outputs)
    bad_input = np.cumsum(np.concatenate([[0], ~np.isfinite(inputs).all(1)]))
    bad_output = np.cumsum(np.concatenate([[0], ~np.isfinite(outputs).all(1)]))
    t = np.arange(lags - 1, steps - horizon, every)
    complete = (bad_input[t + horizon] == bad_input[t - lags + 1]) & (bad_output[t + 1] == bad_output[t - lags + 1])
    return np.asarray(t[complete])


def fit_arx(
    outputs: Array,
    inputs: Array,
    *,
    dt_s: float = 300.0,
    options: ArxOptions | None = None,
    rows: NDArray[np.bool_] | None = None,
) -> ArxFit:
    """Fit on outputs (T, ny) °C and inputs (T, nu); NaN is missing, `rows` (T,) selects the steps t that may be used.

    Of the strengths whose error is within one standard error of the best, the weakest is taken: shrinking costs input
    gains, and those are what control lives on. Raises ValueError when there is too little to fit or to validate on.
    """
    o = options or ArxOptions()
    regression = build_regression(outputs, inputs, o.lags)
    keep = np.ones(len(regression.rows), dtype=bool) if rows is None else rows[regression.rows]
    phi, change, index = regression.phi[keep], regression.change[keep], regression.rows[keep]
    ny, nu, n = regression.ny, regression.nu, len(index)
    if n < 2 * phi.shape[1]:
        raise ValueError(
            f"{n} usable rows for {phi.shape[1]} unknowns per room; at least {2 * phi.shape[1]} are needed"
        )
    parts = np.array_split(np.arange(n), o.blocks)
    folds = [moments(phi[part], change[part]) for part in parts]
    whole = moments(phi, change)

    def fitted(of: FoldSums, strengths: Sequence[float]) -> list[tuple[Array, ArxModel]]:
        path = ridge_path(of, strengths, ny=ny, nu=nu, options=o)
        return [(theta, to_model(theta, mean, np.zeros((ny, ny)), ny, nu, o.lags, dt_s)) for theta, mean in path]

    without = [fitted(whole - fold, o.strengths) for fold in folds]
    starts = window_starts(outputs, inputs, o.lags, o.horizon, every=max(12, n // 300))
    errors = np.full((len(o.strengths), o.blocks), np.nan)
    for f, part in enumerate(parts):
        # Only windows that lie wholly inside the held-out block: nothing of them was fitted.
        inside = starts[(starts - o.lags >= index[part[0]]) & (starts + o.horizon <= index[part[-1]])]
        for s, (_, model) in enumerate(without[f] if len(inside) else ()):
            predicted, truth = predict_ahead(model, outputs, inputs, inside, o.horizon)
            with np.errstate(over="ignore", invalid="ignore"):
                squared = np.nanmean((predicted - truth) ** 2)
            errors[s, f] = squared if np.isfinite(squared) else np.inf
    tested = ~np.isnan(errors).any(0)
    if not tested.any():
        raise ValueError(
            f"no stretch of {o.horizon} steps without a gap in any of {o.blocks} blocks; give a longer log"
        )
    best = choose_strength(errors[:, tested])

    theta, model = fitted(whole, [o.strengths[best]])[0]
    residuals = change - phi @ theta
    return ArxFit(
        model=replace(model, innovation_covariance=np.atleast_2d(np.cov(residuals.T))),
        strength=o.strengths[best],
        strengths=o.strengths,
        cv_rmse_k=np.sqrt(errors[:, tested].mean(1)),
        leave_one_out=tuple(models[best][1] for models in without),
        residuals=residuals,
        rows=index,
    )


def choose_strength(errors: Array) -> int:
    """Index of the weakest strength whose error is within one standard error of the best; errors (strengths, blocks).

    The standard error is that of the difference to the best, block by block: hard weeks are hard for every strength.
    """
    best = int(np.argmin(errors.mean(1)))
    for index, row in enumerate(errors):
        if not np.isfinite(row).all():
            continue
        excess = row - errors[best]
        error_of_mean = float(excess.std(ddof=1)) / np.sqrt(len(excess)) if len(excess) > 1 else 0.0
        if excess.mean() <= error_of_mean:
            return index
    raise ValueError("the predictions diverge at every ridge strength; check the log")
