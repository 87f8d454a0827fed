"""What a battery's controllers are worth: regimes of prices and charges, real homes, months that taught nothing.

    python -m benchmarks.worth --homes FOLDER --prices FILE       # home*.csv (time, load_kw, pv_kw), hourly spot prices
    python -m benchmarks.worth --quick                            # a generated home, one regime, days: a minute or two
    python -m benchmarks.worth --json FILE --page FILE            # the page anew, of what FILE has

Every policy but the first follows its meter by the law that the daemon runs. The data are hourly means, told apart in
pieces that are alike; what happens inside the hour is left to `benchmarks.tracking`. Forecasts of load and panels are
the mean of the same hour of the last seven days. What is chosen is chosen on four weeks of the first half year;
judged is the first week of each month of the second, with a quarter of the month's charge. The interval is over
months, each the mean of the homes, paired.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks.worth.choice import choose
from benchmarks.worth.page import regime_table, write_page
from benchmarks.worth.regimes import (
    CHARGES,
    LEARNED,
    RULE,
    TARIFFS,
    Source,
    Stretch,
    Task,
    cost,
    design_of,
    policies_of,
    reserve_of,
)
from systems.logs.log import Array

TAUGHT = (2020, 9), (2020, 10), (2020, 11), (2021, 1)
MONTHS = tuple((2021, month) for month in range(2, 8))
DAYS = 7


@dataclass(frozen=True)
class Plan:
    """Stretches to choose on and to judge by, and how many thetas learning and the black box may try."""

    training: tuple[Stretch, ...] = tuple(Stretch((*month, 1), DAYS) for month in TAUGHT)
    judged: tuple[Stretch, ...] = tuple(Stretch((*month, 1), DAYS) for month in MONTHS)
    tries: int = 12


def regime(source: Source, plan: Plan, tariff: str, charge: str, home: int, parallel: Parallel) -> dict[str, Any]:
    """Of a home: {"costs": (months,) by policy, "theta": of what learned, by name, "kept": what runs as learned}."""

    def costs(tasks: Sequence[Task]) -> Array:
        return np.array(list(parallel(delayed(cost)(source, task) for task in tasks)))

    def trial(thetas: Sequence[Array]) -> Array:
        tasks = [
            Task(tariff, charge, home, stretch, LEARNED, tuple(theta.tolist()))
            for theta, stretch in product(thetas, plan.training)
        ]
        return np.asarray(costs(tasks).reshape(len(thetas), -1))

    kept = list(parallel(delayed(reserve_of)(source, tariff, charge, home, s) for s in plan.training))
    rule = costs([Task(tariff, charge, home, stretch, RULE) for stretch in plan.training])
    chosen = choose(charge, np.mean(kept, axis=0).tolist(), rule, trial, tries=plan.tries)
    policies = policies_of(charge)
    run = [policy for policy in policies if policy != LEARNED or chosen.kept == LEARNED]
    tasks = [
        Task(tariff, charge, home, stretch, policy, chosen.thetas.get(policy))
        for policy, stretch in product(run, plan.judged)
    ]
    found = dict(zip(run, costs(tasks).reshape(len(run), -1).tolist(), strict=True))
    found.setdefault(LEARNED, found[chosen.kept])
    names = [p.name for p in design_of(CHARGES[charge]).problem.theta]
    learned = dict(zip(names, chosen.thetas[LEARNED], strict=True))
    return {"costs": {p: found[p] for p in policies}, "theta": learned, "kept": chosen.kept}


def added(document: dict[str, Any], name: str, found: dict[str, Any], home: str, plan: Plan) -> dict[str, Any]:
    """The regime of the document with a home more."""
    known = document.setdefault(name, {"homes": [], "costs": {}, "theta": [], "kept": []})
    known |= {"months": [list(s.begin[:2]) for s in plan.judged], "tries": plan.tries}
    known["homes"].append(home)
    known["theta"].append(found["theta"])
    known["kept"].append(found["kept"])
    for policy, costs in found["costs"].items():
        known["costs"].setdefault(policy, []).append(costs)
    return dict(known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--homes", type=Path, help="folder with home*.csv")
    parser.add_argument("--prices", type=Path, help="hourly spot prices, with the year from 2020-08-03 on")
    parser.add_argument("--regimes", nargs="+", help="as spot,peak (default: all six)")
    parser.add_argument("--count", type=int, help="homes (default: all of the folder, or 2)")
    parser.add_argument("--tries", type=int, default=Plan.tries, help="thetas for learning, and for the black box")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one generated home, one regime, days")
    parser.add_argument("--json", type=Path, help="read where it is there; what it lacks is added")
    parser.add_argument("--page", type=Path, help="Markdown, with a picture beside it")
    args = parser.parse_args()
    homes = tuple(sorted(args.homes.glob("home*.csv")))[: args.count] if args.homes else ()
    source, plan = Source(homes, args.prices, args.count or 2), Plan(tries=args.tries)
    wanted = [tuple(text.split(",")) for text in args.regimes or []] or list(product(TARIFFS, CHARGES))
    if args.quick:
        source, wanted = Source((), None, 1), [("flat", "peak")]
        plan = Plan((Stretch((2020, 11, 9), 4),), (Stretch((2021, 2, 1), 4), Stretch((2021, 4, 1), 4)), 8)
    known = args.json is not None and args.json.exists()
    document: dict[str, Any] = json.loads(args.json.read_text()) if known else {}
    if args.homes or args.quick:
        names = source.names()
        with Parallel(n_jobs=args.jobs) as parallel:
            for home, (tariff, charge) in product(range(len(names)), wanted):
                began, name = time.monotonic(), f"{tariff}, {charge}"
                if names[home] in document.get(name, {"homes": ()})["homes"]:
                    continue
                found = added(document, name, regime(source, plan, tariff, charge, home, parallel), names[home], plan)
                print(f"\n**{name}**, {', '.join(found['homes'])} ({time.monotonic() - began:.0f} s)\n", flush=True)
                print("\n".join(regime_table(found)), flush=True)
                if args.json is not None:
                    args.json.write_text(json.dumps(document, indent=1) + "\n")
    if args.page is not None:
        write_page(args.page, document)


if __name__ == "__main__":
    main()
