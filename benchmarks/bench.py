"""How fast the bench is: simulated days per minute through real daemon, broker and serial line, and what limits it.

python benchmarks/bench.py --bundle battery.nisse [--days 7] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from hil.bench import BenchResult, run_scenario
from hil.broker import find_mosquitto
from hil.scenario import Scenario, load_scenario

SCENARIO = Path(__file__).parents[1] / "scenarios" / "battery-week.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="controller bundle of the battery")
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    brokers = ["mosquitto", "amqtt"] if find_mosquitto() else ["amqtt"]
    results = {}
    for broker in brokers:
        with tempfile.TemporaryDirectory() as folder:
            results[broker] = figures(run_scenario(scenario(broker, args.days), args.bundle, None, Path(folder)))
        print(broker, json.dumps(results[broker]))
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def scenario(broker: str, days: float) -> Scenario:
    """The battery week with another broker and length."""
    week = load_scenario(SCENARIO)
    head = week.head.model_copy(update={"broker": broker, "duration": days * 86400.0})
    return week.model_copy(update={"head": head})


def figures(result: BenchResult) -> dict[str, float]:
    """Days per minute, and milliseconds per cycle by where they went; `links` is MQTT and the wait for its barrier."""
    mean = {
        name: float(np.mean([getattr(t, name) for t in result.timing])) * 1000.0
        for name in ("cycle_s", "solver_s", "link_s", "overhead_s", "bench_s")
    }
    days = len(result.record.cycles) * result.record.step_s / 86400.0
    return {
        "days_per_minute": round(days / result.wall_s * 60.0, 1),
        "cycle_ms": round(mean["cycle_s"], 2),
        "solver_ms": round(mean["solver_s"], 2),
        "serial_ms": round(mean["link_s"], 2),
        "daemon_ms": round(mean["overhead_s"], 2),
        "mqtt_and_lockstep_ms": round(mean["cycle_s"] - mean["solver_s"] - mean["link_s"] - mean["overhead_s"], 2),
        "bench_and_plant_ms": round(mean["bench_s"], 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()
