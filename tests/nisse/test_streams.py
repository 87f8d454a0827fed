"""Standard output that is closed, full, read no further, or of few characters; output files on a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "nisse.cli"]
SPEAKERS = [["check", "villa"], ["device", "list"], ["--help"], ["check", "--help"]]


def run(shell: str, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code and what was said on standard error; `shell` redirects "$@"."""
    usual = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "PYTHONIOENCODING")}
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *COMMAND, *words], env=usual | environment, capture_output=True, check=False
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("words", SPEAKERS, ids=" ".join)
def test_a_reader_that_leaves_ends_a_command_as_it_ends_others(words: list[str]) -> None:
    assert run('"$@" | true; exit ${PIPESTATUS[0]}', *words) == (141, "")


@pytest.mark.parametrize("words", SPEAKERS, ids=" ".join)
def test_words_that_do_not_arrive_are_no_success(words: list[str]) -> None:
    code, said = run('"$@" > /dev/full', *words)
    assert code == 74 and said.startswith("nisse") and "No space left on device; free some space" in said
    assert said.count("\n") == 1


def test_an_output_file_on_a_full_disk_is_told_in_one_line() -> None:
    code, said = run('"$@"', "check", "villa", "--json", "/dev/full")
    assert code == 74 and said.count("\n") == 1


def test_streams_that_are_closed_take_no_file_for_themselves(tmp_path: Path) -> None:
    """The first file that a program opens gets the lowest number that is free: what is printed must not end in it."""
    written = tmp_path / "said.json"
    assert run('"$@" <&- >&- 2>&-', "check", "villa", "--json", str(written)) == (0, "")
    whole = subprocess.run([*COMMAND, "check", "villa", "--json", tmp_path / "other.json"], capture_output=True)
    assert whole.returncode == 0 and written.read_bytes() == (tmp_path / "other.json").read_bytes()


def test_a_terminal_of_few_characters_gets_escapes() -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    assert run('"$@"', "check", "villa", **ascii_only) == (0, "")
