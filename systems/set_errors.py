"""What can be wrong with a linear system and its sets, said with the offending value."""

from __future__ import annotations


class BadSystem(ValueError):
    """Matrices that do not fit together, or a system without the property that is needed."""

    exit_code = 65


class EmptySet(ValueError):
    """Constraints that no point satisfies."""

    exit_code = 65


class NotSettled(RuntimeError):
    """A set that still shrinks when the steps are used up."""

    exit_code = 1
