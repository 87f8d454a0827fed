"""Folders as people have them: spaces, quotes, accents, and what a shell, make, a linker or a pattern would read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.targets import cache_directory, host_arch
from codegen.toolchain import wheel_acados
from nisse.cli import main
from tests.codegen.test_own_acados import own_layout

AWKWARD = 'Zoë\'s "own" $(id); {a} [b],c:d%20 *?&'
"""No slash, and nothing else left out."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An awkward folder, far down."""
    home = tmp_path / AWKWARD / ("deep " * 40).strip() / ("deeper " * 30).strip()
    home.mkdir(parents=True)
    return home


@pytest.mark.parametrize("own", [False, True], ids=["wheel", "own"])
def test_a_bundle_is_built_verified_and_rebuilt_in_any_folder(home: Path, own: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("NISSE_CACHE", "TERA_PATH")}
    environment |= {"XDG_CACHE_HOME": str(home / ".cache"), "HOME": str(home), "TMPDIR": str(home / "tmp")}
    (home / "tmp").mkdir()
    if own:
        environment["ACADOS_SOURCE_DIR"] = str(own_layout(home / "acados"))
    else:
        environment.pop("ACADOS_SOURCE_DIR", None)
        wheel = wheel_acados(host_arch(), cache_directory())
        shutil.copytree(wheel.install.parents[1], home / ".cache" / "nisse" / "acados" / wheel.install.parents[1].name)

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=home)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def nisse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, "-m", "nisse.cli", *arguments)

    assert main(["key", "new", str(home / "key.pem")]) == 0
    bundle = home / "battery.nisse"
    nisse("build", "battery", "--problems", "2", "--key", home / "key.pem", "--output", bundle)
    nisse("verify", bundle, "--problems", "2", "--json", home / "verdict.json")
    assert json.loads((home / "verdict.json").read_text())["arch"][host_arch()]["verified"]
    run("tar", "xf", bundle)
    library = home / "lib" / host_arch() / "libnisse_controller.so"
    before = library.stat().st_mtime_ns
    run("sh", home / "src" / "build.sh", library)
    assert library.stat().st_mtime_ns > before
    run(
        sys.executable,
        "-c",
        "import sys; from runtime.abi.controller import Controller; Controller(sys.argv[1])",
        library,
    )
