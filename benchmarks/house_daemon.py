"""What the daemon of a described house costs: a cycle's own time, the first action, memory.

The real process with a real bundle, broker and serial line (pty). In lockstep two rhythms of forecasts: all of them
anew in every cycle, as the bench publishes them, and once an hour, as services do. Processor times stand beside a
reference that the same run measures between the cycles: `json` reads and writes the forecasts of one cycle once. On a
busy machine both grow alike, and their ratio stays. Writes docs/results/house-daemon.md.

    nisse key new signing.pem && nisse build villa --key signing.pem --output villa.nisse
    python -m benchmarks.house_daemon --bundle villa.nisse [--cycles 96] [--starts 3] [--page PATH] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.daemon import cpu_seconds, memory_mb
from hil.house_run import HouseRun, house_scenario
from hil.lockstep import LockstepDaemon
from hil.patience import HANG_S
from hil.plant import make_plant
from hil.rig import Rig, set_up
from runtime.bundle.archive import Bundle, open_bundle

AIM_MS, AIM_FIRST_S, AIM_MB = 5.0, 2.0, 70.0
HOURLY = 12
"""Cycles of five minutes between two publications."""
WARM_UP = 6
"""Cycles before the first that counts: a decision, and what is loaded at its first use."""
STANDS_ON = "import asyncio, sqlite3, numpy, paho.mqtt.client, pydantic, pymodbus.client"
"""What any program of this kind loads before it does anything."""


def rig(stack: ExitStack, folder: Path, house: str, bundle_path: Path, bundle: Bundle) -> Rig:
    """A fresh one, in its own folder."""
    folder.mkdir()
    scenario = house_scenario(house, HouseRun())
    return set_up(stack, scenario, make_plant(scenario), bundle_path, bundle, folder)


def processor_s(call: Callable[[], Any]) -> float:
    """Of this thread."""
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


def read_and_write(messages: Sequence[str]) -> None:
    """The reference."""
    for message in messages:
        json.dumps(json.loads(message))


def lockstep(bench: Rig, cycles: int, every: int) -> dict[str, Any]:
    """Cycles of a daemon whose forecasts come anew with every `every`-th of them; and its memory at the end."""
    daemon = LockstepDaemon(bench.site, bench.site.with_name("daemon.log"), ("--quiet",))
    daemon.start()
    try:
        bench.mqtt.wait_daemon_online()
        events, reference_s = [], []
        for k in range(WARM_UP + cycles):
            event = bench.step(daemon, forecasts=k % every == 0)
            if k >= WARM_UP:
                events.append(event)
                reference_s.append(processor_s(partial(read_and_write, list(bench.messages().values()))))
        memory = memory_of(daemon.pid or 0)
    finally:
        daemon.stop()
    held = [bool((event.get("decision") or {}).get("held")) for event in events]
    timing = [event["timing"] for event in events]
    return {
        "cycles": cycles,
        "levels": sorted({event["level"] for event in events}),
        "processor": spread([t["cpu_s"] for t in timing]),
        "processor_deciding": spread([t["cpu_s"] for t, h in zip(timing, held, strict=True) if not h]),
        "processor_holding": spread([t["cpu_s"] for t, h in zip(timing, held, strict=True) if h]),
        "overhead": spread([t["overhead_s"] for t in timing]),
        "overhead_without_disk": spread([t["overhead_s"] - t["log_s"] for t in timing]),
        "solve": spread([t["solve_s"] for t, h in zip(timing, held, strict=True) if not h]),
        "reference": spread(reference_s),
        "processor_over_reference": statistics.median(t["cpu_s"] for t in timing) / statistics.median(reference_s),
        "memory": memory,
    }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    if len(seconds) < 2:
        return {"p50_ms": 1e3 * (seconds[0] if seconds else float("nan")), "p99_ms": float("nan")}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50_ms": 1e3 * statistics.median(seconds), "p99_ms": 1e3 * cuts[98]}


def memory_of(pid: int) -> dict[str, float]:
    """MB of the daemon and of its solver process; Pss counts shared pages in parts."""
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return {
        f"{who}_{kind.lower()}_mb": memory_mb(process, kind)
        for who, process in (("daemon", pid), ("solver", child))
        for kind in ("Rss", "Pss")
    }


def first_action(bench: Rig) -> dict[str, float]:
    """On the wall clock: from the start of the process to the first set-point in the device, with the broker's
    forecasts there; in seconds, and in processor time of daemon and solver process until then."""
    bench.show()
    bench.retain(time.time() - bench.plant.time_s())
    bench.device.registers.take_writes()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "nisse.cli", "run", str(bench.site), "--quiet"]
    begun = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    try:
        while not bench.device.registers.take_writes():
            if time.monotonic() > begun + HANG_S or process.poll() is not None:
                raise RuntimeError("the daemon wrote no set-point: see what it says above")
            time.sleep(0.002)
        wall_s = time.monotonic() - begun
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        used_s = cpu_seconds(process.pid) + sum(cpu_seconds(int(child)) for child in children)
    finally:
        process.terminate()
        process.wait(HANG_S)
    before = os.times()
    subprocess.run([sys.executable, "-c", STANDS_ON], env=environment, check=True)
    after = os.times()
    loading_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": wall_s, "processor_s": used_s, "loading_s": loading_s}


def measure(bundle_path: Path, cycles: int, starts: int) -> dict[str, Any]:
    """Everything on the page; minutes of work."""
    bundle = open_bundle(bundle_path, None)
    house = bundle.manifest.system
    with tempfile.TemporaryDirectory(prefix="nisse") as name, ExitStack() as stack:
        fresh = rig(stack, Path(name) / "fresh", house, bundle_path, bundle)
        hourly = rig(stack, Path(name) / "hourly", house, bundle_path, bundle)
        wall = rig(stack, Path(name) / "wall", house, bundle_path, bundle)
        first_action(wall)  # what is compiled and unpacked at the first start is not what a start takes
        return {
            "machine": f"{os.cpu_count()} processors, {platform.machine()}, load {os.getloadavg()[0]:.0f}",
            "house": house,
            "states": len(bundle.manifest.states),
            "forecasts": len([f for f in bundle.manifest.forecasts if f.schedule is None]),
            "every_cycle": lockstep(fresh, cycles, 1),
            "every_hour": lockstep(hourly, cycles, HOURLY),
            "starts": [first_action(wall) for _ in range(starts)],
        }


def page(found: dict[str, Any], command: str) -> str:
    """docs/results/house-daemon.md"""
    fresh, hourly, starts = found["every_cycle"], found["every_hour"], found["starts"]
    memory = hourly["memory"]

    def cycles(what: str, part: str) -> str:
        cells = (f"{run[part]['p50_ms']:.1f} / {run[part]['p99_ms']:.1f}" for run in (fresh, hourly))
        return f"| {what} | {' | '.join(cells)} |"

    def start(what: str, part: str) -> str:
        seconds = [one[part] for one in starts]
        return f"| {what} | {min(seconds):.2f} | {statistics.median(seconds):.2f} |"

    def resident(what: str, *who: str) -> str:
        cells = (f"{sum(memory[f'{one}_{kind}_mb'] for one in who):.1f}" for kind in ("rss", "pss"))
        return f"| {what} | {' | '.join(cells)} |"

    ratios = f"{fresh['processor_over_reference']:.1f} | {hourly['processor_over_reference']:.1f}"
    lines = [
        "# What the daemon of a house costs",
        "",
        f"    {command}",
        "",
        f"Of {datetime.now(UTC):%Y-%m-%d}: `{found['house']}` with {found['states']} states and {found['forecasts']} "
        "forecasts from outside,",
        f"on {found['machine']} when it began. The real daemon, broker and serial line, {fresh['cycles']} cycles",
        "of five minutes in lockstep each: forecasts that all come anew in every cycle, as the bench publishes them,",
        "and once an hour, as services do.",
        "",
        "## A cycle",
        "",
        "Milliseconds, in the median / at 99 %. The reference is `json` reading and writing the forecasts of one cycle",
        "once, measured between the cycles.",
        "",
        "| | anew in every cycle | once an hour |",
        "|---|---|---|",
        cycles("processor time of a cycle, beside the solver's", "processor"),
        cycles("of those that decide", "processor_deciding"),
        cycles("of those that hold a decision", "processor_holding"),
        cycles("the reference", "reference"),
        f"| a cycle over the reference, medians | {ratios} |",
        cycles(f"on the clock, without solver and serial line (aim {AIM_MS:g})", "overhead"),
        cycles("and without the disk", "overhead_without_disk"),
        cycles("the solver's decision, on the clock", "solve"),
        "",
        "## From its start to the first action",
        "",
        f"From the start of the process to the first set-point in the device's register, {len(starts)} times, with the",
        "forecasts retained by the broker. The reference is an interpreter that loads what the daemon stands on",
        f"({STANDS_ON.removeprefix('import ')}) and ends.",
        "",
        "| | least | median |",
        "|---|---|---|",
        start(f"on the clock, s (aim {AIM_FIRST_S:g})", "wall_s"),
        start("processor time of daemon and solver process, s", "processor_s"),
        start("processor time of the reference, s", "loading_s"),
        "",
        "## Memory",
        "",
        "| MB | resident (RSS) | shared pages in parts (PSS) |",
        "|---|---|---|",
        resident("daemon", "daemon"),
        resident("its solver process", "solver"),
        resident(f"both (aim {AIM_MB:g})", "daemon", "solver"),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="of a house")
    parser.add_argument("--cycles", type=int, default=96, help="of five minutes, in lockstep")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--page", type=Path, metavar="PATH", help="write the page of results")
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    found = measure(args.bundle, args.cycles, args.starts)
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.page:
        options = f"--cycles {args.cycles} --starts {args.starts} --page {args.page}"
        command = f"python -m benchmarks.house_daemon --bundle {args.bundle.name} {options}"
        args.page.write_text(page(found, command), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
