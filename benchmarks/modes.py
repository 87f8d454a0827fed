"""What a search among modes costs: days with hours below zero, over the same days with a price that is ordinary.

    python -m benchmarks.modes HOUSE [--days 16] [--json PATH]

Iterations of the interior-point method are counted, which no other work on the machine changes. The mean cost of the
plans says whether a shorter search finds worse ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.described_days import ordinary_days
from codegen.solver import compiled_controller
from systems.design import HouseDesign
from systems.house_file import read_house

Array = NDArray[np.float64]
DEAREST = 0.15
"""What is paid at most for a kWh taken."""
CHEAPEST = 0.02
"""Of an ordinary day: what a kWh costs at least."""


def below_zero(design: HouseDesign, forecast: Array, rng: np.random.Generator) -> Array:
    """The day with one to five hours in which taking a kWh pays, and giving one costs a little more."""
    columns = [f.name for f in design.problem.forecasts]
    per_hour = 1.0 / design.house.grid.hold_h
    first = rng.integers(round(3 * per_hour), round(0.6 * len(forecast)))
    hours = slice(first, first + round(rng.uniform(1.0, 5.0) * per_hour))
    found = forecast.copy()
    found[hours, columns.index("buy")] = -rng.uniform(0.0, DEAREST)
    if "sell" in columns:
        found[hours, columns.index("sell")] = found[hours, columns.index("buy")] - 0.05 * rng.random()
    return found


def measure(design: HouseDesign, days: int) -> dict[str, Any]:
    problem = design.problem
    theta, rng = problem.theta_default(), np.random.default_rng(0)
    one, searched = [], []
    with compiled_controller(problem) as controller:
        controller.set_theta(theta)
        for x0, forecast in ordinary_days(design, days):
            buy = [f.name for f in problem.forecasts].index("buy")
            forecast[:, buy] = np.maximum(forecast[:, buy], CHEAPEST)
            one.append(controller.solve(x0, forecast).iterations)
            searched.append(controller.solve(x0, below_zero(design, forecast, rng)))
    taken = [plan.iterations for plan in searched]
    return {
        "house": design.house.name,
        "days": days,
        "iterations_of_one_program": {"mean": float(np.mean(one)), "most": max(one)},
        "iterations_of_a_search": {"mean": float(np.mean(taken)), "most": max(taken)},
        "search_over_one_program": float(np.mean(taken) / np.mean(one)),
        "mean_cost_of_plans": float(np.mean([plan.value for plan in searched])),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("house", help="a house file, or the name of a shipped house")
    parser.add_argument("--days", type=int, default=16)
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    text, source = read_house(args.house)
    found = measure(HouseDesign(text, source=source), args.days)
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
