"""Experience: episodes of transitions as arrays, and the rollouts that make them.

An episode of n transitions holds n + 1 observations, and for each of them what the current policy decides there: the
labels. Under a new theta the observations, actions and costs of an old episode stay true and its labels are renewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from research.training.policy import ActionMap, Array, MpcController, MpcPolicy, SystemObservation, explore
from systems.problem import Parameter


class EpisodeWorld(Protocol):
    """The real system, or a simulation of it, at one point of one episode."""

    def observe(self) -> SystemObservation: ...

    def step(self, action: Array) -> float:
        """Apply action (m); returns the stage cost."""
        ...


class TunableSystem(Protocol):
    """All that the trainer needs to know of a system. Instances travel to worker processes, so they must pickle."""

    name: str
    parameters: tuple[Parameter, ...]
    actions: ActionMap
    discount: float
    """gamma of the learning problem: what the critic discounts with."""
    model_discount: float
    """gamma inside V_theta and Q_theta; Q-learning uses this one. World and model may differ."""

    def controller(self) -> MpcController:
        """The compiled solver, one per process; the gradient self-check looks at this one."""
        ...

    def rollout_controller(self) -> MpcController:
        """What rollouts ask: the solver, or the same policy tabulated."""
        ...

    def training_world(self, rng: np.random.Generator) -> EpisodeWorld:
        """A world at a random start, driven by the given generator alone."""
        ...

    def features(self, observation: SystemObservation, value: float) -> Array:
        """phi(s) (nf) of the critic's state-value part; `value` is V_theta(s)."""
        ...

    def evaluate(self, theta: Array, jobs: int) -> Array:
        """Cost of pi_theta without exploration on each held-in period (n_periods,), paired across theta."""
        ...


@dataclass(frozen=True)
class Episode:
    """Raw experience, then labels. n transitions; m actions, p parameters, f features; costs in the system's unit."""

    state: Array
    """(n+1, nx)."""
    forecast: Array
    """(n+1, N+1, nd)."""
    action: Array
    """(n, m), as applied."""
    raw_action: Array
    """(n, m), before the projection to the bounds."""
    cost: Array
    """(n,)."""
    policy_action: Array
    """(n+1, m) pi_theta(s)."""
    policy_jacobian: Array
    """(n+1, m, p)."""
    value: Array
    """(n+1,) V_theta(s); NaN after a failed solve."""
    features: Array
    """(n+1, f)."""
    q_value: Array
    """(n,) Q_theta(s, a); NaN where not asked or failed."""
    q_gradient: Array
    """(n, p)."""


@dataclass(frozen=True)
class Batch:
    """Good transitions of many episodes, stacked: what critics and methods see.

    `segment` (n,) changes wherever the next row does not follow in time.
    """

    action: Array
    raw_action: Array
    cost: Array
    policy_action: Array
    policy_jacobian: Array
    features: Array
    next_features: Array
    next_policy_action: Array
    next_value: Array
    q_value: Array
    q_gradient: Array
    segment: NDArray[np.int64]
    masked: int
    """Transitions left out because a solve at s or s+ failed."""

    def __len__(self) -> int:
        return len(self.cost)


@dataclass(frozen=True)
class RolloutSpec:
    """How one iteration gathers experience."""

    episodes: int
    steps: int
    exploration: float
    """Standard deviation of the Gaussian, as a fraction of half the action range."""
    with_q: bool
    """Also solve for Q_theta(s, a) and its gradient."""


@dataclass(frozen=True)
class Gathered:
    """An episode with the counters of the policy that made or relabelled it."""

    episode: Episode
    solves: int
    failures: int
    solve_time_s: float


def exploration_std(spec: RolloutSpec, actions: ActionMap) -> Array:
    return spec.exploration * (actions.upper - actions.lower) / 2


