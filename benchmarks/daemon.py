"""What the daemon costs: cycle overhead, memory, processor, start to first action, growth of the log.

The real process with a real battery bundle, broker and serial line (pty). Two runs: lockstep, as fast as it goes, for
the distribution of the cycle's own time; wall clock at a one second cycle for memory, processor and start.

    python benchmarks/daemon.py [--cycles 500] [--seconds 30] [--bundle FILE --trusted-key KEY] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hil.broker import Broker
from hil.lockstep import LockstepDaemon
from hil.modbus_plant import ModbusDevice, Registers
from hil.serial_line import SerialLine

START_S = 1_700_000_100.0  # a quarter of an hour
CYCLE_S = 900.0
FAST_CYCLE_S = 30.0
CYCLES_PER_YEAR = 365 * 96
SITE = """
[site]
name = "bench"
[controller]
bundle = "{bundle}"
trusted_keys = ["{key}"]
cycle_s = {cycle_s}
[mqtt]
port = {port}
[serial.inverter]
protocol = "modbus"
port = "{line}"
parity = "N"
[inputs.soc]
source = "inverter"
register = {{ kind = "input", address = 0, scale = 0.001 }}
unit = "1"
max_age_s = 1800
[inputs.buy_price]
source = "mqtt"
topic = "forecast/buy"
unit = "EUR/kWh"
max_age_s = 86400
[inputs.sell_price]
source = "mqtt"
topic = "forecast/sell"
unit = "EUR/kWh"
max_age_s = 86400
[inputs.net_load]
source = "mqtt"
topic = "forecast/load"
unit = "kW"
max_age_s = 86400
[outputs.power]
sink = "inverter"
register = {{ kind = "holding", address = 10, type = "int16", scale = 0.001 }}
unit = "kW"
combine = {{ charge = 1.0, discharge = -1.0 }}
safe = 0.0
[rule]
kind = "self_consumption"
"""


@dataclass(frozen=True)
class Distribution:
    """Milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: list[float]) -> Distribution:
        cuts = statistics.quantiles(seconds, n=100, method="inclusive")
        return cls(1e3 * statistics.median(seconds), 1e3 * cuts[98], 1e3 * max(seconds))


class House:
    """Broker, serial line and device of the benchmark."""

    def __init__(self, folder: Path, bundle: Path, key: str) -> None:
        self._folder, self._bundle, self._key = folder, bundle, key
        self.broker = Broker(folder)
        self.broker.start()
        self.line = SerialLine(folder / "line")
        self.registers = Registers(input={0: 500}, holding={10: 0})
        self.device = ModbusDevice(self.line, self.registers, time.monotonic)

    def site(self, cycle_s: float) -> Path:
        path = self._folder / f"site{cycle_s:g}.toml"
        path.write_text(
            f'store = {{ path = "log{cycle_s:g}.db" }}\n'
            + SITE.format(
                bundle=self._bundle, key=self._key, cycle_s=cycle_s, port=self.broker.port, line=self.line.link
            )
        )
        return path

    def publish(self, start_s: float, retain: bool) -> Any:
        """Three days of forecasts with a price that rises and falls; returns the client."""
        import paho.mqtt.client as paho

        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self.broker.port)
        client.loop_start()
        self.forecasts(client, start_s, retain)
        return client

    @staticmethod
    def forecasts(client: Any, start_s: float, retain: bool) -> None:
        prices = [0.1 + 0.05 * ((hour * 7) % 11) / 11 for hour in range(72)]
        for topic, values in (("buy", prices), ("sell", [0.9 * p for p in prices]), ("load", [0.7] * 72)):
            document = {"start": start_s, "step_s": 3600, "values": values}
            client.publish(f"forecast/{topic}", json.dumps(document), qos=1, retain=retain).wait_for_publish(5.0)

    def close(self) -> None:
        self.device.close()
        self.line.close()
        self.broker.stop()


