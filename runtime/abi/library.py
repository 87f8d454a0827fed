"""A controller library and the C ABI (nisse_controller.h) in it; numbers go in and come out as bytes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

ABI_VERSION = 1
REAL = 8
"""Bytes of a number: all are little-endian doubles."""


class ControllerError(RuntimeError):
    """A controller library cannot be used."""

    exit_code = 65


class ThetaError(ControllerError):
    """Theta was refused: outside its bounds or not finite. The old theta stays in force."""


class SolveStatus(IntEnum):
    """Outcome of a solve; only OK may be actuated unchecked by the solver side."""

    OK = 0
    MAX_ITERATIONS = 1
    SOLVER_FAILED = 2
    NOT_FINITE = 3
    BAD_ARGUMENT = 4


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a controller: states, actuated actions, forecast signals, parameters, stages."""

    abi_version: int
    nx: int
    na: int
    nd: int
    ntheta: int
    horizon: int
    dt_s: float
    discount: float


class CDimensions(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("abi_version", "nx", "na", "nd", "ntheta", "horizon")] + [
        ("dt_s", ctypes.c_double),
        ("discount", ctypes.c_double),
    ]


class CResult(ctypes.Structure):
    _fields_ = [
        ("status", ctypes.c_int32),
        ("iterations", ctypes.c_int32),
        ("residual", ctypes.c_double),
        ("value", ctypes.c_double),
        ("time_s", ctypes.c_double),
    ]


def load(library_path: Path) -> ctypes.CDLL:
    """Load the library and give every function its prototype once. Raises ControllerError."""
    try:
        library = ctypes.CDLL(str(library_path))
    except OSError as error:
        raise ControllerError(
            f"cannot load the controller {library_path}: {error}; build the bundle for this machine's architecture"
        ) from error
    void_p, int32 = ctypes.c_void_p, ctypes.c_int32
    prototypes: dict[str, tuple[object, list[object]]] = {
        "dimensions": (None, [void_p]),
        "create": (void_p, []),
        "destroy": (None, [void_p]),
        "set_theta": (int32, [void_p, void_p]),
        "reset": (None, [void_p]),
        "solve": (int32, [void_p] * 7),
        "solve_fixed": (int32, [void_p] * 7),
        "differentiate": (int32, [void_p] * 3),
    }
    for name, (result, arguments) in prototypes.items():
        try:
            function = getattr(library, f"nisse_controller_{name}")
        except AttributeError as error:
            raise ControllerError(
                f"{library_path} is not a nisse controller: nisse_controller_{name} is missing"
            ) from error
        function.restype, function.argtypes = result, arguments
    return library


def dimensions_of(library: ctypes.CDLL, library_path: Path) -> Dimensions:
    """Its sizes. Raises ControllerError for another version of the ABI."""
    c = CDimensions()
    library.nisse_controller_dimensions(ctypes.byref(c))
    if c.abi_version != ABI_VERSION:
        raise ControllerError(
            f"{library_path} speaks controller ABI {c.abi_version}, not {ABI_VERSION}; rebuild the bundle"
        )
    return Dimensions(c.abi_version, c.nx, c.na, c.nd, c.ntheta, c.horizon, float(c.dt_s), float(c.discount))


def create(library: ctypes.CDLL, library_path: Path) -> int:
    """A handle. Raises ControllerError."""
    handle = library.nisse_controller_create()
    if not handle:
        raise ControllerError(f"{library_path} could not create a controller: out of memory or solver set-up refused")
    return int(handle)


class PlainController:
    """One controller for a process that has nothing but bytes, and no other way to end it than its own end.

    Raises ControllerError as `Controller` does.
    """

    def __init__(self, library_path: Path) -> None:
        self._library = load(library_path)
        self.dimensions = dimensions_of(self._library, library_path)
        self._handle = create(self._library, library_path)
        n = self.dimensions
        self._plans = n.na, (n.horizon + 1) * n.nx, n.horizon * n.na

    def set_theta(self, theta: bytes) -> None:
        """theta (ntheta). Raises ThetaError, and keeps the old one, when it is out of bounds."""
        numbers = _numbers(theta, self.dimensions.ntheta)
        status = self._library.nisse_controller_set_theta(self._handle, numbers)
        if status != SolveStatus.OK:
            raise ThetaError(f"theta was refused ({SolveStatus(status).name}): keep it finite and within its bounds")

    def solve(self, values: bytes) -> bytes:
        """x0 (nx) and forecast (N+1, nd) -> the C result, action (na), plan_x (N+1, nx), plan_a (N, na); cold."""
        n = self.dimensions
        numbers = _numbers(values, n.nx + (n.horizon + 1) * n.nd)
        forecast = ctypes.byref(numbers, REAL * n.nx)
        result, plans = CResult(), [(ctypes.c_double * size)() for size in self._plans]
        self._library.nisse_controller_reset(self._handle)
        self._library.nisse_controller_solve(self._handle, numbers, forecast, *plans, ctypes.byref(result))
        return bytes(result) + b"".join(map(bytes, plans))


def _numbers(values: bytes, count: int) -> ctypes.Array[ctypes.c_double]:
    if len(values) != REAL * count:
        raise ValueError(f"{len(values)} bytes where {count} numbers were due")
    return (ctypes.c_double * count).from_buffer_copy(values)
