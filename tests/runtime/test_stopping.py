"""Signals at any moment of the daemon's life leave the device safe, and nothing that comes after changes that."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from tiny_site import Bench, Ears, Running, Tank, command, forecast, level_is

from hil.modbus_plant import Trap
from runtime.errors import EXIT_UNSAFE
from runtime.interrupts import HEARD, MEANINGLESS, STOP

INFLOW = 10
ENERGISED = 777


@pytest.fixture
def daemon(tank: Tank) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """daemon(*arguments) -> the process; its output register was left energised by somebody before."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        tank.registers.holding[INFLOW] = ENERGISED
        running.append(
            subprocess.Popen(
                command("run", tank.site, *arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in said, said
    return process.returncode, said


def alive(process: subprocess.Popen[str]) -> None:
    """Wait until its own code runs: before that no program can hear anything."""
    deadline = time.monotonic() + PATIENCE_S
    wanted = sum(1 << (number - 1) for number in STOP)
    while time.monotonic() < deadline:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        masks = {key: value for key, _, value in (line.partition(":") for line in lines)}
        if (int(masks["SigBlk"], 16) | int(masks["SigCgt"], 16)) & wanted == wanted:
            return
        time.sleep(0.001)
    pytest.fail("it never listens to signals")


@pytest.mark.parametrize("seed", range(4))
def test_a_signal_while_it_starts_leaves_the_device_safe(
    daemon: Callable[..., subprocess.Popen[str]], tank: Tank, ears: Ears, seed: int
) -> None:
    """At a random moment of the first seconds, its imports included, and again, and a reload wish in between."""
    rng = random.Random(seed)
    forecast(ears)
    process = daemon()
    alive(process)
    time.sleep(rng.uniform(0.0, 2.0) if seed else 0.0)
    signals = rng.choices([signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], k=3)
    for number in (signals[0], signal.SIGHUP, signals[1], signal.SIGUSR1, signals[2]):
        if process.poll() is None:
            process.send_signal(number)
            time.sleep(rng.uniform(0.0, 0.2))
    code, said = ended(process)
    assert (code, tank.inflow) == (0, 0.0), said


@pytest.mark.parametrize(("first", "more"), [
    (signal.SIGTERM, (signal.SIGTERM, signal.SIGTERM)),
    (signal.SIGTERM, (signal.SIGHUP, signal.SIGINT)),
    (signal.SIGINT, (signal.SIGINT, signal.SIGQUIT)),
])  # fmt: skip
def test_a_device_that_is_silent_while_it_stops_is_told_again(
    daemon: Callable[..., subprocess.Popen[str]], tank: Tank, ears: Ears, first: signal.Signals, more: tuple[int, ...]
) -> None:
    forecast(ears)
    process = daemon()
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    tank.device.answer = "silent"
    process.send_signal(first)
    for number in more:
        time.sleep(0.3)
        process.send_signal(number)
    time.sleep(0.6)
    assert process.poll() is None and tank.inflow != 0.0
    tank.device.answer = "normal"
    code, said = ended(process)
    assert (code, tank.inflow) == (0, 0.0), said
    ears.wait_for("nisse/tank/availability", lambda m: m == b"offline")


def test_a_device_that_never_takes_its_safe_value_is_told_of_aloud(
    daemon: Callable[..., subprocess.Popen[str]], tank: Tank, ears: Ears
) -> None:
    forecast(ears)
    process = daemon("--quiet")
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    tank.device.answer = "silent"
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert code == EXIT_UNSAFE and "OUTPUT inflow WAS NOT SET TO ITS SAFE VALUE 0 kW" in said
    assert time.monotonic() - begun < 28.0  # a service manager waits 30 s
    # The next one knows that they were not left safe.
    tank.device.answer = "normal"
    again = daemon()
    alive(again)
    again.send_signal(signal.SIGTERM)
    assert ended(again)[0] == 0 and tank.inflow == 0.0


def test_no_set_point_is_written_after_the_signal_and_no_solver_is_waited_for(
    start_bench: Callable[..., Bench], tank: Tank
) -> None:
    """The signal comes while the cycle reads: what the cycle decides is not written any more."""
    bench = start_bench()
    bench.demand()
    bench.cycle()
    tank.set_level(0.1)
    written = len(tank.registers.writes)
    tank.device.traps.append(Trap("read", lambda: os.kill(bench.process.pid, signal.SIGTERM)))
    bench.demand()
    bench.cycle()
    assert bench.process.wait(PATIENCE_S) == 0
    assert {word for _, _, word in tank.registers.writes[written:]} == {0} and tank.inflow == 0.0


def test_signals_that_mean_nothing_change_nothing(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    assert {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGTSTP, signal.SIGRTMIN} <= HEARD
    forecast(ears)
    daemon = start(1.0)
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    for number in sorted(MEANINGLESS):
        os.kill(daemon.process.pid, number)
    ears.heard.clear()
    ears.wait_for("nisse/tank/state", level_is("mpc"))
    code, said = daemon.end()
    assert (code, tank.inflow) == (0, 0.0), said


@pytest.mark.parametrize(("arguments", "code"), [((), EXIT_UNSAFE), (("--dry-run",), 0)])
def test_one_cycle_that_could_not_write_is_no_success(
    daemon: Callable[..., subprocess.Popen[str]], tank: Tank, ears: Ears, arguments: tuple[str, ...], code: int
) -> None:
    """The register is gone: neither set-point nor safe value arrives; a dry run writes none."""
    forecast(ears)
    process = daemon("--cycles", "1", *arguments)
    del tank.registers.holding[INFLOW]
    found, said = ended(process)
    assert found == code, said
    assert ("inflow" in said) == bool(code)


def test_a_start_that_fails_leaves_the_device_safe_as_well(
    daemon: Callable[..., subprocess.Popen[str]], tank: Tank, bundle_directory: Path, tmp_path: Path
) -> None:
    """Killed with a set-point in force, and started again without a bundle: nobody else will switch it off."""
    tank.site.write_text(tank.site.read_text().replace(str(bundle_directory), str(tmp_path / "none.nisse")))
    code, said = ended(daemon())
    assert code == 65 and "none.nisse" in said and tank.inflow == 0.0
