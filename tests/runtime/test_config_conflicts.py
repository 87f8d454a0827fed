"""A site file whose entries are in each other's way is refused, by `nisse check` and at the start, with a remedy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tiny_site import command, site_text, tiny_manifest

from runtime.bundle.keys import new_key
from runtime.errors import EXIT_CONFIG, ConfigError
from runtime.site.check import warnings
from runtime.site.config import load_site

OUTPUT = '[outputs.{name}]\nsink = "{sink}"\n{place}\nunit = "kW"\ncombine = {{ inflow = 1.0 }}\nsafe = 0.0\n{more}\n'
HOLDING = 'register = {{ kind = "holding", address = {address}, type = "{type}" }}'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The tank's site; its pump is at the character device `port`, one that every machine has."""
    (tmp_path / "port").symlink_to("/dev/ptmx")
    path = tmp_path / "site.toml"
    path.write_text(site_text(tmp_path / "b", new_key(tmp_path / "k.pem").public, tmp_path / "port", 1883))
    return path


def add(site: Path, *tables: str) -> None:
    site.write_text(site.read_text().replace("[rule]", "\n".join([*tables, "[rule]"])))


def output(name: str, sink: str, place: str, more: str = "") -> str:
    return OUTPUT.format(name=name, sink=sink, place=place, more=more)


def refusal(site: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        load_site(site)
    text = str(refused.value)
    assert "\n" not in text and text.startswith(f"{site}:") and ("; " in text or "," in text)
    return text.removeprefix(f"{site}:")


@pytest.mark.parametrize(
    "port",
    ["{folder}/port", "{folder}/../{name}/port", "/dev/ptmx", "{folder}/by-id/usb-adapter", "{folder}/node", "port",
     "spy://{folder}/port"],
)  # fmt: skip
def test_two_devices_on_one_line_by_any_of_its_names(
    site: Path, tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-adapter").symlink_to("../port")
    if "node" in port:
        status = Path("/dev/ptmx").stat()
        try:
            os.mknod(tmp_path / "node", 0o600 | 0o020000, status.st_rdev)
        except PermissionError:
            pytest.skip("making a device takes root")
    named = port.format(folder=tmp_path, name=tmp_path.name)
    add(site, f'[serial.meter]\nprotocol = "modbus"\nport = "{named}"\ndevice_id = 2\n')
    assert "serial.meter.port" in refusal(site) and "[serial.pump] has that line already" in refusal(site)
    done = subprocess.run(command("check", site, "--no-bundle"), capture_output=True, text=True)
    assert done.returncode == EXIT_CONFIG and "adapter of its own" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("socket://gw:502", "SOCKET://GW:0502", True), ("socket://localhost:502", "socket://127.0.0.1:502", True),
        ("socket://gw:502", "socket://gw:503", False), ("/dev/ttyUSB8", "/dev/ttyUSB9", False),
        ("/dev/ttyUSB9", "/dev/../dev/ttyUSB9", True),
    ],
)  # fmt: skip
def test_lines_that_are_not_there_are_told_apart_by_name(site: Path, one: str, other: str, same: bool) -> None:
    text = site.read_text()
    site.write_text(text.replace(f'port = "{site.parent}/port"', f'port = "{one}"'))
    add(site, f'[serial.meter]\nprotocol = "framed"\nport = "{other}"\n')
    if same:
        assert "has that line already" in refusal(site)
    else:
        load_site(site)


@pytest.mark.parametrize(
    ("address", "kind", "more", "why"),
    [
        (10, "int16", "", "is written by outputs.inflow too"),
        (9, "uint32", "", "is written by outputs.inflow too"),
        (11, "int16", "", None),
        (11, "int16", 'device_timeout_s = 60\ntimeout_register = { kind = "holding", address = 10 }', "outputs.inflow"),
        (11, "int16", 'device_timeout_s = 60\ntimeout_register = { kind = "holding", address = 11 }', "outputs.second"),
        (65535, "float32", "", "beyond the last register"),
    ],
)
def test_one_register_is_not_written_for_two(site: Path, address: int, kind: str, more: str, why: str | None) -> None:
    add(site, output("second", "pump", HOLDING.format(address=address, type=kind), more))
    if why is None:
        load_site(site)
    else:
        assert why in refusal(site)


def test_one_time_out_may_be_told_by_two_outputs_if_it_is_the_same(site: Path) -> None:
    told = 'device_timeout_s = {}\ntimeout_register = {{ kind = "holding", address = 40 }}'
    text = site.read_text()
    for seconds, refused in ((60, False), (90, True)):
        site.write_text(text)
        add(
            site,
            output("second", "pump", HOLDING.format(address=20, type="int16"), told.format(60)),
            output("third", "pump", HOLDING.format(address=30, type="int16"), told.format(seconds)),
        )
        if refused:
            assert "is written by outputs.second too" in refusal(site)
        else:
            load_site(site)


