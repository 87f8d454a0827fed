"""`nisse theta pack` takes the file that `nisse tune` wrote, and plain values; never those of another system."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from tiny_site import tiny_manifest

from nisse.cli import main
from runtime.bundle.archive import LIBRARY, open_bundle, write_bundle
from runtime.bundle.keys import new_key
from runtime.bundle.theta_update import with_update

TUNED = {"system": "tiny", "theta": {"gain": 1.5}, "provenance": {"method": "dpg", "seed": 0}}


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        (TUNED, 0, "changes 1 of 1"),
        ({"gain": 1.5}, 0, "changes 1 of 1"),
        ({"gain": {"value": 1.5}}, 0, "changes 1 of 1"),
        (TUNED | {"system": "house"}, 65, "is for system 'house', not 'tiny'"),
        (
            {"home_charge_efficiency": 0.9, "gain": 1.5},
            65,
            "home_charge_efficiency is no parameter here; this theta is of",
        ),
        (TUNED | {"theta": {"gain": 1.5, "x": 1, "y": 1}}, 65, "x (and 1 more) is no parameter here"),
        (TUNED | {"theta": {"gain": "much"}}, 65, "not a JSON object of name -> value"),
        ([1.5], 65, "not a JSON object of name -> value"),
    ],
)
def test_what_tuning_wrote_becomes_an_update_of_the_bundle(
    document: object, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = new_key(tmp_path / "key.pem")
    files = {f"lib/{platform.machine()}/{LIBRARY}": b"\x7fELF not really"}
    bundle = write_bundle(tmp_path / "tiny", tiny_manifest(), files, {"gain": 0.5}, {"passed": True}, key)
    theta, update = tmp_path / "theta.json", tmp_path / "new.theta"
    theta.write_text(json.dumps(document))
    command = ["theta", "pack", str(bundle), str(theta), "--key", str(tmp_path / "key.pem"), "--output", str(update)]
    assert main(command) == code
    said = capsys.readouterr()
    assert words in said.out + said.err
    if code == 0:
        assert with_update(open_bundle(bundle, [key.public]), update, [key.public]).theta == {"gain": 1.5}
    else:
        assert not update.exists()


def test_a_described_house_keeps_what_its_observer_holds_a_copy_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the observer is one of several groups."""
    key = new_key(tmp_path / "key.pem")
    observer = {
        "type": "arx", "dt_s": 60.0, "inputs": ["inflow"], "output_coefficients": [[[0.5]]],
        "input_coefficients": [[[1.0]]],
        "outputs": [{"name": "seen", "unit": "1", "lower": 0, "upper": 1}], "innovation_mean": [0.0],
        "innovation_covariance": [[1e-4]], "measurement_std": [0.01], "input_std": [0.5], "parameters": ["gain"],
    }  # fmt: skip
    groups = {"type": "groups", "groups": [{"states": ["level"], "estimator": observer}]}
    manifest = tiny_manifest(format_version=2, estimator=groups)
    files = {f"lib/{platform.machine()}/{LIBRARY}": b"\x7fELF not really"}
    bundle = write_bundle(tmp_path / "tiny", manifest, files, {"gain": 0.5}, {"passed": True}, key)
    theta, update = tmp_path / "theta.json", tmp_path / "new.theta"
    theta.write_text(json.dumps({"gain": 0.6}))
    command = ["theta", "pack", str(bundle), str(theta), "--key", str(tmp_path / "key.pem"), "--output", str(update)]
    assert main(command) == 65 and "changes gain, which the bundle's observer holds" in capsys.readouterr().err
