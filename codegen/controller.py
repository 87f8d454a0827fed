"""The compiled controller, for those who reach the runtime through codegen only."""

from __future__ import annotations

from runtime.abi.controller import Controller, DerivativeError, Solution
from runtime.abi.library import ControllerError, SolveStatus, ThetaError

__all__ = ["Controller", "ControllerError", "DerivativeError", "Solution", "SolveStatus", "ThetaError"]
