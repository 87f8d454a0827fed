"""nisse from its wheel in a virtual environment of its own; what it depends on is shared with the tests' Python."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from patience import PATIENCE_S

ROOT = Path(__file__).parents[1]


def make_wheel(folder: Path) -> Path:
    """The wheel that `make wheel` writes."""
    # Relative: a path with a space in it, as the clone's may be, is two words to make.
    environment = os.path.relpath(sys.prefix, ROOT)
    subprocess.run(
        ["make", "--silent", "-C", str(ROOT), "wheel", f"VENV={environment}", f"DIST={folder}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def share_dependencies(environment: Path) -> None:
    """Let a virtual environment see the packages of this Python, after its own.

    A folder named in a `.pth` file is searched, its own `.pth` files are not: the clone stays out of sight.
    """
    (site,) = environment.glob("lib/python3*/site-packages")
    here = dict.fromkeys(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text("\n".join([*here, sysconfig.get_path("purelib")]) + "\n")


def outside(folder: Path, environment: Path) -> dict[str, str]:
    """Environment variables of a shell in which `environment` is active and no path leads into the clone."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return kept | {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", str(folder))}
