"""What can go wrong on the bench itself, as opposed to a verdict about the daemon."""

from __future__ import annotations


class BenchError(Exception):
    """The bench could not be set up or run; the message says what to do."""

    exit_code = 1


class BenchUsageError(BenchError):
    """Something that the caller must pass is missing or contradictory."""

    exit_code = 2


class ScenarioError(BenchError):
    """A scenario file is wrong; the message names file and line."""

    exit_code = 78
