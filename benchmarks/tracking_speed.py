"""What following the meter costs: processor time of a look, and the time from a reading to the command.

The real daemon process in lockstep with a battery bundle, over a real serial line (pty). Its processor time is that of
/proc. The time from reading to command is counted at the device: from its answer with the meter's value to the arrival
of the set-point. Every look finds another load, so that every one moves the battery.

    python -m benchmarks.tracking_speed --bundle battery.nisse [--looks 600]
"""

from __future__ import annotations

import argparse
import os
import string
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hil.broker import Broker
from hil.device import SimulatedDevice
from hil.faults import Shown
from hil.lockstep import LockstepDaemon
from hil.modbus_plant import ModbusDevice, Registers
from hil.mqtt_side import MqttSide
from hil.plant import make_plant
from hil.scenario import load_scenario, shipped_scenario
from hil.serial_line import SerialLine
from hil.site import site_template
from runtime.bundle.archive import open_bundle

TICKS = os.sysconf("SC_CLK_TCK")
METER = "grid_power"


@dataclass
class Timed(Registers):
    """Notes when the meter was read last, and how long after it a set-point came."""

    meter: int = -1
    read_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)

    def read(self, bank: dict[int, int], address: int, count: int) -> list[int] | None:
        found = super().read(bank, address, count)
        if bank is self.input and address == self.meter:
            self.read_s = time.perf_counter()
        return found

    def write(self, time_s: float, address: int, words: list[int]) -> bool:
        self.delays_s.append(time.perf_counter() - self.read_s)
        return super().write(time_s, address, words)


def measure(bundle_path: Path, looks: int) -> tuple[float, list[float]]:
    """(processor seconds of all looks, delays from reading to command in seconds)."""
    scenario = load_scenario(shipped_scenario("battery-minutes"))
    scenario = scenario.model_copy(update={"faults": ()})
    bundle, plant, now = open_bundle(bundle_path, None), make_plant(scenario), [0.0]
    with tempfile.TemporaryDirectory() as folder:
        here, line = Path(folder), SerialLine(Path(folder) / "line")
        device = SimulatedDevice(plant.sensors, plant.set_points, 1e9, lambda: now[0])
        meter = next(sensor for sensor in plant.sensors if sensor.name == METER)
        device.registers = registers = Timed(holding=dict(device.registers.holding), meter=meter.address)
        server, broker = ModbusDevice(line, registers, lambda: now[0]), Broker(here)
        broker.start()
        values = {
            "serial_port": str(line.link), "mqtt_port": str(broker.port), "bundle": str(bundle_path.absolute()),
            "trusted_key": bundle.signer, "store": str(here / "nisse.db"),
        }  # fmt: skip
        site = here / "site.toml"
        site.write_text(string.Template(site_template(plant, bundle.manifest)).substitute(values))
        mqtt, daemon = MqttSide(broker.port, "bench"), LockstepDaemon(site, here / "daemon.log")
        try:
            daemon.start()
            mqtt.wait_daemon_online()
            forecasts = plant.forecasts()
            shown = {name: Shown(np.atleast_1d(value)) for name, value in plant.measured().items()}
            device.show(shown)
            mqtt.publish(forecasts, {name: Shown(np.asarray(f.values)) for name, f in forecasts.items()})
            daemon.cycle(plant.time_s(), 0.0, mqtt.barrier())
            registers.delays_s.clear()
            before = _processor_s(daemon.pid)
            for k in range(looks):
                now[0] += 1.0
                kw = 1.5 * (-1.0) ** k + device.held()["home_power"] + 0.01 * (k % 7)
                device.show({**shown, METER: Shown(np.array([kw]))})
                daemon.track(plant.time_s() + now[0], 1.0)
            return _processor_s(daemon.pid) - before, registers.delays_s
        finally:
            daemon.close()
            mqtt.close()
            broker.kill()
            server.close()
            line.close()


def _processor_s(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--looks", type=int, default=600)
    args = parser.parse_args()
    processor_s, delays_s = measure(args.bundle, args.looks)
    delays_ms = 1e3 * np.array(delays_s)
    print(
        f"processor time of a look: {1e3 * processor_s / args.looks:.2f} ms, {100 * processor_s / args.looks:.2f} % of"
    )
    print(f"one core at a look a second ({args.looks} looks, {len(delays_s)} commands)")
    p50, p99 = np.percentile(delays_ms, [50, 99])
    print(f"reading to command: median {p50:.1f} ms, 99 % {p99:.1f} ms, load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
