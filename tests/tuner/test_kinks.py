"""Learning where a kink holds every action: a baker pays for loaves, and more for customers without one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codegen.solver import build_solver
from codegen.targets import host_arch
from tuner.learn.critic import StepOptions, action_curvature, propose, sums_of
from tuner.learn.transitions import Transitions, probe_of
from tuner.learn.tuning import PAIRED, TuningSpec, tune
from tuner.learn.world import TRY
from tuner.loop.explore import learning_entries
from tuner.loop.own_system import SystemFile, system_of
from tuner.loop.own_world import OwnLabeller, OwnPlants
from tuner.loop.workers import LocalWorkers

BAKER = '''
import casadi as ca
import numpy as np

from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, Signal, SoftPenalty

FLOUR, CUSTOMER, HORIZON = 0.25, 1.0, 2


def problem() -> Problem:
    """As many customers as foreseen, and `more` of them: the plan bakes exactly that, whatever a loaf costs."""
    x, u, d, z = ca.SX.sym("x", 1), ca.SX.sym("u", 1), ca.SX.sym("d", 1), ca.SX.sym("z", 0)
    p = ca.SX.sym("p", 1)

    def stage(name, what):
        return ca.Function(name, [x, u, d, z, p], [what], list(STAGE_INPUTS), ["out"])

    return Problem(
        name="baker", dt_s=86_400.0, horizon=HORIZON, discount=0.9,
        states=(Signal("baked", "loaves", -20, 20),), actions=(Signal("bake", "loaves", 0, 10),),
        forecasts=(Signal("customers", "loaves", 0, 10),),
        theta=(Parameter("more", "loaves", 0.0, -2.0, 2.0, "than foreseen", "model"),),
        dynamics=stage("dynamics", u), stage_cost=stage("stage_cost", FLOUR * u),
        terminal_cost=ca.Function("t", [x, d, z, p], [0.0 * x], list(TERMINAL_INPUTS), ["out"]),
        soft=stage("soft", u - d - p), soft_penalty=SoftPenalty((CUSTOMER,), (0.0,)),
    )


class World:
    def reset(self, rng):
        self.rng, self.baked, self.day = rng, 0.0, 0
        self.usual = rng.uniform(3.0, 6.0, 110)

    def observe(self):
        return np.array([self.baked]), self.usual[self.day : self.day + HORIZON + 1, None]

    def step(self, action):
        customers = self.usual[self.day] + self.rng.uniform(-1.5, 1.5)
        self.baked, self.day = float(action[0]), self.day + 1
        return FLOUR * self.baked + CUSTOMER * max(customers - self.baked, 0.0)


steps = 100
'''
HELD_IN = 16


def cost_of(file: SystemFile, more: float, seed: int) -> float:
    """Mean cost of the held-in episodes of a baker who bakes what is foreseen and `more`: no program, no learner."""
    total = 0.0
    for k in range(HELD_IN):
        world = system_of(file).make_world()
        world.reset(np.random.default_rng([TRY, seed, k]))
        total += sum(world.step(world.observe()[1][0] + more) for _ in range(100))
    return total / HELD_IN


@pytest.mark.parametrize("method", ["dpg", PAIRED])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_a_kink_holds_is_learned_as_exhaustive_search_finds_it(seed: int, method: str) -> None:
    """The best `more` is the quantile 1 - FLOUR / CUSTOMER of what was not foreseen, 0.75; the mean is 0.

    The program's own curvature is that of its barrier here, a million times the real one: a step by it is 1e-11.
    """
    file = SystemFile(BAKER, "baker.py")
    problem = system_of(file).problem
    library, workers = build_solver(problem, host_arch()).library, LocalWorkers(1)
    tuning = tune(
        OwnPlants(file, library, 6, HELD_IN, seed, workers), OwnLabeller(file, library, problem, workers),
        problem.theta, learning_entries(problem.theta, ["more"]), np.zeros(1),
        TuningSpec(method=method, iterations=8, seed=seed),
    )  # fmt: skip
    grid = np.arange(-2.0, 2.01, 0.05)
    costs = np.array([cost_of(file, more, seed) for more in grid])
    best = grid[costs.argmin()]
    assert best == pytest.approx(0.75, abs=0.15)
    assert tuning.theta[0] == pytest.approx(best, abs=0.2)
    found = tuning.course.tried[tuning.course.best]
    assert found is not None and found.total.mean() < costs.min() + 0.05 * (cost_of(file, 0.0, seed) - costs.min())


def probed(probe: np.ndarray, rise: np.ndarray) -> Transitions:
    n, na = probe.shape
    none, zeros = np.zeros(n), np.zeros((n, na))
    return Transitions(
        none, none, none, zeros, zeros, zeros, zeros, zeros, np.zeros((n, na, 1)), probe, rise,
        np.empty(0), np.empty(0), np.zeros(n, dtype=np.int64), np.empty(0), np.empty(0),
    )  # fmt: skip


def test_the_curvature_of_exploration_is_the_hessian_of_a_quadratic_and_finite_at_a_kink() -> None:
    rng = np.random.default_rng(0)
    e = rng.standard_normal((6000, 2))
    unknown = np.where(rng.random(6000) < 0.5, np.nan, 1.0)
    quadratic = action_curvature(probed(e, unknown * (e**2 @ [1.5, 0.2])))
    np.testing.assert_allclose(quadratic, [3.0, 0.4], rtol=1e-9)
    # |e| smoothed: least squares of |e| on e^2 / 2 over a normal e give 2 E|e|^3 / E e^4 = 4 sqrt(2 / pi) / 3.
    kink = action_curvature(probed(e[:, :1], np.abs(e[:, 0])))
    assert kink[0] == pytest.approx(4 * np.sqrt(2 / np.pi) / 3, rel=0.05)


def test_an_action_that_theta_does_not_move_is_not_probed() -> None:
    jacobian = np.array([[[0.3], [1e-9]]])
    probe = probe_of(np.array([[0.0, 5.0]]), np.array([[0.4, 4.0]]), jacobian, np.ones(2))
    np.testing.assert_array_equal(probe, [[0.4, 0.0]])
    assert action_curvature(probed(np.zeros((3, 1)), np.zeros(3)))[0] > 1e5


def test_what_the_program_foretells_takes_the_noise_off_and_nothing_else() -> None:
    """Against the TD error as it is: the same gradient within what its noise allows, at a fraction of the noise."""
    text = BAKER.replace("uniform(-1.5, 1.5)", "uniform(-0.3, 0.3)").replace(
        "uniform(3.0, 6.0, 110)", "uniform(1, 9, 110)"
    )
    file = SystemFile(text, "baker.py")
    problem = system_of(file).problem
    library, workers = build_solver(problem, host_arch()).library, LocalWorkers(1)
    plants, labeller = OwnPlants(file, library, 2, 1, 0, workers), OwnLabeller(file, library, problem, workers)
    theta, found = np.array([0.1]), []
    for iteration in range(24):
        t = labeller.label(
            plants.explore(theta, iteration), theta, np.array([0]), np.ones(1), with_advantage=False
        ).transitions
        bare = replace(t, foretold_cost=np.empty(0), foretold_value=np.empty(0))
        found.append([propose(sums_of(s, gamma=0.6), np.zeros(1), StepOptions()).gradient[0] for s in (t, bare)])
    (mean, bare_mean), (spread, bare_spread) = np.mean(found, 0), np.std(found, 0, ddof=1)
    assert spread < 0.7 * bare_spread
    assert abs(mean - bare_mean) < 3 * bare_spread / np.sqrt(24)
