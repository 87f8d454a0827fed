"""The house controller that is deployed: the program of the tuner's solver, and what verification says of it."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.solver import build_solver
from codegen.targets import host_arch
from codegen.verify import certify
from research.condensed.solver import CondensedMpc, solve
from research.four_rooms.problem import house_forecast, house_problem, house_state
from research.four_rooms.reference import reference_model
from research.four_rooms.theta import HouseMpc, theta_values
from runtime.abi.controller import Controller
from runtime.abi.library import SolveStatus
from tests.research.test_condensed import TUNED, draw_states

MODEL, MPC = reference_model(), HouseMpc()


@pytest.mark.parametrize("theta", [{}, TUNED], ids=["data-fitted", "tuned"])
def test_first_moves_equal_those_of_the_solver_in_the_tuner(theta: dict[str, float]) -> None:
    values, states = theta_values(MODEL, **theta), draw_states(20, seed=5, mean_c=19.5)
    condensed = solve(CondensedMpc(MPC, values), states)
    with Controller(build_solver(house_problem(MODEL, MPC), host_arch()).library) as controller:
        controller.set_theta(values)
        for i in range(len(states)):
            x0 = house_state(values, MODEL, states.outputs[i], states.inputs[i])
            found = controller.solve(x0, house_forecast(MPC, states.outdoor[i], states.price[i]))
            assert found.status is SolveStatus.OK
            first = condensed.action[i].reshape(-1)[:4]
            assert np.abs(found.action - first).max() < 1e-6 * MPC.max_power_kw
            assert found.value == pytest.approx(condensed.value[i], rel=1e-6)


def test_derivative_with_respect_to_theta_equals_differences() -> None:
    values, states, rng = theta_values(MODEL, **TUNED), draw_states(3, seed=6), np.random.default_rng(0)
    direction = rng.normal(size=len(values)) * np.where(np.arange(len(values)) < 432, 1e-3, 1e-2)
    with Controller(build_solver(house_problem(MODEL, MPC), host_arch()).library) as controller:
        for i in range(len(states)):
            x0 = house_state(values, MODEL, states.outputs[i], states.inputs[i])
            forecast = house_forecast(MPC, states.outdoor[i], states.price[i])
            around = []
            for step in (1e-4, -1e-4):
                controller.set_theta(values + step * direction)
                around.append(controller.solve(x0, forecast).value)
            controller.set_theta(values)
            controller.solve(x0, forecast)
            slope, _ = controller.differentiate()
            assert slope @ direction == pytest.approx((around[0] - around[1]) / 2e-4, rel=1e-4)


def test_what_is_kept_for_a_theta_goes_with_it() -> None:
    """Matrices are formed once per theta: other theta, forecasts, fixed actions or resets in between leave no trace."""
    first, second, states = theta_values(MODEL), theta_values(MODEL, **TUNED), draw_states(2, seed=7)
    programs = [
        (
            house_state(first, MODEL, states.outputs[i], states.inputs[i]),
            house_forecast(MPC, states.outdoor[i], states.price[i]),
        )
        for i in range(2)
    ]
    with Controller(build_solver(house_problem(MODEL, MPC), host_arch()).library) as controller:
        controller.set_theta(first)
        found = controller.solve(*programs[0])
        fixed = controller.solve_fixed(*programs[0], found.action)
        assert fixed.value == pytest.approx(found.value, rel=1e-9)
        worse = controller.solve_fixed(*programs[0], np.full(4, 1.5))
        assert worse.value > found.value + 1e-3
        controller.solve(*programs[1])
        controller.set_theta(second)
        other = controller.solve(*programs[0])
        assert np.abs(other.action - found.action).max() > 1e-3
        controller.reset()
        controller.set_theta(first)
        again = controller.solve(*programs[0])
        assert again.value == found.value
        assert (again.plan_x == found.plan_x).all() and (again.plan_a == found.plan_a).all()


def test_it_passes_verification() -> None:
    problem = house_problem(MODEL, MPC)
    certificate = certify(problem, {host_arch(): build_solver(problem, host_arch()).library}, count=12, seed=1)
    assert certificate["arch"][host_arch()]["verified"], certificate
