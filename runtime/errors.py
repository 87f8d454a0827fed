"""What can go wrong in the runtime: each message says what is wrong and what to do; `exit_code` is the command's."""

from __future__ import annotations

EXIT_CHECK_FAILED = 1
EXIT_DATA = 65
EXIT_MACHINE = 71
EXIT_UNSAFE = 74
EXIT_BUSY = 75
EXIT_CONFIG = 78


class NisseError(Exception):
    """Base of the errors that end a command with one line instead of a traceback."""

    exit_code = EXIT_CHECK_FAILED


class BundleError(NisseError):
    """A bundle that must not be run."""

    exit_code = EXIT_DATA


class BundleMissingError(BundleError):
    """There is no bundle, or it lacks one of its files."""


class BundleMalformedError(BundleError):
    """The manifest or theta cannot be understood."""


class BundleFormatError(BundleError):
    """The bundle was written for another format or ABI version."""


class BundleUnsignedError(BundleError):
    """The bundle carries no signature."""


class BundleUntrustedError(BundleError):
    """The bundle was signed by a key that this site does not trust."""


class BundleTamperedError(BundleError):
    """The bundle is not what its signer signed."""


class BundleArchError(BundleError):
    """The bundle has no library for this machine."""


class BundleOlderError(BundleError):
    """A bundle or theta update that is older than the last one accepted."""


class ThetaMisfitError(BundleError):
    """A theta update that does not belong to this bundle or leaves its bounds."""


class KeyFileError(NisseError):
    """A key that cannot be read or must not be written."""

    exit_code = EXIT_DATA


class ConfigError(NisseError):
    """A site file that cannot be run; the message names file and line."""

    exit_code = EXIT_CONFIG


class BusyError(NisseError):
    """Another daemon works with the same files; later it may be gone."""

    exit_code = EXIT_BUSY


class MachineError(NisseError):
    """The machine, or the service manager, allows less than the site needs."""

    exit_code = EXIT_MACHINE


class StoppedError(NisseError):
    """A signal ended the daemon before it controlled anything."""


class LinkError(NisseError):
    """A link (MQTT, serial) that could not do what the site file asks of it."""


class StoreError(NisseError):
    """The transition log cannot be opened or written."""

    exit_code = EXIT_DATA


class StoreCorruptError(StoreError):
    """The file is no transition log, or a damaged one."""


class SolverProcessError(NisseError):
    """The process that runs the native solver died, hung, or refused the bundle."""


class SolverStartingError(SolverProcessError):
    """The process is there and has not loaded its library yet."""
