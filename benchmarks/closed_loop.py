"""What a decision in closed loop costs the tuner: processor time of a house's week, in its solves and outside of them.

    python -m benchmarks.closed_loop villa --days 1

A day to warm up comes before what is counted, as in every week that is tried or judged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.tariff import Tariff
from tuner.loop.policies import Mpc
from tuner.loop.view import Moment
from tuner.loop.week import run_stretch
from tuner.loop.worlds import generated_worlds

DAY_S = 86_400.0
WEEK_DAYS = 8.0
"""With the day to warm up."""


class TimedMpc(Mpc):
    """The program as policy; counts the processor time of its decisions."""

    def __init__(self, design: HouseDesign, library: Path, theta: Array) -> None:
        super().__init__(design, library, theta)
        self.decisions, self.cpu_s = 0, 0.0

    def decide(self, moment: Moment) -> Array:
        before = time.process_time()
        action = super().decide(moment)
        self.cpu_s += time.process_time() - before
        self.decisions += 1
        return action


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("house", nargs="+", help="shipped houses, or house files")
    parser.add_argument("--days", type=float, default=1.0, help="counted, after one to warm up (default: %(default)s)")
    args = parser.parse_args(argv)
    print("house | decisions | ms a decision, estimate and solve | ms outside, plants and forecasts | s a week")
    for name in args.house:
        design = HouseDesign(read_house(name)[0])
        library = build_solver(design.problem, host_arch()).library
        worlds = generated_worlds(design.house, seed=1, prices="nordic", tariff=Tariff())
        policy = TimedMpc(design, library, design.problem.theta_default())
        plant = HousePlant(design.house, worlds.learning, fits={})
        stages = round(args.days * DAY_S / design.house.grid.hold_s)
        before = time.process_time()
        run_stretch(design, plant, policy, first=worlds.learning_weeks[4], stages=stages, seed=1)
        total = time.process_time() - before
        inside, outside = (1e3 * part / policy.decisions for part in (policy.cpu_s, total - policy.cpu_s))
        week = WEEK_DAYS * DAY_S / design.house.grid.hold_s * (inside + outside) / 1e3
        print(f"{name} | {policy.decisions} | {inside:.1f} | {outside:.1f} | {week:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
