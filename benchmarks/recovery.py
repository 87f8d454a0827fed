"""How long the daemon takes to be itself again after each fault, on the wall clock at a one second cycle.

Each fault acts on the real thing (signals to processes, a pty that goes, a device that misbehaves) and lasts HOLD_S.
Recovered is the first `state` that arrives after the repair with level `mpc`, a fresh measurement and no notice.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from daemon import House
from paho.mqtt.enums import CallbackAPIVersion

from hil.modbus_plant import Answer

CYCLE_S = 1.0
HOLD_S = 5.0
PATIENCE_S = 60.0
FRESH_S = 1.5


@dataclass(frozen=True)
class Recovery:
    """`levels`: those seen while it was broken. `seconds` from the repair; None when it did not come back."""

    fault: str
    levels: tuple[str, ...]
    seconds: float | None


class Watch:
    """Every `state` as it arrives, with the time of its arrival."""

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[float, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("nisse/bench/state", qos=1)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _hear(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            if not message.retain:
                self.seen.append((time.monotonic(), json.loads(message.payload)))
            self._changed.notify_all()

    def well_after(self, moment: float) -> float | None:
        """Seconds from `moment` to the first state that shows nothing wrong; None when there is none."""
        deadline, index = time.monotonic() + PATIENCE_S, 0
        with self._changed:
            while time.monotonic() < deadline:
                while index < len(self.seen):
                    arrived, state = self.seen[index]
                    if arrived > moment and is_well(state):
                        return arrived - moment
                    index += 1
                self._changed.wait(0.5)
        return None

    def levels(self, begin: float, end: float) -> tuple[str, ...]:
        return tuple(dict.fromkeys(state["level"] for arrived, state in self.seen if begin < arrived <= end))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def is_well(state: dict[str, Any]) -> bool:
    soc = state["inputs"]["soc"]
    fresh = soc["validity"] == "ok" and not soc["problem"] and soc["age_s"] <= FRESH_S
    held = all(not output["problem"] for output in state["outputs"].values())
    return state["level"] == "mpc" and fresh and held and not state["notices"]


class Patient:
    """The daemon under the faults."""

    def __init__(self, house: House) -> None:
        self.house = house
        site = house.site(CYCLE_S)
        site.write_text(site.read_text().replace("max_age_s = 1800", "max_age_s = 2"))
        self._site = site
        self.process = self.start()
        self.watch = Watch(house.broker.port)

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "nisse.cli", "run", str(self._site), "--quiet"],
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    @property
    def solver(self) -> int:
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def answer(self, how: Answer) -> None:
        self.house.device.delay_s, self.house.device.answer = 1.0, how

    def pull(self, out: bool) -> None:
        with self.house.device.line_held():
            (self.house.line.unplug if out else self.house.line.plug)()

    def kill_broker(self) -> None:
        self.house.broker.kill()
        self.watch.close()

    def restart_broker(self) -> None:
        self.house.broker.start()
        self.watch = Watch(self.house.broker.port)
        self.house.publish(time.time() - 3600, retain=True).loop_stop()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        self.process = self.start()

    def limit_files(self, size: int) -> None:
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (hard if size < 0 else size, hard))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20.0)
        self.watch.close()


def nothing() -> None:
    """A fault that the daemon itself must repair."""


def recoveries(house: House) -> list[Recovery]:
    """One after the other, each from a daemon that is well."""
    house.publish(time.time() - 3600, retain=True).loop_stop()
    house.registers.set_input({0: 500})
    p = Patient(house)
    faults: list[tuple[str, float, Callable[[], None], Callable[[], None]]] = [
        ("daemon: kill -9", HOLD_S, p.kill, p.restart),
        ("solver process: kill -9", 0.0, lambda: os.kill(p.solver, signal.SIGKILL), nothing),
        ("solver process: hangs", 0.0, lambda: os.kill(p.solver, signal.SIGSTOP), nothing),
        ("broker: kill -9, restarted", HOLD_S, p.kill_broker, p.restart_broker),
        ("serial: cable pulled, back under another name", HOLD_S, lambda: p.pull(True), lambda: p.pull(False)),
        ("serial: device silent", HOLD_S, lambda: p.answer("silent"), lambda: p.answer("normal")),
        ("serial: garbage", HOLD_S, lambda: p.answer("garbage"), lambda: p.answer("normal")),
        ("serial: wrong checksums", HOLD_S, lambda: p.answer("bad_crc"), lambda: p.answer("normal")),
        ("serial: exceptions", HOLD_S, lambda: p.answer("exception"), lambda: p.answer("normal")),
        ("serial: answers 1 s late", HOLD_S, lambda: p.answer("slow"), lambda: p.answer("normal")),
        ("disk full", HOLD_S, lambda: p.limit_files(0), lambda: p.limit_files(-1)),
    ]
    found = []
    try:
        if p.watch.well_after(0.0) is None:
            raise RuntimeError(f"the daemon is not well before any fault: {p.watch.seen[-1:]}")
        for name, hold_s, break_it, repair in faults:
            begun = time.monotonic()
            break_it()
            time.sleep(hold_s)
            during = p.watch.levels(begun, time.monotonic())
            repaired = time.monotonic()
            repair()
            if hold_s == 0.0:
                time.sleep(CYCLE_S)  # a state that was on its way must not count
                during = p.watch.levels(begun, time.monotonic())
            seconds = p.watch.well_after(repaired + (CYCLE_S if hold_s == 0.0 else 0.0))
            total = None if seconds is None else seconds + (CYCLE_S if hold_s == 0.0 else 0.0)
            found.append(Recovery(name, during, total))
            print(found[-1], file=sys.stderr, flush=True)
            time.sleep(2.0)
    finally:
        p.close()
    return found
