"""What a restart knows of the time before: the ramp goes on from the last action after a crash."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_site import Bench, Tank, tiny_manifest

from runtime.bundle.archive import LIBRARY, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.bundle.manifest import ActionLimit

Start = Callable[..., Bench]


@pytest.fixture
def ramped(tank: Tank, tmp_path: Path, bundle_directory: Path, library: Path, key: SigningKey) -> None:
    """The site's controller with a ramp of 0.001 kW per second, 0.06 kW per cycle."""
    manifest = tiny_manifest(limits=(ActionLimit(name="inflow", ramp_per_s=0.001),))
    files = {f"lib/{platform.machine()}/{LIBRARY}": library}
    path = write_bundle(tmp_path / "ramped", manifest, files, {"gain": 1.0}, {"passed": True}, key)
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(path)))


def inflow(bench: Bench) -> float:
    bench.demand(0.0)
    return float(bench.cycle()["action"]["inflow"])


def test_the_ramp_goes_on_where_a_kill_interrupted_it(start_bench: Start, tank: Tank, ramped: None) -> None:
    bench = start_bench()
    tank.set_level(0.5)
    assert inflow(bench) == 0.0
    tank.set_level(0.2)
    assert inflow(bench) == pytest.approx(0.06)
    os.killpg(bench.process.pid, signal.SIGKILL)
    bench.process.wait()
    again = start_bench()
    again.time_s = bench.time_s
    assert inflow(again) == pytest.approx(0.12)
    assert inflow(again) == pytest.approx(0.18)
    # Ten minutes without a daemon: the hardware could have followed by now.
    os.killpg(again.process.pid, signal.SIGKILL)
    again.process.wait()
    late = start_bench()
    late.time_s = again.time_s + 600.0
    assert inflow(late) == pytest.approx(0.3)
    assert late.stop() == 0


def test_after_a_stop_the_devices_are_safe_and_nothing_is_left_to_ramp_from(
    start_bench: Start, tank: Tank, ramped: None
) -> None:
    bench = start_bench()
    tank.set_level(0.8)
    assert inflow(bench) == pytest.approx(-0.3)
    assert bench.stop() == 0 and tank.inflow == 0.0
    again = start_bench()
    again.time_s = bench.time_s
    tank.set_level(0.2)
    assert inflow(again) == pytest.approx(0.3)
    assert again.stop() == 0
