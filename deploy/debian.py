"""Debian packages of nisse: everything under /usr/lib/nisse, for the Python of each Debian that is meant.

    /usr/lib/nisse/pyvenv.cfg, bin/        a virtual environment of the system's own python3
    /usr/lib/nisse/share/                  packages that are the same for every Python
    /usr/lib/nisse/lib/pythonX.Y/          the compiled ones, once for each Python

Debian's own numpy and pydantic are older than what nisse needs, so the wheels are carried along. One package serves
Debian 12 (Python 3.11) and Debian 13 (3.13), and the upgrade between them.
Sources: deb(5), deb-control(5), PEP 405, PEP 427.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from deploy.errors import DeployError
from deploy.wheels import Target, cache_directory, own_wheel, wheels_for
from runtime.site.service_unit import CONFIGURATION, CREDENTIALS, CREDENTIALS_MODE, FeedsUnit, ServiceUnit, WebUnit

PYTHONS = ("3.11", "3.13")
LIBC = (2, 36)
"""Of the oldest Debian that is meant, 12."""
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
EXTRAS = ("feeds", "web")
HOME = PurePosixPath("/usr/lib/nisse")
COMMAND = Path("/usr/bin/nisse")
SITE = Path("/etc/nisse/site.toml")
SERVICES = ("nisse", "nisse-feeds", "nisse-web")
EPOCH_S = 1_580_601_600
"""The time of every file, so that the same wheels make the same package; that of files in wheels of nisse."""
_LAUNCHER = f"""#!{HOME}/bin/python3
import sys

try:
    from nisse.cli import main
except ModuleNotFoundError as error:
    if error.name != "nisse":
        raise
    sys.exit("nisse: this package is for Python {" and ".join(PYTHONS)}, and this is %d.%d" % sys.version_info[:2])
sys.exit(main())
"""
_POSTINST = f"""#!/bin/sh
set -e
if [ "$1" = configure ]; then
    {HOME}/bin/python3 -m compileall -q {HOME}/share {HOME}/lib/python$({HOME}/bin/python3 -c \\
        'import sys; print("%d.%d" % sys.version_info[:2])') || true
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        [ -z "$2" ] || systemctl try-restart {" ".join(SERVICES)}
    fi
fi
"""
_PRERM = f"""#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now {" ".join(SERVICES)} || true
fi
find {HOME} -name __pycache__ -type d -prune -exec rm -rf {{}} +
"""


def make(arch: str, wheel: Path, out: Path, cache: Path, source: Path | None = None, fast: bool = False) -> Path:
    """`nisse_<version>_<arch>.deb` in `out`. Raises WheelsError, and DeployError where dpkg-deb is missing or fails.

    arch: as Debian says it. source: a folder of wheels instead of the package index. fast: hardly compressed.
    """
    if shutil.which("dpkg-deb") is None:
        raise DeployError("there is no dpkg-deb; install it: apt install dpkg")
    sets = {p: wheels_for(wheel, EXTRAS, Target(p, ARCHITECTURES[arch], LIBC), cache, source) for p in PYTHONS}
    with tempfile.TemporaryDirectory(prefix="nisse-deb-") as name:
        tree = Path(name)
        tree.chmod(0o755)
        _home(tree, sets)
        _system(tree)
        version = wheel.name.split("-")[1]
        _control(tree, arch, version)
        _dated(tree)
        out.mkdir(parents=True, exist_ok=True)
        file = out / f"nisse_{version}_{arch}.deb"
        words = ["dpkg-deb", "--root-owner-group", "-Zzstd", f"-z{1 if fast else 15}", "--build", str(tree), str(file)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S)}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            raise DeployError(f"dpkg-deb: {done.stderr.strip()}; it needs Debian 12 or newer")
    return file


def _home(tree: Path, sets: dict[str, list[Path]]) -> None:
    """The virtual environment with its packages."""
    home = tree / HOME.relative_to("/")
    (home / "bin").mkdir(parents=True)
    (home / "bin/python3").symlink_to("/usr/bin/python3")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    _write(home / "bin/nisse", _LAUNCHER, 0o755)
    names = [{w.name for w in wheels} for wheels in sets.values()]
    everywhere = set.intersection(*names)
    for name in sorted(everywhere):
        unpacked(next(w for w in sets[PYTHONS[0]] if w.name == name), home / "share")
    for python, wheels in sets.items():
        site = home / f"lib/python{python}/site-packages"
        site.mkdir(parents=True)
        (site / "nisse.pth").write_text(f"{HOME}/share\n")
        for wheel in wheels:
            if wheel.name not in everywhere:
                unpacked(wheel, site)
    for pip in [*home.glob("share/pip"), *home.glob("share/pip-*"), *home.glob("lib/*/site-packages/pip*")]:
        shutil.rmtree(pip)  # it installs elsewhere; here is apt


def unpacked(wheel: Path, site: Path) -> None:
    """What of a wheel is imported; its scripts are not of use here."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            parts = PurePosixPath(info.filename).parts
            if parts[0].endswith(".data"):
                if len(parts) < 3 or parts[1] not in {"purelib", "platlib"}:
                    continue
                parts = parts[2:]
            if ".." in parts or info.is_dir():
                continue
            target = site.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file)
            target.chmod(0o644)


