"""The packages for another machine as wheels, fetched here: nisse, what it needs, and the pip that installs them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deploy.errors import WheelsError
from runtime.version import DISTRIBUTION

CLONE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Target:
    """python: "3.11"; arch: x86_64 or aarch64; libc: the machine's glibc."""

    python: str
    arch: str
    libc: tuple[int, int]

    @property
    def platforms(self) -> list[str]:
        """The tags of wheels that run there (PEP 600), the newest first."""
        newest = [f"manylinux_2_{minor}_{self.arch}" for minor in range(min(self.libc[1], 60), 16, -1)]
        return [*newest, f"manylinux2014_{self.arch}"]


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """NISSE_CACHE, or `nisse` in the user's XDG cache; the wheels are in a folder of it."""
    named = environment.get("NISSE_CACHE")
    home = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(named) if named else Path(home) / "nisse").absolute() / "wheels"


def own_wheel(named: Path | None, folder: Path) -> Path:
    """The wheel of nisse: the one named, made of the clone we run from, or the one that it was installed from.

    folder: where one is made. Raises WheelsError.
    """
    if named is not None:
        if not named.is_file() or named.suffix != ".whl":
            raise WheelsError(f"{named}: no wheel; `make wheel` in a clone writes one")
        return named
    if (CLONE / "pyproject.toml").is_file():
        _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(CLONE))
        return next(folder.glob("nisse_mpc-*.whl"))
    installed = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")  # PEP 610
    url = urlsplit(json.loads(installed)["url"]) if installed else urlsplit("")
    wheel = Path(unquote(url.path))
    if url.scheme == "file" and wheel.suffix == ".whl" and wheel.is_file():
        return wheel
    raise WheelsError("the wheel that nisse was installed from is gone; name one with --wheel")


def wheels_for(wheel: Path, extras: Sequence[str], target: Target, cache: Path, source: Path | None) -> list[Path]:
    """Every wheel that the target needs, `wheel` and pip among them. Fetched once and kept under `cache`.

    source: a folder of wheels to take instead of the package index. Raises WheelsError.
    """
    wanted = {"needs": requirements(wheel, extras), "target": [target.python, target.arch, *target.libc]}
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
    folder = cache / f"cp{target.python.replace('.', '')}-{target.arch}-{key}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as name:
            got = Path(name) / "wheels"
            _download(wheel, extras, target, got, source)
            try:
                got.rename(folder)
            except OSError:
                if not folder.is_dir():  # another process was faster
                    raise
    return [wheel, *sorted(folder.glob("*.whl"))]


def requirements(wheel: Path, extras: Sequence[str]) -> list[str]:
    """What the wheel says it needs, with those extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        needs = HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    named = [(need, re.search(r"extra == ['\"](\w+)['\"]", need)) for need in needs]
    return sorted(need for need, extra in named if extra is None or extra[1] in extras)


def unpacked_bytes(wheels: Sequence[Path]) -> int:
    """Room that they take when installed, with what Python compiles of them."""
    total = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            total += sum(i.file_size * (2 if i.filename.endswith(".py") else 1) for i in archive.infolist())
    return total


def _download(wheel: Path, extras: Sequence[str], target: Target, folder: Path, source: Path | None) -> None:
    asked = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    words = ["download", "--only-binary=:all:", "--dest", str(folder), "--python-version", target.python]
    words += [word for platform in target.platforms for word in ("--platform", platform)]
    words += ["--implementation", "cp"]
    if source is not None:
        words += ["--no-index", "--find-links", str(source)]
    _pip(*words, asked, "pip")
    (folder / wheel.name).unlink(missing_ok=True)


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        what = said[-1].removeprefix("ERROR: ") if said else f"ended with {done.returncode}"
        raise WheelsError(f"pip {words[0]}: {what}; see to the network here, or name a folder of wheels with --wheels")
