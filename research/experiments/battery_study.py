"""World and expected-value model of the scalar battery on three nested grids: values with the errors they carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.experiments.scalar_options import ScalarOptions
from research.tabular.checks import action_error, integration_error
from research.tabular.refinement import Refined, refine
from research.tabular.scalar import BellmanSolution, ScalarProblem

Array = NDArray[np.float64]
Step = Callable[[str], None]


@dataclass(frozen=True)
class Errors:
    """Estimated largest effect on V of each truncation, in cost units."""

    grid: float
    actions: float
    quadrature: float
    iteration: float

    @property
    def total(self) -> float:
        return self.grid + self.actions + self.quadrature + self.iteration


@dataclass(frozen=True)
class BatteryStudy:
    """All in costs: cost-to-go on the finest nodes, policies, and returns J from s uniform on [0, 1]."""

    nodes: Array
    v_star: Refined
    pi_star: Refined
    v_hat: Refined
    pi_hat: Refined
    j_star: Refined
    j_hat: Refined | None
    """Return of the model's policy in the world; None where it breaks a hard bound, which is a return of -infinity."""
    j_hat_projected: Refined
    """The same policy with each forbidden action moved to the nearest one that is allowed."""
    j_hat_in_model: Refined
    """What the model promises itself."""
    forbidden_share: float
    """Share of the states in which the model's action is forbidden in the world."""
    errors: Errors
    world: ScalarProblem
    """On the finest grid, with its solution."""
    solution: BellmanSolution


def run_study(options: ScalarOptions, step: Step = lambda _: None) -> BatteryStudy:
    """Solve both problems on grids of N/4, N/2 and N intervals, each started from the last."""
    levels = [options.intervals // 4, options.intervals // 2, options.intervals]
    worlds, models = [options.world(n) for n in levels], [options.model(n) for n in levels]
    real: list[BellmanSolution] = []
    believed: list[BellmanSolution] = []
    for world, model in zip(worlds, models, strict=True):
        step(f"grid of {world.intervals} intervals")
        real.append(world.solve(_lifted(real, world)))
        believed.append(model.solve(_lifted(believed, model)))
    world, solution = worlds[-1], real[-1]

    step("policy evaluation")
    used = [np.array(w.evaluate(m.policy)) for w, m in zip(worlds, believed, strict=True)]
    projected = [np.array(w.evaluate(w.project(m.policy))) for w, m in zip(worlds, believed, strict=True)]
    step("truncation errors")
    v_star = refine(*[s.cost_to_go for s in real])
    errors = Errors(
        grid=v_star.error,
        actions=action_error(world, solution),
        quadrature=_quadrature_error(options, world, real),
        iteration=solution.residual / (1.0 - options.discount),
    )
    return BatteryStudy(
        nodes=world.nodes,
        v_star=Refined(v_star.value, errors.total, v_star.order),
        pi_star=refine(*[s.policy for s in real], extrapolate=False),
        v_hat=refine(*[s.cost_to_go for s in believed]),
        pi_hat=refine(*[s.policy for s in believed], extrapolate=False),
        j_star=refine(*[np.array(s.mean_return) for s in real]),
        j_hat=refine(*used) if np.isfinite(used[-1]) else None,
        j_hat_projected=refine(*projected),
        j_hat_in_model=refine(*[np.array(m.mean_return) for m in believed]),
        forbidden_share=float(np.mean(np.abs(world.project(believed[-1].policy) - believed[-1].policy) > 1e-9)),
        errors=errors,
        world=world,
        solution=solution,
    )


def _lifted(coarser: list[BellmanSolution], problem: ScalarProblem) -> Array | None:
    return np.interp(problem.nodes, coarser[-1].nodes, coarser[-1].cost_to_go) if coarser else None


def _quadrature_error(options: ScalarOptions, world: ScalarProblem, real: list[BellmanSolution]) -> float:
    """The exact integral against an independent one; a rule with nodes against the exact solution, coarsest grid."""
    if options.noise_nodes is None:
        return integration_error(world, options.gaussian, real[-1].cost_to_go)
    exact = options.world(options.intervals // 4, exact=True).solve(real[0].cost_to_go)
    return float(np.max(np.abs(exact.cost_to_go - real[0].cost_to_go)))
