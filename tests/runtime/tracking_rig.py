"""A home with a battery behind one serial line: what the meter shows is the load and what the battery was told."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiny_site import Bench, Ears

from hil.modbus_plant import ModbusDevice, Registers
from hil.serial_line import SerialLine
from runtime.bundle.archive import LIBRARY, Manifest, write_bundle
from runtime.bundle.keys import SigningKey

HERE = Path(__file__).parent
ABI = HERE.parents[1] / "runtime" / "abi"
CYCLE_S = 900.0
SOC, METER, POWER, SECOND = 0, 1, 10, 11
LIMIT_KW = 5.0


def battery_manifest(**changes: Any) -> Manifest:
    """One battery of 10 kWh and 5 kW, kept within 2 and 98 %; the plan is the forecast `wish`."""
    power = {"unit": "kW", "lower": 0.0, "upper": LIMIT_KW}
    outside = {"unit": "kW", "lower": -20.0, "upper": 20.0}
    drawn = [{"signal": "charge", "factor": 1.0}, {"signal": "discharge", "factor": -1.0}]
    document: dict[str, Any] = {
        "format_version": 3,
        "name": "tiny battery",
        "system": "tiny",
        "dt_s": CYCLE_S,
        "decide_every_s": CYCLE_S,
        "horizon": 4,
        "discount": 1.0,
        "states": [{"name": "soc", "unit": "1", "lower": 0.0, "upper": 1.0}],
        "actions": [{**power, "name": "charge"}, {**power, "name": "discharge"}],
        "forecasts": [{**outside, "name": "wish"}, {**outside, "name": "load"}],
        "theta": [{"name": "gain", "unit": "1", "lower": 0.1, "upper": 2.0}],
        "safety": {
            "limits": [{"name": "soc", "lower": 0.02, "upper": 0.98}],
            "state_matrix": [[1.0]],
            "action_matrix": [[0.025, -0.025]],
        },
        "tracking": {
            "meter": "grid_power",
            "batteries": [{"charge": "charge", "discharge": "discharge"}],
            "actions": drawn,
            "forecasts": [{"signal": "load", "factor": 1.0}],
            "import_limit_kw": 17.0,
            "export_limit_kw": 17.0,
        },
    }
    return Manifest.model_validate({**document, **changes})


def two_batteries() -> dict[str, Any]:
    """Fields of a manifest with a second battery, of half the power, on the same meter."""
    names = ("charge", "discharge", "charge_2", "discharge_2")
    most = (LIMIT_KW, LIMIT_KW, LIMIT_KW / 2, LIMIT_KW / 2)
    return {
        "actions": [{"name": n, "unit": "kW", "lower": 0.0, "upper": up} for n, up in zip(names, most, strict=True)],
        "safety": None,
        "tracking": {
            "meter": "grid_power",
            "batteries": [{"charge": c, "discharge": d} for c, d in (names[:2], names[2:])],
            "actions": [{"signal": n, "factor": 1.0 if n.startswith("charge") else -1.0} for n in names],
            "forecasts": [{"signal": "load", "factor": 1.0}],
            "import_limit_kw": 17.0,
            "export_limit_kw": 17.0,
        },
    }


def compiled(folder: Path, batteries: int = 1) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "these tests need a C compiler"
    out = folder / LIBRARY
    source = str(HERE / "tiny_battery.c")
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", f"-DBATTERIES={batteries}", "-I", str(ABI), "-o", str(out), source],
        check=True,
    )
    return out


def bundled(folder: Path, library: Path, key: SigningKey, **changes: Any) -> Path:
    files = {f"lib/{platform.machine()}/{LIBRARY}": library}
    write_bundle(folder, battery_manifest(**changes), files, {"gain": 1.0}, {"passed": True}, key)
    return folder


def site_text(bundle: Path, public_key: str, port: Path, broker_port: int, extra: str = "") -> str:
    return f"""
[site]
name = "tank"

[controller]
bundle = "{bundle}"
trusted_keys = ["{public_key}"]
cycle_s = {CYCLE_S}
solve_timeout_s = 1.0

