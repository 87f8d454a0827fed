"""What can be wrong with a request to learn: each says what to do, and with which code a command ends."""


class TrainingError(ValueError):
    """Learning cannot start."""

    exit_code = 2


class CheckpointError(ValueError):
    """A checkpoint cannot be continued."""

    exit_code = 65


class CriticError(ValueError):
    """A critic cannot be fitted."""

    exit_code = 65
