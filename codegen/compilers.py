"""C compilers: the host's `cc`, Debian's cross gcc, and the pip-installable Zig for everything else."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import CompileError, ToolchainError
from codegen.targets import cache_directory, host_arch, target_arch
from codegen.wheels import DownloadError, Pin, wheel_to_cache

# glibc of Debian 10 and of the acados wheel: what is built with Zig runs on anything newer.
GLIBC = "2.28"
ZIG_PINS = (
    Pin("ziglang", "0.17.0", "x86_64", "97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b"),
    Pin("ziglang", "0.17.0", "aarch64", "d2804f94f54f7fcf8169f4b212a619ad688a4e2e6592e976f0cf2e58e2cd8af3"),
)
ZIG_PLATFORMS = {"x86_64": "manylinux_2_12_x86_64", "aarch64": "manylinux_2_17_aarch64"}


@dataclass(frozen=True)
class Compiler:
    """A command that compiles and links C for one architecture."""

    command: tuple[str, ...]
    arch: str
    name: str
    headers: Path | None = None
    """Its own, where it must find them behind a plain name: Zig notes what it reads, and cannot read a note in which a
    path has spaces and quotes."""

    @contextlib.contextmanager
    def at(self, directory: Path) -> Iterator[Callable[[Sequence[str]], None]]:
        """run(arguments) compiles in `directory`. Raises CompileError with the compiler's first words of complaint."""
        environment, link = dict(os.environ), directory / ".compiler"
        if self.headers is not None:
            link.symlink_to(self.headers)
            environment["ZIG_LIB_DIR"] = link.name

        def run(arguments: Sequence[str]) -> None:
            command = [*self.command, *arguments]
            done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                complaint = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:400])
                raise CompileError(f"{self.name} failed: {complaint.strip()}; try another compiler through CC")

        try:
            yield run
        finally:
            link.unlink(missing_ok=True)


def find_compiler(arch: str, cache: Path | None = None) -> Compiler:
    """The compiler for a target: CC or cc on the host, a cross gcc if installed, else Zig from the package index."""
    arch, cache = target_arch(arch), cache or cache_directory()
    return installed_compiler(arch, cache) or zig_compiler(arch, cache)


def installed_compiler(arch: str, cache: Path) -> Compiler | None:
    """The one that is there without a network, the fetched Zig included."""
    if arch == host_arch():
        for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
            command = command_of(name)
            if shutil.which(command[0]):
                return Compiler(command, arch, name)
    else:
        cross = shutil.which(f"{arch}-linux-gnu-gcc")
        if cross:
            return Compiler((cross,), arch, Path(cross).name)
    return _zig(arch, cache) if _zig_folder(cache).is_dir() else None


def command_of(name: str) -> tuple[str, ...]:
    """What CC means: a program, whose path may hold spaces, or a program and its options as a shell reads them."""
    if shutil.which(name):
        return (name,)
    try:
        return tuple(shlex.split(name)) or (name,)
    except ValueError:
        return (name,)


def zig_compiler(arch: str, cache: Path) -> Compiler:
    """Zig's `cc`, fetched into the cache at first use (100 MB). Raises ToolchainError when it cannot be had."""
    folder = _zig_folder(cache)
    if not folder.is_dir():
        try:
            wheel_to_cache(_zig_pin(), ZIG_PLATFORMS[host_arch()], "ziglang", folder)
        except DownloadError as error:
            package = "gcc" if arch == host_arch() else f"gcc-{arch.replace('_', '-')}-linux-gnu"
            own = ", set CC" if arch == host_arch() else ""
            raise ToolchainError(
                f"no C compiler for {arch}, and Zig could not be downloaded ({error}): install one (Debian: apt "
                f"install {package}){own}, or run `nisse toolchain fetch --target {arch}` where a package index is "
                f"reached, and copy {cache / 'zig'} from there"
            ) from error
    return _zig(arch, cache)


def _zig_pin() -> Pin:
    host = host_arch()
    return next(pin for pin in ZIG_PINS if pin.arch == host)


def _zig_folder(cache: Path) -> Path:
    pin = _zig_pin()
    return cache / "zig" / f"{pin.version}-{pin.arch}"


def _zig(arch: str, cache: Path) -> Compiler:
    folder = _zig_folder(cache) / "ziglang"
    command = (str(folder / "zig"), "cc", "-target", f"{arch}-linux-gnu.{GLIBC}")
    return Compiler(command, arch, f"zig-{_zig_pin().version}", headers=folder / "lib")
