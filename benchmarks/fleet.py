"""A fleet on two workers of which one is killed in the middle: time, solves, and that the results are the same.

Houses of one file in weeks of their own. A Dask scheduler and two workers run as processes of this machine; when a
fifth of the houses is done, one worker gets SIGKILL. Some houses are worked on once more without any cluster, and have
to give the same numbers.

    python -m benchmarks.fleet [--house battery] [--houses 50] [--weeks 2] [--week-days 1] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import LocalCluster

from systems.commands.output import write_json
from systems.house_file import read_house

ALONE = 5
"""Houses that are done again without a cluster."""


def made(folder: Path, house: str, count: int) -> None:
    """Houses of the same file, by number."""
    text = read_house(house)[0]
    for k in range(count):
        (folder / f"h{k:03d}").mkdir(parents=True)
        (folder / f"h{k:03d}" / "house.toml").write_text(text)


def command(houses: Path, out: Path, args: argparse.Namespace, *more: str) -> list[str]:
    words = ["--weeks", str(args.weeks), "--week-days", f"{args.week_days:g}", "--json", str(out)]
    return [sys.executable, "-m", "nisse.cli", "fleet", "evaluate", str(houses), *words, *more]


def on_cluster(houses: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run it, and kill a worker on the way; what was seen meanwhile."""
    done, killed_after, began = 0, 0, time.monotonic()
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        victim = next(iter(cluster.workers.values())).pid
        words = command(houses, out, args, "--scheduler", cluster.scheduler_address)
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
        assert process.stdout is not None
        for line in process.stdout:
            done += " a week; " in line
            if done >= args.houses // 5 and not killed_after:
                os.kill(victim, signal.SIGKILL)
                killed_after = done
                print(f"worker {victim} killed after {done} houses", flush=True)
        if process.wait() != 0:
            raise SystemExit(f"the fleet ended with exit code {process.returncode}")
    return {"killed_after": killed_after, "seconds": time.monotonic() - began}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--house", default="battery")
    parser.add_argument("--houses", type=int, default=50)
    parser.add_argument("--weeks", type=int, default=2)
    parser.add_argument("--week-days", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nisse-fleet-") as name:
        folder = Path(name)
        made(folder / "houses", args.house, args.houses)
        made(folder / "some", args.house, min(ALONE, args.houses))
        seen = on_cluster(folder / "houses", folder / "fleet.json", args)
        cpu_s = resource.getrusage(resource.RUSAGE_CHILDREN)
        fleet = json.loads((folder / "fleet.json").read_text())
        subprocess.run(command(folder / "some", folder / "some.json", args, "--jobs", "1"), check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        some = json.loads((folder / "some.json").read_text())
    by_name = {one["name"]: one for one in fleet["houses"]}
    found = {
        "houses": len(by_name),
        "worked_on": sum("problem" not in one for one in by_name.values()),
        "solves": fleet["summary"]["solves"],
        "processor_s": cpu_s.ru_utime + cpu_s.ru_stime,
        **seen,
        "same_alone": sum(one == by_name[one["name"]] for one in some["houses"]),
        "done_alone": len(some["houses"]),
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, load {os.getloadavg()[0]:.0f}",
    }
    print(json.dumps(found, indent=1))
    if args.json is not None:
        write_json(args.json, {**found, "fleet": fleet})
    return 0 if found["same_alone"] == found["done_alone"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
