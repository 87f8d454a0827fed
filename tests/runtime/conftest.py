"""Fixtures of the small real site: compiled controller, signed bundle, device on a pty, broker, daemon process."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_site import (
    ABI,
    HERE,
    INFLOW_REGISTER,
    LEVEL_REGISTER,
    Bench,
    Ears,
    Running,
    Tank,
    command,
    listen,
    site_text,
    tiny_manifest,
)

from hil.broker import Broker
from hil.modbus_plant import ModbusDevice, Registers
from hil.serial_line import SerialLine
from runtime.bundle.archive import (
    LIBRARY,
    open_bundle,
    write_bundle,
)
from runtime.bundle.keys import SigningKey, new_key


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return new_key(tmp_path_factory.mktemp("keys") / "key.pem")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny controller, compiled for this machine."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "these tests need a C compiler"
    out = tmp_path_factory.mktemp("library") / LIBRARY
    source = str(HERE / "tiny_controller.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-I", str(ABI), "-o", str(out), source, "-lm"], check=True)
    return out


@pytest.fixture(scope="session")
def bundle_directory(tmp_path_factory: pytest.TempPathFactory, library: Path, key: SigningKey) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "tiny"
    files = {f"lib/{platform.machine()}/{LIBRARY}": library}
    write_bundle(directory, tiny_manifest(), files, {"gain": 1.0}, {"passed": True}, key)
    open_bundle(directory, [key.public])
    return directory


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def ears(broker: Broker) -> Iterator[Ears]:
    ears = listen(broker.port)
    yield ears
    ears.client.disconnect()
    ears.client.loop_stop()


@pytest.fixture
def tank(tmp_path: Path, broker: Broker, bundle_directory: Path, key: SigningKey) -> Iterator[Tank]:
    line = SerialLine(tmp_path / "serial-by-id-pump")
    registers = Registers(input={LEVEL_REGISTER: 300}, holding={INFLOW_REGISTER: 0x7FFF})
    device = ModbusDevice(line, registers, lambda: 0.0)
    site = tmp_path / "site.toml"
    site.write_text(site_text(bundle_directory, key.public, line.link, broker.port))
    yield Tank(registers, device, line, site)
    device.close()
    line.close()


@pytest.fixture
def start_bench(tank: Tank, ears: Ears, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """start_bench(**environment) -> a daemon in lockstep with this test."""
    benches: list[Bench] = []
    folder = tempfile.TemporaryDirectory(prefix="nisse")  # a socket's path must be short

    def start(**environment: str) -> Bench:
        benches.append(Bench(tank, ears, Path(folder.name) / f"s{len(benches)}", {**os.environ, **environment}))
        return benches[-1]

    yield start
    for bench in benches:
        bench.close()
    folder.cleanup()


@pytest.fixture
def start(tank: Tank) -> Iterator[Callable[..., Running]]:
    """start(cycle_s=...) -> the daemon process, with a socket that plays systemd."""
    running: list[Running] = []
    folder = tempfile.TemporaryDirectory(prefix="nisse")

    def run(cycle_s: float = 1.0, *arguments: str, **environment: str) -> Running:
        text = tank.site.read_text().replace("cycle_s = 60.0", f"cycle_s = {cycle_s}\ndwell_s = 0.0")
        tank.site.write_text(text)
        address = Path(folder.name) / f"notify{len(running)}"
        notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notifications.bind(str(address))
        process = subprocess.Popen(
            command("run", tank.site, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(address), **environment},
        )
        running.append(Running(process, notifications))
        return running[-1]

    yield run
    for one in running:
        one.process.kill()
        one.process.communicate()
        one.notifications.close()
    folder.cleanup()
