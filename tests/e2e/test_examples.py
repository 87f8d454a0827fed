"""The examples run as they stand: each prints what its first line promises."""

from __future__ import annotations

import json
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

from nisse.cli import main
from runtime.bundle.archive import open_bundle
from runtime.store.transitions import Store, Transition

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLES.parent, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_house_in_python_charges_where_it_is_cheap_and_feeds_the_evening() -> None:
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", run("house_in_python.py"), re.M)
    charge = {int(hour): float(kw) for hour, _, _, kw, _, _ in rows}
    discharge = {int(hour): float(kw) for hour, _, _, _, kw, _ in rows}
    assert len(rows) == 24
    assert max(charge, key=lambda hour: charge[hour]) in range(1, 5)
    assert all(discharge[hour] > 1.9 for hour in (18, 19, 20))


def test_the_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "nisse.db"
    store = Store(path, max_transitions=100)
    for k in range(4):
        level, reason = ("rule", "no price") if k == 3 else ("mpc", "")
        store.append(
            Transition(
                1.7e9 + 900 * k, level, reason, "ab" * 32, {"home_soc": 0.5}, {"home_charge": 1.0}, {}, None, {}
            ),
            None,
            (0.001, 0.002, 0.003),
        )
    said = run("read_the_log.py", str(path))
    assert "4 cycles from 2023-11-14 22:13" in said and "75.0%" in said and "1 x no price" in said
    with sqlite3.connect(path) as log:
        assert log.execute("SELECT count(*) FROM transition").fetchone() == (4,)
    store.close()


def test_a_system_of_ones_own_is_the_one_of_its_page_and_a_method_of_ones_own_tunes_it(tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs/guide/your-system.md").read_text(encoding="utf-8")
    assert f"```python\n{(EXAMPLES / 'own_system.py').read_text(encoding='utf-8')}```" in page
    theta, told = tmp_path / "theta.json", tmp_path / "told.json"
    outputs = ["--output", str(theta), "--json", str(told), "--jobs", "1"]
    said = run("own_method.py", str(EXAMPLES / "own_system.py"), *outputs, "--iterations", "3")
    assert "tuning saves" in said and json.loads(told.read_text())["saving"]["low"] > 0.0
    written = json.loads(theta.read_text())
    assert written["provenance"]["method"] == "cacla" and 0.0 < written["theta"]["backoff"] < 0.06


def test_a_bundle_is_called_from_c(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs cc (Debian: apt install gcc libc6-dev)")
    key, bundle = tmp_path / "key.pem", tmp_path / "battery.nisse"
    assert main(["key", "new", str(key)]) == 0
    assert main(["build", "battery", "--key", str(key), "--problems", "4", "--output", str(bundle)]) == 0
    directory = open_bundle(bundle, None, "any", tmp_path / "unpacked").directory
    library = directory / "lib" / platform.machine() / "libnisse_controller.so"
    # As the manual says, from the sources that travel in the bundle.
    subprocess.run(["sh", "src/build.sh", str(library)], cwd=directory, check=True)
    command = ["cc", "-Isrc", str(EXAMPLES / "bundle_from_c.c"), str(library), f"-Wl,-rpath,{library.parent}"]
    subprocess.run([*command, f"-Wl,-rpath-link,{library.parent}", "-o", "example"], cwd=directory, check=True)
    said = subprocess.run(["./example"], cwd=directory, check=True, capture_output=True, text=True).stdout
    assert re.match(r"charge 0\.[1-9]\d{2} kW, discharge 0\.000 kW, residual \d", said), said