def lockstep(house: House, folder: Path, cycles: int, cycle_s: float) -> dict[str, Any]:
    """The distribution of the cycle's parts, and the growth of the log.

    At cycles of a minute and more every commit waits for the disk; faster ones do not.
    """
    daemon = LockstepDaemon(house.site(cycle_s), folder / "daemon.log", ("--quiet",))
    daemon.start()
    client = house.publish(START_S, retain=False)
    events = []
    begun = time.perf_counter()
    for k in range(cycles):
        now = START_S + cycle_s * k
        if k % 96 == 0:
            house.forecasts(client, now, retain=False)
        house.registers.set_input({0: 200 + (k * 37) % 600})
        client.publish("bench/barrier", str(k), qos=1)
        events.append(daemon.cycle(now, cycle_s, k))
    elapsed = time.perf_counter() - begun
    daemon.stop()
    client.loop_stop()
    timing = [event["timing"] for event in events]
    with sqlite3.connect(folder / f"log{cycle_s:g}.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        log_bytes = db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]
    return {
        "cycles": cycles,
        "levels": {name: sum(e["level"] == name for e in events) for name in sorted({e["level"] for e in events})},
        "overhead": asdict(Distribution.of([t["overhead_s"] for t in timing])),
        "overhead_without_disk": asdict(Distribution.of([t["overhead_s"] - t["log_s"] for t in timing])),
        "processor_time": asdict(Distribution.of([t["cpu_s"] for t in timing])),
        "serial": asdict(Distribution.of([t["link_s"] for t in timing])),
        "solve": asdict(Distribution.of([t["solve_s"] for t in timing])),
        "cycles_per_s": cycles / elapsed,
        "simulated_days_per_minute": cycles * cycle_s / 86400 / (elapsed / 60),
        "log_mb_per_year": log_bytes / cycles * CYCLES_PER_YEAR / 1e6,
    }


def wall(house: House, seconds: float) -> dict[str, Any]:
    """Start to first action, memory and processor at a one second cycle."""
    client = house.publish(time.time() - 3600, retain=True)
    house.registers.set_input({0: 500})
    house.registers.take_writes()
    begun = time.monotonic()
    command = [sys.executable, "-m", "nisse.cli", "run", str(house.site(1.0)), "--quiet"]
    process = subprocess.Popen(command)
    first = None
    while first is None and time.monotonic() < begun + 20.0:
        writes = house.registers.take_writes()
        first = writes[0][0] - begun if writes else None
        time.sleep(0.005)
    time.sleep(3.0)
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    before = cpu_seconds(process.pid) + cpu_seconds(child)
    time.sleep(seconds)
    used = cpu_seconds(process.pid) + cpu_seconds(child) - before
    memory = {
        "daemon_rss_mb": memory_mb(process.pid, "Rss"),
        "daemon_pss_mb": memory_mb(process.pid, "Pss"),
        "solver_rss_mb": memory_mb(child, "Rss"),
        "solver_pss_mb": memory_mb(child, "Pss"),
    }
    process.terminate()
    code = process.wait(10.0)
    client.loop_stop()
    return {"start_to_first_action_s": first, "cpu_percent_at_1s": 100 * used / seconds, **memory, "exit_code": code}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, kind: str) -> float:
    """Rss: what is resident; Pss: shared pages counted in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024


def build(folder: Path) -> tuple[Path, str]:
    """A battery bundle by the real toolchain."""
    nisse = [sys.executable, "-m", "nisse.cli"]
    subprocess.run([*nisse, "key", "new", str(folder / "key.pem")], check=True, stdout=subprocess.DEVNULL)
    bundle = folder / "battery.nisse"
    subprocess.run([*nisse, "build", "battery", "--key", str(folder / "key.pem"), "--output", str(bundle)], check=True)
    shown = subprocess.run([*nisse, "key", "show", str(folder / "key.pem")], check=True, capture_output=True, text=True)
    return bundle, shown.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=500, help="cycles in lockstep")
    parser.add_argument("--seconds", type=float, default=30.0, help="time at a one second cycle")
    parser.add_argument("--bundle", type=Path, help="a battery bundle; built when not given")
    parser.add_argument("--trusted-key", help="public key of --bundle")
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nisse") as name:
        folder = Path(name)
        bundle, key = (args.bundle.resolve(), args.trusted_key) if args.bundle else build(folder)
        house = House(folder, bundle, key)
        try:
            result = {
                "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "load": os.getloadavg()[0]},
                "broker": house.broker.kind,
                "lockstep_900_s": lockstep(house, folder, args.cycles, CYCLE_S),
                "lockstep_30_s": lockstep(house, folder, args.cycles, FAST_CYCLE_S),
                "wall": wall(house, args.seconds),
            }
        finally:
            house.close()
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