def _system(tree: Path) -> None:
    """Command, units, folders and licence."""
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/nisse").symlink_to(f"../{HOME.relative_to('/usr')}/bin/nisse")
    units = tree / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in (ServiceUnit(COMMAND, SITE), FeedsUnit(COMMAND, SITE), WebUnit(COMMAND, SITE)):
        _, _, text = unit.text().partition("\n")
        _write(
            units / unit.place.name, f"# Changes belong into a drop-in: systemctl edit {unit.place.stem}\n{text}", 0o644
        )
    (tree / CONFIGURATION).mkdir(parents=True, mode=0o755)
    (tree / CREDENTIALS).mkdir(mode=CREDENTIALS_MODE)
    licences = next((tree / HOME.relative_to("/")).glob("share/nisse_mpc-*.dist-info/licenses/LICENSE"))
    document = tree / "usr/share/doc/nisse/copyright"
    document.parent.mkdir(parents=True)
    note = f"The packages in {HOME} carry their licences in their folders *.dist-info.\n\n"
    _write(document, note + licences.read_text(encoding="utf-8"), 0o644)


def _control(tree: Path, arch: str, version: str) -> None:
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink()) // 1024
    newest = PYTHONS[-1].split(".")
    text = f"""Package: nisse
Version: {version}
Architecture: {arch}
Maintainer: nisse <nisse@localhost>
Installed-Size: {size}
Depends: python3 (>= {PYTHONS[0]}), python3 (<< {newest[0]}.{int(newest[1]) + 1}), libc6 (>= {LIBC[0]}.{LIBC[1]}), \
libgcc-s1, libstdc++6
Recommends: systemd-timesyncd | time-daemon
Suggests: mosquitto
Section: misc
Priority: optional
Description: model predictive control for heat pumps and home batteries
 The runtime that controls a house: the daemon, its feeds of prices and weather,
 and its page. Put a site file and a bundle into /etc/nisse, then start the
 service nisse.
"""
    folder = tree / "DEBIAN"
    folder.mkdir()
    _write(folder / "control", text, 0o644)
    _write(folder / "postinst", _POSTINST, 0o755)
    _write(folder / "prerm", _PRERM, 0o755)


def _write(path: Path, text: str, mode: int) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _dated(tree: Path) -> None:
    for path in _all(tree):
        if not path.is_symlink():
            os.utime(path, (EPOCH_S, EPOCH_S))
        if path.is_dir() and path.name != CREDENTIALS.name:
            path.chmod(0o755)


def _all(tree: Path) -> Iterable[Path]:
    return sorted(tree.rglob("*"), reverse=True)


def main(words: Sequence[str] | None = None) -> int:
    """`python -m deploy.debian`, what `make deb` runs."""
    parser = argparse.ArgumentParser(prog="deploy.debian", description="Debian packages of nisse")
    parser.add_argument("--out", type=Path, default=Path("dist"), metavar="DIR")
    parser.add_argument("--arch", choices=sorted(ARCHITECTURES), action="append", help="default: all of them")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel of nisse (default: of this clone)")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take packages from this folder, not from the index")
    args = parser.parse_args(words)
    try:
        with tempfile.TemporaryDirectory(prefix="nisse-wheel-") as folder:
            wheel = own_wheel(args.wheel, Path(folder))
            for arch in args.arch or sorted(ARCHITECTURES):
                file = make(arch, wheel, args.out, cache_directory(), args.wheels)
                print(f"{file}: {file.stat().st_size / 1e6:.0f} MB")
    except DeployError as error:
        print(f"make deb: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
