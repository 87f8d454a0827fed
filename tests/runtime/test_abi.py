"""The C interface as its documentation shows it: the program of docs/bundle-from-c.md compiles and runs as printed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tiny_site import ABI

DOCUMENT = Path(__file__).parents[2] / "docs" / "bundle-from-c.md"


def test_the_documented_program_runs(library: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler is not None
    (program,) = re.findall(r"```c\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    source, binary = tmp_path / "first_move.c", tmp_path / "first_move"
    source.write_text(program)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-I", str(ABI)]
    link = ["-L", str(library.parent), "-lnisse_controller", f"-Wl,-rpath,{library.parent}"]
    subprocess.run([compiler, *flags, str(source), "-o", str(binary), *link], check=True)
    done = subprocess.run([str(binary)], capture_output=True, text=True)
    assert done.returncode == 0
    assert "status 0" in done.stdout and "action[0] = 0.200000" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["240", "s", "0.500000"]
