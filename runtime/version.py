"""The version of nisse: what the tags of its repository said when it was installed."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "nisse-mpc"
"""What pip calls it. Command and imports are `nisse`; under that name the package index has somebody else's package."""


def installed_version() -> str:
    """Of the installed distribution; of a folder of sources that nobody installed, one below all others."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0.0.0+source"


VERSION = installed_version()
