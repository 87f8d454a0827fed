"""What can be wrong with a tabulated decision problem, said with the offending value."""

from __future__ import annotations


class BadProblem(ValueError):
    """The arrays do not describe a Markov decision process."""

    exit_code = 65


class NoFeasibleAction(ValueError):
    """In some state every action can lead out of the allowed set."""

    exit_code = 65


class NoModel(ValueError):
    """No deterministic model satisfies the sufficient condition for this Delta."""

    exit_code = 65


class BadOption(ValueError):
    """An option value that cannot be used."""

    exit_code = 2


class NotConverged(RuntimeError):
    """An iteration used up its steps; the message carries the residual that was reached."""

    exit_code = 1
