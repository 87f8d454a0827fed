"""Wheels that are never installed: downloaded by pip, checked against a known hash, one of their folders unpacked.

pip is asked as if Python were the newest that any of them names: what is taken of them is C, which no Python runs.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from codegen.errors import ToolchainError

PYTHON_VERSION = "3.12"


@dataclass(frozen=True)
class Pin:
    """One wheel that is known to be good."""

    package: str
    version: str
    arch: str
    sha256: str


class DownloadError(ToolchainError):
    """pip could not fetch a wheel."""


def download_wheel(pin: Pin, platform: str, directory: Path) -> Path:
    """Fetch one wheel with pip and check its hash. Raises DownloadError or, for altered bytes, ToolchainError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", platform, "--python-version", PYTHON_VERSION]
    command += ["--dest", str(directory), f"{pin.package}=={pin.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(directory.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise DownloadError(f"{pin.package} {pin.version}: {_complaint(done.stderr)}")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != pin.sha256:
        raise ToolchainError(
            f"{wheels[0].name} has sha256 {digest}, expected {pin.sha256}: it was altered on the way or at the index; "
            "do not use it, and fetch it from another index"
        )
    return wheels[0]


def _complaint(said: str) -> str:
    """What pip says at last, in one line."""
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines() or ["no wheel"]
    if lines[-1].endswith("No module named pip"):
        return "this Python has no pip (python -m ensurepip installs it)"
    return f"pip: {lines[-1].removeprefix('ERROR: ')}"


def wheel_to_cache(
    pin: Pin, platform: str, package: str, destination: Path, accept: Callable[[Path], None] = lambda unpacked: None
) -> None:
    """Download a wheel and put its folder `package` into `destination`, all or nothing.

    accept: called with the folder before it is in its place, to raise where it is not wanted there.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".partial-") as name:
        work = Path(name)
        wheel = download_wheel(pin, platform, work)
        unpacked = work / "unpacked"
        unpack_package(wheel, package, unpacked)
        accept(unpacked)
        try:
            unpacked.rename(destination)
        except OSError:
            # Another process was faster: its copy passed the same checks.
            if not destination.is_dir():
                raise


def unpack_package(wheel: Path, package: str, destination: Path) -> None:
    """Unpack the one top-level folder `package` of a wheel, wherever the wheel keeps it, with its file modes."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            parts = PurePosixPath(info.filename).parts
            if len(parts) > 2 and parts[0].endswith(".data") and parts[1] in ("purelib", "platlib"):
                parts = parts[2:]
            if parts[0] != package or ".." in parts or info.is_dir():
                continue
            target = destination.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            mode = (info.external_attr >> 16) & 0o777
            executable = bool(mode & stat.S_IXUSR) or target.parent.name == "bin"
            target.chmod(0o755 if executable else 0o644)
