"""What can go wrong between the build machine and the house: each message says what is wrong and what to do."""

from __future__ import annotations

from runtime.errors import EXIT_BUSY, EXIT_CONFIG, EXIT_DATA, EXIT_MACHINE, NisseError


class HostError(NisseError):
    """The machine of the house cannot be reached, or will not have us."""

    exit_code = EXIT_MACHINE


class HostKeyError(HostError):
    """The machine that answers is unknown, or another one than before."""


class LinkLostError(HostError):
    """The connection ended before the answer; what was done there stays done."""

    exit_code = EXIT_BUSY


class MachineUnfitError(HostError):
    """The machine of the house lacks what nisse needs."""


class DeployError(NisseError):
    """A deployment that cannot begin, or that was taken back."""


class TakenBackError(DeployError):
    """A deployment that the daemon there did not accept: what was there before is in force."""


class DeployFilesError(DeployError):
    """What is to be deployed is incomplete, or holds what must stay here."""

    exit_code = EXIT_CONFIG


class WheelsError(DeployError):
    """The packages for the machine of the house cannot be had."""


class LogCopyError(NisseError):
    """The log there or the copy here cannot be used."""

    exit_code = EXIT_DATA


class ForeignLogError(LogCopyError):
    """The log there is another daemon's than the copy here."""
