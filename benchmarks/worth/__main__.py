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
from collections.abc import Iterator, Mapping, Sequence
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
    CHOSEN,
    LEARNED,
    RULE,
    TARIFFS,
    Source,
    Stretch,
    Task,
    Theta,
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


@dataclass(frozen=True)
class Regime:
    """A tariff and a charge for a home, where its costs are computed."""

    source: Source
    plan: Plan
    tariff: str
    charge: str
    home: int
    parallel: Parallel

    @property
    def name(self) -> str:
        return f"{self.tariff}, {self.charge}"

    def fixed(self) -> dict[str, list[float]]:
        """(months,) by policy, of those for which nothing is chosen."""
        policies = [policy for policy in policies_of(self.charge) if policy not in CHOSEN]
        return dict(zip(policies, self._judged({policy: (policy, None) for policy in policies}), strict=True))

    def learned(self, fixed: Mapping[str, list[float]]) -> dict[str, Any]:
        """{"costs": (months,) by policy, of the rest, "theta": of what learned, "kept": what runs as learned}."""
        kept = list(
            self.parallel(
                delayed(reserve_of)(self.source, self.tariff, self.charge, self.home, s) for s in self.plan.training
            )
        )
        rule = self._costs([self._task(stretch, RULE) for stretch in self.plan.training])
        found = choose(self.charge, np.mean(kept, axis=0).tolist(), rule, self._trial, tries=self.plan.tries)
        runs = {name: (name, found.thetas[name]) for name in CHOSEN if name != LEARNED or found.kept == LEARNED}
        costs = dict(zip(runs, self._judged(runs), strict=True))
        costs.setdefault(LEARNED, {**fixed, **costs}.get(found.kept, []))
        names = [p.name for p in design_of(CHARGES[self.charge]).problem.theta]
        theta = dict(zip(names, found.thetas[LEARNED], strict=True))
        return {"costs": {name: costs[name] for name in CHOSEN}, "theta": theta, "kept": found.kept}

    def _task(self, stretch: Stretch, policy: str, theta: Theta | None = None) -> Task:
        return Task(self.tariff, self.charge, self.home, stretch, policy, theta)

    def _costs(self, tasks: Sequence[Task]) -> Array:
        return np.array(list(self.parallel(delayed(cost)(self.source, task) for task in tasks)))

    def _judged(self, runs: Mapping[str, tuple[str, Theta | None]]) -> list[list[float]]:
        tasks = [self._task(stretch, *run) for run, stretch in product(runs.values(), self.plan.judged)]
        rows: list[list[float]] = self._costs(tasks).reshape(len(runs), -1).tolist()
        return rows

    def _trial(self, thetas: Sequence[Array]) -> Array:
        """(k, stretches)"""
        pairs = product(thetas, self.plan.training)
        tasks = [self._task(stretch, LEARNED, tuple(theta.tolist())) for theta, stretch in pairs]
        return self._costs(tasks).reshape(len(thetas), -1)


def entry_of(document: dict[str, Any], regime: Regime) -> dict[str, Any]:
    """The regime of the document: of `homes`, and of as many of them as `theta` has what was learned."""
    found: dict[str, Any] = document.setdefault(regime.name, {"homes": [], "costs": {}, "theta": [], "kept": []})
    return found | {"months": [list(s.begin[:2]) for s in regime.plan.judged], "tries": regime.plan.tries}


def completed(document: dict[str, Any], regime: Regime, *, learning: bool) -> Iterator[dict[str, Any]]:
    """What the document lacks of a regime of a home, step by step: first what needs no choice, then the rest."""
    entry, home = entry_of(document, regime), regime.source.names()[regime.home]
    document[regime.name] = entry
    costs = entry["costs"]
    if home not in entry["homes"]:
        for policy, row in regime.fixed().items():
            costs.setdefault(policy, []).append(row)
        entry["homes"].append(home)
        yield entry
    number = entry["homes"].index(home)
    if learning and number == len(entry["theta"]):
        found = regime.learned({policy: rows[number] for policy, rows in costs.items() if len(rows) > number})
        for policy, row in found["costs"].items():
            costs.setdefault(policy, []).append(row)
        entry["theta"].append(found["theta"])
        entry["kept"].append(found["kept"])
        yield entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--homes", type=Path, help="folder with home*.csv")
    parser.add_argument("--prices", type=Path, help="hourly spot prices, with the year from 2020-08-03 on")
    parser.add_argument("--regimes", nargs="+", help="as spot,peak (default: all six)")
    parser.add_argument("--count", type=int, help="homes (default: all of the folder, or 2)")
    parser.add_argument("--tries", type=int, default=Plan.tries, help="thetas for learning, and for the black box")
    parser.add_argument("--fixed", action="store_true", help="only what needs no choice and no learning")
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
        with Parallel(n_jobs=args.jobs) as parallel:
            phases = (False,) if args.fixed else (False, True)
            for home, learning, (tariff, charge) in product(range(len(source.names())), phases, wanted):
                began, regime = time.monotonic(), Regime(source, plan, tariff, charge, home, parallel)
                for found in completed(document, regime, learning=learning):
                    seconds = time.monotonic() - began
                    print(f"\n**{regime.name}**, {', '.join(found['homes'])} ({seconds:.0f} s)\n", flush=True)
                    print("\n".join(regime_table(found)), flush=True)
                    if args.json is not None:
                        args.json.write_text(json.dumps(document, indent=1) + "\n")
    if args.page is not None:
        write_page(args.page, document)


if __name__ == "__main__":
    main()
