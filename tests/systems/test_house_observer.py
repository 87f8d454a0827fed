"""What a bundle says of the house's observer fits the daemon's format and follows theta where it must."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.bundle.manifest import ArxObserver
from systems.catalogue import Shape, UnknownSystemError, make_observer, make_problem
from systems.house.arx import reference_model
from systems.house.observer import house_observer
from systems.house.theta import house_theta


def test_the_observer_is_the_arx_of_theta_with_the_innovations_of_the_data() -> None:
    model = reference_model()
    theta = {p.name: p.default for p in house_theta(model)}
    theta |= {"a1_11": theta["a1_11"] + 0.01, "b3_2_power_4": 0.05, "bias_1": 0.02}
    observer = ArxObserver.model_validate(house_observer(model, theta, sensor_std_k=0.1))
    a, b = np.array(observer.output_coefficients), np.array(observer.input_coefficients)
    assert a[0, 0, 0] == theta["a1_11"]
    assert b[2, 1, 4] == 0.05
    a[0, 0, 0], b[2, 1, 4] = model.output_coefficients[0, 0, 0], model.input_coefficients[2, 1, 4]
    assert np.array_equal(a, model.output_coefficients)
    assert np.array_equal(b, model.input_coefficients)
    assert observer.innovation_mean == tuple(model.innovation_mean.tolist())
    assert observer.measurement_std == (0.1,) * 4
    assert observer.inputs == ("outdoor_0", "power_1", "power_2", "power_3", "power_4")
    assert [s.name for s in observer.outputs] == ["room_1", "room_2", "room_3", "room_4"]


def test_the_house_of_the_catalogue_has_the_shape_that_is_asked_for() -> None:
    default, short = (
        make_problem(Shape("house", {})),
        make_problem(Shape("house", {"beta": 0.01}, horizon=12, dt_s=1800.0)),
    )
    assert (default.horizon, default.dt_s, default.nx, default.na) == (24, 1800.0, 48, 4)
    assert short.horizon == 12
    assert short.discount == pytest.approx(default.discount)
    assert make_problem(Shape("house", {}, discount=0.9)).discount == pytest.approx(0.9)
    with pytest.raises(UnknownSystemError, match="steps 1800 s, not 900 s"):
        make_problem(Shape("house", {}, dt_s=900.0))
    observer = make_observer(Shape("house", {}), {p.name: p.default for p in default.theta})
    assert observer is not None
    assert set(observer["inputs"]) <= {s.name for s in (*default.forecasts, *default.actions)}
    assert [s["name"] for s in observer["outputs"]] == [s.name for s in default.states[:4]]
    assert make_observer(Shape("battery", {}), {}) is None
