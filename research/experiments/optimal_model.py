"""`nisse experiment optimal-model`: the deterministic model with which planning gives the optimal policy back.

"All AI Models are Wrong, but Some are Optimal", eq. (26), Corollary 2 and Proposition 1, on the scalar battery.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pages.chart import Chart, Line, NumberAxis, Panel
from pages.page import Page
from research.experiments.output import (
    PAPER,
    Statement,
    add_output_arguments,
    result_page,
    rounded,
    write_outputs,
)
from research.experiments.progress import steps
from research.experiments.scalar_options import GRID_ALONE, ScalarOptions, add_scalar_arguments, scalar_options
from research.optimality_model import BRANCHES, JUMP, Branch, Jump, OptimalModel, delta_range
from research.tabular.refinement import Refined, refine
from research.tabular.scalar import BellmanSolution, ScalarProblem

Array = NDArray[np.float64]
DEFAULT_GRID = 400
SCAN_POINTS = 41
PRINTED_CRITICAL = 0.11
"""What the paper prints as the Delta of its continuous model."""
COARSE_GRIDS = (29, 39, 49, 99)
"""Odd numbers of intervals: no node at s = 1/2, so the kink of V* is cut off."""


@dataclass(frozen=True)
class Planned:
    """What planning with the model gives, against the world."""

    policy_difference: float
    """max |pi_hat - pi*| on the nodes."""
    offset_residual: float
    """max |V_hat - V* + gamma Delta / (1 - gamma)|: Corollary 1 with the discounted sum over all steps."""
    offset_residual_as_printed: float
    """The same with gamma Delta, as the paper's proof has it."""
    bellman_bound: float
    """Bellman residual over 1 - gamma: by contraction a bound on the error of V_hat, wherever the iteration started."""


@dataclass(frozen=True)
class ScanPoint:
    delta: float
    covered: float
    jumps: int
    largest_jump: float


