"""What can be wrong with a linear system and its sets, said with the offending value."""

from __future__ import annotations


class BadSystem(ValueError):
    """Matrices that do not fit together, or a system without the property that is needed."""

    exit_code = 65


class EmptySet(ValueError):
    """Constraints that no point satisfies."""

    exit_code = 65


class Unsolved(ValueError):
    """A convex program without a solution."""

    exit_code = 1


class MissingSolver(ImportError):
    """A package of the extra `research` that is not installed."""

    exit_code = 2
