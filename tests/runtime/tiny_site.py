"""A small real site for tests: a tank with a pump behind Modbus, its files, an MQTT client, a bench for lockstep."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from patience import PATIENCE_S

from hil.modbus_plant import ModbusDevice, Registers
from hil.serial_line import SerialLine
from runtime.bundle.archive import (
    ActionLimit,
    Manifest,
    ParameterSpec,
    SafetySet,
    SignalSpec,
    StateLimit,
)
from runtime.formats.weekly import Weekly

HERE = Path(__file__).parent
ABI = HERE.parents[1] / "runtime" / "abi"
CYCLE_S = 60.0
START_S = 1_700_000_040.0  # on the grid of 60 s
LEVEL_REGISTER, INFLOW_REGISTER = 0, 10


def tiny_manifest(**changes: Any) -> Manifest:
    """x+ = x + a - d, 0 <= x <= 1, kept within [0.05, 0.95] by the safety filter against |w| <= 0.01."""
    values: dict[str, Any] = {
        "name": "tiny tank",
        "system": "tiny",
        "dt_s": CYCLE_S,
        "horizon": 4,
        "discount": 1.0,
        "states": (SignalSpec(name="level", unit="1", lower=0, upper=1),),
        "actions": (SignalSpec(name="inflow", unit="kW", lower=-1, upper=1),),
        "forecasts": (SignalSpec(name="demand", unit="kW", lower=-1, upper=1),),
        "theta": (ParameterSpec(name="gain", unit="1", lower=0.1, upper=2),),
        "limits": (ActionLimit(name="inflow"),),
        "safety": SafetySet(
            limits=(StateLimit(name="level", lower=0.05, upper=0.95, disturbance=(-0.01, 0.01)),),
            state_matrix=((1.0,),),
            action_matrix=((1.0,),),
            forecast_matrix=((-1.0,),),
        ),
    }
    return Manifest.model_validate({**values, **changes})


NIGHT = {"default": 21, "schedule": [{"from": "22:00", "to": "06:00", "value": 19}]}
SUNDAY = {"default": 45, "schedule": [{"days": "sun", "from": "13:00", "to": "15:00", "value": 58}]}


def scheduled(name: str, value: Any, lower: float = 5, upper: float = 35) -> dict[str, Any]:
    schedule = Weekly.model_validate(value if isinstance(value, dict) else {"default": value})
    return {"name": name, "unit": "degC", "lower": lower, "upper": upper, "schedule": schedule}


def comfort_manifest() -> Manifest:
    """A zone with a night, one that is always the same, a tank; half hours."""
    forecasts = [
        scheduled("living_set_point", NIGHT), scheduled("living_lower", 18), scheduled("living_upper", 23),
        scheduled("bed_set_point", 17), scheduled("bed_lower", 16), scheduled("bed_upper", 22),
        scheduled("water_lower", SUNDAY, 0, 95), scheduled("water_upper", 65, 0, 95),
    ]  # fmt: skip
    states = tuple(
        SignalSpec(name=f"{asset}_temperature", unit="degC", lower=0, upper=95) for asset in ("living", "bed", "water")
    )
    changes = {"states": states, "forecasts": forecasts, "safety": None, "limits": ()}
    return tiny_manifest(format_version=2, dt_s=1800.0, horizon=47, **changes)


def site_text(bundle: Path, public_key: str, port: Path, broker_port: int, extra: str = "") -> str:
    return f"""
[site]
name = "tank"

[controller]
bundle = "{bundle}"
trusted_keys = ["{public_key}"]
cycle_s = {CYCLE_S}
solve_timeout_s = 1.0
plan_max_age_s = 130
{extra}

[mqtt]
port = {broker_port}

[serial.pump]
protocol = "modbus"
port = "{port}"
parity = "N"  # a pty has none
timeout_s = 0.5

[inputs.level]
source = "pump"
register = {{ kind = "input", address = {LEVEL_REGISTER}, type = "uint16", scale = 0.001 }}
unit = "1"
max_age_s = 30

[inputs.demand]
source = "mqtt"
topic = "plant/demand"
pointer = "/values"
unit = "W"
max_age_s = 600

[outputs.inflow]
sink = "pump"
register = {{ kind = "holding", address = {INFLOW_REGISTER}, type = "int16", scale = 0.001 }}
unit = "kW"
combine = {{ inflow = 1.0 }}
safe = 0.0