@dataclass(frozen=True)
class Scan:
    """What is said of the range of Delta in which f is continuous, to convergence in the grid as that of existence."""

    points: list[ScanPoint]
    """On the finest grid."""
    continuous: tuple[Refined, Refined] | None
    """(lowest, highest) Delta with f everywhere and no jump above JUMP; None where there is no such Delta."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example: nisse experiment optimal-model --case 2 --delta 0.11\n"
        "Example: nisse experiment optimal-model --case 2 --scan --json scan.json\n\n"
        "Delta = E[V*(s+)] - V*(f) with V* the cost-to-go, as the paper prints it; in rewards its sign changes."
    )
    parser.add_argument("--case", type=int, choices=(1, 2), default=2)
    parser.add_argument("--delta", type=float, metavar="D", help="default: the largest with a model for all (s, a)")
    parser.add_argument("--branch", choices=BRANCHES, default="nearest", help="which root f of V*(f) = ... is taken")
    parser.add_argument("--scan", action="store_true", help="find the range of Delta for existence and continuity")
    add_scalar_arguments(parser, grid=DEFAULT_GRID)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    options = scalar_options(args, args.case)
    with steps("optimal-model", 5 if args.scan else 4) as step:
        levels = solve_levels(options, step)
        low, high = critical_deltas(levels)
        world, solution = levels[-1]
        delta = float(delta_range(world, solution)[1]) if args.delta is None else args.delta
        model = OptimalModel(world, solution, delta, args.branch)
        step("planning with the model")
        planned = plan(model)
        scan = None
        if args.scan:
            step("scan of Delta")
            scan = scan_levels(levels, args.branch)
    result = as_json(options, model, planned, low, high, scan)
    page = make_page(options, model, planned, low, high, scan)
    path = write_outputs("optimal-model", page, result, GRID_ALONE, args.output, args.json)
    report(model, planned, low, high, scan, path)
    return 0


def solve_levels(options: ScalarOptions, step: Any) -> list[tuple[ScalarProblem, BellmanSolution]]:
    levels: list[tuple[ScalarProblem, BellmanSolution]] = []
    for n in (options.intervals // 4, options.intervals // 2, options.intervals):
        step(f"grid of {n} intervals")
        world = options.world(n)
        start = None if not levels else np.interp(world.nodes, levels[-1][1].nodes, levels[-1][1].cost_to_go)
        levels.append((world, world.solve(start)))
    return levels


def critical_deltas(levels: list[tuple[ScalarProblem, BellmanSolution]]) -> tuple[Refined, Refined]:
    """(lowest, highest) Delta with a model for all feasible (s, a), to convergence in the grid."""
    ranges = [delta_range(world, solution) for world, solution in levels]
    low, high = zip(*ranges, strict=True)
    return refine(*[np.array(x) for x in low]), refine(*[np.array(x) for x in high])


def plan(model: OptimalModel) -> Planned:
    """Raises NoModel where the model exists for no (s, a)."""
    solution, discount = model.solution, model.world.discount
    found = model.plan(solution.cost_to_go)
    shift = found.cost_to_go - solution.cost_to_go
    return Planned(
        policy_difference=float(np.max(np.abs(found.policy - solution.policy))),
        offset_residual=float(np.max(np.abs(shift + discount * model.delta / (1.0 - discount)))),
        offset_residual_as_printed=float(np.max(np.abs(shift + discount * model.delta))),
        bellman_bound=found.residual / (1.0 - discount),
    )


def scan_levels(levels: list[tuple[ScalarProblem, BellmanSolution]], branch: Branch) -> Scan:
    """On each grid its own ends of continuity: a grid shifts them as it shifts the ends of existence."""
    scans = [scan_deltas(OptimalModel(world, solution, 0.0, branch)) for world, solution in levels]
    ranges = [found for scan in scans if (found := continuous_range(scan)) is not None]
    if len(ranges) < len(levels):
        return Scan(scans[-1], None)
    low, high = zip(*ranges, strict=True)
    return Scan(scans[-1], (refine(*[np.array(x) for x in low]), refine(*[np.array(x) for x in high])))


def scan_deltas(model: OptimalModel) -> list[ScanPoint]:
    """Coverage and jumps over and around the range of Delta in which the model exists everywhere, its ends included."""
    low, high = delta_range(model.world, model.solution)
    margin = 0.1 * (high - low)
    deltas = np.unique(np.concatenate([np.linspace(low - margin, high + margin, SCAN_POINTS), [low, high]]))
    points = [scan_point(model, float(delta)) for delta in deltas]
    # Between a Delta that jumps and its neighbour that does not, bisection finds where continuity begins or ends.
    for before, after in pairwise(list(points)):
        if before.covered == after.covered == 1.0 and (before.jumps > 0) != (after.jumps > 0):
            a, b = before, after
            while b.delta - a.delta > 1e-8:
                middle = scan_point(model, (a.delta + b.delta) / 2.0)
                a, b = (middle, b) if (middle.jumps > 0) == (a.jumps > 0) else (a, middle)
            points += [a, b]
    return sorted(points, key=lambda p: p.delta)


def scan_point(model: OptimalModel, delta: float) -> ScanPoint:
    candidate = OptimalModel(model.world, model.solution, delta, model.branch)
    jumps = candidate.jumps()
    largest = max((abs(j.after - j.before) for j in jumps), default=0.0)
    return ScanPoint(delta, candidate.coverage(), len(jumps), largest)


def continuous_range(scan: list[ScanPoint]) -> tuple[float, float] | None:
    """(lowest, highest) scanned Delta whose model exists everywhere without a jump, if there is one."""
    good = [p.delta for p in scan if p.covered == 1.0 and p.jumps == 0]
    return (min(good), max(good)) if good else None


def without_kink(options: ScalarOptions) -> list[tuple[int, float]]:
    """(intervals, critical Delta) from grids that have no node at s = 1/2."""
    found = []
    for n in COARSE_GRIDS:
        world = options.world(n)
        found.append((n, delta_range(world, world.solve())[1]))
    return found


def describe(jumps: list[Jump], missing: list[tuple[float, float]], covered: float) -> str:
    if missing:
        gaps = ", ".join(f"[{a:.4f}, {b:.4f}]" for a, b in missing)
        return f"does not exist for s + a in {gaps}; covers {100 * covered:.2f} % of the feasible (s, a)"
    if jumps:
        list_of = ", ".join(f"at s + a = {j.at:.4f} from {j.before:.4f} to {j.after:.4f}" for j in jumps)
        return f"exists everywhere and jumps {list_of}"
    return "exists everywhere and is continuous"


def as_json(
    options: ScalarOptions, model: OptimalModel, planned: Planned, low: Refined, high: Refined, scan: Scan | None
) -> dict[str, Any]:
    m, f = model.sample()
    continuous = scan.continuous if scan else None
    return {
        "experiment": "optimal-model",
        "source": PAPER + ", eq. (26)",
        "case": options.case.number,
        "leaving": options.leaving,
        "delta": model.delta,
        "delta_convention": "E[V*(s+)] - V*(f) with V* the cost-to-go; in rewards the sign changes",
        "branch": model.branch,
        "s_plus_a": m,
        "f": f,
        "covered_fraction": model.coverage(),
        "missing_s_plus_a": model.missing(),
        "jumps": [{"s_plus_a": j.at, "before": j.before, "after": j.after} for j in model.jumps()],
        "largest_distance_outside_support": model.outside_support(),
        "largest_policy_difference": planned.policy_difference,
        "offset_residual": planned.offset_residual,
        "offset_residual_as_printed": planned.offset_residual_as_printed,
        "bellman_bound": planned.bellman_bound,
        "intervals": model.world.intervals,
        "delta_exists_everywhere": _ends(low, high),
        "delta_continuous": None if continuous is None else _ends(*continuous),
        "scan": [vars(p) for p in scan.points] if scan else [],
    }


def _ends(low: Refined, high: Refined) -> dict[str, float]:
    return {
        "low": float(low.value),
        "low_error": low.error,
        "high": float(high.value),
        "high_error": high.error,
    }


def make_page(
    options: ScalarOptions, model: OptimalModel, planned: Planned, low: Refined, high: Refined, scan: Scan | None
) -> Page:
    jumps, missing, covered = model.jumps(), model.missing(), model.coverage()
    statements = [
        Statement(
            "A deterministic model can be optimal for a stochastic system (Corollary 2).",
            f"Δ = {model.delta:.6f}: f {describe(jumps, missing, covered)}. Planning with it, the policy differs from "
            f"π* by at most {planned.policy_difference:.1e}.",
            "" if covered == 1.0 else "Where f is missing the planner cannot go.",
        ),
        Statement(
            "Q̂* + γΔ = Q* (proof of Corollary 1).",
            f"Q̂* + γΔ/(1 − γ) = Q* holds to {planned.offset_residual:.1e}; with γΔ alone the residual is "
            f"{planned.offset_residual_as_printed:.3g}.",
            "The proof inserts V* for V̂* on the right: Δ enters in every step, not in one.",
        ),
        Statement(
            "The optimal model lies in the support of the real transition (Proposition 1, Δ = 0).",
            f"f leaves the support by at most {model.outside_support():.3g}.",
            "Proposition 1 promises this for Δ = 0 and a suitable root; the nearest root gives it.",
        ),
    ]
    if options.case.number == 2:
        statements.append(critical_statement(options, model, high))
    tables = [range_table(low, high, scan)]
    if scan:
        rows = [
            [f"{p.delta:+.6f}", f"{100 * p.covered:.2f} %", str(p.jumps), f"{p.largest_jump:.5f}"] for p in scan.points
        ]
        tables.append(("Scan", ["Δ", "covered", "jumps", "largest jump"], rows))
    return result_page(
        title=f"The optimal model of the scalar battery, case {options.case.number}",
        summary=f"Δ = {model.delta:.6f}, branch: {model.branch} root. The model f {describe(jumps, missing, covered)}.",
        statements=statements,
        charts=[model_chart(model), *([scan_chart(scan.points)] if scan else [])],
        tables=tables,
        notes=(
            "Δ is in the cost convention; in rewards its sign changes. The numbers that the paper prints fit costs: "
            "with rewards and Δ = +0.15 a model would exist everywhere.",
            "Branch rule: of several f with V*(f) = E[V*(s+)] − Δ the one nearest to s + a. In case 2 the smallest "
            "root (--branch lower) is continuous for every Δ, but it folds back at s + a = 1/2 and leaves the support "
            "of the real transition. A continuous f inside the support has to pass from the left slope of V* to the "
            "right one through the kink, which only the critical Δ allows.",
        ),
    )


def critical_statement(options: ScalarOptions, model: OptimalModel, high: Refined) -> Statement:
    coarse = ", ".join(f"{delta:.4f} with {n} intervals" for n, delta in without_kink(options))
    printed = OptimalModel(model.world, model.solution, PRINTED_CRITICAL)
    what = describe(printed.jumps(), printed.missing(), printed.coverage())
    return Statement(
        f"For Δ = {PRINTED_CRITICAL} f exists everywhere and is continuous.",
        f"That holds for {rounded(float(high.value), high.error)} = max V* − max E[V*] (as returns). At Δ = "
        f"{PRINTED_CRITICAL} f {what}.",
        "Grids without a node at s = 1/2 cut the kink of V* off and give smaller critical values: "
        f"{coarse}. {PRINTED_CRITICAL} is what such a coarse grid gives; which grid the paper used is not known.",
    )


def range_table(low: Refined, high: Refined, scan: Scan | None) -> tuple[str, list[str], list[list[str]]]:
    rows = [
        ["smallest Δ with f everywhere", rounded(float(low.value), low.error), f"{low.error:.0e}"],
        ["largest Δ with f everywhere", rounded(float(high.value), high.error), f"{high.error:.0e}"],
    ]
    if scan is not None and scan.continuous is None:
        rows.append(["f everywhere and continuous", "for no Δ", ""])
    elif scan is not None and scan.continuous is not None:
        least, most = scan.continuous
        rows.append(
            ["smallest Δ with f everywhere and no jump", rounded(float(least.value), least.error), f"{least.error:.0e}"]
        )
        rows.append(
            ["largest Δ with f everywhere and no jump", rounded(float(most.value), most.error), f"{most.error:.0e}"]
        )
    return "Range of Δ", ["", "Δ", "estimated error"], rows


def model_chart(model: OptimalModel) -> Chart:
    """The model over s + a, and the policy that is planned with it."""
    low, high = model.domain
    m = np.linspace(max(low, 0.0), min(high, 1.0), 2001)
    f = model(m)
    for jump in model.jumps():
        f[np.argmin(np.abs(m - jump.at))] = np.nan
    planned = model.plan(model.solution.cost_to_go)
    nodes = model.solution.nodes
    return Chart(
        "model",
        f"The model f with Δ = {model.delta:.4g} over s + a, and the policy planned with it over the state.",
        [
            Panel(
                "Next state",
                [Line("expected value s + a", m, m, "second", "dashes"), Line(f"f, Δ = {model.delta:.4g}", m, f)],
                x_title="s + a",
            ),
            Panel(
                "Action a",
                [
                    Line("π*, world", nodes, model.solution.policy, "second"),
                    Line("planned with f", planned.nodes, planned.policy, "first", "dashes"),
                ],
                x_title="state s",
            ),
        ],
        columns=2,
    )


def scan_chart(scan: list[ScanPoint]) -> Chart:
    """Over Δ: where the model exists, and how far it jumps."""
    deltas = np.array([p.delta for p in scan])
    return Chart(
        "scan",
        "Share of (s, a) that the model covers, and its largest jump, over Δ.",
        [
            Panel("Share of (s, a) covered", [Line("", deltas, np.array([p.covered for p in scan], float))]),
            Panel("Largest jump of f", [Line("", deltas, np.array([p.largest_jump for p in scan], float))]),
        ],
        NumberAxis("Δ"),
    )


def _interval(low: Refined, high: Refined) -> str:
    return f"[{rounded(float(low.value), low.error)}, {rounded(float(high.value), high.error)}]"


def report(model: OptimalModel, planned: Planned, low: Refined, high: Refined, scan: Scan | None, path: Path) -> None:
    what = describe(model.jumps(), model.missing(), model.coverage())
    print(f"Delta = {model.delta:.6g}, {model.branch} root, grid of {model.world.intervals} intervals: f {what}")
    print(f"planning with f: policy differs from pi* by at most {planned.policy_difference:.1e}")
    print(f"f exists everywhere for Delta in {_interval(low, high)} (converged in the grid)")
    if scan:
        found = "for no Delta" if scan.continuous is None else f"for Delta in {_interval(*scan.continuous)}"
        print(f"f exists everywhere and jumps nowhere by more than {JUMP:.0e} {found} (converged in the grid)")
    print(f"page: {path}")
