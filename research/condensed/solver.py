"""The condensed house MPC from Python: solve batches of states, or run whole closed loops, in C over threads."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codegen.errors import CodegenError
from research.condensed.library import EpisodeJob, MpcConfig, SolveJob, double_p, int_p, load
from research.four_rooms.theta import ROOMS, HouseMpc
from systems.arx import ArxModel

Array = NDArray[np.float64]
SOLVED = 0


class CondensedSolverError(CodegenError):
    """Arguments that do not fit the solver, or no memory for it."""


class CondensedMpc:
    """The MPC at one theta; immutable once made, so any number of threads and jobs may share it."""

    def __init__(self, spec: HouseMpc, theta: Array) -> None:
        """theta: (ntheta,) as in `research.four_rooms.theta.house_theta`."""
        self.spec = spec
        self.theta = np.array(theta, dtype=float)
        self._library = load()
        self.ntheta = int(self._library.model_n_theta())
        if self.theta.shape != (self.ntheta,) or not np.isfinite(self.theta).all():
            raise CondensedSolverError(f"theta must be {self.ntheta} finite numbers, not of shape {self.theta.shape}")
        cost = spec.cost
        config = MpcConfig(
            spec.horizon, spec.apply, len(spec.moves), spec.decision, spec.dt_s / 3600.0, spec.discount,
            (ctypes.c_double * ROOMS)(*[spec.max_power_kw] * ROOMS), cost.setpoint_c, cost.lower_c, cost.upper_c,
            cost.beta, cost.violation_quadratic, spec.regularisation,
        )  # fmt: skip
        start = (ctypes.c_int32 * (len(spec.moves) + 1))(*spec.moves, spec.horizon)
        self.handle = self._library.model_new(ctypes.byref(config), start)
        if not self.handle:
            raise CondensedSolverError("no memory for the condensed solver; use fewer moves or free some memory")
        weakref.finalize(self, self._library.model_free, self.handle)
        self._library.mpc_set_theta(self.handle, _pointer(self.theta))

    @property
    def na(self) -> int:
        """Entries of the first moves: moves that begin within the applied steps, times rooms."""
        return self.spec.decision * ROOMS


@dataclass(frozen=True, eq=False)
class States:
    """A batch of what the controller sees when it solves."""

    outputs: Array
    """(batch, 12, rooms) temperatures of the last hour, newest last, °C"""
    inputs: Array
    """(batch, 11, 1 + rooms) outdoor temperature and powers between them"""
    outdoor: Array
    """(batch, horizon) °C"""
    price: Array
    """(batch, horizon) EUR/kWh"""

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True, eq=False)
class Solutions:
    """Results of a batch, first axis the batch; gradients are empty when not asked for."""

    action: Array
    """(batch, na) first moves, kW"""
    moves: Array
    """(batch, moves, rooms) kW"""
    temperature: Array
    """(batch, horizon, rooms) predicted, °C"""
    value: Array
    status: NDArray[np.int32]
    """0 where solved"""
    iterations: NDArray[np.int32]
    residual: Array
    """Largest move of a scaled projected gradient step, kW"""
    value_gradient: Array
    """(batch, ntheta) dV/dtheta, or dQ/dtheta"""
    policy_jacobian: Array
    """(batch, na, ntheta) d(first moves)/dtheta"""
    action_inverse: Array
    """(batch, na, na) inverse Hessian of Q_theta in the first moves that are off their bounds, zero elsewhere"""


def solve(
    mpc: CondensedMpc, states: States, *, first: Array | None = None, gradients: bool = False, threads: int = 1
) -> Solutions:
    """Solve every state from a cold start. `first` (batch, na) fixes the first moves: the values are then Q_theta."""
    spec, batch = mpc.spec, len(states)
    arrays = [_rows(states.outputs), _rows(states.inputs), _rows(states.outdoor), _rows(states.price * spec.cost.alpha)]
    widths = [12 * ROOMS, 11 * (1 + ROOMS), spec.horizon, spec.horizon]
    if first is not None:
        arrays, widths = [*arrays, _rows(first)], [*widths, mpc.na]
    for array, width in zip(arrays, widths, strict=True):
        if array.shape != (batch, width):
            raise CondensedSolverError(
                f"a batch of {batch} states holds rows of {array.shape}, expected {(batch, width)}"
            )
    na = mpc.na
    out = Solutions(
        np.empty((batch, na)),
        np.empty((batch, len(spec.moves), ROOMS)),
        np.empty((batch, spec.horizon, ROOMS)),
        np.empty(batch),
        np.empty(batch, np.int32),
        np.empty(batch, np.int32),
        np.empty(batch),
        np.empty((batch if gradients else 0, mpc.ntheta)),
        np.empty((batch if gradients else 0, na, mpc.ntheta)),
        np.empty((batch if gradients else 0, na, na)),
    )
    jobs = (SolveJob * batch)()
    # A job is pointers only. Filling them by columns costs a batch little; by jobs it would cost more than the solves.
    table = np.frombuffer(memoryview(jobs).cast("B"), dtype=np.uintp).reshape(batch, -1)
    columns = {field[0]: k for k, field in enumerate(SolveJob._fields_)}
    table[:, columns["model"]] = mpc.handle
    for name, given in zip(("history_y", "history_v", "outdoor", "price", "first"), arrays, strict=False):
        table[:, columns[name]] = _row_addresses(given)
    results: dict[str, NDArray[np.float64] | NDArray[np.int32]] = {
        "action": out.action, "plan_u": out.moves, "plan_y": out.temperature,
        "value": out.value, "residual": out.residual, "status": out.status, "iterations": out.iterations,
    }  # fmt: skip
    if gradients:
        results |= {name: getattr(out, name) for name in ("value_gradient", "policy_jacobian", "action_inverse")}
    for name, rows in results.items():
        table[:, columns[name]] = _row_addresses(rows)
    if load().run_solves(jobs, batch, threads):
        raise CondensedSolverError("no memory or no threads for the batch; make it smaller")
    return out


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """One closed loop to run: a controller, a world, and everything random about it."""

    mpc: CondensedMpc
    world: ArxModel
    """Its coefficients; its innovations come below, their mean included."""
    outputs: Array
    """(12, rooms) history, °C"""
    inputs: Array
    """(11, 1 + rooms) history"""
    outdoor: Array
    """(decisions * apply + horizon,) °C: what happens, and what is forecast"""
    price: Array
    """(decisions * apply + horizon,) EUR/kWh"""
    innovations: Array
    """(decisions * apply, rooms) K"""
    exploration: Array | None = None
    """(decisions, na) kW added to the first moves before they are clipped to their bounds"""


@dataclass(frozen=True, eq=False)
class Rollout:
    """What happened, one row per decision."""

    temperature: Array
    """(decisions * apply, rooms) after each step, °C"""
    policy: Array
    """(decisions, na) pi_theta(s), kW"""
    action: Array
    """(decisions, na) applied, kW"""
    value: Array
    """(decisions,) V_theta(s)"""
    costs: Array
    """(decisions, 4): price, comfort, violation of the band, and their discounted sum over the interval; EUR"""
    status: NDArray[np.int32]
    iterations: NDArray[np.int32]
    value_gradient: Array
    """(decisions, ntheta), or empty"""
    policy_jacobian: Array
    """(decisions, na, ntheta), or empty"""
    action_inverse: Array
    """(decisions, na, na), or empty"""
    solve_s: float
    differentiate_s: float

    @property
    def failures(self) -> int:
        return int((self.status != SOLVED).sum())

    @property
    def total(self) -> float:
        """Undiscounted cost of the episode, EUR."""
        return float(self.costs[:, :3].sum())


class _Arrays(NamedTuple):
    """The arrays of a Rollout, in its order, while C fills them."""

    temperature: Array
    policy: Array
    action: Array
    value: Array
    costs: Array
    status: NDArray[np.int32]
    iterations: NDArray[np.int32]
    value_gradient: Array
    policy_jacobian: Array
    action_inverse: Array


def run(
    episodes: Sequence[ClosedLoop],
    *,
    threads: int = 1,
    policy_jacobian: bool = False,
    value_gradient: bool = False,
    with_arx: bool = True,
) -> list[Rollout]:
    """Run closed loops in C; the result of each depends on that episode alone.

    The Jacobian's columns of the ARX coefficients take most of its time; without `with_arx` they are left zero.
    """
    jobs = (EpisodeJob * len(episodes))()
    results: list[_Arrays] = []
    alive: list[Array] = []
    # The Jacobians are most of what is written: one array for all of them comes in large pages.
    sizes = [len(e.innovations) // e.mpc.spec.apply * e.mpc.na * e.mpc.ntheta * policy_jacobian for e in episodes]
    jacobians = np.split(np.empty(sum(sizes)), np.cumsum(sizes))
    for job, episode, jacobian in zip(jobs, episodes, jacobians, strict=False):
        spec, na, ntheta = episode.mpc.spec, episode.mpc.na, episode.mpc.ntheta
        steps = len(episode.innovations)
        decisions = steps // spec.apply
        expected = {
            "world_a": (episode.world.output_coefficients, (12, ROOMS, ROOMS)),
            "world_b": (episode.world.input_coefficients, (12, ROOMS, 1 + ROOMS)),
            "history_y": (episode.outputs, (12, ROOMS)),
            "history_v": (episode.inputs, (11, 1 + ROOMS)),
            "outdoor": (episode.outdoor, (decisions * spec.apply + spec.horizon,)),
            "price": (episode.price * spec.cost.alpha, (decisions * spec.apply + spec.horizon,)),
            "innovations": (episode.innovations, (decisions * spec.apply, ROOMS)),
        }
        if episode.exploration is not None:
            expected["exploration"] = (episode.exploration, (decisions, na))
        for name, (value, shape) in expected.items():
            array = np.ascontiguousarray(value, dtype=float)
            if array.shape != shape:
                raise CondensedSolverError(f"{name} of an episode has shape {array.shape}, expected {shape}")
            alive.append(array)
            setattr(job, name, _pointer(array))
        result = _Arrays(
            np.empty((steps, ROOMS)),
            np.empty((decisions, na)),
            np.empty((decisions, na)),
            np.empty(decisions),
            np.empty((decisions, 4)),
            np.empty(decisions, np.int32),
            np.empty(decisions, np.int32),
            np.empty((decisions if value_gradient else 0, ntheta)),
            jacobian.reshape(-1, na, ntheta),
            np.empty((decisions if policy_jacobian else 0, na, na)),
        )
        job.model, job.decisions, job.with_arx = episode.mpc.handle, decisions, with_arx
        job.y, job.policy, job.action = _pointer(result.temperature), _pointer(result.policy), _pointer(result.action)
        job.value, job.costs = _pointer(result.value), _pointer(result.costs)
        job.status, job.iterations = _int_pointer(result.status), _int_pointer(result.iterations)
        if value_gradient:
            job.value_gradient = _pointer(result.value_gradient)
        if policy_jacobian:
            job.policy_jacobian = _pointer(result.policy_jacobian)
            job.action_inverse = _pointer(result.action_inverse)
        results.append(result)
    if load().run_episodes(jobs, len(episodes), threads):
        raise CondensedSolverError("no memory or no threads for the episodes; run fewer at a time")
    return [Rollout(*arrays, *job.seconds) for job, arrays in zip(jobs, results, strict=True)]


def _row_addresses(array: NDArray[np.float64] | NDArray[np.int32]) -> NDArray[np.uintp]:
    """Where each entry of the first axis begins; the array must outlive their use."""
    return array.ctypes.data + array.strides[0] * np.arange(len(array), dtype=np.uintp)


def _rows(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=float).reshape(len(array), -1)


def _pointer(array: Array) -> ctypes._Pointer[ctypes.c_double]:
    return ctypes.cast(array.ctypes.data, double_p)


def _int_pointer(array: NDArray[np.int32]) -> ctypes._Pointer[ctypes.c_int32]:
    return ctypes.cast(array.ctypes.data, int_p)