@pytest.mark.parametrize(
    ("register", "why"),
    [
        ('kind = "holding", address = 10, type = "int16", scale = 1.0', None),
        ('kind = "holding", address = 10, type = "uint16"', "inputs.demand"),
        ('kind = "holding", address = 9, type = "int32"', "overlaps"),
        ('kind = "input", address = 10, type = "int32"', None),
        ('kind = "input", address = 0, type = "int32"', "overlaps"),
    ],
)
def test_what_is_read_is_a_number_of_the_register_map(site: Path, register: str, why: str | None) -> None:
    where = 'source = "mqtt"\ntopic = "plant/demand"\npointer = "/values"'
    site.write_text(site.read_text().replace(where, f'source = "pump"\nregister = {{ {register} }}'))
    if why is None:
        load_site(site)
    else:
        assert why in refusal(site)


def test_one_channel_of_a_board_is_not_written_for_two(site: Path) -> None:
    board = '[serial.board]\nprotocol = "framed"\nport = "/dev/ttyACM9"\n'
    channel = "channel = { number = 1, scale = 0.001 }"
    add(site, board, output("a", "board", channel), output("b", "board", channel))
    assert "is written by outputs.a too" in refusal(site)


@pytest.mark.parametrize(
    ("topics", "why"),
    [
        (("heat/set", "heat/set"), "outputs.first has it too"), (("plant/demand",), "inputs.demand reads it"),
        (("nisse/tank/set/mode",), "daemon's own"), (("nisse/tank/state",), "daemon's own"), (("$SYS/x",), "below $"),
        (("homeassistant/status",), "daemon's own"), (("heat/1", "heat/2"), None), (("nisse/tanks/a",), None),
    ],
)  # fmt: skip
def test_one_topic_is_for_one_output_and_nobody_hears_himself(
    site: Path, topics: tuple[str, ...], why: str | None
) -> None:
    names = ("first", "second")
    add(site, *(output(n, "mqtt", f'topic = "{t}"') for n, t in zip(names, topics, strict=False)))
    if why is None:
        load_site(site)
    else:
        assert why in refusal(site)


def test_an_input_that_would_be_taken_for_a_command_is_refused(site: Path) -> None:
    site.write_text(site.read_text().replace("plant/demand", "nisse/tank/set/demand"))
    assert "daemon's own" in refusal(site)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("safe = 0.0", "safe = 40.0"), "can never be written: 40 does not fit a int16 register of scale 0.001"),
        (("[mqtt]", '[status]\nfile = "nisse.db"\n\n[mqtt]'), "would be written over the log"),
        (("[mqtt]", '[status]\nfile = "./site.toml"\n\n[mqtt]'), "would be written over the site file"),
    ],
)
def test_what_can_never_be_written_and_what_would_be_overwritten(site: Path, change: tuple[str, str], why: str) -> None:
    site.write_text(site.read_text().replace(*change))
    assert why in refusal(site)


def test_set_points_that_a_register_cannot_hold_are_a_warning(site: Path) -> None:
    site.write_text(site.read_text().replace('type = "int16", scale = 0.001', 'type = "uint16", scale = 0.001'))
    assert "outputs.inflow: -1 does not fit a uint16 register" in warnings(load_site(site), tiny_manifest())[0]


def test_devices_that_share_a_line_have_registers_of_their_own(site: Path) -> None:
    text = site.read_text()
    add(
        site,
        '[modbus.gateway]\nhost = "192.168.1.9"\n',
        output("fan", "pump", 'register = { kind = "holding", address = 10, device_id = 2 }'),
        output("valve", "gateway", 'register = { kind = "coil", address = 10 }'),
    )
    found = load_site(site)
    assert found.speaks("gateway") == "modbus" and set(found.lines) == {"pump", "gateway"}
    site.write_text(text)
    add(site, output("fan", "pump", 'register = { kind = "holding", address = 10, type = "int16", device_id = 1 }'))
    assert "outputs.inflow too" in refusal(site)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ('[modbus.a]\nhost = "localhost"\n[modbus.b]\nhost = "127.0.0.1"\ndevice_id = 7\n', "device_id = 7"),
        ('[modbus.pump]\nhost = "gw"\n', "is the name of another link"),
        ('[modbus.mqtt]\nhost = "gw"\n', "is the name of another link"),
        ('[modbus.a]\nhost = "http://gw/"\n', "pattern"),
        ('[modbus.a]\nhost = "gw"\nprot = 502\n', "did you mean 'port'?"),
    ],
)
def test_connections_that_cannot_be(site: Path, tables: str, said: str) -> None:
    add(site, tables)
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        load_site(site)


@pytest.mark.parametrize(
    ("register", "said"),
    [
        ('{ kind = "holding", address = 10, type = "int32", function = 6 }', "give function = 16"),
        ('{ kind = "coil", address = 10, function = 16 }', "give 5 or 15"),
        ('{ kind = "input", address = 10 }', 'one of kind "holding" or "coil"'),
        ('{ kind = "holding", address = 10, mask = 240 }', "can only be read"),
    ],
)
def test_registers_that_cannot_be_written_so(site: Path, register: str, said: str) -> None:
    add(site, '[modbus.a]\nhost = "gw"\n', output("fan", "a", f"register = {register}"))
    assert said in refusal(site)
