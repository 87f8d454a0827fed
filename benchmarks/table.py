"""The table of what the daemon and the bench cost, from the real processes: docs/results/runtime.md by one command.

nisse key new key.pem && nisse build battery --key key.pem --output battery.nisse
python benchmarks/table.py --bundle battery.nisse --key key.pem [--output docs/results/runtime.md]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench
import daemon
import recovery

from hil.bench import run_scenario
from runtime.bundle.archive import open_bundle
from runtime.bundle.keys import load_key
from runtime.bundle.theta_update import write_update

COMMAND = "python benchmarks/table.py --bundle battery.nisse --key key.pem"
PATIENCE_S = 60.0


def theta_to_live_s(house: daemon.House, bundle_path: Path, key_file: Path) -> float:
    """From the request to reload to the first `state` that was decided with the new theta; the cycle is 15 min."""
    key = load_key(key_file)
    bundle = open_bundle(bundle_path, [key.public])
    name = next(p.name for p in bundle.manifest.theta if p.upper > p.lower)
    spec = next(p for p in bundle.manifest.theta if p.name == name)
    value = bundle.theta[name] + 1e-3 * (spec.upper - spec.lower) * (1 if bundle.theta[name] < spec.upper else -1)
    site = house.site(daemon.CYCLE_S)
    client = house.publish(time.time() - 3600, retain=True)
    house.registers.set_input({0: 500})
    update = bundle_path.with_name(bundle_path.name + ".theta")
    process = subprocess.Popen([sys.executable, "-m", "nisse.cli", "run", str(site), "--quiet"])
    watch = recovery.Watch(house.broker.port)
    try:
        _wait(lambda: any(s["level"] == "mpc" for _, s in watch.seen), "the daemon did not reach mpc")
        write_update(update, bundle, {**bundle.theta, name: value}, key)
        begun = time.monotonic()
        client.publish("nisse/bench/request/reload", json.dumps({"transaction": "table"}), qos=1)

        def live() -> list[float]:
            return [t for t, s in watch.seen if t > begun and s["bundle"]["theta"]]

        _wait(lambda: bool(live()), "the new theta did not come into force")
        return live()[0] - begun
    finally:
        process.terminate()
        process.wait(20.0)
        watch.close()
        client.loop_stop()
        update.unlink(missing_ok=True)


def _wait(condition: Any, problem: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{problem} within {PATIENCE_S:g} s")
        time.sleep(0.005)


def measure(bundle: Path, key_file: Path, cycles: int, seconds: float, days: float) -> dict[str, Any]:
    """Everything in the table; minutes of work."""
    with tempfile.TemporaryDirectory(prefix="nisse") as name:
        folder = Path(name)
        copy = folder / "battery.nisse"
        copy.write_bytes(bundle.read_bytes())
        load = os.getloadavg()[0]
        house = daemon.House(folder, copy, load_key(key_file).public)
        try:
            result: dict[str, Any] = {
                "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "cpu": _cpu(), "load": load},
                "broker": house.broker.kind,
                "options": f"--cycles {cycles} --seconds {seconds:g} --days {days:g}",
                "quarter_hour": daemon.lockstep(house, folder, cycles, daemon.CYCLE_S),
                "fast": daemon.lockstep(house, folder, cycles, daemon.FAST_CYCLE_S),
                "wall": daemon.wall(house, seconds),
                "theta_s": theta_to_live_s(house, copy, key_file),
                "recoveries": [asdict(r) for r in recovery.recoveries(house)],
            }
        finally:
            house.close()
        week = run_scenario(bench.scenario(house.broker.kind, days), copy, None, folder / "days")
        result["bench"] = bench.figures(week)
    return result


def page(result: Mapping[str, Any], today: str) -> str:
    """The table, in Markdown."""
    slow, fast, wall, machine = result["quarter_hour"], result["fast"], result["wall"], result["machine"]

    def spread(what: Mapping[str, float]) -> str:
        return f"{what['p50_ms']:.2f} / {what['p99_ms']:.2f} / {what['max_ms']:.1f} ms"

    rows: Sequence[tuple[str, str, str]] = (
        ("resident memory of the daemon", f"{wall['daemon_rss_mb']:.1f} MB", "aim: under 60 MB"),
        ("resident memory of its solver process", f"{wall['solver_rss_mb']:.1f} MB", "with the controller's library"),
        ("both, shared pages counted once", f"{wall['daemon_pss_mb'] + wall['solver_pss_mb']:.1f} MB", ""),
        ("processor at a 1 s cycle", f"{wall['cpu_percent_at_1s']:.1f} % of one core", "daemon and solver process"),
        ("overhead of a cycle, p50 / p99 / max", spread(fast["overhead"]), "without solve and serial line; 30 s cycle"),
        ("the same in processor time", spread(fast["processor_time"]), "what an idle machine would need"),
        ("the same at a 15 min cycle", spread(slow["overhead"]), "every commit waits for the disk"),
        ("the same without the disk", spread(slow["overhead_without_disk"]), ""),
        ("serial line, a read and a write", spread(fast["serial"]), "Modbus RTU over a pty"),
        ("solve", spread(fast["solve"]), "battery, process boundary included"),
        ("start to first action", f"{wall['start_to_first_action_s']:.2f} s", "process start to the device's register"),
        ("theta update to live", f"{result['theta_s']:.2f} s", "request to reload to the first state decided with it"),
        ("growth of the log", f"{slow['log_mb_per_year']:.0f} MB a year", "15 min cycle; bounded at two years"),
        ("simulated days a minute", f"{result['bench']['days_per_minute']:g}", "real daemon, broker and serial line"),
    )  # fmt: skip
    lines = [
        "# What the daemon costs, and how long it takes to come back",
        "",
        f"Made by `{COMMAND} {result['options']}`",
        f"on {today}: {machine['cpu']}, {machine['cpus']} cores,",
        f"{machine['arch']}, load average {machine['load']:.1f} when it began (other work on the same cores stretches",
        f"all times but processor time), broker {result['broker']}.",
        "",
        "| what | measured | |",
        "|---|---|---|",
        *(f"| {what} | {value} | {note} |" for what, value, note in rows),
        "",
        "## Recovery",
        "",
        f"On the wall clock at a {recovery.CYCLE_S:g} s cycle, measurements valid for 2 s, each fault held for",
        f"{recovery.HOLD_S:g} s. Recovered: the first published state at level `mpc` with a fresh measurement, all",
        "set-points in force and no notice. Counted from the repair; from the fault where the daemon repairs itself.",
        "",
        "| fault | levels while it lasted | recovered after |",
        "|---|---|---|",
        *(_recovery(r) for r in result["recoveries"]),
        "",
    ]
    return "\n".join(lines)


def _recovery(found: Mapping[str, Any]) -> str:
    levels = ", ".join(found["levels"]) or "none published"
    return f"| {found['fault']} | {levels} | {_seconds(found['seconds'])} |"


def _seconds(value: float | None) -> str:
    return f"not within {recovery.PATIENCE_S:g} s" if value is None else f"{value:.1f} s"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="a battery bundle")
    parser.add_argument("--key", type=Path, required=True, help="the key that signed it")
    parser.add_argument("--cycles", type=int, default=500, help="cycles in lockstep")
    parser.add_argument("--seconds", type=float, default=30.0, help="time at a one second cycle")
    parser.add_argument("--days", type=float, default=3.0, help="days through the bench")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "results" / "runtime.md")
    args = parser.parse_args()
    result = measure(args.bundle.resolve(), args.key, args.cycles, args.seconds, args.days)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(page(result, datetime.now(UTC).date().isoformat()), encoding="utf-8")
    args.output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
