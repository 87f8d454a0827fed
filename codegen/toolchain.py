"""Tools that pip can fetch without building: the acados libraries of every target, and a C cross-compiler.

The wheel that carries acados also holds a `casadi` package that would overwrite the real one, so it is never
installed: it is downloaded, checked against the hashes below, and its `acados/` folder alone goes into the cache.
After the first time everything works without a network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from codegen.errors import TargetError, ToolchainError

TARGETS = ("x86_64", "aarch64")
MACHINE_NAMES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
ACADOS_PACKAGE = "comma-deps-acados"


@dataclass(frozen=True)
class Pin:
    """One wheel that is known to be good."""

    package: str
    version: str
    arch: str
    sha256: str


# Newest first. Old post-releases disappear from the index, so more than one is known.
ACADOS_PINS = (
    Pin(ACADOS_PACKAGE, "0.2.2.post92", "x86_64", "fb317ea65c68d410e19b46f824c333203a097d02dac6fbbdc1f378c2b32b456f"),
    Pin(ACADOS_PACKAGE, "0.2.2.post92", "aarch64", "d71088e2cd2d92f9ad046700f39eaa45e40109d20eefc05a034b0c4cbbdd12d8"),
    Pin(ACADOS_PACKAGE, "0.2.2.post91", "x86_64", "2f30a9227d1aeda2008ec4f8274c258a47e56d03f0ce9ec1ee0864b7e1a1e586"),
    Pin(ACADOS_PACKAGE, "0.2.2.post91", "aarch64", "583162136f02ee573597bd8c5ab79d5c701fb90838580408cba98f46407dd73f"),
)


@dataclass(frozen=True)
class AcadosTree:
    """An unpacked acados: `install/` (include, lib, bin) for one architecture, and its Python templates."""

    root: Path
    arch: str
    version: str

    @property
    def install(self) -> Path:
        return self.root / "install" if (self.root / "install").is_dir() else self.root

    @property
    def lib(self) -> Path:
        return self.install / "lib"

    @property
    def include(self) -> Path:
        return self.install / "include"

    @property
    def renderer(self) -> Path:
        return self.install / "bin" / "t_renderer"


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """NISSE_CACHE, or `nisse` in the user's XDG cache."""
    if environment.get("NISSE_CACHE"):
        return Path(environment["NISSE_CACHE"])
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nisse"


def host_arch() -> str:
    """The architecture of this machine by its target name. Raises TargetError for one without acados libraries."""
    return target_arch(os.uname().machine)


def target_arch(name: str) -> str:
    """The canonical name of a target. Raises TargetError with the list of known ones."""
    arch = MACHINE_NAMES.get(name.lower())
    if arch is None:
        raise TargetError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}")
    return arch


def require_avx2(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """The x86-64 libraries are built for Haswell; without AVX2 the process would die on an illegal instruction."""
    if not cpuinfo.exists():
        return
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    if "avx2" not in flags.split():
        raise ToolchainError(
            "this x86-64 processor has no AVX2, which the acados libraries need: build on a newer machine, "
            "or point ACADOS_SOURCE_DIR to an acados that was compiled for this one"
        )


def acados_tree(
    arch: str, cache: Path | None = None, *, pins: tuple[Pin, ...] = ACADOS_PINS, cpuinfo: Path = Path("/proc/cpuinfo")
) -> AcadosTree:
    """The acados libraries for `arch`: the user's own (ACADOS_SOURCE_DIR), cached, or downloaded.

    Raises ToolchainError when none can be had, and TargetError for an unknown arch.
    """
    arch = target_arch(arch)
    own = os.environ.get("ACADOS_SOURCE_DIR")
    if own and arch == host_arch():
        root = Path(own)
        if not (root / "lib").is_dir() or not (root / "include").is_dir():
            raise ToolchainError(
                f"ACADOS_SOURCE_DIR={own} has no lib/ and include/: run its `make install`, or unset it"
            )
        return AcadosTree(root, arch, "own")
    if arch == "x86_64" and host_arch() == "x86_64":
        require_avx2(cpuinfo)
    known = [pin for pin in pins if pin.arch == arch]
    folder = (cache or cache_directory()) / "acados"
    for pin in known:
        root = folder / f"{pin.version}-{arch}" / "acados"
        if root.is_dir():
            return AcadosTree(root, arch, pin.version)
    failures = []
    for pin in known:
        destination = folder / f"{pin.version}-{arch}"
        try:
            wheel_to_cache(pin, f"manylinux_2_28_{arch}", "acados", destination)
        except DownloadError as error:
            failures.append(str(error))
            continue
        return AcadosTree(destination / "acados", arch, pin.version)
    raise ToolchainError(
        f"acados for {arch} is not in {folder} and could not be downloaded ({failures[-1]}): connect to a package "
        "index once (or copy that folder from a machine that has it), or set ACADOS_SOURCE_DIR to your own acados"
    )


class DownloadError(ToolchainError):
    """pip could not fetch a wheel."""


def download_wheel(pin: Pin, platform: str, directory: Path) -> Path:
    """Fetch one wheel with pip and check its hash. Raises DownloadError or, for altered bytes, ToolchainError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", platform, "--python-version", "3.11", "--dest", str(directory)]
    done = subprocess.run([*command, f"{pin.package}=={pin.version}"], capture_output=True, text=True, check=False)
    wheels = sorted(directory.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise DownloadError(f"pip: {lines[-1].removeprefix('ERROR: ') if lines else 'no wheel'}")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != pin.sha256:
        raise ToolchainError(
            f"{wheels[0].name} has sha256 {digest}, expected {pin.sha256}: it was altered on the way or at the index; "
            "do not use it, and fetch it from another index"
        )
    return wheels[0]


def wheel_to_cache(pin: Pin, platform: str, package: str, destination: Path) -> None:
    """Download a wheel and put its folder `package` into `destination`, all or nothing."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".partial-") as name:
        work = Path(name)
        wheel = download_wheel(pin, platform, work)
        unpacked = work / "unpacked"
        unpack_package(wheel, package, unpacked)
        try:
            unpacked.rename(destination)
        except OSError:
            # Another process was faster: its copy passed the same hash check.
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
