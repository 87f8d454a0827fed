"""C compilers: the host's `cc`, Debian's cross gcc, and the pip-installable Zig for everything else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import CompileError, ToolchainError
from codegen.toolchain import DownloadError, Pin, cache_directory, host_arch, target_arch, wheel_to_cache

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

    def run(self, arguments: Sequence[str], directory: Path) -> None:
        """Compile in `directory`. Raises CompileError with the compiler's first words of complaint."""
        done = subprocess.run([*self.command, *arguments], cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            complaint = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:400])
            raise CompileError(f"{self.name} failed: {complaint.strip()}; try another compiler through CC")


def find_compiler(arch: str, cache: Path | None = None) -> Compiler:
    """The compiler for a target: CC or cc on the host, a cross gcc if installed, else Zig from the package index."""
    arch = target_arch(arch)
    if arch == host_arch():
        for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
            if shutil.which(name.split()[0]):
                return Compiler(tuple(name.split()), arch, name)
    else:
        cross = shutil.which(f"{arch}-linux-gnu-gcc")
        if cross:
            return Compiler((cross,), arch, Path(cross).name)
    return zig_compiler(arch, cache or cache_directory())


def zig_compiler(arch: str, cache: Path) -> Compiler:
    """Zig's `cc`, fetched into the cache at first use (100 MB). Raises ToolchainError when it cannot be had."""
    host = host_arch()
    pin = next(pin for pin in ZIG_PINS if pin.arch == host)
    folder = cache / "zig" / f"{pin.version}-{host}"
    if not folder.is_dir():
        try:
            wheel_to_cache(pin, ZIG_PLATFORMS[host], "ziglang", folder)
        except DownloadError as error:
            package = "gcc" if arch == host else f"gcc-{arch.replace('_', '-')}-linux-gnu"
            raise ToolchainError(
                f"no C compiler for {arch}, and Zig could not be downloaded ({error}): "
                f"install one (Debian: apt install {package}), set CC, or connect to a package index once"
            ) from error
    command = (str(folder / "ziglang" / "zig"), "cc", "-target", f"{arch}-linux-gnu.{GLIBC}")
    return Compiler(command, arch, f"zig-{pin.version}")
