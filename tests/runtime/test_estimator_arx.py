"""The state of an ARX house from history: exact where everything is known, consistent where it is not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.four_rooms.reference import reference_model
from runtime.bundle.manifest import ArxObserver, Manifest, SignalSpec
from runtime.decide.estimator import make_estimator
from runtime.decide.estimator_arx import (
    ArxEstimator,
    Belief,
    ObserverModel,
    ObserverModelError,
    TimedSample,
    correct,
    held_mean,
    nearest_mean,
    predict,
    resting_belief,
)
from runtime.inputs.process_image import ProcessImage
from runtime.inputs.signals import Sample, Validity
from systems.arx import ArxModel

DT = 300.0


def observer(model: ArxModel, measurement_std: float = 0.02) -> ObserverModel:
    return ObserverModel.from_arx(
        model.output_coefficients,
        model.input_coefficients,
        innovation_mean=model.innovation_mean,
        innovation_covariance=model.innovation_covariance,
        measurement_std=np.full(4, measurement_std),
        input_std=[5.0, 0.5, 0.5, 0.5, 0.5],
        dt_s=DT,
    )


def simulated(seed: int, steps: int) -> tuple[ArxModel, np.ndarray, np.ndarray, np.ndarray]:
    """(model, outputs y_0..y_T, inputs u_0..u_{T-1}, states x_0..x_T)."""
    model, rng = reference_model(), np.random.default_rng(seed)
    u = np.column_stack([rng.normal(0, 3, steps), rng.uniform(0, 1, (steps, 4))])
    e = model.sample_innovations(rng, (steps,))
    x = [model.resting_state(np.full(4, 21.0), [0.0, 0.4, 0.4, 0.4, 0.4])]
    for t in range(steps):
        x.append(model.step(x[-1], u[t], e[t]))
    states = np.array(x)
    return model, states[:, :4], u, states


def feed(estimator: ArxEstimator, y: np.ndarray, u: np.ndarray, *, start: float = 0.0) -> np.ndarray:
    """Run over a log, one step at a time; NaN is not observed. Returns the states (T, nx) at steps 0..T-1."""
    found = []
    for t in range(len(u)):
        for i in np.flatnonzero(np.isfinite(y[t])):
            estimator.observe_output(int(i), TimedSample(start + t * DT, float(y[t, i])))
        state = estimator.state_at(start + t * DT)
        for j in np.flatnonzero(np.isfinite(u[t])):
            estimator.observe_input(int(j), TimedSample(start + t * DT, float(u[t, j])))
        found.append(np.full(48, np.nan) if state is None else state)
    return np.array(found)


def test_with_exact_sensors_it_is_the_history_map() -> None:
    model, y, u, states = simulated(0, 60)
    found = feed(ArxEstimator(observer(model, 1e-7), gate=math.inf), y, u)
    for t in range(24, 60):
        exact = model.state_from_history(y[t - 11 : t + 1], u[t - 11 : t])
        assert np.abs(exact - states[t]).max() < 1e-9
        assert np.abs(found[t] - exact).max() < 1e-5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0.0, 0.6))
def test_missing_outputs_leave_a_consistent_estimate(seed: int, share: float) -> None:
    """The normalised squared error of a right filter has mean 1 per output, whichever readings are missing."""
    model, y, u, states = simulated(seed, 150)
    rng = np.random.default_rng(seed)
    m = observer(model)
    belief = Belief(states[0], 1e-6 * np.eye(48))
    scores = []
    for t in range(150):
        belief = predict(m, belief, u[t], np.zeros(5, dtype=bool))
        seen = np.where(rng.random(4) < share, np.nan, y[t + 1] + 0.02 * rng.standard_normal(4))
        belief, refused = correct(m, belief, seen)
        assert not refused.any()
        error = states[t + 1, :4] - belief.mean[:4]
        scores.append(error @ np.linalg.solve(belief.covariance[:4, :4], error) / 4.0)
        assert np.linalg.eigvalsh(belief.covariance).min() > -1e-12
    assert 0.6 < float(np.mean(scores)) < 1.6


def test_a_filter_beats_holding_the_last_reading_through_a_gap() -> None:
    model, y, u, states = simulated(3, 240)
    seen = y[:240] + 0.05 * np.random.default_rng(1).standard_normal((240, 4))
    seen[60:84, 1] = np.nan
    seen[150:174] = np.nan
    found = feed(ArxEstimator(observer(model, 0.05)), seen, u)
    gap = np.r_[60:84]
    assert np.abs(found[gap, 1] - states[gap, 1]).mean() < 0.4 * np.abs(seen[59, 1] - states[gap, 1]).mean()
    gap = np.r_[150:174]
    held = np.abs(seen[149] - states[gap, :4]).mean()
    assert np.abs(found[gap, :4] - states[gap, :4]).mean() < 0.5 * held
    rest = np.r_[30:60]
    assert np.abs(found[rest, :4] - states[rest, :4]).mean() < np.abs(seen[rest] - states[rest, :4]).mean()


def test_absurd_readings_are_refused_and_do_not_move_the_estimate() -> None:
    model, y, u, _ = simulated(4, 120)
    absurd = y[:120].copy()
    absurd[40:80, 2] = 85.0
    estimator = ArxEstimator(observer(model))
    found = feed(estimator, absurd, u)
    clean = y[:120].copy()
    clean[40:80, 2] = np.nan
    without = feed(ArxEstimator(observer(model)), clean, u)
    assert estimator.refused == 40
    assert np.abs(found - without).max() < 1e-12


def test_an_estimate_that_most_sensors_contradict_starts_anew() -> None:
    model, y, u, _ = simulated(5, 120)
    shifted = y[:120].copy()
    shifted[60:] -= 6.0  # the house was cut off for longer than the log says
    found = feed(ArxEstimator(observer(model)), shifted, u)
    assert np.abs(found[-1, :4] - shifted[-1]).max() < 1.5


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    jitter=st.floats(0.0, 100.0),
    shuffle=st.booleans(),
)
def test_irregular_samples_give_nearly_the_regular_estimate(seed: int, jitter: float, shuffle: bool) -> None:
    model, y, u, _ = simulated(seed, 48)
    rng = np.random.default_rng(seed)
    regular = feed(ArxEstimator(observer(model)), y, u)[-1]
    estimator = ArxEstimator(observer(model))
    assert feed(estimator, y[:1], u[:1]).shape == (1, 48)
    samples = [
        (TimedSample(t * DT + float(rng.uniform(-jitter, jitter)), float(y[t, i])), i)
        for t in range(1, 48)
        for i in range(4)
    ]
    if shuffle:
        rng.shuffle(samples)
    for sample, i in samples:
        estimator.observe_output(i, sample)
    for t in range(1, 47):
        for j in range(5):
            estimator.observe_input(j, TimedSample(t * DT, float(u[t, j])))
    state = estimator.state_at(47 * DT)
    assert state is not None
    assert np.abs(state - regular).max() < 1e-9


def test_the_state_is_unknown_at_first_after_a_long_silence_and_after_a_clock_that_went_back() -> None:
    model, y, u, _ = simulated(6, 30)
    estimator = ArxEstimator(observer(model), max_gap_s=3600.0)
    assert estimator.state_at(0.0) is None
    assert estimator.output_std() is None
    assert np.isfinite(feed(estimator, y[:30], u)).all()
    assert estimator.state_at(29 * DT + 3000.0) is not None
    assert estimator.state_at(29 * DT + 9000.0) is None
    again = ArxEstimator(observer(model))
    feed(again, y[:30], u, start=1e6)
    assert again.state_at(1e6 - 7200.0) is None
    assert np.isfinite(feed(again, y[:30], u, start=1e6 - 7200.0)[-1]).all()


def test_a_missing_power_widens_the_doubt() -> None:
    model, y, u, _ = simulated(7, 60)
    known, guessed = ArxEstimator(observer(model)), ArxEstimator(observer(model), max_age_s=600.0)
    partly = u.copy()
    partly[40:, 1] = np.nan
    gap = y[:60].copy()
    gap[40:] = np.nan
    feed(known, gap, u)
    feed(guessed, gap, partly)
    a, b = known.output_std(), guessed.output_std()
    assert a is not None and b is not None
    assert b[0] > 1.5 * a[0]
    assert b[3] < b[0]


times = st.floats(0.0, 1000.0)
readings = st.lists(st.tuples(times, st.one_of(st.floats(-50, 50), st.just(math.nan))), max_size=12)


@given(readings=readings)
def test_resampled_values_stay_within_what_was_read(readings: list[tuple[float, float]]) -> None:
    samples = [TimedSample(t, v) for t, v in sorted(readings, key=lambda r: r[0])]
    finite = [s.value for s in samples if math.isfinite(s.value)]
    for value in (held_mean(samples, 200.0, 500.0, 400.0), nearest_mean(samples, 300.0, 150.0)):
        assert math.isnan(value) or min(finite) - 1e-9 <= value <= max(finite) + 1e-9


def test_a_held_signal_is_averaged_over_time_not_over_readings() -> None:
    samples = [TimedSample(0.0, 1.0), TimedSample(225.0, 3.0), TimedSample(240.0, 3.0), TimedSample(290.0, 3.0)]
    assert held_mean(samples, 0.0, 300.0, 900.0) == pytest.approx(1.5)
    assert math.isnan(held_mean(samples[:1], 0.0, 300.0, 100.0))
    assert held_mean(samples[:1], 0.0, 300.0, 200.0) == pytest.approx(1.0)


def test_rest_is_a_fixed_point_of_the_outputs() -> None:
    model = reference_model()
    y, u = np.array([20.0, 21.0, 22.0, 20.5]), np.array([-3.0, 0.5, 0.4, 0.3, 0.2])
    assert np.abs(resting_belief(observer(model), y, u).mean - model.resting_state(y, u)).max() < 1e-12


def test_the_observer_form_is_that_of_the_systems_model() -> None:
    mine, theirs = observer(reference_model()), reference_model().observer_form
    for name in "ABCK":
        assert np.array_equal(getattr(mine, name), getattr(theirs, name))


def test_misshapen_numbers_are_a_named_error() -> None:
    model = reference_model()
    with pytest.raises(ObserverModelError, match="ARX coefficients have shapes"):
        ObserverModel.from_arx(
            model.output_coefficients,
            model.input_coefficients[:3],
            innovation_mean=model.innovation_mean,
            innovation_covariance=model.innovation_covariance,
            measurement_std=[0.1] * 4,
            input_std=[0.1] * 5,
            dt_s=DT,
        )
    with pytest.raises(ObserverModelError, match="innovation_mean of the observer has shape"):
        replace(observer(model), innovation_mean=np.zeros(3))
    with pytest.raises(ObserverModelError, match="must be positive"):
        replace(observer(model), measurement_std=np.zeros(4))
    assert ObserverModelError.exit_code == 65


# -- in the daemon's cycle ---------------------------------------------------------------------------------------------


def house_manifest(model: ArxModel) -> Manifest:
    rooms = [f"room{i}_c" for i in range(1, 5)]
    powers = tuple(SignalSpec(name=f"power{i}_kw", unit="kW", lower=0, upper=1.5) for i in range(1, 5))
    return Manifest(
        name="house",
        system="house",
        dt_s=1800.0,
        horizon=24,
        discount=0.99,
        states=tuple(SignalSpec(name=f"x{i}", unit="degC", lower=-100, upper=100) for i in range(48)),
        actions=powers,
        forecasts=(SignalSpec(name="outdoor_c", unit="degC", lower=-50, upper=50),),
        theta=(),
        estimator=ArxObserver(
            type="arx",
            dt_s=DT,
            outputs=tuple(SignalSpec(name=name, unit="degC", lower=-50, upper=80) for name in rooms),
            inputs=("outdoor_c", *(p.name for p in powers)),
            output_coefficients=model.output_coefficients.tolist(),
            input_coefficients=model.input_coefficients.tolist(),
            innovation_mean=tuple(model.innovation_mean.tolist()),
            innovation_covariance=model.innovation_covariance.tolist(),
            measurement_std=(0.02,) * 4,
            input_std=(5.0, 0.5, 0.5, 0.5, 0.5),
        ),
    )


def image_at(time_s: float, rooms: np.ndarray, outdoor: float, age_s: float) -> ProcessImage:
    samples = {
        f"room{i}_c": Sample(f"room{i}_c", float(v), age_s, Validity.OK)
        if math.isfinite(v)
        else Sample(f"room{i}_c", None, None, Validity.STALE)
        for i, v in enumerate(rooms, start=1)
    }
    return ProcessImage(time_s, time_s, samples, {"outdoor_c": (outdoor,) * 25})


def test_the_daemon_estimates_the_house_cycle_by_cycle() -> None:
    """Cycles of five minutes, readings a minute old at most, one thermometer dead for an hour."""
    model, y, u, states = simulated(8, 96)
    manifest = house_manifest(model)
    assert [s.name for s in manifest.measured] == ["room1_c", "room2_c", "room3_c", "room4_c"]
    estimator = make_estimator(Manifest.model_validate_json(manifest.model_dump_json()))
    error = np.zeros((96, 4))
    for t in range(96):
        seen = y[t].copy()
        if 60 <= t < 72:
            seen[2] = np.nan
        last = tuple(u[t - 1, 1:].tolist()) if t else None
        estimate = estimator.update(image_at(t * DT, seen, float(u[t, 0]), 60.0 * (t % 2)), last)
        assert estimate.state is not None
        assert len(estimate.state) == 48
        error[t] = np.array(estimate.state[:4]) - states[t, :4]
    assert np.abs(error[24:60]).max() < 0.1
    assert np.abs(error[60:72, 2]).max() < 0.4
    assert np.abs(error[80:]).max() < 0.1


def test_without_any_reading_the_state_is_unknown_and_the_reason_names_the_signals() -> None:
    estimator = make_estimator(house_manifest(reference_model()))
    estimate = estimator.update(image_at(0.0, np.full(4, np.nan), 0.0, 0.0), None)
    assert estimate.state is None
    assert "room1_c, room2_c, room3_c, room4_c" in estimate.problem


def test_a_manifest_whose_observer_does_not_fit_is_refused() -> None:
    document = json.loads(house_manifest(reference_model()).model_dump_json())
    for change, says in (
        ({"inputs": ["outdoor_c", "power1_kw", "power2_kw", "power3_kw", "nonsense"]}, "neither forecasts nor actions"),
        ({"innovation_mean": [0.0]}, "innovation_mean does not fit"),
        ({"measurement_std": [0.1, 0.1, 0.1, 0.0]}, "measurement_std does not fit"),
        ({"output_coefficients": document["estimator"]["output_coefficients"][:5]}, "not the number of states"),
    ):
        with pytest.raises(ValueError, match=says):
            Manifest.model_validate(document | {"estimator": document["estimator"] | change})
