"""The Debian packages: apt takes the one for this machine, the one for the Pi holds and runs the Pi's code."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from installed_wheel import make_wheel

from deploy.debian import HOME, PYTHONS, make
from deploy.wheels import cache_directory

AARCH64 = 183
"""e_machine of ELF."""
PI_PACKAGES = (
    "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5",
    "libsqlite3-0", "libuuid1", "libcrypt1", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib",
)  # fmt: skip
"""Debian 12 for arm64, as far as Python needs it."""
INSTALL = """
set -e
mount -t tmpfs -o size=800m tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cp "$2" "$1/root/root/nisse.deb"
mount -t proc proc "$1/root/proc"
mount --bind /dev "$1/root/dev"
export DEBIAN_FRONTEND=noninteractive
cd "$1/root/root"
chroot "$1/root" apt-get install -qq -y --no-install-recommends /root/nisse.deb >/dev/null
chroot "$1/root" /usr/bin/nisse --version
chroot "$1/root" /usr/bin/nisse service show | grep ExecStart
chroot "$1/root" stat -c '%a %U %n' /etc/nisse/credentials
chroot "$1/root" apt-get remove -qq -y nisse >/dev/null
chroot "$1/root" sh -c '! ls -d /usr/lib/nisse /usr/bin/nisse 2>/dev/null'
"""
"""In a copy of this machine that goes away: $1 a folder to work in, $2 the package."""
LOADED = (
    "import numpy, cryptography, pydantic, httpx, waitress, serial, pymodbus, nisse.cli; "
    "from runtime.version import VERSION; print(VERSION, numpy.linalg.inv(numpy.eye(2) / 4)[0, 0], "
    "__import__('platform').machine())"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


@pytest.fixture(scope="module")
def packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("packages")
    return {arch: make(arch, wheel, out, cache_directory(), fast=True) for arch in ("amd64", "arm64")}


@pytest.fixture(scope="module")
def pi(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian 12 for the Pi with the package in it, unpacked."""
    folder = tmp_path_factory.mktemp("pi")
    root, apt = folder / "root", folder / "apt"
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    words = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]
    for key, place in (("State::lists", "lists"), ("Cache", "cache"), ("State::status", "status")):
        words += ["-o", f"Dir::{key}={apt / place}"]
    for action in (["update"], ["download", *PI_PACKAGES]):
        subprocess.run([*words, *action], check=True, cwd=apt / "debs", capture_output=True, timeout=600)
    for package in [*sorted((apt / "debs").glob("*.deb")), packages["arm64"]]:
        subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=300)
    (root / "usr/bin/python3").symlink_to("python3.11")
    return root


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a root folder of its own")
def test_apt_installs_it_here_and_takes_it_away(packages: dict[str, Path], version: str, tmp_path: Path) -> None:
    ours = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    work = tmp_path / "w"
    work.mkdir()
    words = ["unshare", "--mount", "sh", "-c", INSTALL, "sh", str(work), str(packages[ours])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        f"nisse {version}",
        "ExecStart=/usr/bin/nisse run /etc/nisse/site.toml",
        "700 root /etc/nisse/credentials",
    ]


def test_the_package_for_the_pi_holds_its_code_for_both_debians(pi: Path) -> None:
    home = pi / HOME.relative_to("/")
    for python in PYTHONS:
        site = home / f"lib/python{python}/site-packages"
        tag = f"cpython-{python.replace('.', '')}-aarch64-linux-gnu"
        assert list(site.glob(f"numpy/_core/_multiarray_umath.{tag}.so")) and list(
            site.glob(f"pydantic_core/*{tag}.so")
        )
    compiled = [path for path in home.rglob("*.so*") if path.read_bytes()[:4] == b"\x7fELF"]
    machines = {int.from_bytes(path.read_bytes()[18:20], "little") for path in compiled}
    assert len(compiled) > 40 and machines == {AARCH64}
    assert {p.name for p in (pi / "usr/lib/systemd/system").iterdir()} == {
        "nisse.service", "nisse-feeds.service", "nisse-web.service",
    }  # fmt: skip
    assert (
        "ExecStart=/usr/bin/nisse run /etc/nisse/site.toml" in (pi / "usr/lib/systemd/system/nisse.service").read_text()
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a root folder of its own")
def test_the_package_for_the_pi_runs(pi: Path, version: str) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    assert emulator is not None, "needs qemu-user-static"
    shutil.copy(emulator, pi)
    words = ["chroot", str(pi), "/qemu-aarch64-static", "-0", f"{HOME}/bin/python3", "/usr/bin/python3.11"]
    done = subprocess.run([*words, "-c", LOADED], capture_output=True, text=True, timeout=600)
    assert done.stdout == f"{version} 4.0 aarch64\n", done.stderr
    done = subprocess.run([*words, f"{HOME}/bin/nisse", "--version"], capture_output=True, text=True, timeout=600)
    assert done.stdout == f"nisse {version}\n", done.stderr
