"""A critic with two layers, learned by replayed, normalised steps on the TD error.

    Q(z) = w1' phi1(W2' z),   z = (1, whitened (s, a - pi(s))),   phi1(y) = (1, y^2 / 2) or (1, tanh y)
    e    = Q(z) - L - gamma Q(z+)
    (w1, W2) <- (w1, W2) - rate * mean over a replay window of  d e / (d'd + 1)^2

    semi   d = d Q(z) / d (w1, W2)                            z+ held
    both   d = d [Q(z) - gamma Q(z+)] / d (w1, W2)            the notes' data vector

The normalisation bounds every step however large d is, which is what the convergence of the weights to a bounded set
under persistent excitation rests on: in every direction of the weights that Q depends on, the mean of
d d' / (d'd + 1)^2 over the data must be positive. `excitation` is its smallest eigenvalue there, `largest_norm` how far
the weights went. The gradient on both sides descends the mean of e^2; where z+ is random that is the error of the mean
and gamma^2 times the variance of Q(z+), which it makes small by making Q flat. With y^2 / 2 every quadratic Q is
represented exactly. The mean of the iterates is kept, the k-th with weight k (after Polyak and Juditsky, "Acceleration
of stochastic approximation by averaging", 1992).
Source: "Remarks on deep RL" (critic, data vector, experience replay).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tuner.errors import CriticError

Array = NDArray[np.float64]
Gradient = Literal["semi", "both"]
Activation = Literal["square", "tanh"]
NO_DIRECTION = 1e-9
"""Of the largest variance of the inputs: below it they do not vary."""
LARGEST_NORM = 1e3
"""Of the weights; costs are scaled so that Q is about 1."""
EXCITATION_ROWS = 4000
START_STD = 0.3
"""Of the first weights. From w1 = 0 some seeds take five times as many updates."""


@dataclass(frozen=True, eq=False)
class Samples:
    """n transitions: state (n, f), deviation a - pi(s) (n, m), cost (n,), next_state (n, f) at which pi acts."""

    state: Array
    deviation: Array
    cost: Array
    next_state: Array

    def __len__(self) -> int:
        return len(self.cost)


@dataclass(frozen=True, eq=False)
class Inputs:
    """(s, a - pi(s)) -> z = (1, y): y has unit covariance over the data, in the directions that vary at all."""

    mean: Array
    whiten: Array
    """(k, f + m)"""
    states: int

    @classmethod
    def of(cls, samples: Samples) -> Inputs:
        """Raises CriticError where the actions never leave the policy."""
        if float(np.abs(samples.deviation).max()) < 1e-12:
            raise CriticError("every action is the policy's: nothing tells what another one costs; explore")
        x = np.hstack([samples.state, samples.deviation])
        # Without the mean of the deviation z+ would lie elsewhere than where pi acts.
        mean = np.concatenate([samples.state.mean(axis=0), np.zeros(samples.deviation.shape[1])])
        spread = (x - mean).std(axis=0)
        unit = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        variance, basis = np.linalg.eigh((x - mean).T @ (x - mean) / len(x) * np.outer(unit, unit))
        kept = variance > NO_DIRECTION * variance[-1]
        return cls(mean, (basis[:, kept] / np.sqrt(variance[kept])).T * unit, samples.state.shape[1])

    def __call__(self, state: Array, deviation: Array | None = None) -> Array:
        """(n, 1 + k); without a deviation that of the policy."""
        f = self.states
        y = (state - self.mean[:f]) @ self.whiten[:, :f].T
        if deviation is not None:
            y = y + deviation @ self.whiten[:, f:].T
        return np.hstack([np.ones((len(y), 1)), y])


@dataclass(frozen=True, eq=False)
class Weights:
    """w1 (1 + h) and W2 (1 + k, h)."""

    w1: Array
    w2: Array
    activation: Activation

    @property
    def norm(self) -> float:
        return float(np.sqrt(np.sum(self.w1**2) + np.sum(self.w2**2)))

    def q(self, z: Array) -> Array:
        hidden, _ = self.layer(z)
        return np.asarray(self.w1[0] + hidden @ self.w1[1:])

    def layer(self, z: Array) -> tuple[Array, Array]:
        """(phi1 without its constant, its slope), (n, h) each."""
        y = z @ self.w2
        if self.activation == "square":
            return y**2 / 2, y
        hidden = np.tanh(y)
        return hidden, 1 - hidden**2

    def slope(self, z: Array) -> Array:
        """dQ/dy (n, k)."""
        return np.asarray((self.layer(z)[1] * self.w1[1:]) @ self.w2[1:].T)

    def data_vectors(self, z: Array, z_next: Array | None, gamma: float) -> Array:
        """d (n, 1 + h + (1 + k) h); z_next is that of the gradient on both sides."""
        hidden, slope = self.layer(z)
        back = slope * self.w1[1:]
        first = np.hstack([np.ones((len(z), 1)), hidden])
        second = np.einsum("ni,nh->nih", z, back).reshape(len(z), -1)
        d = np.hstack([first, second])
        return d if z_next is None else d - gamma * self.data_vectors(z_next, None, gamma)

    @property
    def identifiable(self) -> int:
        """Directions of the weights in which Q can move: a quadratic form has no more than its entries."""
        i, h = int(self.w2.shape[0]), int(self.w2.shape[1])
        count = 1 + h + i * h
        return min(count, i * (i + 1) // 2) if self.activation == "square" and h >= i else count


@dataclass(frozen=True, eq=False)
class FittedCritic:
    """Fitted weights; costs were divided by `cost_scale` before."""

    inputs: Inputs
    weights: Weights
    cost_scale: float
    gamma: float
    excitation: float
    """Smallest eigenvalue of the mean of d d' / (d'd + 1)^2 over the directions that Q depends on."""
    largest_norm: float

    def q(self, state: Array, deviation: Array | None = None) -> Array:
        """(n,); without a deviation V."""
        return self.cost_scale * self.weights.q(self.inputs(state, deviation))

    def slope(self, state: Array) -> Array:
        """dQ/da at a = pi(s) (n, m)."""
        inputs = self.inputs
        return np.asarray(self.cost_scale * self.weights.slope(inputs(state)) @ inputs.whiten[:, inputs.states :])

    def td_error(self, samples: Samples) -> Array:
        """L + gamma Q(s+, pi(s+)) - Q(s, a) (n,)."""
        following = self.q(samples.next_state)
        return samples.cost + self.gamma * following - self.q(samples.state, samples.deviation)


@dataclass(frozen=True)
class TwoLayer:
    """Learning of the critic; `seed` draws initial weights and replay windows."""

    hidden: int = 12
    updates: int = 2000
    window: int = 64
    """Transitions per update."""
    rate: float = 4.0
    """Below 8: d'd / (d'd + 1)^2 never exceeds 1/4."""
    gradient: Gradient = "semi"
    activation: Activation = "square"
    seed: int = 0

    def learn(
        self, samples: Samples, gamma: float, on_update: Callable[[int, FittedCritic], None] | None = None
    ) -> FittedCritic:
        """`on_update` hears of the averaged critic at 1, 2, 5, 10, 20, 50, ... updates. Raises CriticError."""
        rng, n = np.random.default_rng(self.seed), len(samples)
        inputs = Inputs.of(samples)
        # Values are about cost / (1 - gamma): dividing by it keeps targets and weights near 1.
        scale = max(float(np.abs(samples.cost).mean()) / (1 - gamma), 1e-12)
        z, z_next = inputs(samples.state, samples.deviation), inputs(samples.next_state)
        cost = samples.cost / scale
        w = Weights(
            np.concatenate([[0.0], rng.normal(0.0, START_STD, self.hidden)]),
            rng.normal(0.0, START_STD, (z.shape[1], self.hidden)),
            self.activation,
        )
        mean, largest, told = (w.w1, w.w2), w.norm, 1
        for k in range(1, self.updates + 1):
            pick = rng.integers(0, n, self.window)
            w = normalised_step(w, z[pick], z_next[pick], cost[pick], gamma, self.rate, self.gradient)
            share = 2.0 / (k + 1)
            mean = mean[0] + share * (w.w1 - mean[0]), mean[1] + share * (w.w2 - mean[1])
            largest = max(largest, w.norm) if np.isfinite(w.norm) else np.inf
            if largest > LARGEST_NORM:
                raise CriticError(
                    f"the weights of the two-layer critic went beyond {LARGEST_NORM:g} after {k} updates at rate "
                    f"{self.rate:g}; choose the critic lstdq"
                )
            if on_update is not None and k == told:
                told = _next_told(k)
                on_update(k, FittedCritic(inputs, Weights(*mean, self.activation), scale, gamma, np.nan, largest))
        kept = Weights(*mean, self.activation)
        return FittedCritic(inputs, kept, scale, gamma, self._excitation(kept, z, z_next, gamma), largest)

    def _excitation(self, w: Weights, z: Array, z_next: Array, gamma: float) -> float:
        rows = slice(None, None, max(1, len(z) // EXCITATION_ROWS))
        d = w.data_vectors(z[rows], z_next[rows] if self.gradient == "both" else None, gamma)
        d = d / (1.0 + np.sum(d**2, axis=1, keepdims=True))
        return max(0.0, float(np.linalg.eigvalsh(d.T @ d / len(d))[::-1][w.identifiable - 1]))


def normalised_step(
    w: Weights, z: Array, z_next: Array, cost: Array, gamma: float, rate: float, gradient: Gradient
) -> Weights:
    """One replayed update of both layers; z, z_next (n, 1 + k) of the window, cost (n,)."""
    hidden, slope = w.layer(z)
    hidden_next, slope_next = w.layer(z_next)
    back = slope * w.w1[1:]
    error = w.w1[0] * (1 - gamma) + (hidden - gamma * hidden_next) @ w.w1[1:] - cost
    # d = (1, hidden, outer(z, back)): its squared norm needs no outer product.
    z2, back2 = np.sum(z**2, axis=1), np.sum(back**2, axis=1)
    if gradient == "semi":
        norm2 = 1 + np.sum(hidden**2, axis=1) + z2 * back2
        weight = error / (norm2 + 1) ** 2 / len(error)
        w1, w2 = hidden.T @ weight, (z * weight[:, None]).T @ back
        return Weights(w.w1 - rate * np.concatenate([[weight.sum()], w1]), w.w2 - rate * w2, w.activation)
    back_next = gamma * slope_next * w.w1[1:]
    first = hidden - gamma * hidden_next
    norm2 = (1 - gamma) ** 2 + np.sum(first**2, axis=1) + z2 * back2
    norm2 += np.sum(z_next**2, axis=1) * np.sum(back_next**2, axis=1)
    norm2 -= 2 * np.sum(z * z_next, axis=1) * np.sum(back * back_next, axis=1)
    weight = error / (norm2 + 1) ** 2 / len(error)
    w2 = (z * weight[:, None]).T @ back - (z_next * weight[:, None]).T @ back_next
    w1 = np.concatenate([[(1 - gamma) * weight.sum()], first.T @ weight])
    return Weights(w.w1 - rate * w1, w.w2 - rate * w2, w.activation)


def _next_told(k: int) -> int:
    """1, 2, 5, 10, 20, 50, ..."""
    first = int(str(k)[0])
    return k * 5 // 2 if first == 2 else 2 * k
