"""The command: every sub-command explains itself, and mistakes end in one line and the right exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest
from patience import PATIENCE_S

from nisse.cli import COMMANDS, build_parser, main


def nisse(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nisse.cli", *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_help_with_an_example_and_machine_output(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"nisse {name}" in text.partition("xample")[2]
    assert "--json" in text or name == "experiment"


def test_only_the_named_command_is_loaded() -> None:
    heavy = "[m for m in ('casadi', 'scipy', 'rich') if m in sys.modules]"
    code = f"import sys, nisse.cli as c; c.build_parser('key'); print(*{heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert build_parser(None).prog == "nisse"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "COMMAND"),
        (("demoo",), 2, "did you mean 'demo'?"),
        (("key", "shwo", "site.pem"), 2, "did you mean 'show'?"),
        (("check", "--no-bundel", "site.toml"), 2, "did you mean '--no-bundle'?"),
        (("build", "batery", "--key", "none.pem", "--output", "x.nisse"), 78, "battery"),
        (("check", "no-such-site.toml"), 78, "no-such-site.toml"),
        (("verify", "no-such-bundle.nisse"), 65, "no-such-bundle.nisse"),
        (("evaluate", "battery", "--prices", "no-such-file.csv"), 65, "no-such-file.csv"),
        (("hil", "no-such-scenario.toml"), 78, "no-such-scenario.toml"),
        (("demo", "--prices", "no-such-file.csv"), 65, "no-such-file.csv"),
        (("tune", "cabin", "--model", "no-such-model.json"), 65, "nisse identify"),
        (("tune", "cabni"), 78, "one of the shipped houses"),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = nisse(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
