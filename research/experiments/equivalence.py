"""`nisse experiment equivalence`: how far a wrong model is from the conditions under which its decisions are optimal.

"All AI Models are Wrong, but Some are Optimal": Lemma 1, Theorem 1, Corollary 1, and the cost modification of the
slides "MDP equivalence"; on the tabulated batteries, on random problems, or on arrays of one's own (--problem).
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Line, NumberAxis, Panel
from pages.page import Page
from research.experiments.existence import Existence, existence, existence_chart, existence_table
from research.experiments.output import (
    PAPER,
    Statement,
    add_output_arguments,
    result_page,
    write_outputs,
)
from research.experiments.progress import steps
from research.experiments.scalar_options import parse_leaving
from research.experiments.settings import Settings
from research.memory import free_memory, require_memory
from research.optimality import Equivalence, compare, disadvantage
from research.scalar_battery import CASES, DISCOUNT
from research.tabular.deterministic import as_mdp, deterministic_model
from research.tabular.errors import BadProblem, NoFeasibleAction
from research.tabular.mdp import Mdp, make_mdp, policy_iteration
from research.tabular.scalar import expected_value_model, scalar_world
from research.tabular.tabulate import fitted_model, random_mdp, sufficient_model, tabulate
from runtime.formats.plain_files import LARGEST_DATA, open_plain
from systems.commands.numbers import number, seed_number, whole

Array = NDArray[np.float64]
STATES, ACTIONS = 81, 41
"""Of the tabulated battery; the action spacing is the node spacing, so s + a falls on nodes."""
SAMPLES_PER_ROW = 30
COPIES = 6
"""Of P, that are in memory at once: world and model, and what is drawn and compared on the way."""


@dataclass(frozen=True)
class EquivalenceOf:
    name: str
    outcome: Equivalence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example: nisse experiment equivalence --json equivalence.json\n"
        "Example: nisse experiment equivalence --problem mine.npz\n\n"
        "FILE.npz holds P (ns, na, ns), L (ns, na), gamma, and of the model what differs: P_hat, L_hat, gamma_hat.\n"
        "L are costs; inf marks an action that is not available."
    )
    parser.add_argument("--problem", type=Path, metavar="FILE.npz", help="compare these arrays instead")
    parser.add_argument("--leaving", default="hard", metavar="hard|penalty=X", help="of the batteries")
    parser.add_argument("--mdps", type=whole(1), default=20, metavar="N", help="number of random problems")
    parser.add_argument("--states", type=whole(1, 1000), default=12)
    parser.add_argument("--actions", type=whole(1, 1000), default=4)
    parser.add_argument(
        "--discount", type=number(0.0, 1.0), default=0.9, metavar="GAMMA", help="of the random problems"
    )
    parser.add_argument("--seed", type=seed_number, default=0)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.problem is not None:
        cases, randoms = own_problem(args.problem), []
        maps = [existence(args.problem.name, read_problem(args.problem)[0])]
    else:
        penalty = parse_leaving(args.leaving)
        each = COPIES * 8 * args.states * args.actions
        require_memory(args.states, f"states that lead to as many by {args.actions} actions", each, free_memory())
        with steps("equivalence", 3) as step:
            cases = []
            maps = []
            for number in (1, 2):
                step(f"battery, case {number}")
                world, model = battery(number, penalty)
                cases += compared_battery(number, world, model)
                maps.append(existence(f"battery case {number}", world))
            step("random problems")
            randoms = random_problems(args)
    result = {
        "experiment": "equivalence",
        "source": PAPER,
        "cases": [residuals(c) for c in cases],
        "random": [residuals(c) for c in randoms],
        "deterministic": [found.as_json() for found in maps],
        "seed": args.seed,
    }
    if args.problem is not None:
        result["modified_cost"] = cases[0].outcome.modified_cost
        result["storage"] = cases[0].outcome.storage
    path = write_outputs(
        "equivalence", make_page(cases, randoms, maps), result, settings_of(args, len(randoms)), args.output, args.json
    )
    report(cases, randoms, path)
    return 0


def settings_of(args: argparse.Namespace, randoms: int) -> Settings:
    """Seeds are those of the random problems; each is a problem of its own, so the range is that over the problems."""
    exact = "Nothing is tuned: residuals of conditions on given arrays, exact to rounding."
    if not randoms:
        return Settings(exact)
    drawn = f"{args.mdps} random problems are drawn from the one seed, and ranges are over them."
    return Settings(f"{exact} {drawn}", shown=(args.seed,), least=1)


def battery(number: int, penalty: float | None) -> tuple[Mdp, Mdp]:
    """World and expected-value model of one battery, tabulated."""
    case, intervals = CASES[number], STATES - 1
    world = tabulate(scalar_world(case, penalty=penalty, intervals=intervals, discount=DISCOUNT), ACTIONS)
    model = tabulate(expected_value_model(case, penalty=penalty, intervals=intervals, discount=DISCOUNT), ACTIONS)
    return world, model


def compared_battery(number: int, world: Mdp, model: Mdp) -> list[EquivalenceOf]:
    """The expected-value model, and one of the sufficient condition."""
    sufficient = sufficient_model(world, policy_iteration(world).value, 0.0)
    return [
        EquivalenceOf(f"battery case {number}, expected-value model", compare(world, model)),
        EquivalenceOf(f"battery case {number}, model of the sufficient condition, Δ = 0", compare(world, sufficient)),
    ]


def random_problems(args: argparse.Namespace) -> list[EquivalenceOf]:
    """Each random world with a model fitted to few data, and with one of the sufficient condition."""
    found = []
    for index, sequence in enumerate(np.random.SeedSequence(args.seed).spawn(args.mdps)):
        generator = np.random.default_rng(sequence)
        world = random_mdp(generator, args.states, args.actions, args.discount)
        fitted = fitted_model(generator, world, SAMPLES_PER_ROW)
        found.append(EquivalenceOf(f"random {index}, fitted", compare(world, fitted)))
        sufficient = sufficient_model(world, policy_iteration(world).value, 0.0)
        found.append(EquivalenceOf(f"random {index}, sufficient", compare(world, sufficient)))
    return found


def own_problem(path: Path) -> list[EquivalenceOf]:
    """The file's model, if it has one, and the deterministic model of the sufficient condition, Delta = 0."""
    world, model = read_problem(path)
    given = [] if model is None else [EquivalenceOf(path.name, compare(world, model))]
    nearest = deterministic_model(world, policy_iteration(world).value, 0.0)
    return [*given, EquivalenceOf(f"{path.name}, deterministic, Δ = 0", compare(world, as_mdp(world, nearest)))]


