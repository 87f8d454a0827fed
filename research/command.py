"""`nisse experiment NAME`: one table of experiments, each imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Experiment:
    """Its module offers `add_arguments(parser)` and `run(args) -> exit code`; args.experiment is its name."""

    module: str
    help: str


EXPERIMENTS: dict[str, Experiment] = {
    "battery-case1": Experiment(
        "research.experiments.battery_cases",
        "the scalar battery that sells: optimal and model-based decisions, exactly",
    ),
    "battery-case2": Experiment(
        "research.experiments.battery_cases", "the scalar battery with a kink at 1/2, and its optimal models"
    ),
    "optimal-model": Experiment(
        "research.experiments.optimal_model", "the deterministic model that gives optimal decisions, where there is one"
    ),
    "battery-tuning": Experiment(
        "research.experiments.battery_tuning", "the claim by learning: a wrong model tuned until it decides optimally"
    ),
    "equivalence": Experiment(
        "research.experiments.equivalence", "how far a model is from the conditions for optimal decisions"
    ),
    "in-sim": Experiment(
        "research.experiments.in_sim", "a simulator tuned so that the policy trained in it does better"
    ),
    "lqr": Experiment("research.experiments.lqr", "the linear-quadratic regulator from data, three ways"),
    "invariant-sets": Experiment(
        "research.experiments.invariant_sets", "from which states a linear system stays safe, and the filter on them"
    ),
    "sls": Experiment(
        "research.experiments.sls",
        "responses instead of gains: bounds for all disturbances, by convex programs",
    ),
    "performative": Experiment(
        "research.experiments.performative", "a fleet of houses whose load moves the price that it learns from"
    ),
    "two-layer": Experiment(
        "research.experiments.two_layer", "the critic of two layers against the exact Q of a linear regulator"
    ),
    "value-aware": Experiment(
        "research.experiments.value_aware", "models by likelihood, by value and by decision, on the same data"
    ),
    "smart-home": Experiment(
        "research.experiments.smart_home",
        "four heat pumps: ten models tuned for decisions, judged after every iteration",
    ),
}


class _LazyParser(argparse.ArgumentParser):
    """Asks the experiment's module for its arguments only when this experiment was chosen."""

    module: str | None = None

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self.module is not None:
            importlib.import_module(self.module).add_arguments(self)
            self.module = None
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment battery-case2 --json case2.json"
    names = parser.add_subparsers(dest="experiment", metavar="NAME", required=True, parser_class=_LazyParser)
    for name, experiment in EXPERIMENTS.items():
        sub = names.add_parser(
            name,
            help=experiment.help,
            description=experiment.help[0].upper() + experiment.help[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.module = experiment.module


def run(args: argparse.Namespace) -> int:
    module = importlib.import_module(EXPERIMENTS[args.experiment].module)
    return int(module.run(args))
