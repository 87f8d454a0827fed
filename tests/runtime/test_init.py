"""`nisse init`: from options or answers to a site file that `nisse check` accepts; `nisse doctor` about the machine."""

from __future__ import annotations

import json
import os
import platform
import pty
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from patience import PATIENCE_S
from shipped_house import shipped_house
from tiny_site import command

from hil.modbus_tcp import ModbusTcpServer
from hil.profile_device import ProfileDevice
from runtime.bundle.archive import LIBRARY, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.bundle.packing import pack
from runtime.clock import LockstepClock
from runtime.commands.init import machine_zone
from runtime.devices.catalogue import shipped
from runtime.devices.profile import load_profile
from runtime.links.wiring import open_links
from runtime.publish.status_file import Status, write_status
from runtime.site.check import warnings
from runtime.site.config import load_site
from runtime.site.doctor import daemon, disk, processor, serial_port
from runtime.site.template import LINKS


def nisse(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def bundle(house: str, folder: Path, library: Path, key: SigningKey) -> Path:
    """A packed bundle that says of itself what that of a shipped house does; its controller is never asked."""
    manifest, theta = shipped_house(house)
    files = {f"lib/{platform.machine()}/{LIBRARY}": library}
    directory = write_bundle(folder / "unpacked" / house, manifest, files, theta, {}, key)
    return pack(directory, folder / f"{house}.nisse")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("house", ["battery", "four-heat-pumps"])
def test_what_init_writes_is_accepted_by_check(
    house: str, link: str, tmp_path: Path, library: Path, key: SigningKey
) -> None:
    bundle(house, tmp_path, library, key)
    done = nisse("init", "--bundle", f"{house}.nisse", "--link", link, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert key.public in done.stdout and "compare" in done.stdout
    before = sorted(tmp_path.iterdir())
    checked = nisse("check", "site.toml", cwd=tmp_path)
    assert sorted(tmp_path.iterdir()) == before  # looking leaves nothing behind
    assert checked.returncode == 0, checked.stderr
    site, manifest = load_site(tmp_path / "site.toml"), shipped_house(house)[0]
    assert not site.rule and manifest.rules  # they come with the bundle
    assert bool(site.serial) == (link == "serial")
    said = warnings(site, manifest)
    if house == "battery":
        # The one thing that only a meter of the owner's can mend.
        assert len(said) == 1 and "there is no self-consumption; add [inputs.grid_power]" in said[0]
    else:
        # A house without readings is not left cold.
        assert {output.safe * (1e-3 if output.unit == "W" else 1.0) for output in site.outputs.values()} == {0.5}
        assert said == []
        # What is offered as a comment is what the bundle will do anyway, and can be uncommented.
        assert site.rhythm(None).every_cycle
        site.path.write_text(site.text.replace("# decide_every_s", "decide_every_s"))
        assert load_site(site.path).rhythm(None).every_s == manifest.decide_every_s == 1800.0
    assert len([line for line in site.text.splitlines() if "#" in line]) > 12


@pytest.mark.parametrize("named", [False, True])
def test_the_questions_are_few_and_their_answers_are_obeyed(
    named: bool, tmp_path: Path, library: Path, key: SigningKey
) -> None:
    bundle("battery", tmp_path, library, key)
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        command("init", "--bundle", "battery.nisse"), stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    os.close(terminal)
    owned = ["goodwe-et", "192.0.2.7", "6000", "63.4,10.4", "entsoe:NO3"] if named else ["", "", "mqtt"]
    answers = [*owned, "120", "cellar", "Europe/Oslo", "192.0.2.1", 'no"body\\']
    os.write(screen, "".join(f"{answer}\n" for answer in answers).encode())
    said, _ = process.communicate(timeout=PATIENCE_S)
    os.close(screen)
    assert process.returncode == 0, said
    assert said.count(b"?") == len(answers)
    if named:
        site = load_site(tmp_path / "site.toml")
        assert site.feeds is not None and site.feeds.price is not None and site.feeds.price.source == "entsoe"
        assert site.outputs["home_power"].limits == (-6000.0, 6000.0)
        return
    written = tomllib.loads((tmp_path / "site.toml").read_text())
    assert written["site"] == {"name": "cellar", "timezone": "Europe/Oslo"}
    assert written["mqtt"]["host"] == "192.0.2.1" and written["mqtt"]["username"] == 'no"body\\'
    assert written["controller"]["bundle"] == "battery.nisse"
    assert written["outputs"]["home_power"]["device_timeout_s"] == 120.0


def test_where_they_live_and_what_they_own_is_enough(tmp_path: Path, library: Path, key: SigningKey) -> None:
    """Every signal has its device or its feed; the inverter's readings arrive, and one that is away is said."""
    bundle("battery", tmp_path, library, key)
    device = ProfileDevice(load_profile(shipped()["goodwe-et"]))
    shown = {"soc": 44.0, "grid_power": -1200.0, "pv_power": 3100.0, "battery_power": 1500.0}
    for reading, value in shown.items():
        device.show(reading, value)
    server = ModbusTcpServer(device.slaves, time.monotonic)
    owned = ["--device", f"inverter=goodwe-et@127.0.0.1:{server.port}", "--device-value", "inverter.max_power_w=5000"]
    place = ["--place", "63.43,10.39", "--price", "energy-charts:NO2"]
    done = nisse("init", "--bundle", "battery.nisse", *owned, *place, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    checked = nisse("check", "site.toml", cwd=tmp_path)
    assert checked.returncode == 0 and "price: energy-charts NO2" in checked.stdout, checked.stderr
    site = load_site(tmp_path / "site.toml")
    assert not [entry.topic for entry in site.inputs.values() if entry.topic and "nisse-feeds/" not in entry.topic]
    assert site.feeds is not None and site.feeds.load["load"].measured == {
        "grid_power": 1.0, "pv_power": 1.0, "battery_power": -1.0,
    }  # fmt: skip
    links = open_links(site, LockstepClock(), lockstep=True)
    found = {name: links.read()[name].value for name in ("home_soc", "grid_power", "pv_power", "battery_power")}
    assert found == {"home_soc": 44.0, "grid_power": -1200.0, "pv_power": 3100.0, "battery_power": 1500.0}
    server.close()
    for line in links.devices.values():
        line.close()


@pytest.mark.parametrize(
    ("house", "owned", "wanted"),
    [
        ("villa", "hp=stiebel-wpm@192.0.2.8", {"water_temperature": "water"}),
        ("villa", "hp=heishamon@panasonic_heat_pump", {"water_temperature": "water"}),
        ("villa", "meter=goodwe-et@/dev/ttyUSB0", {"home_soc": "soc", "grid_power": "grid_power"}),
        ("four-heat-pumps", "hp_living=sg-ready-relay@192.0.2.9", {}),
    ],
)
def test_what_a_device_does_not_bring_is_left_to_its_owner(
    house: str, owned: str, wanted: dict[str, str], tmp_path: Path, library: Path, key: SigningKey
) -> None:
    bundle(house, tmp_path, library, key)
    name = owned.partition("=")[0]
    value = ["--device-value", f"{name}.max_power_w=5000"] if "goodwe" in owned else []
    done = nisse("init", "--bundle", f"{house}.nisse", "--device", owned, *value, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert nisse("check", "site.toml", cwd=tmp_path).returncode == 0
    site, manifest = load_site(tmp_path / "site.toml"), shipped_house(house)[0]
    assert {n: entry.reading for n, entry in site.inputs.items() if entry.device == name} == wanted
    moved = [action for output in site.outputs.values() for action in output.combine]
    assert sorted(moved) == sorted(action.name for action in manifest.actions), "each once"


@pytest.mark.parametrize(("heat", "safe", "said"), [("own", 1.5, "own thermostat"), ("0.7", 0.7, "not left cold"),
                                                    ("0", 0.0, "gets cold"), ("", 0.5, "not left cold")])  # fmt: skip
def test_what_a_heat_pump_does_without_readings_is_asked(
    heat: str, safe: float, said: str, tmp_path: Path, library: Path, key: SigningKey
) -> None:
    bundle("four-heat-pumps", tmp_path, library, key)
    options = ["--heat-safe", heat] if heat else []
    done = nisse("init", "--bundle", "four-heat-pumps.nisse", "--link", "serial", *options, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    site = load_site(tmp_path / "site.toml")
    assert [output.safe for output in site.outputs.values()] == [1000.0 * safe] * 4
    assert site.text.count(said) == 4 and "keeps the last set-point" in site.text
    cold = [text for text in warnings(site, shipped_house("four-heat-pumps")[0]) if "leaves the house cold" in text]
    assert len(cold) == (4 if safe == 0.0 else 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bundle", "battery.nisse", "--yes"], "exists and is not replaced"),
        (["new.toml", "--bundle", "battery.nisse"], "add --yes"),
        (["new.toml", "--bundle", "gone.nisse", "--yes"], "no such bundle"),
        (["new.toml", "--bundle", "battery.nisse", "--house", "villa", "--yes"], "--house: what is controlled is said"),
        (["new.toml", "--bundle", "battery.nisse", "--name", "Æøå", "--yes"], "nothing is written"),
        (["new.toml", "--bundle", "battery.nisse", "--timezone", "Mars/Olympus", "--yes"], "Europe/Oslo"),
        (["new.toml", "--bundle", "battery.nisse", "--trusted-key", "mine", "--yes"], "nisse key show"),
        (
            ["new.toml", "--bundle", "four-heat-pumps.nisse", "--heat-safe", "warm", "--yes"],
            "no power between 0 and 1.5",
        ),
        (["new.toml", "--bundle", "four-heat-pumps.nisse", "--heat-safe", "-1", "--yes"], "no power between 0"),
        (["new.toml", "--bundle", "battery.nisse", "--device-timeout", "soon", "--yes"], "no number of seconds"),
        (["new.toml", "--bundle", "battery.nisse", "--device", "goodwe-et", "--yes"], "write NAME=PROFILE@PLACE"),
        (["new.toml", "--bundle", "battery.nisse", "--device", "i=godwe-et@h", "--yes"], "did you mean 'goodwe-et'?"),
        (
            ["new.toml", "--bundle", "battery.nisse", "--device", "i=goodwe-et@h", "--yes"],
            "--device-value i.max_power_w=",
        ),
        (["new.toml", "--bundle", "battery.nisse", "--device", "i=lambda-eu-l@/dev/tty", "--yes"], "give an address"),
        (["new.toml", "--bundle", "battery.nisse", "--device-value", "i.x=1", "--yes"], "no --device is called so"),
        (["new.toml", "--bundle", "battery.nisse", "--place", "north", "--yes"], "write 63.43,10.39"),
        (["new.toml", "--bundle", "battery.nisse", "--place", "1,2", "--price", "nordpol:NO3", "--yes"], "'nordpool'"),
        (["new.toml", "--bundle", "battery.nisse", "--place", "1,2", "--price", "entsoe", "--yes"], "entsoe:NO3"),
        (["new.toml", "--bundle", "battery.nisse", "--price", "nordpool:NO3", "--yes"], "--place LAT,LON"),
    ],
)
def test_what_cannot_be_written_is_not_written(
    arguments: list[str], message: str, tmp_path: Path, library: Path, key: SigningKey
) -> None:
    for house in ("battery", "four-heat-pumps"):
        bundle(house, tmp_path, library, key)
    (tmp_path / "site.toml").write_text("mine")
    done = nisse("init", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "site.toml").read_text() == "mine"
    assert not (tmp_path / "new.toml").exists() and not list(tmp_path.glob(".*toml*"))


def test_the_zone_of_the_machine(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Oslo")
    assert machine_zone(link) in {"Europe/Oslo", "UTC"}  # UTC where the machine has no database of zones
    assert machine_zone(tmp_path / "gone") == "UTC"


def test_the_doctor_sees_a_processor_that_cannot_run_the_solver(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse2 fma\n")
    assert processor("x86_64", cpuinfo).verdict == "fail" and "avx2" in processor("x86_64", cpuinfo).text
    cpuinfo.write_text("Features\t: fp asimd evtstrm\n")
    assert processor("aarch64", cpuinfo).verdict == "ok"
    assert processor("riscv64", cpuinfo).verdict == "warn"
    assert processor("x86_64", tmp_path / "gone").verdict == "warn"


def test_the_doctor_says_what_the_daemon_says_of_its_inputs(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    assert list(daemon(file)) == []
    inputs = {
        "buy_price": {"validity": "ok", "problem": "does not reach the end of the horizon"},
        "room_2": {"validity": "doubtful", "problem": "62.6 degC: the other rooms say otherwise; is it in °F?"},
        "soc": {"validity": "ok", "problem": ""},
    }
    state = {"level": "mpc", "inputs": inputs, "notices": {"forecasts": "buy_price: does not reach the end"}}
    write_status(file, Status("tank", 0.0, state))
    said = [(f.verdict, f.subject) for f in daemon(file)]
    assert said == [("warn", "notice forecasts"), ("warn", "input buy_price"), ("warn", "input room_2")]
    write_status(file, Status("tank", 0.0, {"level": "rule", "inputs": {}, "notices": {}}))
    assert [(f.verdict, f.text) for f in daemon(file)] == [("ok", "last seen at level rule, without a notice")]
    file.write_text('{"notices": 7}')
    assert list(daemon(file)) == []


def test_the_doctor_prefers_names_that_stay(tmp_path: Path) -> None:
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    port, stable = tmp_path / "ttyUSB0", by_id / "usb-FTDI_1234-if00-port0"
    port.touch()
    assert serial_port("p", port, by_id).verdict == "ok"  # there is no better name
    stable.symlink_to(port)
    assert serial_port("p", stable, by_id).verdict == "ok"
    loose = serial_port("p", port, by_id)
    assert loose.verdict == "warn" and str(stable) in loose.remedy
    gone = serial_port("p", tmp_path / "ttyUSB1", by_id)
    assert gone.verdict == "fail" and str(stable) in gone.remedy


def test_the_doctor_measures_the_disk_where_the_log_goes_and_makes_nothing(
    tmp_path: Path, library: Path, key: SigningKey
) -> None:
    packed = bundle("battery", tmp_path, library, key)
    assert nisse("init", "--bundle", packed.name, "--yes", cwd=tmp_path).returncode == 0
    packed.unlink()
    text = (tmp_path / "site.toml").read_text()
    (tmp_path / "site.toml").write_text(text + '\n[store]\npath = "deep/down/nisse.db"\n')
    assert disk(load_site(tmp_path / "site.toml")).verdict in {"ok", "warn"}
    assert not (tmp_path / "deep").exists()
    report = tmp_path / "report.json"
    done = nisse("doctor", "site.toml", "--json", report, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    findings = {f["subject"]: f for f in json.loads(report.read_text())}
    assert findings["bundle"]["verdict"] == "fail" and findings["bundle"]["remedy"] == "`nisse build` writes one"
    assert findings["clock"]["verdict"] in {"ok", "warn"}