def read_problem(path: Path) -> tuple[Mdp, Mdp | None]:
    """World, and model if there is one, from an npz file. Raises BadProblem naming the file and what is missing."""
    try:
        with open_plain(path, LARGEST_DATA) as opened:
            arrays = np.load(opened.stream, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                shape = arrays.shape
                raise BadProblem(f"{path}: holds one array of shape {shape}; save P, L and gamma with numpy.savez")
            with arrays:
                held = {name: arrays[name] for name in arrays.files}
    except BadProblem:
        raise
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise BadProblem(f"{path}: cannot be read as an npz file of numbers ({error})") from error
    missing = sorted({"P", "L", "gamma"} - set(held))
    if missing:
        raise BadProblem(f"{path}: has no {', '.join(missing)}; it needs P, L and gamma")
    try:
        world = make_mdp(held["P"], held["L"], _one_number("gamma", held["gamma"]))
        if not {"P_hat", "L_hat", "gamma_hat"} & set(held):
            return world, None
        hat = {name: held.get(f"{name}_hat", held[name]) for name in ("P", "L", "gamma")}
        try:
            model = make_mdp(hat["P"], hat["L"], _one_number("gamma_hat", hat["gamma"]))
        except (BadProblem, NoFeasibleAction) as error:
            raise BadProblem(f"of the model: {error}") from error
        if model.stage_cost.shape != world.stage_cost.shape:
            raise BadProblem(
                f"P is {world.transition.shape} and P_hat is {model.transition.shape}: tabulate world and model alike"
            )
    except (BadProblem, NoFeasibleAction) as error:
        raise BadProblem(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise BadProblem(f"{path}: {error}; P, L are arrays of numbers, gamma is one number") from error
    return world, model


def _one_number(name: str, value: Array) -> float:
    if value.size != 1 or np.iscomplexobj(value):
        raise BadProblem(f"{name} is {np.array2string(value.ravel(), threshold=5)}: give one real number")
    return float(value.item())


def residuals(compared: EquivalenceOf) -> dict[str, Any]:
    """Plain numbers; infinite ones become null in JSON, so each has a flag beside it."""
    o = compared.outcome
    return {
        "name": compared.name,
        "same_policy": o.same_policy,
        "regret": o.regret,
        "world_forbids_model_policy": bool(np.isinf(o.regret)),
        "lemma1_sandwich_exists": o.sandwich.exists,
        "lemma1_upper_residual": o.sandwich.upper_residual,
        "lemma1_lower_residual": o.sandwich.lower_residual,
        "lemma1_violation": o.sandwich.violation,
        "theorem1_value_residual": o.theorem1_value_residual,
        "theorem1_advantage_residual": o.theorem1_advantage_residual,
        "theorem1_value_residual_as_printed": o.theorem1_value_residual_as_printed,
        "corollary1_delta": o.delta,
        "corollary1_spread": o.spread,
        "cost_modification_residual": o.modification_residual,
    }


HEADER = (
    "problem and model",
    "same decisions",
    "regret",
    "Lemma 1: D̂ where D = 0",
    "Lemma 1: D where D̂ = 0",
    "Theorem 1: V̂* + λ = V*",
    "Corollary 1: spread",
    "L̂: Q̂* = Q*",
)


def row(compared: EquivalenceOf) -> list[str]:
    o = compared.outcome
    numbers = (
        o.regret,
        o.sandwich.upper_residual,
        o.sandwich.lower_residual,
        o.theorem1_value_residual,
        o.spread,
        o.modification_residual,
    )
    return [compared.name, "yes" if o.same_policy else "no", *("∞" if np.isinf(x) else f"{x:.2g}" for x in numbers)]


def make_page(cases: list[EquivalenceOf], randoms: list[EquivalenceOf], maps: list[Existence]) -> Page:
    everything = cases + randoms
    same = sum(c.outcome.same_policy for c in everything)
    optimal = sum(c.outcome.regret <= 1e-9 for c in everything)
    agree = sum(c.outcome.same_policy <= (c.outcome.regret <= 1e-9) for c in everything)
    statements = [
        Statement(
            "Lemma 1: class-K functions sandwich the advantages if and only if the optimal actions agree.",
            f"Sandwich found in {same} of {len(everything)} comparisons; the model's policy is optimal in {optimal}; "
            f"never a sandwich without optimality: {'holds' if agree == len(everything) else 'fails'}.",
            "Lemma 1 asks for the same set of optimal actions; with ties a policy can be optimal without it.",
        ),
        Statement(
            "Theorem 1: λ can be chosen so that V̂* = V*, without touching the decisions.",
            f"With λ = V* − V̂*, solved anew: residual {largest(everything, 'theorem1_value_residual'):.1e} in V, "
            f"{largest(everything, 'theorem1_advantage_residual'):.1e} in the advantages.",
            "With Λ under the world's transition, as (17) is printed, the residual in V is up to "
            f"{largest(everything, 'theorem1_value_residual_as_printed'):.2g}: the hat on ρ is missing there.",
        ),
        Statement(
            "Corollary 1: a constant difference E[V*] − Ê[V*] is sufficient.",
            "Every model built from it has zero spread and the same decisions; see the table.",
        ),
        Statement(
            "A stage cost exists with which the wrong model has the right Q*.",
            f"L̂ = Q* − γ Ê[V*]: largest |Q̂* − Q*| {largest(everything, 'modification_residual'):.1e}.",
        ),
    ]
    tables = [("Residuals", HEADER, [row(c) for c in cases]), existence_table(maps)]
    if randoms:
        tables.append(("Random problems", HEADER, [row(c) for c in randoms]))
    return result_page(
        title="Conditions for optimal decisions from a wrong model",
        summary="D = Q* − V* is what an action costs beyond the best one, in the world; D̂ is the same in the model.",
        statements=statements,
        charts=[sandwich_chart(cases[:4]), existence_chart(maps)],
        tables=tables,
        notes=(
            "All numbers are costs. ∞: the model's best action is forbidden in the world.",
            "The spread of Corollary 1 runs over the (s, a) that both allow. Where the world forbids what the model "
            "allows, a small spread does not help: in case 1 the decisions differ because of the bound.",
        ),
    )


def largest(compared: list[EquivalenceOf], name: str) -> float:
    return max(float(getattr(c.outcome, name)) for c in compared)


def sandwich_chart(cases: list[EquivalenceOf]) -> Chart:
    """D against D_hat for all (s, a), with the class-K functions where they exist."""
    panels = []
    for compared in cases:
        o = compared.outcome
        d, d_hat = disadvantage(o.world), disadvantage(o.model)
        both = np.isfinite(d) & np.isfinite(d_hat)
        lines = [Line("(s, a)", d[both], d_hat[both], "first", "dots")]
        if o.sandwich.exists:
            lines += [
                Line("α", o.sandwich.at, o.sandwich.alpha, "second"),
                Line("β", o.sandwich.at, o.sandwich.beta, "third"),
            ]
        panels.append(Panel(compared.name + ("" if o.sandwich.exists else ": no sandwich"), lines))
    return Chart(
        "sandwich",
        "What an action costs beyond the best one, in the model over in the world, for every (s, a).",
        panels,
        NumberAxis("D, world"),
        caption="D̂ of the model over D of the world; α and β are the class-K functions where they exist.",
        columns=2,
    )


def report(cases: list[EquivalenceOf], randoms: list[EquivalenceOf], path: Path) -> None:
    for compared in cases:
        o = compared.outcome
        print(
            f"{compared.name}: {'same decisions' if o.same_policy else 'other decisions'}, regret {o.regret:.3g}, "
            f"spread of Corollary 1 {o.spread:.3g}, cost modification leaves {o.modification_residual:.1e}"
        )
    if randoms:
        fitted = [c for c in randoms if c.name.endswith("fitted")]
        built = [c for c in randoms if c.name.endswith("sufficient")]
        for label, group in (("fitted to data", fitted), ("sufficient condition", built)):
            same = sum(c.outcome.same_policy for c in group)
            print(f"random problems, model {label}: same decisions in {same} of {len(group)}")
    print(f"page: {path}")