[rule]
kind = "hold"
values = {{ inflow = 0.125 }}
"""


@dataclass
class Ears:
    """An MQTT client that remembers the last message per topic."""

    client: paho.Client
    heard: dict[str, list[bytes]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, topic: str, accept: Callable[[bytes], bool] = bool, timeout_s: float = PATIENCE_S) -> bytes:
        with self.changed:
            assert self.changed.wait_for(lambda: accept(self.heard.get(topic, [b""])[-1]), timeout_s), (
                f"no such message on {topic}: {self.heard.get(topic)}"
            )
            return self.heard[topic][-1]

    def say(self, topic: str, payload: bytes | str, retain: bool = False) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_S)


def listen(port: int) -> Ears:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    ears = Ears(client)

    def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with ears.changed:
            ears.heard.setdefault(message.topic, []).append(message.payload)
            ears.changed.notify_all()

    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe("nisse/#", qos=1)
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return ears


@dataclass
class Tank:
    """The device: a level to read, an inflow to be told; and the files of its site."""

    registers: Registers
    device: ModbusDevice
    line: SerialLine
    site: Path

    def set_level(self, level: float) -> None:
        self.registers.set_input({LEVEL_REGISTER: round(level * 1000)})

    @property
    def inflow(self) -> float:
        word = self.registers.holding[INFLOW_REGISTER]
        return (word - 0x10000 if word >= 0x8000 else word) / 1000


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "nisse.cli", *map(str, arguments)]


class Bench:
    """The bench's end of lockstep, reduced to what these tests need."""

    def __init__(self, tank: Tank, ears: Ears, socket_path: Path, environment: dict[str, str]) -> None:
        self.tank, self.ears = tank, ears
        self.time_s, self.sequence = START_S, 0
        self.cycle_time_s = START_S
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(socket_path))
            listener.listen(1)
            listener.settimeout(PATIENCE_S)  # a busy machine starts slowly
            self.process = subprocess.Popen(
                command("run", tank.site, "--lockstep", socket_path),
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
            self.channel, _ = listener.accept()
        self.channel.settimeout(PATIENCE_S)
        self.lines = self.channel.makefile("rw", encoding="utf-8")
        assert json.loads(self.lines.readline()) == {"event": "ready"}

    def demand(self, watts: float = 100.0, hours: int = 1) -> None:
        """Publish a forecast that starts now."""
        document = {"start": self.time_s, "step_s": 60, "values": [watts] * 60 * hours}
        self.ears.say("plant/demand", json.dumps(document))

    def cycle(self, *, advance_s: float = CYCLE_S, jump_s: float = 0.0) -> dict[str, Any]:
        self.sequence += 1
        self.ears.say("bench/barrier", str(self.sequence))
        order = {"do": "cycle", "time": self.time_s, "elapsed": advance_s, "barrier": {"sequence": self.sequence}}
        self.lines.write(json.dumps(order) + "\n")
        self.lines.flush()
        event: dict[str, Any] = json.loads(self.lines.readline())
        assert event["event"] == "cycle", event
        self.cycle_time_s = self.time_s
        self.time_s += advance_s + jump_s
        return event

    def state(self) -> dict[str, Any]:
        """What the last cycle published, when it has arrived here: what was said before it is here as well."""
        return dict(json.loads(self.ears.wait_for("nisse/tank/state", self._of_last_cycle)))

    def _of_last_cycle(self, message: bytes) -> bool:
        return bool(message) and datetime.fromisoformat(json.loads(message)["time"]).timestamp() == self.cycle_time_s

    def stop(self) -> int:
        self.lines.write('{"do": "stop"}\n')
        self.lines.flush()
        assert json.loads(self.lines.readline()) == {"event": "stopped"}
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.lines.close()
        self.channel.close()


@dataclass
class Running:
    """A daemon process on the wall clock, and what it tells the service manager."""

    process: subprocess.Popen[str]
    notifications: socket.socket

    def notified(self, timeout_s: float = 5.0) -> list[str]:
        """What the service manager was told, up to a pause of timeout_s or the first ten messages."""
        self.notifications.settimeout(timeout_s)
        heard: list[str] = []
        with contextlib.suppress(TimeoutError):
            while len(heard) < 10:
                heard.append(self.notifications.recv(4096).decode())
        return heard

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors


def forecast(ears: Ears, watts: float = 100.0) -> None:
    document = {"start": time.time() - 60, "step_s": 60, "values": [watts] * 240}
    ears.say("plant/demand", json.dumps(document), retain=True)


def level_is(level: str) -> Callable[[bytes], bool]:
    return lambda message: f'"level":"{level}"'.encode() in message
