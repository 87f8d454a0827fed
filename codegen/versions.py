"""Versions of what a bundle or a result was made with."""

from importlib.metadata import version

from runtime.version import VERSION


def versions_of(*distributions: str) -> dict[str, str]:
    """Of nisse itself and of the installed `distributions`. Raises PackageNotFoundError."""
    return {"nisse": VERSION, **{name: version(name) for name in distributions}}
