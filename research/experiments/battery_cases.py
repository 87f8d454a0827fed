"""`nisse experiment battery-case1 | battery-case2`: optimal and model-based decisions of the scalar battery, exactly.

"All AI Models are Wrong, but Some are Optimal", Example V-A, figures 4 and 5. Results are returns, as in the paper:
V is minus the cost-to-go.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from research.experiments.battery_figures import figure_4, figure_5
from research.experiments.battery_study import BatteryStudy, run_study
from research.experiments.output import PAPER, Statement, add_output_arguments, result_page, rounded, write_outputs
from research.experiments.progress import steps
from research.experiments.scalar_options import GRID_ALONE, ScalarOptions, add_scalar_arguments, scalar_options
from research.optimality_model import OptimalModel, delta_range
from research.tabular.errors import NoModel

PLOTTED_DELTAS = (0.10, 0.15)
"""Printed in the paper, beside the critical value, which is computed."""
SAID_OF_DELTA = {
    0.10: "Δ = 0.10: f exists, but is not continuous.",
    0.11: "Δ = 0.11: f exists everywhere and is continuous.",
    0.15: "Δ = 0.15: f is not defined everywhere.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: nisse experiment battery-case2 --leaving hard --json case2.json"
    add_scalar_arguments(parser)
    parser.add_argument(
        "--delta", type=float, nargs="+", metavar="D", help="Delta of the models in figure 5 (default: the paper's)"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    number = 1 if args.experiment == "battery-case1" else 2
    options = scalar_options(args, number)
    with steps(args.experiment, 6) as step:
        study = run_study(options, step)
        step("optimal models")
        critical = delta_range(study.world, study.solution)
        models = models_for(study, args.delta, critical, number)
    result = as_json(args.experiment, options, study, models, critical)
    charts = [figure_4(study, number), figure_5(study, models)]
    page = result_page(
        title=f"Scalar battery, case {number}",
        summary=summary(options, study),
        statements=(statements_1 if number == 1 else statements_2)(study, critical, models),
        charts=charts,
        tables=(numbers_table(study), errors_table(study)),
        notes=(
            "Delta is in the cost convention, E[V*(s+)] − V*(f) with V* the cost-to-go; in rewards its sign changes.",
            f"Leaving [0, 1]: {options.leaving}. Expectations: "
            + ("exact integral." if options.noise_nodes is None else f"{options.noise_nodes} quadrature nodes."),
        ),
    )
    path = write_outputs(args.experiment, page, result, GRID_ALONE, args.output, args.json)
    report(study, critical, path)
    return 0


def models_for(
    study: BatteryStudy, deltas: list[float] | None, critical: tuple[float, float], number: int
) -> list[OptimalModel]:
    """The models of figure 5. Raises NoModel for a Delta that was asked for and has no model at any (s, a)."""
    wanted = deltas or ([*PLOTTED_DELTAS, critical[1]] if number == 2 else [0.0, critical[1]])
    models = [OptimalModel(study.world, study.solution, delta) for delta in sorted(wanted)]
    for model in models:
        if model.coverage() == 0.0:
            raise NoModel(
                f"--delta {model.delta:g}: no (s, a) has a model; it exists for all of them for Delta in "
                f"[{critical[0]:.6g}, {critical[1]:.6g}]"
            )
    return models


def as_json(
    name: str, options: ScalarOptions, study: BatteryStudy, models: list[OptimalModel], critical: tuple[float, float]
) -> dict[str, Any]:
    reason = None
    if study.j_hat is None:
        reason = (
            f"-infinity: the model's policy breaks the hard bound in {100 * study.forbidden_share:.1f} % of states; "
            "J_hat_policy_projected_on_world moves each such action to the nearest allowed one"
        )
    return {
        "experiment": name,
        "source": PAPER + ", Example V-A",
        "convention": "returns: V = -(cost-to-go), J = mean of V over s uniform on [0, 1]",
        "leaving": options.leaving,
        "discount": options.discount,
        "noise": {
            "std": options.case.noise_std,
            "limit": options.case.noise_limit,
            "nodes": options.noise_nodes or "exact",
        },
        "grid": study.nodes,
        "V_star": -study.v_star.value,
        "pi_star": study.pi_star.value,
        "V_hat": -study.v_hat.value,
        "pi_hat": study.pi_hat.value,
        "J_star": float(study.j_star.value),
        "J_hat_policy_on_world": None if study.j_hat is None else float(study.j_hat.value),
        "J_hat_policy_on_world_reason": reason,
        "J_hat_policy_projected_on_world": float(study.j_hat_projected.value),
        "J_hat_in_model": float(study.j_hat_in_model.value),
        "policy_difference": policy_difference(study),
        "digits": {
            "V_star": study.v_star.digits,
            "pi_star": study.pi_star.digits,
            "V_hat": study.v_hat.digits,
            "pi_hat": study.pi_hat.digits,
            "J_star": study.j_star.digits,
            "J_hat_policy_on_world": None if study.j_hat is None else study.j_hat.digits,
            "J_hat_policy_projected_on_world": study.j_hat_projected.digits,
        },
        "errors": {
            "V_star": study.v_star.error,
            "V_star_from_grid": study.errors.grid,
            "V_star_from_action_set": study.errors.actions,
            "V_star_from_quadrature": study.errors.quadrature,
            "V_star_from_iteration": study.errors.iteration,
            "pi_star": study.pi_star.error,
            "J_star": study.j_star.error,
            "observed_order_of_grid": study.v_star.order,
        },
        "delta_convention": "E[V*(s+)] - V*(f) with V* the cost-to-go; in rewards the sign changes",
        "delta_exists_everywhere": {"low": critical[0], "high": critical[1]},
        "models": [
            {
                "delta": model.delta,
                "covered_fraction": model.coverage(),
                "missing_s_plus_a": model.missing(),
                "jumps": [{"s_plus_a": j.at, "before": j.before, "after": j.after} for j in model.jumps()],
            }
            for model in models
        ],
    }


def policy_difference(study: BatteryStudy) -> dict[str, float]:
    gap = np.abs(study.pi_star.value - study.pi_hat.value)
    return {"max": float(gap.max()), "at_s": float(study.nodes[np.argmax(gap)]), "mean": float(gap.mean())}


def summary(options: ScalarOptions, study: BatteryStudy) -> str:
    gap = policy_difference(study)
    used = study.j_hat_projected if study.j_hat is None else study.j_hat
    label = "with its forbidden actions moved to the nearest allowed ones" if study.j_hat is None else "in the world"
    return (
        f"Planning with the expected-value model s+ = s + a instead of the real s+ = s + a + w changes the action by "
        f"up to {gap['max']:.3f} (at s = {gap['at_s']:.3f}). The optimal policy returns "
        f"{rounded(float(study.j_star.value), study.j_star.error)} from uniformly distributed initial states; "
        f"the model's policy {label} returns {rounded(float(used.value), used.error)}"
        + ("." if study.j_hat is not None else "; as it stands it leaves [0, 1], which is forbidden.")
    )


def numbers_table(study: BatteryStudy) -> tuple[str, list[str], list[list[str]]]:
    def row(label: str, value: Any) -> list[str]:
        return [label, rounded(float(value.value), value.error), f"{value.error:.0e}"]

    v, middle = study.v_star, len(study.nodes) // 2
    rows = [row("J of the optimal policy in the world", study.j_star)]
    if study.j_hat is None:
        rows.append(["J of the model's policy in the world", "−∞", f"{100 * study.forbidden_share:.1f} % forbidden"])
    else:
        rows.append(row("J of the model's policy in the world", study.j_hat))
    rows.append(row("the same, forbidden actions projected", study.j_hat_projected))
    rows.append(row("J that the model promises itself", study.j_hat_in_model))
    for label, index in (("V*(0)", 0), ("V*(1/2)", middle), ("V*(1)", -1)):
        rows.append([label, rounded(-float(v.value[index]), v.error), f"{v.error:.0e}"])
    return "Numbers", ["quantity", "value, in the digits that refinement supports", "estimated error"], rows


def errors_table(study: BatteryStudy) -> tuple[str, list[str], list[list[str]]]:
    e = study.errors
    rows = [
        ["grid", f"{e.grid:.1e}", f"Richardson on N/4, N/2, N; observed order {study.v_star.order:.2f}"],
        ["action set", f"{e.actions:.1e}", "best action of a dense scan beyond the policy, over 1 − γ"],
        ["quadrature", f"{e.quadrature:.1e}", "against an independent integration, over 1 − γ"],
        ["iteration", f"{e.iteration:.1e}", "Bellman residual over 1 − γ"],
    ]
    return "Truncation errors of V*", ["source", "effect on V*", "how it was estimated"], rows


def statements_1(study: BatteryStudy, critical: tuple[float, float], models: list[OptimalModel]) -> list[Statement]:
    slope = np.diff(-study.v_star.value) / np.diff(study.nodes)
    gap = policy_difference(study)
    empty = float(np.interp(0.0, study.nodes, study.pi_hat.value))
    return [
        Statement(
            "V* appears close to linear.",
            f"The slope of V* falls from {slope.max():.3f} (s near 0) to {slope.min():.3f} (s near 1).",
            "Energy is worth its selling price 1 where it can be sold, its buying price 2 where it must be bought.",
        ),
        Statement(
            "The model-based policy differs significantly, because the bound s = 0 is activated.",
            f"Largest difference {gap['max']:.4f}, at s = {gap['at_s']:.3f}. The model sells down to s = 0 and "
            f"holds there (action {empty:.3f} at s = 0); the optimal policy keeps s + a the noise limit away from 0.",
            "Without noise in the model, s = 0 looks safe.",
        ),
        Statement(
            "(not stated) What the model's policy earns.",
            "−∞ (it leaves [0, 1])" if study.j_hat is None else f"{float(study.j_hat.value):.6g}",
            "With leaving forbidden the return is minus infinity; `--leaving penalty=X` makes it finite and large.",
        ),
    ]


def statements_2(study: BatteryStudy, critical: tuple[float, float], models: list[OptimalModel]) -> list[Statement]:
    middle = len(study.nodes) // 2
    slope = np.diff(-study.v_star.value) / np.diff(study.nodes)
    gap = policy_difference(study)
    lines = [
        Statement(
            "V* is non-smooth at s = 0.5.",
            f"The slope of V* jumps from {slope[middle - 1]:+.4f} to {slope[middle]:+.4f} there.",
            "Near 1/2 the best action is 0, so the kink of the reward −|s − 1/2| appears in V* unchanged.",
        ),
        Statement(
            "The model-based policy differs significantly.",
            f"Largest difference {gap['max']:.4f}, at s = {gap['at_s']:.3f}: the model goes to 1/2 at once, the "
            "optimal policy leaves a band around 1/2 alone.",
            "Moving costs as much as the deviation it removes, and the noise soon undoes the move.",
        ),
    ]
    for model in models:
        jumps, missing = model.jumps(), model.missing()
        if missing:
            covered = f"{100 * model.coverage():.2f} % of (s, a) covered"
            here = f"No f for s + a from {missing[0][0]:.4f} to {missing[-1][1]:.4f}; {covered}."
        elif jumps:
            jump = jumps[0]
            here = f"f exists everywhere and jumps at s + a = {jump.at:.4f} from {jump.before:.4f} to {jump.after:.4f}."
        else:
            here = "f exists everywhere and is continuous."
        is_critical = abs(model.delta - critical[1]) < 1e-12
        said = SAID_OF_DELTA.get(0.11 if is_critical else round(model.delta, 9), "(not in the paper)")
        why = "Grids without a node at the kink s = 1/2 give less; see optimal-model." if is_critical else ""
        lines.append(Statement(said, f"Δ = {model.delta:.6f}: {here}", why))
    return lines


def report(study: BatteryStudy, critical: tuple[float, float], path: Any) -> None:
    """The main numbers on the terminal, in the digits that refinement supports."""
    print(f"J*                          {rounded(float(study.j_star.value), study.j_star.error)}")
    hat = "-infinity (leaves [0, 1])" if study.j_hat is None else rounded(float(study.j_hat.value), study.j_hat.error)
    print(f"J of the model's policy     {hat}")
    print(f"  projected on the bounds   {rounded(float(study.j_hat_projected.value), study.j_hat_projected.error)}")
    print(f"largest policy difference   {policy_difference(study)['max']:.4f}")
    print(f"digits of V*                {study.v_star.digits} (error {study.v_star.error:.1e})")
    print(f"Delta with a model everywhere  [{critical[0]:z.6f}, {critical[1]:z.6f}]")
    print(f"page: {path}")