[mqtt]
port = {broker_port}

[serial.inverter]
protocol = "modbus"
port = "{port}"
parity = "N"  # a pty has none
timeout_s = 0.5

[inputs.soc]
source = "inverter"
register = {{ kind = "input", address = {SOC}, scale = 0.001 }}
unit = "1"
max_age_s = 1800

[inputs.grid_power]
source = "inverter"
register = {{ kind = "input", address = {METER}, type = "int16", scale = 0.001 }}
unit = "kW"
max_age_s = 60

[inputs.wish]
source = "mqtt"
topic = "plant/wish"
pointer = "/values"
unit = "kW"
max_age_s = 6000

[inputs.load]
source = "mqtt"
topic = "plant/load"
pointer = "/values"
unit = "kW"
max_age_s = 6000

[outputs.battery]
sink = "inverter"
register = {{ kind = "holding", address = {POWER}, type = "int16", scale = 0.001 }}
unit = "kW"
combine = {{ charge = 1.0, discharge = -1.0 }}
safe = 0.0
writes_per_day = 100000

[rule]
kind = "self_consumption"
net_load = {{ load = 1.0 }}
meter = "grid_power"
meter_at = "grid"
{extra}
"""


@dataclass
class Home:
    """The device, and the files of its site. `sign` of the meter and `stuck` power of the inverter may be wrong."""

    registers: Registers
    device: ModbusDevice
    line: SerialLine
    site: Path
    load_kw: float = 1.0
    sign: float = 1.0
    frozen: bool = False
    own_mode_kw: float | None = None
    """What the inverter does and shows, whatever it is told."""
    seen: list[float] = field(default_factory=list)

    @property
    def battery_kw(self) -> float:
        return self.powers_kw[0]

    @property
    def powers_kw(self) -> list[float]:
        """Of each battery."""
        words = [self.registers.holding[a] for a in (POWER, SECOND) if a in self.registers.holding]
        return [(word - 0x10000 if word >= 0x8000 else word) / 1000 for word in words]

    @property
    def grid_kw(self) -> float:
        return self.load_kw + sum(self.powers_kw)

    def show(self, soc: float = 0.5) -> None:
        """What the registers say now."""
        if self.own_mode_kw is not None:
            self.registers.holding[POWER] = round(self.own_mode_kw * 1000) & 0xFFFF
        words = {SOC: round(soc * 1000)}
        if not self.frozen:
            words[METER] = round(self.sign * self.grid_kw * 1000) & 0xFFFF
        self.registers.set_input(words)
        self.seen.append(self.grid_kw)


class TrackingBench(Bench):
    """The bench's end of lockstep, with looks at the meter between cycles."""

    def __init__(self, home: Home, ears: Ears, socket_path: Path, environment: dict[str, str]) -> None:
        super().__init__(home, ears, socket_path, environment)  # type: ignore[arg-type]
        self.home = home

    def plan(self, wish_kw: float, load_kw: float) -> None:
        """Publish what the plan will be, and the load that it foresees."""
        for name, value in (("wish", wish_kw), ("load", load_kw)):
            document = {"start": self.time_s, "step_s": CYCLE_S, "values": [value] * 8}
            self.ears.say(f"plant/{name}", json.dumps(document))

    def decide(self, soc: float = 0.5) -> dict[str, Any]:
        """A cycle; the looks that follow it begin a second later."""
        self.home.show(soc)
        event = self.cycle(advance_s=1.0)
        self.home.show(soc)
        return event

    def look(self, seconds: float = 1.0) -> dict[str, Any]:
        """One look at the meter, `seconds` after the last order."""
        order = {"do": "track", "time": self.time_s, "elapsed": seconds}
        self.home.show()
        self.lines.write(json.dumps(order) + "\n")
        self.lines.flush()
        event: dict[str, Any] = json.loads(self.lines.readline())
        assert event["event"] == "track", event
        self.time_s += seconds
        self.home.show()
        found: dict[str, Any] = event["tracking"]
        return found
