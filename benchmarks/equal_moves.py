"""Do the deployed solver and the tuner's make the same moves on every state of the smart-home evaluation?

    python -m benchmarks.equal_moves [--every 1] [--json PATH]

Walks the closed loops that judge the protocol (4 periods of 10 days, 1,920 solves) under the data-fitted and the tuned
theta of docs/results/smart-home.json with the condensed solver, then solves every state met with the compiled house
controller. States the largest difference of first moves as a share of their range, 1.5 kW; above 1e-6 it exits with 1.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from codegen.controller import Controller
from codegen.solver import compiled_controller
from research.condensed.solver import ClosedLoop, CondensedMpc, States, run, solve
from research.four_rooms.problem import house_forecast, house_problem, house_state
from research.four_rooms.theta import LAGS, house_theta, theta_values
from research.smart_home.data import STEPS_PER_DAY, ExperimentData, generated_data
from research.smart_home.protocol import JUDGE, SmartHomeSpec, closed_loop, make_agents
from research.training.policy import Array
from systems.arx import ArxModel

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "smart-home.json"
ALLOWED = 1e-6


def states_of(episode: ClosedLoop) -> States:
    """What the controller sees at each of an episode's solves."""
    rollout, apply = run([episode])[0], episode.mpc.spec.apply
    steps = len(rollout.temperature)
    powers = np.repeat(rollout.action, apply, axis=0)
    y = np.vstack([episode.outputs, rollout.temperature])
    v = np.vstack([episode.inputs, np.column_stack([episode.outdoor[:steps], powers])])
    at = np.arange(0, steps, apply)[:, None]
    ahead = at + np.arange(episode.mpc.spec.horizon)
    return States(y[at + np.arange(LAGS)], v[at + np.arange(LAGS - 1)], episode.outdoor[ahead], episode.price[ahead])


def compare(controller: Controller, mpc: CondensedMpc, model: ArxModel, states: States, every: int) -> dict[str, Any]:
    """Differences (solves,) in first moves, kW, statuses that are not OK, and seconds of the deployed solver."""
    fast, failures, seconds = solve(mpc, states), 0, 0.0
    differences: list[float] = []
    for i in range(0, len(states), every):
        x0 = house_state(mpc.theta, model, states.outputs[i], states.inputs[i])
        began = time.thread_time()
        found = controller.solve(x0, house_forecast(mpc.spec, states.outdoor[i], states.price[i]))
        seconds += time.thread_time() - began
        failures += not (found.ok and fast.status[i] == 0)
        differences.append(float(np.abs(found.action - fast.action[i]).max()))
    return {"differences": differences, "failures": failures, "seconds": seconds}


def measure(every: int) -> dict[str, dict[str, float]]:
    """Largest, 99 % and median difference relative to the range, per theta."""
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    spec, data = SmartHomeSpec(models=1), generated_data()
    model = make_agents(spec, data)[0]
    mpc = spec.mpc(record["beta_eur_per_k2_h"])
    controller = compiled_controller(house_problem(model, mpc))
    results = {}
    for name, changes in (("data-fitted", {}), ("tuned", record["theta_change_mean"])):
        condensed = CondensedMpc(mpc, changed(model, changes))
        controller.set_theta(condensed.theta)
        parts = []
        for j, day in enumerate(track(record["evaluation_first_day"], f"{name}: periods")):
            episode = closed_loop_of(condensed, model, data, spec, j, day)
            controller.reset()
            parts.append(compare(controller, condensed, model, states_of(episode), every))
        relative = np.concatenate([part["differences"] for part in parts]) / mpc.max_power_kw
        results[name] = {
            "solves": len(relative),
            "failures": sum(part["failures"] for part in parts),
            "largest": float(relative.max()),
            "percentile_99": float(np.percentile(relative, 99)),
            "median": float(np.median(relative)),
            "deployed_ms": 1e3 * sum(part["seconds"] for part in parts) / len(relative),
        }
    return results


def changed(model: ArxModel, changes: dict[str, float]) -> Array:
    """The data-fitted theta with `changes` added by name."""
    theta, names = theta_values(model), [p.name for p in house_theta(model)]
    for name, change in changes.items():
        theta[names.index(name)] += change
    return theta


def closed_loop_of(
    mpc: CondensedMpc, model: ArxModel, data: ExperimentData, spec: SmartHomeSpec, period: int, day: int
) -> ClosedLoop:
    """The closed loop that judges theta on one period, with the protocol's innovations."""
    rng = np.random.default_rng([JUDGE, spec.seed, 0, period])
    return closed_loop(mpc, model, data.evaluation, day * STEPS_PER_DAY, spec.period_days, rng)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="compare every N-th state (1: all)")
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    results = measure(args.every)
    for name, found in results.items():
        print(f"{name:12}" + "".join(f"  {key} {value:.3g}" for key, value in found.items()))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return int(any(found["largest"] > ALLOWED or found["failures"] for found in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())
