"""Parameter files are read whole or refused with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from systems.theta import ThetaFileError, read_theta, write_theta
from tests.codegen.home_battery import home_battery

PROBLEM = home_battery(horizon=4)


def test_a_file_round_trips_and_names_left_out_keep_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "new" / "theta.json"
    write_theta(path, PROBLEM, {"net_load_bias": 0.1 + 0.2}, {"seed": 0})
    theta = read_theta(path, PROBLEM)
    assert theta["net_load_bias"] == 0.1 + 0.2
    assert theta["charge_efficiency"] == 0.95
    assert list(theta) == [p.name for p in PROBLEM.theta]
    assert json.loads(path.read_text())["provenance"] == {"seed": 0}


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ('{"theta": {"charge_eficiency": 0.9}}', "did you mean 'charge_efficiency'?"),
        ('{"theta": {"charge_efficiency": 1.2}}', "outside 0.7..1"),
        ('{"theta": {"charge_efficiency": NaN}}', "must be a finite number"),
        ('{"theta": {"charge_efficiency": "0,9"}}', "must be a finite number"),
        ('{"theta": {"charge_efficiency": true}}', "must be a finite number"),
        ('{"system": "house", "theta": {}}', "is for system 'house'"),
        ('{"theta": []}', "not an object"),
        ("[1, 2]", "not a JSON object"),
        ("{", "not a JSON file"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str, remedy: str) -> None:
    path = tmp_path / "theta.json"
    path.write_text(content)
    with pytest.raises(ThetaFileError) as caught:
        read_theta(path, PROBLEM)
    assert remedy in str(caught.value) and str(path) in str(caught.value)
    assert caught.value.exit_code == 65


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ThetaFileError):
        write_theta(tmp_path / "theta.json", PROBLEM, {"net_load_bias": 9.0})
    assert list(tmp_path.iterdir()) == []
