"""`nisse device`: the list, what a profile says, and a device tried: read only, and one set-point and back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from hil.modbus_tcp import ModbusTcpServer
from hil.profile_device import ProfileDevice, packed
from nisse.cli import main
from runtime.devices.catalogue import shipped
from runtime.devices.profile import load_profile
from runtime.errors import EXIT_CONFIG

VALUES = ("--value", "max_charge_w=5000", "--value", "max_discharge_w=5000")


@pytest.fixture
def huawei() -> Iterator[tuple[ProfileDevice, ModbusTcpServer]]:
    device = ProfileDevice(load_profile(shipped()["huawei-sun2000"]))
    for reading in device.profile.read:
        device.show(reading, 40.0)
    server = ModbusTcpServer(device.slaves, time.monotonic)
    yield device, server
    server.close()


def test_the_list_and_what_a_profile_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["device", "list", "--json", str(tmp_path / "list.json")]) == 0
    assert {entry["name"] for entry in json.loads((tmp_path / "list.json").read_text())} == set(shipped())
    for name in shipped():
        assert main(["device", "show", name]) == 0
        out = capsys.readouterr().out
        assert "sources" in out and "tried on a real device" in out


def test_a_device_is_read_and_nothing_is_written(
    huawei: tuple[ProfileDevice, ModbusTcpServer], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    device, server = huawei
    place = ["--host", "127.0.0.1", "--port", str(server.port)]
    assert main(["device", "try", "huawei-sun2000", *place, "--json", str(tmp_path / "found.json")]) == 0
    assert "5 of 5 readings" in capsys.readouterr().out
    assert device.slaves[1].take_writes() == []
    found = {one["name"]: one["value"] for one in json.loads((tmp_path / "found.json").read_text())}
    assert found == dict.fromkeys(device.profile.read, 40.0)


def test_a_wrong_word_order_is_noticed(
    huawei: tuple[ProfileDevice, ModbusTcpServer], capsys: pytest.CaptureFixture[str]
) -> None:
    device, server = huawei
    register = device.profile.read["grid_power"].registers[0]
    device.store(register, packed(1234, register)[::-1])
    assert main(["device", "try", "huawei-sun2000", "--host", "127.0.0.1", "--port", str(server.port)]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "grid_power" in line)
    assert line.startswith("BAD") and "its words the other way round are -1234" in line


def test_one_set_point_and_back(
    huawei: tuple[ProfileDevice, ModbusTcpServer], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, server = huawei
    monkeypatch.setattr("runtime.devices.trial.SETTLE_S", 0.0)
    told = ["--host", "127.0.0.1", "--port", str(server.port), *VALUES, "--write", "battery_power=1500"]
    assert main(["device", "try", "huawei-sun2000", *told]) == 0
    out = capsys.readouterr().out
    assert "battery_power = 1500 W: in force" in out and "given back to its own control: done" in out
    written = [(address, word) for _, address, word in device.slaves[1].take_writes()]
    assert (47248, 1500) in written and written.index((47100, 1)) < written.index((47100, 0))
    beyond = [*told[:-1], "battery_power=9000"]
    assert main(["device", "try", "huawei-sun2000", *beyond]) == EXIT_CONFIG
    assert device.slaves[1].take_writes() == []


def test_a_plain_register_gets_back_what_was_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runtime.devices.trial.SETTLE_S", 0.0)
    device = ProfileDevice(load_profile(shipped()["nibe-s"]))
    device.slaves[1].holding[30] = 0x10000 - 2
    server = ModbusTcpServer(device.slaves, time.monotonic)
    site = tmp_path / "site.toml"
    site.write_text(
        '[site]\nname = "x"\n[controller]\nbundle = "b"\ntrusted_keys = []\ncycle_s = 60\n[inputs]\n[outputs]\n'
        f'[device.pump]\nprofile = "nibe-s"\nhost = "127.0.0.1"\nport = {server.port}\n'
    )
    assert main(["device", "try", "pump", "--site", str(site), "--write", "heat_offset=3"]) == 0
    assert [word for _, address, word in device.slaves[1].take_writes() if address == 30] == [3, 0x10000 - 2]
    assert "what was there before: done" in capsys.readouterr().out
    assert main(["check", str(site), "--no-bundle"]) == 0
    assert "pump: nibe-s; nothing of it is used" in capsys.readouterr().out
    assert main(["device", "try", "pumpe", "--site", str(site)]) == EXIT_CONFIG
    assert "did you mean 'pump'?" in capsys.readouterr().err
    server.close()


def test_a_response_is_learned_from_a_log_that_can_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A made house: 1.6 kW at a shift of 0 and 0 degC, 0.22 kW more a step, 0.08 less a degree."""
    rng = np.random.default_rng(3)
    offset, outdoor = rng.integers(-3, 4, 200), rng.uniform(-10, 10, 200)
    watts = 1000 * (1.6 + 0.22 * offset - 0.08 * outdoor + 0.1 * rng.standard_normal(200))
    rows = [f"{o},{w:.0f},{t:.1f}" for o, w, t in zip(offset, watts, outdoor, strict=True)]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["offset,pump_w,outdoor", *rows, "1,unavailable,3"]))
    columns = ["--set-point", "offset", "--power", "pump_w", "--outdoor", "outdoor"]
    assert main(["device", "response", str(log), *columns]) == 0
    said = dict(line.partition("#")[0].split(" = ") for line in capsys.readouterr().out.splitlines()[2:])
    found = [float(said[key]) for key in ("kw_at_zero", "kw_per_unit", "kw_per_degree")]
    assert found == pytest.approx([1.6, 0.22, -0.08], abs=0.03)
    noise = [f"{rng.normal(900, 300):.0f}" for _ in offset]

    def table(shifts: Sequence[object], powers: Sequence[object], temperatures: Sequence[object]) -> str:
        return "\n".join(["offset,pump_w,outdoor", *map("{},{},{}".format, shifts, powers, temperatures)])

    for text, reason in (
        (table([0] * 200, list(watts), list(outdoor)), "never changed"),
        (table(list(offset), noise, [1] * 200), "never changed"),
        (table(list(offset), noise, list(outdoor)), "may be nothing"),
        ("offset,pump_w,outdoor\n1,2,3\n", "too few"),
        ("a,b\n1,2\n", "no column 'offset'"),
    ):
        log.write_text(text)
        assert main(["device", "response", str(log), *columns]) == EXIT_CONFIG
        assert reason in capsys.readouterr().err
