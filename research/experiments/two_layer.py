"""`nisse experiment two-layer`: the critic of two layers against the exact Q of a linear regulator.

"Remarks on deep RL": the gradient of the TD error on both sides beside the semi-gradient, replayed with normalised data
vectors; persistent excitation and the bound of the weights are checked. The system is that of `nisse experiment lqr`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from joblib import Parallel, delayed

from research.experiments.lqr import SYSTEM
from research.experiments.output import add_output_arguments, write_outputs
from research.experiments.progress import steps
from research.experiments.settings import Settings
from research.experiments.two_layer_house import run_houses
from research.experiments.two_layer_page import SOURCE, make_page, report
from research.two_layer import EXPLORATION_STD, GAMMA, SHARE, CriticCase, CriticCourse, Results, examine
from systems.commands.numbers import MOST_PROCESSES, number, seed_number, whole
from tuner.critics.two_layer import TwoLayer

NOISES = (0.0, 0.01, 0.03, 0.1, 0.2)
TRANSITIONS = (100, 300, 1000, 3000, 10_000)
CHOSEN_ON = range(5)
"""Seeds on which the settings were chosen."""
RATES = (1.0, 4.0, 8.0, 32.0, 128.0)
VARIANTS = {
    "semi": TwoLayer(gradient="semi"),
    "both": TwoLayer(gradient="both"),
    "tanh": TwoLayer(gradient="semi", activation="tanh"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example: nisse experiment two-layer --updates 10000 --json two-layer.json\n"
        "Example: nisse experiment two-layer --house cabin --json two-layer-cabin.json"
    )
    parser.add_argument(
        "--house",
        action="append",
        metavar="HOUSE",
        help="in its plants instead of a linear system; a file or a shipped house, once or more",
    )
    parser.add_argument("--days", type=number(3.0, 60.0), default=6.0, metavar="N", help="of a house's data")
    parser.add_argument("--tries", type=whole(3, 1000), default=20, metavar="N", help="pairs of rollouts in a house")
    parser.add_argument(
        "--own-grid", action="store_true", help="that of the house file; else 15 min and decisions of 1 h with zones"
    )
    parser.add_argument(
        "--transitions",
        type=whole(100, 1_000_000),
        default=TRANSITIONS[-1],
        metavar="N",
        help="of its data",
    )
    parser.add_argument("--updates", type=whole(10, 1_000_000), default=TwoLayer().updates, metavar="N")
    parser.add_argument("--seeds", type=whole(1, 1000), default=5, metavar="N")
    parser.add_argument("--seed", type=seed_number, default=10, help="the first; settings were chosen with 0 to 4")
    parser.add_argument("--jobs", type=whole(1, MOST_PROCESSES), default=2, metavar="N", help="processes")
    add_output_arguments(parser)


def cases(transitions: int, updates: int) -> dict[str, dict[Any, CriticCase]]:
    """By question, by what is varied in it."""
    base = CriticCase(replace(VARIANTS["semi"], updates=updates), transitions=transitions)

    def learner(**changes: Any) -> CriticCase:
        return replace(base, learner=replace(base.learner, **changes))

    variants = {name: replace(base, learner=replace(variant, updates=updates)) for name, variant in VARIANTS.items()}
    return {
        "variants": variants,
        "noise semi": {noise: replace(base, noise_std=noise) for noise in NOISES},
        "noise both": {noise: replace(variants["both"], noise_std=noise) for noise in NOISES},
        "transitions": {
            n: replace(base, transitions=n) for n in sorted({*TRANSITIONS, transitions}) if n <= transitions
        },
        "rates": {rate: learner(rate=rate) for rate in RATES},
        "excitation": {
            "as usual": base,
            "little exploration": replace(base, exploration_std=0.01),
            "8 transitions": replace(base, transitions=8),
            "no exploration": replace(base, exploration_std=0.0),
            "tanh": variants["tanh"],
        },
    }


def run(args: argparse.Namespace) -> int:
    if args.house:
        return run_houses(args)
    seeds = range(args.seed, args.seed + args.seeds)
    questions = cases(args.transitions, args.updates)
    unique: dict[CriticCase, list[CriticCourse]] = {case: [] for of in questions.values() for case in of.values()}
    work = [(case, seed) for case in unique for seed in seeds]
    with steps("two-layer", len(work)) as step:
        calls = (delayed(examine)(case.with_seed(seed)) for case, seed in work)
        for (case, _), found in zip(work, Parallel(n_jobs=args.jobs, return_as="generator")(calls), strict=True):
            unique[case].append(found)
            step("critics")
    results: Results = {q: {key: unique[case] for key, case in of.items()} for q, of in questions.items()}
    page = make_page(results, args.transitions, args.updates, SYSTEM.noise_std)
    settings = Settings("Start of the weights, rate and window by hand.", shown=seeds, chosen_on=CHOSEN_ON)
    path = write_outputs("two-layer", page, as_json(results, args, seeds), settings, args.output, args.json)
    report(results, args.transitions, args.updates)
    print(f"page: {path}")
    return 0


def as_json(results: Results, args: argparse.Namespace, seeds: Sequence[int]) -> dict[str, Any]:
    return {
        "experiment": "two-layer",
        "source": SOURCE,
        "seeds": list(seeds),
        "gamma": GAMMA,
        "share_of_the_optimal_gain": SHARE,
        "exploration_std": EXPLORATION_STD,
        "transitions": args.transitions,
        "updates": args.updates,
        "found": {
            question: {str(key): [asdict(found) for found in runs] for key, runs in of.items()}
            for question, of in results.items()
        },
    }
