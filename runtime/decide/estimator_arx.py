"""State of an ARX house from measurements as they come: irregular, noisy, partly missing, sometimes absurd.

The model in observer form is

    x_{t+1} = A x_t + B u_t + K (mu + e_{t+1}),   y_t = C x_t + v_t,   e ~ N(0, Sigma),  v ~ N(0, R)

and the estimate is the Kalman filter's, with the rows of missing outputs left out of the correction and the variance of
missing inputs carried into the prediction. With every sample there and R = 0 it is the exact history map after as many
steps as the model has lags. Source: Anderson and Moore, "Optimal Filtering", sections 3.1 and 4.3 (Joseph form).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class ObserverModelError(ValueError):
    """An estimator section of a bundle that cannot be used."""

    exit_code = 65


@dataclass(frozen=True, eq=False)
class ObserverModel:
    """Matrices of the observer form; nx states, nu inputs, ny outputs, one step of `dt_s`."""

    A: Array
    """(nx, nx)"""
    B: Array
    """(nx, nu)"""
    C: Array
    """(ny, nx)"""
    K: Array
    """(nx, ny): where innovations enter."""
    innovation_mean: Array
    """(ny,) mu"""
    innovation_covariance: Array
    """(ny, ny) Sigma"""
    measurement_std: Array
    """(ny,) of the sensors; a little above zero for sensors that are all but exact."""
    input_std: Array
    """(nu,) of an input while it is not measured."""
    dt_s: float

    def __post_init__(self) -> None:
        nx, nu, ny = len(self.A), self.B.shape[-1], len(self.C)
        wanted = {
            "A": (nx, nx),
            "B": (nx, nu),
            "C": (ny, nx),
            "K": (nx, ny),
            "innovation_mean": (ny,),
            "innovation_covariance": (ny, ny),
            "measurement_std": (ny,),
            "input_std": (nu,),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise ObserverModelError(
                    f"{name} of the observer has shape {value.shape}, not finite {shape}; rebuild the bundle"
                )
        if not self.dt_s > 0.0 or (self.measurement_std <= 0.0).any() or (self.input_std < 0.0).any():
            raise ObserverModelError("dt_s and measurement_std of the observer must be positive; rebuild the bundle")

    @classmethod
    def from_arx(
        cls,
        output_coefficients: ArrayLike,
        input_coefficients: ArrayLike,
        *,
        innovation_mean: ArrayLike,
        innovation_covariance: ArrayLike,
        measurement_std: ArrayLike,
        input_std: ArrayLike,
        dt_s: float,
    ) -> ObserverModel:
        """Of y_{t+1} = sum_i A_i y_{t+1-i} + B_i u_{t+1-i} + mu + e, from A (L, ny, ny) and B (L, ny, nu).

        x has L blocks of ny: the first is y, block j is what the past adds to the output j - 1 steps ahead.
        """
        a, b = np.asarray(output_coefficients, dtype=np.float64), np.asarray(input_coefficients, dtype=np.float64)
        if a.ndim != 3 or b.ndim != 3 or a.shape[1] != a.shape[2] or a.shape[:2] != b.shape[:2]:
            raise ObserverModelError(f"ARX coefficients have shapes {a.shape} and {b.shape}; rebuild the bundle")
        ny, nx = a.shape[1], a.shape[0] * a.shape[1]
        shift = np.eye(nx, k=ny)
        shift[:, :ny] += a.reshape(nx, ny)
        return cls(
            A=shift,
            B=b.reshape(nx, b.shape[2]),
            C=np.eye(ny, nx),
            K=np.eye(nx, ny),
            innovation_mean=np.asarray(innovation_mean, dtype=np.float64),
            innovation_covariance=np.asarray(innovation_covariance, dtype=np.float64),
            measurement_std=np.asarray(measurement_std, dtype=np.float64),
            input_std=np.asarray(input_std, dtype=np.float64),
            dt_s=dt_s,
        )


@dataclass(frozen=True, eq=False)
class Belief:
    """Mean (nx,) and covariance (nx, nx) of the state."""

    mean: Array
    covariance: Array


def predict(model: ObserverModel, belief: Belief, inputs: Array, unknown: NDArray[np.bool_]) -> Belief:
    """One step on. inputs: (nu,), finite; `unknown` (nu,) marks those that are a guess."""
    mean: Array = model.A @ belief.mean + model.B @ inputs + model.K @ model.innovation_mean
    guess = model.B[:, unknown] * model.input_std[unknown]
    covariance: Array = model.A @ belief.covariance @ model.A.T + model.K @ model.innovation_covariance @ model.K.T
    return Belief(mean, covariance + guess @ guess.T)


def correct(
    model: ObserverModel, belief: Belief, outputs: Array, *, gate: float = math.inf
) -> tuple[Belief, NDArray[np.bool_]]:
    """The belief given outputs (ny,), NaN for those not measured, and which of the finite ones were refused.

    An output further than `gate` standard deviations from what is expected is refused.
    """
    variance = np.einsum("ij,jk,ik->i", model.C, belief.covariance, model.C) + model.measurement_std**2
    miss = outputs - model.C @ belief.mean
    with np.errstate(invalid="ignore"):
        refused = np.isfinite(miss) & (np.abs(miss) > gate * np.sqrt(variance))
    use = np.isfinite(miss) & ~refused
    if not use.any():
        return belief, refused
    C, R = model.C[use], np.diag(model.measurement_std[use] ** 2)
    spread = C @ belief.covariance @ C.T + R
    gain = np.linalg.solve(spread, C @ belief.covariance).T
    keep = np.eye(len(belief.mean)) - gain @ C
    # Joseph's form stays symmetric and positive where the short one drifts.
    covariance: Array = keep @ belief.covariance @ keep.T + gain @ R @ gain.T
    mean: Array = belief.mean + gain @ miss[use]
    return Belief(mean, (covariance + covariance.T) / 2.0), refused


def resting_belief(model: ObserverModel, outputs: Array, inputs: Array, std: float = 1.0) -> Belief:
    """The state had these outputs (ny,) and inputs (nu,) been constant, with `std` of doubt about every entry.

    In observer form A = [column | shift]: with y and u held, x = column y + shift x + B u, and the first block is y.
    """
    ny = len(model.C)
    column, shift = model.A[:, :ny], model.A.copy()
    shift[:, :ny] = 0.0
    mean = np.linalg.solve(np.eye(len(model.A)) - shift, column @ outputs + model.B @ inputs).astype(np.float64)
    mean[:ny] = outputs
    return Belief(mean, std**2 * np.eye(len(mean), dtype=np.float64))


# -- samples on the grid -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TimedSample:
    """One reading; `time_s` is when it was measured, on the clock of the estimator."""

    time_s: float
    value: float


def nearest_mean(samples: Iterable[TimedSample], time_s: float, half_width_s: float) -> float:
    """Mean of the finite samples within half_width_s of a time (later end open); NaN where there is none."""
    values = [s.value for s in samples if -half_width_s <= s.time_s - time_s < half_width_s and math.isfinite(s.value)]
    return sum(values) / len(values) if values else math.nan


def held_mean(samples: Iterable[TimedSample], begin_s: float, end_s: float, max_age_s: float) -> float:
    """Time average over [begin, end) of a signal that holds each value until the next; NaN where too old or absent.

    Samples must be in order of time. A value older than max_age_s counts as unknown for the rest of its hold.
    """
    known_s = total = 0.0
    previous: TimedSample | None = None

    def add(sample: TimedSample, until_s: float) -> None:
        nonlocal known_s, total
        length = min(until_s, end_s, sample.time_s + max_age_s) - max(sample.time_s, begin_s)
        if length > 0.0 and math.isfinite(sample.value):
            known_s += length
            total += length * sample.value

    for sample in samples:
        if previous is not None:
            add(previous, sample.time_s)
        previous = sample
    if previous is not None:
        add(previous, end_s)
    # Less than half a step of knowledge is a guess about the other half.
    return total / known_s if known_s >= 0.5 * (end_s - begin_s) else math.nan


@dataclass
class ArxEstimator:
    """Feed it samples with `observe`, ask it with `state_at`; it steps over the grid in between.

    Samples that arrive after their grid step was passed are ignored: a filter does not rewrite its past.
    """

    model: ObserverModel
    max_age_s: float = 1800.0
    """An input holds its last value this long; later it is a guess."""
    gate: float = 6.0
    """Standard deviations beyond which an output is refused; the doubt grows meanwhile, so the gate opens."""
    patience: int = 6
    """Steps in a row in which most outputs are refused; then it is the estimate that is wrong, and it starts anew."""
    max_gap_s: float = 6 * 3600.0
    """Without a single output for so long the state is not known."""
    refused: int = 0
    """Outputs refused so far."""
    _outputs: list[deque[TimedSample]] = field(init=False, repr=False)
    _inputs: list[deque[TimedSample]] = field(init=False, repr=False)
    _belief: Belief | None = field(init=False, default=None, repr=False)
    _grid_s: float = field(init=False, default=math.nan, repr=False)
    _last_output_s: float = field(init=False, default=-math.inf, repr=False)
    _disbelieved: int = field(init=False, default=0, repr=False)

    def __post_init__(self) -> None:
        ny, nu = len(self.model.C), self.model.B.shape[1]
        self._outputs = [deque() for _ in range(ny)]
        self._inputs = [deque() for _ in range(nu)]

    def observe_output(self, index: int, sample: TimedSample) -> None:
        """A reading of output `index`; out-of-order ones are put in place."""
        _insert(self._outputs[index], sample)

    def observe_input(self, index: int, sample: TimedSample) -> None:
        """A reading of input `index`, valid until the next."""
        _insert(self._inputs[index], sample)

    def state_at(self, time_s: float) -> Array | None:
        """Mean state (nx,) at the grid step at or before `time_s`; None while it is not known.

        The grid begins at the first call that finds outputs; steps are `dt_s` long.
        """
        dt = self.model.dt_s
        if self._belief is not None and (
            time_s < self._grid_s - dt or time_s - self._last_output_s > self.max_gap_s + dt
        ):
            self._belief = None  # the clock went back, or nothing was measured for too long
        if self._belief is None:
            self._start(time_s)
            return None if self._belief is None else self._belief.mean.copy()
        while self._grid_s + dt <= time_s + 1e-6:
            self._step()
        self._forget()
        if self._grid_s - self._last_output_s > self.max_gap_s:
            self._belief = None
            return None
        return self._belief.mean.copy()

    def output_std(self) -> Array | None:
        """(ny,) standard deviation of the estimated outputs; None while the state is not known."""
        if self._belief is None:
            return None
        return np.sqrt(np.diag(self.model.C @ self._belief.covariance @ self.model.C.T))

    def _start(self, time_s: float) -> None:
        outputs = np.array([nearest_mean(s, time_s, self.max_age_s) for s in self._outputs])
        inputs = np.array([held_mean(s, time_s - self.model.dt_s, time_s, self.max_age_s) for s in self._inputs])
        if not np.isfinite(outputs).any():
            return
        # A room without a reading is taken to be as warm as the others until it is heard of.
        known = np.where(np.isfinite(outputs), outputs, np.nanmean(outputs))
        self._belief = resting_belief(self.model, known, np.where(np.isfinite(inputs), inputs, 0.0))
        self._grid_s = self._last_output_s = time_s
        self._disbelieved = 0

    def _step(self) -> None:
        assert self._belief is not None
        dt, begin = self.model.dt_s, self._grid_s
        inputs = np.array([held_mean(s, begin, begin + dt, self.max_age_s) for s in self._inputs])
        unknown = ~np.isfinite(inputs)
        guess = np.array([s[-1].value if s and math.isfinite(s[-1].value) else 0.0 for s in self._inputs])
        belief = predict(self.model, self._belief, np.where(unknown, guess, inputs), unknown)
        outputs = np.array([nearest_mean(s, begin + dt, dt / 2.0) for s in self._outputs])
        self._belief, refused = correct(self.model, belief, outputs, gate=self.gate)
        self._grid_s = begin + dt
        self.refused += int(refused.sum())
        measured = int(np.isfinite(outputs).sum())
        if measured:
            self._last_output_s = self._grid_s
        most_refused = 2 * int(refused.sum()) > measured
        self._disbelieved = self._disbelieved + 1 if most_refused else 0 if measured else self._disbelieved
        if self._disbelieved >= self.patience:
            known = np.where(np.isfinite(outputs), outputs, self.model.C @ self._belief.mean)
            self._belief = resting_belief(self.model, known, np.where(unknown, guess, inputs))
            self._disbelieved = 0

    def _forget(self) -> None:
        """Drop what no later step will read."""
        oldest = self._grid_s - self.model.dt_s
        for samples in self._outputs:
            while samples and samples[0].time_s < oldest:
                samples.popleft()
        for samples in self._inputs:
            while len(samples) > 1 and samples[1].time_s < oldest:
                samples.popleft()


def _insert(samples: deque[TimedSample], sample: TimedSample) -> None:
    if not math.isfinite(sample.time_s):
        return
    position = len(samples)
    while position > 0 and samples[position - 1].time_s > sample.time_s:
        position -= 1
    samples.insert(position, sample)
