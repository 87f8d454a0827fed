"""Versions of what a bundle or a result was made with."""

import subprocess
from importlib.metadata import version
from pathlib import Path

from runtime.version import VERSION

HERE = Path(__file__).resolve().parents[1]


def versions_of(*distributions: str) -> dict[str, str]:
    """Of nisse itself and of the installed `distributions`. Raises PackageNotFoundError.

    Where nisse runs from a clone, `commit` is what is checked out there: the version is that of the installation.
    """
    commit = commit_of(HERE)
    return {
        "nisse": VERSION,
        **({"commit": commit} if commit else {}),
        **{name: version(name) for name in distributions},
    }


def commit_of(clone: Path) -> str | None:
    """What `git describe` calls the state of a clone, `-dirty` where files were changed; None where it is no clone."""
    if not (clone / ".git").exists():
        return None
    command = ["git", "-C", str(clone), "describe", "--tags", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git on this machine
    return done.stdout.strip() if done.returncode == 0 else None
