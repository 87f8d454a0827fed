"""Where commands write is tried before the work of each."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from nisse.cli import main
from systems.commands.output import output_folder, output_path, write_json

LONG = {
    "build": ["build", "battery", "--key", "key.pem", "--output"],
    "verify": ["verify", "battery.nisse", "--json"],
    "toolchain": ["toolchain", "fetch", "--json"],
    "identify": ["identify", "battery", "--output"],
    "tune": ["tune", "battery", "--output"],
    "evaluate": ["evaluate", "battery", "--html"],
    "demo": ["demo", "--output"],
    "hil": ["hil", "battery-week", "--output"],
    "hil, junit": ["hil", "battery-week", "--junit"],
    "experiment": ["experiment", "lqr", "--json"],
}


@pytest.mark.parametrize("command", LONG.values(), ids=list(LONG))
def test_a_place_that_cannot_be_is_told_before_the_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SystemExit) as caught:
        main([*command, str(tmp_path / "file" / "result")])
    assert caught.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"nothing can be written to {tmp_path / 'file'} (Not a directory); choose another" in told


def test_missing_folders_are_made_and_nothing_is_left_of_the_trial(tmp_path: Path) -> None:
    path = output_path(str(tmp_path / "new" / "deep" / "result.json"))
    assert output_folder(str(tmp_path / "new")) == tmp_path / "new" and not list(tmp_path.iterdir())
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1} and list(path.parent.iterdir()) == [path]
    with pytest.raises(argparse.ArgumentTypeError, match="is a directory; name a file"):
        output_path(str(tmp_path / "new"))
