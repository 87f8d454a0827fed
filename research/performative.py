"""A fleet of houses whose load moves the price that its own controllers learn from.

"Safety and data-driven control" (Dean, lecture), dynamic performative optimality: the learner deploys theta_t, the
population answers rho_t = D(theta_t, rho_(t-1)), and what counts is L*(theta) = E[l(z, theta)] under the limit rho*.
Notions and names by Perdomo, Zrnic, Mendler-Dünner and Hardt, "Performative prediction", 2020.

Here theta (24) EUR/kWh is the price of a day by which every house plans, z the price that comes,

    p_(t+1) = memory p_t + (1 - memory)(base + slope (U(theta_t) - flat)) + e,   U(theta) = mean_i u_i(theta)  kW,
    u_i(theta) = argmin_{0 <= u <= high_i} theta'u + comfort_i(u),
    L*(theta) = p*'U + mean_i comfort_i(u_i)

with p* the price that theta leads to. theta is the gradient of -comfort where no bound holds, so with J = dU/dtheta

    grad L* = J (p* + slope U - theta).

Retraining on the prices seen ends where theta = p*: stable, and every house is right about the price. The optimum has
theta = p* + slope U: a kWh costs what it costs, and what it makes all others of the fleet dearer by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import circulant

from research.errors import Unsolved

Array = NDArray[np.float64]
HOURS = 24
ACCURACY = 1e-10
MOST_STEPS = 200
FIRST_LEARNED = 4
"""Rounds, after which there are days enough to learn the response from."""


@dataclass(frozen=True, eq=False)
class Fleet:
    """comfort_i(u) = u'W_i u / 2 - g_i'u + constant_i, EUR a day: W (n, 24, 24), g (n, 24), powers 0..high (n,) kW."""

    w: Array
    g: Array
    constant: Array
    high: Array

    def powers(self, theta: Array) -> Array:
        """u_i(theta), shape (n, 24), by projected Newton steps (Bertsekas, 1982). Raises Unsolved."""
        high = np.broadcast_to(self.high[:, None], self.g.shape)
        linear = theta - self.g
        u: Array = np.clip(np.linalg.solve(self.w, -linear[..., None])[..., 0], 0.0, high)
        for _ in range(MOST_STEPS):
            slope = np.einsum("nij,nj->ni", self.w, u) + linear
            held = ((u <= 0.0) & (slope > 0.0)) | ((u >= high) & (slope < 0.0))
            if np.max(np.abs(np.where(held, 0.0, slope))) < ACCURACY:
                return u
            step = np.linalg.solve(_masked(self.w, held), -np.where(held, 0.0, slope)[..., None])[..., 0]
            u = self._along(u, np.asarray(step), linear, high)
        raise Unsolved(f"a house's day is not planned after {MOST_STEPS} Newton steps; its comfort is too flat")

    def _along(self, u: Array, step: Array, linear: Array, high: Array) -> Array:
        """The first of the points clip(u + step / 2^k) that lowers the cost of each house."""
        cost = self._planned(u, linear)
        share = np.ones(len(u))
        for _ in range(40):
            tried = np.clip(u + share[:, None] * step, 0.0, high)
            worse = self._planned(tried, linear) > cost + 1e-15
            if not worse.any():
                break
            share = np.where(worse, share / 2.0, share)
        return np.asarray(np.where(worse[:, None], u, tried))

    def _planned(self, u: Array, linear: Array) -> Array:
        return np.asarray(0.5 * np.einsum("ni,nij,nj->n", u, self.w, u) + np.sum(linear * u, axis=1))

    def comfort(self, u: Array) -> float:
        """Mean over the houses, EUR a day."""
        return float(np.mean(self._planned(u, -self.g) + self.constant))

    def response(self, u: Array) -> Array:
        """dU/dtheta (24, 24), negative semidefinite; hours at a bound do not move."""
        held = (u <= 0.0) | (u >= self.high[:, None])
        inverse = np.linalg.inv(_masked(self.w, held))
        free = ~held
        return -np.asarray(np.mean(inverse * (free[:, :, None] & free[:, None, :]), axis=0))


def _masked(w: Array, held: NDArray[np.bool_]) -> Array:
    """W with the rows and columns of held hours replaced by those of the identity."""
    free = ~held
    return np.where(free[:, :, None] & free[:, None, :], w, np.eye(HOURS))


def make_fleet(houses: int, generator: np.random.Generator) -> Fleet:
    """Houses of one zone over a day that repeats: capacity 6..14 kWh/K, loss 0.08..0.18 kW/K, set-point 20..22 degC.

    T_(k+1) = T_k + h ((T_out - T_k) loss + cop u_k) / capacity with h = 1 h; comfort = sum of weight (T - set)^2 and
    0.05 u^2 / 2, what a heat pump loses by working hard; EUR.
    """
    capacity, loss = generator.uniform(6.0, 14.0, houses), generator.uniform(0.08, 0.18, houses)
    cop, setpoint = generator.uniform(2.6, 3.6, houses), generator.uniform(20.0, 22.0, houses)
    weight = generator.uniform(0.01, 0.03, houses)
    outdoor = -2.0 - 4.0 * np.cos(2.0 * np.pi * (np.arange(HOURS) - 3.0) / HOURS)
    kept = 1.0 - loss / capacity
    # The response to a kW of heat at hour j, day after day: sum over days of kept^(k - j - 1), a circulant matrix.
    unit = kept[:, None] ** np.roll(np.arange(HOURS), 1) / (1.0 - kept[:, None] ** HOURS)
    warms = np.stack([circulant(column) for column in unit])
    g = warms * (cop / capacity)[:, None, None]
    free = np.einsum("nij,j->ni", warms, outdoor) * (loss / capacity)[:, None] - setpoint[:, None]
    gt = np.swapaxes(g, 1, 2) * 2.0 * weight[:, None, None]
    return Fleet(
        gt @ g + 0.05 * np.eye(HOURS),
        -np.einsum("nij,nj->ni", gt, free),
        weight * np.sum(free**2, axis=1),
        generator.uniform(2.5, 4.0, houses),
    )


def base_price() -> Array:
    """A day with a morning and an evening peak, EUR/kWh."""
    hour = np.arange(HOURS)
    peak = np.exp(-(((hour - 8.0) / 2.0) ** 2)) + 1.2 * np.exp(-(((hour - 18.0) / 2.5) ** 2))
    return np.asarray(0.08 + 0.10 * peak)


@dataclass(frozen=True, eq=False)
class Market:
    """slope (24,) EUR/kWh for each kW that the houses draw on average; noise_std of a day's price, by hour."""

    fleet: Fleet
    base: Array
    slope: Array
    flat: Array
    """(24,) kW that the fleet draws where the price is the same at all hours."""
    memory: float
    noise_std: float

    def settled(self, load: Array) -> Array:
        """The price that a load (24,) leads to when it stays."""
        return self.base + self.slope * (load - self.flat)

    def next_price(self, price: Array, load: Array, generator: np.random.Generator) -> Array:
        noise = self.noise_std * generator.normal(size=HOURS)
        return self.memory * price + (1.0 - self.memory) * self.settled(load) + noise

    def long_run_cost(self, theta: Array) -> float:
        """L*(theta), EUR a house and day."""
        u = self.fleet.powers(theta)
        load = u.mean(axis=0)
        return float(self.settled(load) @ load) + self.fleet.comfort(u)

    def gradient(self, theta: Array) -> Array:
        """grad L* through the response."""
        u = self.fleet.powers(theta)
        load = u.mean(axis=0)
        return np.asarray(self.fleet.response(u) @ (self.settled(load) + self.slope * load - theta))

    def target(self, theta: Array, own: float) -> Array:
        """What theta should be by the load that it causes: p* with own = 0, p* + slope U with own = 1."""
        load = self.fleet.powers(theta).mean(axis=0)
        return np.asarray(self.settled(load) + own * self.slope * load)

    def fixed_point(self, own: float) -> Array:
        """theta = target(theta): the stable point of retraining (own = 0), the optimum (own = 1). Raises Unsolved.

        Both minimise a convex function of the powers, so a damped step contracts: its eigenvalues lie within 0..1.
        """
        theta = self.base
        for _ in range(5000):
            miss = self.target(theta, own) - theta
            if np.max(np.abs(miss)) < 1e-11:
                return theta
            theta = theta + miss / (1.0 + (1.0 + own) * self.strength())
        raise Unsolved("the fixed point is not found in 5000 steps; lower the slope of the price")

    def strength(self, theta: Array | None = None) -> float:
        """The largest eigenvalue of slope x (-dU/dtheta): kW answer over kW cause. Without theta: at no bound."""
        inside = np.mean(np.linalg.inv(self.fleet.w), axis=0)
        moves = inside if theta is None else -self.fleet.response(self.fleet.powers(theta))
        root = np.sqrt(self.slope)
        return float(np.linalg.eigvalsh(root[:, None] * moves * root)[-1])


