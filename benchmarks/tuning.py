"""Tuning throughput: transitions per second with V, Q and both gradients, and the share spent outside the solver.

One process, one home battery (N = 96), rollouts exactly as the trainer makes them: forecast, V and pi with their
derivatives, exploration, Q with its gradient, one step of the plant.

    python benchmarks/tuning.py [--transitions 400] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from systems.battery.exogenous import generated
from systems.battery.problem import home_battery
from tuner.evaluate.periods import split_at
from tuner.policy import Array
from tuner.transitions import RolloutSpec, rollout
from tuner.tunable.home_battery import HomeBatterySystem, home_battery_system


class Stopwatch:
    """A controller whose calls are timed from outside, so that ctypes counts as solver as well."""

    def __init__(self, controller: Any) -> None:
        self.controller = controller
        self.seconds = 0.0
        self.calls = 0

    def _timed(self, name: str, *arguments: Any) -> Any:
        began = time.perf_counter()
        result = getattr(self.controller, name)(*arguments)
        self.seconds += time.perf_counter() - began
        self.calls += 1
        return result

    def set_theta(self, theta: Array) -> None:
        self.controller.set_theta(theta)

    def reset(self) -> None:
        self.controller.reset()

    def solve(self, x0: Array, forecast: Array) -> Any:
        return self._timed("solve", x0, forecast)

    def solve_fixed(self, x0: Array, forecast: Array, action: Array) -> Any:
        return self._timed("solve_fixed", x0, forecast, action)

    def differentiate(self) -> Any:
        return self._timed("differentiate")


class TimedSystem:
    """A system whose controller is watched; everything else is the system's own."""

    def __init__(self, system: HomeBatterySystem) -> None:
        self.system = system
        self.watch = Stopwatch(system.controller())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.system, name)

    def rollout_controller(self) -> Stopwatch:
        return self.watch


def measure(system: HomeBatterySystem, transitions: int, *, with_q: bool) -> dict[str, float]:
    """Figures of one rollout after a short one that warms caches up."""
    theta = np.array([p.default for p in system.parameters])
    rollout(system, theta, RolloutSpec(1, 20, 0.1, with_q), (0,))
    timed = TimedSystem(system)
    began = time.perf_counter()
    gathered = rollout(timed, theta, RolloutSpec(1, transitions, 0.1, with_q), (0,))
    seconds = time.perf_counter() - began
    return {
        "transitions_per_s": transitions / seconds,
        "ms_per_transition": 1e3 * seconds / transitions,
        "solves_per_transition": gathered.solves / transitions,
        "ms_per_solve": 1e3 * gathered.solve_time_s / gathered.solves,
        "share_outside_solver": 1 - timed.watch.seconds / seconds,
        "failures": float(gathered.failures),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=400)
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    split = split_at(generated(20))
    system = home_battery_system(home_battery(), split, held_in_weeks=1, episode_steps=args.transitions)
    result = {
        "V and pi with gradients": measure(system, args.transitions, with_q=False),
        "V, pi and Q with gradients": measure(system, args.transitions, with_q=True),
    }
    for name, figures in result.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key:24s} {value:10.3f}")
    print("aim: share outside the solver below 0.2")
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
