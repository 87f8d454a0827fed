"""`nisse experiment performative`: a fleet of houses whose load moves the price that it learns from.

"Safety and data-driven control" (Dean, lecture), dynamic performative optimality. Retraining on the prices seen, the
same with a shorter step, and the gradient through the response, against the fixed point and the optimum that a convex
program has; each seed is another fleet and another noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from research.experiments.output import add_output_arguments, write_outputs
from research.experiments.performative_page import SOURCE, SlopeResult, make_page, report
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.performative import HOURS, Learner, Market, learn, make_fleet, make_market, retraining_factor
from systems.commands.numbers import number, seed_number, whole

Array = NDArray[np.float64]
SLOPES = (0.02, 0.04, 0.08)
"""EUR/kWh by which the price of the mean hour rises for each kW that the houses draw on average."""
STEP, EXPLORED, EXPLORATION_STD = 0.15, 12, 0.005
CHOSEN_ON = range(100, 105)
"""Seeds on which the three above were chosen."""
LEARNERS = {
    "retraining": Learner(),
    "damped": Learner(step=STEP),
    "through": Learner(step=STEP, explored=EXPLORED, exploration_std=EXPLORATION_STD),
}
FACTOR_SLOPES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)
LAST_ROUNDS = 8


@dataclass(frozen=True)
class Growth:
    """At the fixed point of a slope: strength of the response, factor a round as it follows, and as simulated."""

    slope: float
    strength: float
    expected: float
    measured: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment performative --json performative.json"
    parser.add_argument("--houses", type=whole(1, 1000), default=12, metavar="N", help="in the fleet")
    parser.add_argument(
        "--slope", type=number(0.0, 1.0, "EUR/kWh for each kW", above=True), action="append", metavar="X",
        help=f"of the price, per kW that the houses draw on average; may be repeated (default: {SLOPES})",
    )  # fmt: skip
    parser.add_argument("--memory", type=number(0.0, 0.95), default=0.5, metavar="X", help="of a price, day to day")
    parser.add_argument("--rounds", type=whole(LAST_ROUNDS, 1000), default=40, metavar="N", help="of seven days")
    parser.add_argument("--seeds", type=whole(1, 1000), default=5, metavar="N")
    parser.add_argument("--seed", type=seed_number, default=0, help="the first")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    slopes, seeds = args.slope or SLOPES, range(args.seed, args.seed + args.seeds)
    with steps("performative", len(slopes) + 1) as step:
        step("stability")
        growths = [growth(market_of(args, slope, args.seed)[0]) for slope in FACTOR_SLOPES]
        cases = [study(args, slope, seeds, step) for slope in slopes]
    result = as_json(args, growths, cases, seeds)
    limit = brentq(lambda strength: retraining_factor(strength, args.memory, Learner().days) - 1.0, 0.0, 100.0)
    page = make_page(growths, float(limit), cases, args.memory, EXPLORED)
    path = write_outputs("performative", page, result, settings_of(seeds), args.output, args.json)
    report(cases, path)
    return 0


def settings_of(seeds: Sequence[int]) -> Settings:
    return Settings(
        f"Step {STEP:g}, {EXPLORED} exploring rounds and their spread: the cheapest exploration after which more of it "
        "gained nothing.",
        shown=seeds,
        chosen_on=CHOSEN_ON,
    )


def market_of(args: argparse.Namespace, slope: float, seed: int) -> tuple[Market, np.random.Generator]:
    generator = np.random.default_rng(seed)
    return make_market(make_fleet(args.houses, generator), slope, memory=args.memory), generator


def growth(market: Market, size: float = 1e-6) -> Growth:
    """How an error at the fixed point grows with a round of retraining without noise: by a round's own differences."""
    learner, stable = LEARNERS["retraining"], market.fixed_point(own=0.0)

    def after(state: Array) -> Array:
        """The last price and theta after a round, from those before it, (48,)."""
        price, theta = state[:HOURS], state[HOURS:]
        load, seen = market.fleet.powers(theta).mean(axis=0), []
        for _ in range(learner.days):
            price = market.memory * price + (1.0 - market.memory) * market.settled(load)
            seen.append(price)
        return np.concatenate([price, np.mean(seen, axis=0)])

    at = np.concatenate([stable, stable])
    slopes = [(after(at + way) - after(at - way)) / (2.0 * size) for way in size * np.eye(len(at))]
    measured = float(np.max(np.abs(np.linalg.eigvals(np.array(slopes)))))
    strength = market.strength(stable)
    expected = retraining_factor(strength, market.memory, learner.days)
    return Growth(float(np.mean(market.slope)), strength, expected, measured)


def study(args: argparse.Namespace, slope: float, seeds: Sequence[int], step: Callable[[str], None]) -> SlopeResult:
    """All learners on all seeds at one slope."""
    step(f"slope {slope:g}")
    gaps = {name: np.empty((len(seeds), args.rounds)) for name in LEARNERS}
    stable, exploring, strengths, days = [], [], [], {}
    for row, seed in enumerate(seeds):
        market, _ = market_of(args, slope, seed)
        fixed, best = market.fixed_point(own=0.0), market.fixed_point(own=1.0)
        optimum = market.long_run_cost(best)
        stable.append(market.long_run_cost(fixed) / optimum - 1.0)
        strengths.append(market.strength(fixed))
        for name, learner in LEARNERS.items():
            # The same noise for all: what differs is what they do.
            generator = np.random.default_rng([seed, 1])
            history = learn(market, with_rounds(learner, args.rounds), generator)
            gaps[name][row] = history.cost / optimum - 1.0
            if learner.explored:
                spent = history.exploring[: learner.explored]
                exploring.append(float(spent.mean()) / optimum)
        if row == 0:
            loads = {"stable": fixed, "optimum": best}
            days = {name: market.fleet.powers(theta).mean(axis=0) for name, theta in loads.items()}
            days |= {f"{name} price": market.settled(days[name]) for name in loads}
    return SlopeResult(slope, strengths, stable, gaps, exploring, days)


def with_rounds(learner: Learner, rounds: int) -> Learner:
    return Learner(rounds, learner.days, learner.step, min(learner.explored, rounds), learner.exploration_std)


def as_json(
    args: argparse.Namespace, growths: Sequence[Growth], cases: Sequence[SlopeResult], seeds: Sequence[int]
) -> dict[str, Any]:
    return {
        "experiment": "performative",
        "source": SOURCE,
        "houses": args.houses,
        "hours": HOURS,
        "memory": args.memory,
        "seeds": list(seeds),
        "learners": {name: vars(learner) for name, learner in LEARNERS.items()},
        "retraining_factor": [vars(g) for g in growths],
        "cases": [
            {
                "slope": case.slope,
                "strength": case.strength,
                "stable_point_over_optimum": case.stable,
                "cost_over_optimum_by_round": case.gaps,
                "exploring_share_of_cost": case.exploring,
                "day_of_first_seed": case.days,
            }
            for case in cases
        ],
    }
