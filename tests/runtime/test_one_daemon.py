"""One daemon per state folder; enough open files or none; what is loaded is what was signed."""

from __future__ import annotations

import logging
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import comes_true
from tiny_site import Ears, Running, Tank, command, forecast, level_is

from hil.broker import Broker
from runtime.bundle.archive import open_bundle
from runtime.clock import SystemClock
from runtime.decide.solver_process import SolverProcess
from runtime.errors import EXIT_BUSY, EXIT_MACHINE, SolverProcessError
from runtime.links.losses import Losses
from runtime.links.mqtt import MqttLink
from runtime.site.config import MqttSection


def test_a_second_daemon_refuses_before_it_touches_anything(
    start: Callable[..., Running], tank: Tank, ears: Ears
) -> None:
    forecast(ears)
    first = start(60.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    written = list(tank.registers.writes)
    second = subprocess.run(command("run", tank.site), capture_output=True, text=True)
    assert second.returncode == EXIT_BUSY and f"(process {first.process.pid})" in second.stderr
    other = tank.site.with_name("other.toml")  # the same log by the name of a link
    other.write_text(tank.site.read_text().replace("[mqtt]", '[store]\npath = "link.db"\n\n[mqtt]', 1))
    other.with_name("link.db").symlink_to("nisse.db")
    third = subprocess.run(command("run", other), capture_output=True, text=True)
    assert third.returncode == EXIT_BUSY, third.stderr
    assert tank.registers.writes == written and b"offline" not in ears.heard["nisse/tank/availability"]
    first.process.kill()
    first.process.wait()
    third = subprocess.run(command("run", tank.site, "--cycles", "1"), capture_output=True, text=True)
    assert third.returncode == 0, third.stderr  # the lock went with the process


def test_two_daemons_of_one_name_at_one_broker_are_told_so(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    links = [MqttLink("t", MqttSection(port=broker.port), None, {}, SystemClock()) for _ in range(2)]
    for link in links:
        link.start()
    assert comes_true(lambda: "does another daemon run for nisse/t" in caplog.text)
    for link in links:
        link.stop()


def test_losses_that_are_rare_are_no_rival_and_a_rival_is_told_once() -> None:
    losses = Losses()
    assert not any(losses.lost(40.0 * k) for k in range(20))
    assert [losses.lost(1000.0 + k) for k in range(6)] == [False, False, False, True, False, False]
    assert [losses.lost(2000.0 + k) for k in range(4)] == [False, False, False, True]


def test_too_few_open_files_are_told_at_the_start(tank: Tank) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    found = subprocess.run(command("run", tank.site), capture_output=True, text=True, preexec_fn=few)
    assert found.returncode == EXIT_MACHINE and "only 24 files may be open" in found.stderr
    assert "LimitNOFILE" in found.stderr and "Traceback" not in found.stderr
    looked = subprocess.run(command("doctor", tank.site), capture_output=True, text=True, preexec_fn=few)
    assert looked.returncode == 1 and "24 may be open" in looked.stdout and "Traceback" not in looked.stderr
    looked = subprocess.run(command("doctor", tank.site), capture_output=True, text=True)
    assert "may be open" in looked.stdout and "24 may" not in looked.stdout


def test_a_library_that_was_exchanged_after_it_was_verified_is_not_loaded(
    bundle_directory: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(bundle_directory, None)
    library = tmp_path / bundle.library_or_fail().name
    library.write_bytes(bundle.library_or_fail().read_bytes())
    solver = SolverProcess(library, bundle.library_hashes)
    assert solver.dimensions() == (1, 1, 1, 4)
    solver.close()
    library.write_bytes(library.read_bytes() + b"\0")
    with pytest.raises(SolverProcessError, match="not what was signed"):
        solver.dimensions()
    solver.close()
