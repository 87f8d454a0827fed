"""What keeps a convex program of an experiment from being solved."""

from __future__ import annotations


class Unsolved(ValueError):
    """A convex program without a solution."""

    exit_code = 1


class MissingSolver(ImportError):
    """A package of the extra `research` that is not installed."""

    exit_code = 2
