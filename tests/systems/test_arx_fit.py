"""From a log of rooms to an ARX model: what is recovered, by which equations."""

from __future__ import annotations

import numpy as np
import pytest

from research.four_rooms.reference import reference_model
from systems.arx import ArxModel
from systems.assets.zone.arx_fit import ArxOptions, build_regression, choose_strength, fit_arx, ridge_path
from systems.assets.zone.arx_fit import moments as sums


def arx_data(model: ArxModel, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (T, 4) and inputs (T, 5) of the ARX under independent inputs."""
    rng = np.random.default_rng(seed)
    held = rng.uniform(0, 1.2, (steps // 6 + 1, 4)).repeat(6, axis=0)[:steps]
    u = np.column_stack([rng.normal(0, 5, steps // 48 + 1).repeat(48)[:steps], held])
    y, _ = model.simulate(model.steady_state(u.mean(0)), u, model.sample_innovations(rng, (steps,)))
    return np.vstack([model.steady_state(u.mean(0))[:4], y[:-1]]), u


def level(model: ArxModel) -> np.ndarray:
    """(4,) °C at rest, innovation mean included, at 5 °C outside and 0.5 kW per room."""
    settle = np.linalg.inv(np.eye(4) - model.output_coefficients.sum(0))
    return model.steady_state_gain() @ [5.0, 0.5, 0.5, 0.5, 0.5] + settle @ model.innovation_mean


def test_a_known_arx_is_recovered_with_its_innovations_as_the_log_grows() -> None:
    model, stds = reference_model(), []
    for days in (20, 160):
        y, u = arx_data(model, 288 * days, 0)
        fit = fit_arx(y, u, options=ArxOptions(strengths=(1e-9,)))
        spread = np.abs(model.innovation_covariance).max() * np.sqrt(2.0 / len(y))
        assert np.abs(fit.model.innovation_covariance - model.innovation_covariance).max() < 4.0 * spread
        std = fit.jackknife_std([m.response_gain(12.0) for m in fit.leave_one_out])
        score = (fit.model.response_gain(12.0) - model.response_gain(12.0)) / std
        assert np.sqrt(np.mean(score**2)) < 2.0  # the standard errors tell the truth about the truth
        stds.append(std.mean())
    assert stds[1] < 0.6 * stds[0]
    assert level(fit.model) == pytest.approx(level(model), abs=0.2)


def test_ridge_is_the_normal_equations_of_the_penalised_problem() -> None:
    """Against an augmented least-squares problem solved by QR, with and without the constant."""
    y, u = arx_data(reference_model(), 900, 2)
    r = build_regression(y, u)
    for constant in (True, False):
        options = ArxOptions(constant=constant, invariant=False)
        theta, mean = ridge_path(sums(r.phi, r.change), [0.01], ny=4, nu=5, options=options)[0]
        shift = r.phi.mean(0) if constant else np.zeros(108)
        target = r.change - (r.change.mean(0) if constant else 0.0)
        penalty = np.diag(np.sqrt(0.01 * len(r.phi)) * r.phi.std(0))
        stacked = np.linalg.lstsq(
            np.vstack([r.phi - shift, penalty]), np.vstack([target, np.zeros((108, 4))]), rcond=None
        )
        assert theta == pytest.approx(stacked[0], abs=1e-8)
        assert mean == pytest.approx((r.change - r.phi @ theta).mean(0), abs=1e-10)


def test_invariance_makes_a_house_that_is_as_warm_as_outdoors_stay_so() -> None:
    y, u = arx_data(reference_model(), 3000, 3)
    model = fit_arx(y, u, options=ArxOptions(blocks=4)).model
    assert model.steady_state_gain()[:, 0] == pytest.approx(np.ones(4), abs=1e-7)


def test_no_row_of_the_regression_touches_a_missing_value() -> None:
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    y[60, 1] = u[120, 3] = np.nan
    rows = set(build_regression(y, u).rows.tolist())
    expected = {t for t in range(11, 199) if not (t - 11 <= 60 <= t + 1) and not (t - 11 <= 120 <= t)}
    assert rows == expected
    regression = build_regression(y, u)
    first = regression.phi[0]
    assert np.array_equal(first[:48].reshape(12, 4), y[11::-1])
    assert np.array_equal(first[48:].reshape(12, 5), u[11::-1])
    assert np.array_equal(regression.change[0], y[12] - y[11])


def test_the_weakest_strength_within_a_standard_error_is_chosen() -> None:
    noise = np.array([0.0, 0.3, -0.3, 0.1])
    errors = np.array([1.5 + noise, 1.02 + noise, 1.0 + noise, 1.3 + noise])
    errors[1] += [0.05, -0.05, 0.05, -0.05]
    assert choose_strength(errors) == 1
    assert choose_strength(errors[[0, 2, 3]]) == 1
    errors[0] = np.inf
    assert choose_strength(errors) == 1