def make_market(fleet: Fleet, slope: float, *, memory: float = 0.5, noise_std: float = 0.01) -> Market:
    """`slope` is that of the mean hour: where power is dear anyway, the price rises more steeply."""
    base = base_price()
    flat = fleet.powers(np.full(HOURS, base.mean())).mean(axis=0)
    return Market(fleet, base, slope * base / base.mean(), flat, memory, noise_std)


def retraining_factor(strength: float, memory: float, days: int) -> float:
    """By what the error shrinks (or grows) with each round of retraining on the mean price of `days` days.

    With p the last price of a round and theta the mean of the round before, per eigenvalue mu of `strength`:
    p' = q p - (1 - q) mu theta and theta' = c p - (1 - c) mu theta; q = memory^days, c the mean of memory^k, k <= days.
    """
    q, c = memory**days, float(np.mean(memory ** np.arange(1, days + 1)))
    matrix = np.array([[q, -(1.0 - q) * strength], [c, -(1.0 - c) * strength]])
    return float(np.max(np.abs(np.linalg.eigvals(matrix))))


@dataclass(frozen=True, eq=False)
class MarketResponse:
    """What days of prices and loads taught of the market: p' = memory p + rise U + constant, by hour."""

    memory: float
    rise: Array
    constant: Array

    @property
    def slope(self) -> Array:
        """(24,) of the settled price; a price does not fall by what is drawn."""
        return np.maximum(self.rise, 0.0) / (1.0 - self.memory)

    def settled(self, load: Array) -> Array:
        return (self.constant + self.rise * load) / (1.0 - self.memory)