def rollout(system: TunableSystem, theta: Array, spec: RolloutSpec, seed: Sequence[int]) -> Gathered:
    """One exploring episode. Depends on its arguments alone, whichever process runs it: the warm start begins cold."""
    rng = np.random.default_rng(list(seed))
    world = system.training_world(rng)
    policy = MpcPolicy(system.rollout_controller(), system.actions, theta)
    policy.reset()
    std = exploration_std(spec, system.actions)
    observations, actions, raws, costs, decisions, values = [world.observe()], [], [], [], [], []
    for _ in range(spec.steps):
        decision = policy.decide(observations[-1])
        action, raw = explore(decision.action, std, system.actions, rng)
        if spec.with_q:
            values.append(policy.q(observations[-1], action))
        decisions.append(decision)
        actions.append(action)
        raws.append(raw)
        costs.append(world.step(action))
        observations.append(world.observe())
    decisions.append(policy.decide(observations[-1]))
    n, p = spec.steps, len(theta)
    episode = Episode(
        state=np.array([o.state for o in observations]),
        forecast=np.array([o.forecast for o in observations]),
        action=np.array(actions),
        raw_action=np.array(raws),
        cost=np.array(costs),
        policy_action=np.array([d.action for d in decisions]),
        policy_jacobian=np.array([d.action_jacobian for d in decisions]),
        value=np.array([d.value for d in decisions]),
        features=np.array([system.features(o, d.value) for o, d in zip(observations, decisions, strict=True)]),
        q_value=np.array([v.value for v in values]) if values else np.full(n, np.nan),
        q_gradient=np.array([v.gradient for v in values]) if values else np.zeros((n, p)),
    )
    return Gathered(episode, policy.solves, policy.failures, policy.solve_time_s)


def relabel(system: TunableSystem, theta: Array, spec: RolloutSpec, episode: Episode) -> Gathered:
    """The same experience seen by pi_theta."""
    policy = MpcPolicy(system.rollout_controller(), system.actions, theta)
    policy.reset()
    observations = [SystemObservation(s, d) for s, d in zip(episode.state, episode.forecast, strict=True)]
    decisions, values = [], []
    for k, observation in enumerate(observations):
        decisions.append(policy.decide(observation))
        if spec.with_q and k < len(episode.cost):
            values.append(policy.q(observation, episode.action[k]))
    renewed = replace(
        episode,
        policy_action=np.array([d.action for d in decisions]),
        policy_jacobian=np.array([d.action_jacobian for d in decisions]),
        value=np.array([d.value for d in decisions]),
        features=np.array([system.features(o, d.value) for o, d in zip(observations, decisions, strict=True)]),
        q_value=np.array([v.value for v in values]) if values else episode.q_value,
        q_gradient=np.array([v.gradient for v in values]) if values else episode.q_gradient,
    )
    return Gathered(renewed, policy.solves, policy.failures, policy.solve_time_s)


def stack(episodes: Sequence[Episode], *, with_q: bool) -> Batch:
    """Transitions of all episodes in order, without those next to a failed solve."""
    parts: list[dict[str, NDArray[Any]]] = []
    masked, first_segment = 0, 0
    for e in episodes:
        good = np.isfinite(e.value[:-1]) & np.isfinite(e.value[1:])
        if with_q:
            good &= np.isfinite(e.q_value)
        masked += int(np.sum(~good))
        segment = first_segment + np.cumsum(~good)
        first_segment = int(segment[-1]) + 1
        parts.append(
            {
                "action": e.action[good],
                "raw_action": e.raw_action[good],
                "cost": e.cost[good],
                "policy_action": e.policy_action[:-1][good],
                "policy_jacobian": e.policy_jacobian[:-1][good],
                "features": e.features[:-1][good],
                "next_features": e.features[1:][good],
                "next_policy_action": e.policy_action[1:][good],
                "next_value": e.value[1:][good],
                "q_value": e.q_value[good],
                "q_gradient": e.q_gradient[good],
                "segment": segment[good],
            }
        )
    return Batch(masked=masked, **{key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def episode_arrays(episode: Episode) -> dict[str, Array]:
    """By field name, for storage."""
    return {f.name: getattr(episode, f.name) for f in fields(Episode)}
