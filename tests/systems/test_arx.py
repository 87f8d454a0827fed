"""The ARX model: its forms agree with each other, with the defining sum, and with its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.four_rooms.reference import reference_model
from systems.arx import ArxFormatError, ArxModel


def random_model(seed: int, lags: int = 12, rooms: int = 4) -> ArxModel:
    """A stable model: the row sums of |A| stay below one."""
    rng = np.random.default_rng(seed)
    A = rng.uniform(-1.0, 1.0, (lags, rooms, rooms))
    A *= 0.95 / np.abs(A).sum((0, 2)).max()
    root = 0.1 * rng.standard_normal((rooms, rooms))
    return ArxModel(A, rng.standard_normal((lags, rooms, rooms + 1)), 0.1 * rng.standard_normal(rooms), root @ root.T)


def by_definition(model: ArxModel, y: list[np.ndarray], u: np.ndarray, e: np.ndarray) -> np.ndarray:
    """y_{L} .. from the sum of eq. (37), written out."""
    y = list(y)
    for t in range(model.lags - 1, len(u)):
        past_y = sum(model.output_coefficients[i] @ y[t - i] for i in range(model.lags))
        past_u = sum(model.input_coefficients[i] @ u[t - i] for i in range(model.lags))
        y.append(past_y + past_u + e[t])
    return np.array(y[model.lags :])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), lags=st.integers(2, 12), rooms=st.integers(1, 4))
def test_the_observer_form_is_the_recursion(seed: int, lags: int, rooms: int) -> None:
    model, rng = random_model(seed, lags, rooms), np.random.default_rng(seed)
    steps = lags + 30
    y, u, e = rng.normal(20, 2, (lags, rooms)), rng.normal(0, 1, (steps, rooms + 1)), rng.normal(0, 0.1, (steps, rooms))
    truth = by_definition(model, list(y), u, e)
    x0 = model.state_from_history(y, u[: lags - 1])
    simulated, xT = model.simulate(x0, u[lags - 1 :], e[lags - 1 :])
    scale = np.abs(truth).max()
    assert np.abs(simulated - truth).max() < 1e-12 * scale
    form = model.observer_form
    x = x0
    for t in range(lags - 1, steps):
        x = form.A @ x + form.B @ u[t] + form.K @ e[t]
    assert np.abs(form.C @ x - truth[-1]).max() < 1e-12 * scale
    everything = np.vstack([y, truth])
    assert np.abs(xT - model.state_from_history(everything[-lags:], u[-lags + 1 :])).max() < 1e-12 * scale


def test_a_batch_gives_what_its_members_give_alone() -> None:
    model, rng = random_model(0), np.random.default_rng(0)
    x0, u, e = rng.normal(size=(3, 48)), rng.normal(size=(3, 20, 5)), model.sample_innovations(rng, (3, 20))
    together, final = model.simulate(x0, u, e)
    for i in range(3):
        alone, last = model.simulate(x0[i], u[i], e[i])
        assert np.allclose(together[i], alone, atol=1e-13)
        assert np.allclose(final[i], last, atol=1e-13)


def test_the_steady_state_gain_is_where_a_long_step_ends() -> None:
    model = random_model(1)
    u = np.array([1.0, -0.5, 2.0, 0.3, 0.0])
    y, _ = model.simulate(np.zeros(48), np.tile(u, (4000, 1)))
    assert np.allclose(y[-1], model.steady_state_gain() @ u, rtol=1e-9)
    assert np.allclose(model.steady_state(u)[:4], model.steady_state_gain() @ u)
    assert np.allclose(model.step(model.steady_state(u), u), model.steady_state(u))
    assert np.allclose(model.response_gain(4000 * 300 / 3600), model.steady_state_gain(), rtol=1e-8)


def test_innovations_have_the_mean_and_covariance_of_the_model() -> None:
    model = random_model(2)
    e = model.sample_innovations(np.random.default_rng(0), (200_000,))
    std = np.sqrt(np.diag(model.innovation_covariance))
    assert np.abs(e.mean(0) - model.innovation_mean).max() < 5 * std.max() / np.sqrt(len(e))
    assert np.abs(np.cov(e.T) - model.innovation_covariance).max() < 0.02 * std.max() ** 2
    assert np.array_equal(model.deterministic().sample_innovations(np.random.default_rng(0), (5,)), np.zeros((5, 4)))


def test_a_file_holds_the_model_to_the_last_bit(tmp_path: Path) -> None:
    model = random_model(3)
    model.save(tmp_path / "arx.json")
    again = ArxModel.load(tmp_path / "arx.json")
    for name in ("output_coefficients", "input_coefficients", "innovation_mean", "innovation_covariance"):
        assert np.array_equal(getattr(model, name), getattr(again, name))
    assert np.array_equal(model.with_vector(model.to_vector()).to_vector(), model.to_vector())
    assert again.with_vector(np.zeros(432)).to_vector().sum() == 0.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ('{"format": "other"}', "not a nisse-arx-1 file"),
        ('{"format": "nisse-arx-1", "dt_s": 300}', "output_coefficients"),
        (random_model(0).to_json().replace('"innovation_mean":[', '"innovation_mean":[1.0,'), "shapes"),
        (random_model(0).to_json().replace('"innovation_mean":[', '"innovation_mean":[NaN,'), "not finite"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ArxFormatError, match=r"house\.json") as caught:
        ArxModel.from_json(text, name="house.json")
    assert says in str(caught.value)
    assert caught.value.exit_code == 65


def test_the_reference_house_is_a_house() -> None:
    """Stable, warmed by its heat pumps and most by its own, in equilibrium with the outdoors when left alone."""
    model = reference_model()
    gain, rise = model.steady_state_gain(), model.response_gain(12.0)
    assert 0.98 < model.spectral_radius < 1.0
    assert 5.0 < model.slowest_time_constant_h < 60.0
    assert np.allclose(gain[:, 0], 1.0, atol=1e-6)
    assert (rise[:, 1:] > 0.0).all()
    assert (rise[:, 1:].argmax(1) == np.arange(4)).all()
    assert (model.innovation_mean > 0.0).all()
    assert np.linalg.eigvalsh(model.innovation_covariance).min() > 0.0