def learn_response(prices: Array, loads: Array, shape: Array) -> MarketResponse:
    """Least squares from prices (days + 1, 24) and loads (days, 24): memory, rise, and a constant for each hour.

    The rise of an hour is one number times `shape` (24,): from months of days 24 numbers cannot be told from noise. The
    noise of a day comes after its load, so the estimate is consistent; loads must differ from day to day.
    """
    columns = [values - values.mean(axis=0) for values in (prices[:-1], shape * loads, prices[1:])]
    memory, rise = np.linalg.lstsq(np.stack([columns[0].ravel(), columns[1].ravel()], axis=1), columns[2].ravel())[0]
    memory = float(np.clip(memory, 0.0, 0.95))
    constant = prices[1:].mean(axis=0) - memory * prices[:-1].mean(axis=0) - rise * shape * loads.mean(axis=0)
    return MarketResponse(memory, rise * shape, constant)


@dataclass(frozen=True)
class Learner:
    """How theta moves from round to round.

    step: share of the way to the target; 1 is retraining. The target is the mean price of the round; in a learner with
    `explored` rounds, in which theta differs by exploration_std from hour to hour and day to day, it is that and slope
    x U from the end of the fourth of them on, with the slope learned from all days so far.
    """

    rounds: int = 40
    days: int = 7
    step: float = 1.0
    explored: int = 0
    exploration_std: float = 0.005
    """EUR/kWh."""


@dataclass(frozen=True, eq=False)
class FleetHistory:
    """Of each round: theta (rounds, 24); L*(theta), and by how much exploring raised a day, EUR a house and day."""

    theta: Array
    cost: Array
    exploring: Array


def learn(market: Market, learner: Learner, generator: np.random.Generator) -> FleetHistory:
    """`rounds` rounds of `days` days, from theta = base."""
    fleet, theta = market.fleet, market.base
    shape = market.base / market.base.mean()  # the price before the fleet: dear hours are where it rises steeply
    prices, loads = [market.base], []
    deployed, cost, exploring = [], [], []
    for k in range(learner.rounds):
        u = fleet.powers(theta)
        load, planned = u.mean(axis=0), fleet.comfort(u) + theta @ u.mean(axis=0)
        deployed.append(theta)
        cost.append(float((market.settled(load) - theta) @ load) + planned)
        raised = []
        for _ in range(learner.days):
            drawn = load
            if k < learner.explored:
                u = fleet.powers(theta + learner.exploration_std * generator.normal(size=HOURS))
                drawn = u.mean(axis=0)
                raised.append(fleet.comfort(u) + float(theta @ drawn) - planned)
            loads.append(drawn)
            prices.append(market.next_price(prices[-1], drawn, generator))
        exploring.append(float(np.mean(raised)) if raised else 0.0)
        target = np.mean(prices[-learner.days :], axis=0)
        if learner.explored and k + 1 >= min(FIRST_LEARNED, learner.explored):
            target = target + learn_response(np.array(prices), np.array(loads), shape).slope * load
        theta = theta + learner.step * (target - theta)
    return FleetHistory(np.array(deployed), np.array(cost), np.array(exploring))
