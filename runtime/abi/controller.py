"""A compiled controller, called through its C ABI (nisse_controller.h) with numpy arrays."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.abi.library import (
    ControllerError,
    CResult,
    SolveStatus,
    ThetaError,
    create,
    dimensions_of,
    load,
)

Array = NDArray[np.float64]


class DerivativeError(ControllerError):
    """The derivative at a solved point could not be had to its tolerance; the solution itself is good."""


@dataclass(frozen=True)
class Solution:
    """One solve. Arrays are the caller's own: action (na), plan_x (N+1, nx), plan_a (N, na)."""

    action: Array
    plan_x: Array
    plan_a: Array
    status: SolveStatus
    iterations: int
    residual: float
    """Max-norm of the KKT residual of the whole program."""
    value: float
    """V_theta(x0), or Q_theta(x0, a) after `solve_fixed`."""
    time_s: float

    @property
    def ok(self) -> bool:
        return self.status is SolveStatus.OK


_STATUS = tuple(SolveStatus)


class Controller:
    """One controller instance with its own warm start. Not thread-safe: make one per thread.

    Raises ControllerError when the library cannot be loaded, speaks another ABI version, or finds no memory.
    """

    def __init__(self, library_path: Path | str) -> None:
        self._handle: int | None = None
        self.library_path = Path(library_path)
        self._library = load(self.library_path)
        self.dimensions = dimensions_of(self._library, self.library_path)
        n = self.dimensions
        # Inputs are copied into buffers whose addresses never change: no conversion of pointers in the solve path.
        self._x0, self._forecast = np.empty(n.nx), np.empty((n.horizon + 1, n.nd))
        self._fixed, self._theta = np.empty(n.na), np.empty(n.ntheta)
        self._result = CResult()
        self._p_x0, self._p_forecast = self._x0.ctypes.data, self._forecast.ctypes.data
        self._p_fixed, self._p_theta = self._fixed.ctypes.data, self._theta.ctypes.data
        self._p_result = ctypes.addressof(self._result)
        # action, plan_x and plan_a share one block, so that a solve allocates once.
        self._sizes = (n.na, n.na + (n.horizon + 1) * n.nx, n.na + (n.horizon + 1) * n.nx + n.horizon * n.na)
        self._solve = self._library.nisse_controller_solve
        self._solve_fixed = self._library.nisse_controller_solve_fixed
        self._differentiate = self._library.nisse_controller_differentiate
        self._handle = create(self._library, self.library_path)

    def set_theta(self, theta: ArrayLike) -> None:
        """Use `theta` (ntheta) from now on. Raises ThetaError, and keeps the old one, when it is out of bounds."""
        self._theta[:] = theta
        status = self._library.nisse_controller_set_theta(self._open(), self._p_theta)
        if status != SolveStatus.OK:
            raise ThetaError(
                f"theta {np.array2string(self._theta, precision=6)} was refused ({SolveStatus(status).name}): "
                "keep every entry finite and within its bounds"
            )

    def solve(self, x0: ArrayLike, forecast: ArrayLike | None = None) -> Solution:
        """pi_theta and V_theta at state x0 (nx) under `forecast` (N+1, nd)."""
        self._take(x0, forecast)
        block = np.empty(self._sizes[2])
        start = block.ctypes.data
        self._solve(
            self._open(), self._p_x0, self._p_forecast,
            start, start + 8 * self._sizes[0], start + 8 * self._sizes[1], self._p_result,
        )  # fmt: skip
        return self._solution(block, block[: self._sizes[0]])

    def solve_fixed(self, x0: ArrayLike, forecast: ArrayLike | None, action: ArrayLike) -> Solution:
        """Q_theta(x0, action): the same program with the first action (na) fixed."""
        self._take(x0, forecast)
        self._fixed[:] = action
        block = np.empty(self._sizes[2])
        start = block.ctypes.data
        self._solve_fixed(
            self._open(), self._p_x0, self._p_forecast, self._p_fixed,
            start + 8 * self._sizes[0], start + 8 * self._sizes[1], self._p_result,
        )  # fmt: skip
        block[: self._sizes[0]] = self._fixed
        return self._solution(block, block[: self._sizes[0]])

    def differentiate(self, *, value: bool = True, action: bool = True) -> tuple[Array, Array]:
        """At the last solve: dvalue_dtheta (ntheta) and daction_dtheta (na, ntheta); zeros for what was not asked.

        Raises ControllerError when there is no solved point to differentiate at, DerivativeError when there is one and
        the linear system of its derivatives could not be solved sharply.
        """
        n = self.dimensions
        dvalue, daction = np.zeros(n.ntheta), np.zeros((n.na, n.ntheta))
        status = self._differentiate(
            self._open(), dvalue.ctypes.data if value else None, daction.ctypes.data if action else None
        )
        if status == SolveStatus.SOLVER_FAILED:
            raise DerivativeError("no derivative at the last solve: its linear system could not be solved sharply")
        if status != SolveStatus.OK:
            raise ControllerError(
                f"no derivative at the last solve ({SolveStatus(status).name}): differentiate only after one that is OK"
            )
        return dvalue, daction

    def action_inverse(self) -> Array:
        """(na, na) inverse Hessian of Q(x0, a) in the first actions that are free, at the point of `differentiate`.

        Raises ControllerError when nothing was differentiated, or the library was built before it could.
        """
        try:
            function = self._library.nisse_controller_action_inverse
        except AttributeError as error:
            raise ControllerError(f"{self.library_path} cannot tell its curvature; rebuild the bundle") from error
        function.restype, function.argtypes = ctypes.c_int32, [ctypes.c_void_p, ctypes.c_void_p]
        inverse = np.zeros((self.dimensions.na, self.dimensions.na))
        if function(self._open(), inverse.ctypes.data) != SolveStatus.OK:
            raise ControllerError("no curvature: ask after a solve that is OK and `differentiate`")
        return inverse

    def reset(self) -> None:
        """Forget the warm start: the next solve depends on its arguments alone."""
        self._library.nisse_controller_reset(self._open())

    def close(self) -> None:
        """Free the solver. Calling it twice is harmless."""
        if self._handle:
            self._library.nisse_controller_destroy(self._handle)
        self._handle = None

    def __enter__(self) -> Controller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> int:
        if self._handle is None:
            raise ControllerError("this controller is closed; create a new one")
        return self._handle

    def _take(self, x0: ArrayLike, forecast: ArrayLike | None) -> None:
        self._x0[:] = x0
        if forecast is not None:
            if np.shape(forecast) != self._forecast.shape:
                raise ValueError(
                    f"forecast has shape {np.shape(forecast)}, this controller needs {self._forecast.shape}"
                )
            self._forecast[:] = forecast
        elif self.dimensions.nd:
            raise ValueError(f"this controller needs a forecast of shape {self._forecast.shape}")

    def _solution(self, block: Array, action: Array) -> Solution:
        n, r = self.dimensions, self._result
        return Solution(
            action,
            block[self._sizes[0] : self._sizes[1]].reshape(n.horizon + 1, n.nx),
            block[self._sizes[1] :].reshape(n.horizon, n.na),
            _STATUS[r.status],
            r.iterations,
            r.residual,
            r.value,
            r.time_s,
        )
