"""Completion: the script that `nisse completion bash` writes completes commands and options in a real bash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "expected"),
    [(("nisse", "ver"), {"verify"}), (("nisse", "verify", "--prob"), {"--problems"}), (("nisse", "key", "n"), {"new"})],
)
def test_bash_completes(words: tuple[str, ...], expected: set[str], tmp_path: Path) -> None:
    script = tmp_path / "nisse.bash"
    made = subprocess.run([sys.executable, "-m", "nisse.cli", "completion", "bash"], capture_output=True, check=True)
    script.write_bytes(made.stdout)
    ask = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_nisse; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", ask, "ask", str(script), *words], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected
