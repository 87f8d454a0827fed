"""A house with its own identified model: theta, its bounds and the observer follow the file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from systems.catalogue import Shape, UnknownSystemError, make_observer, make_problem
from systems.house.arx import reference_model


def test_theta_its_bounds_and_the_observer_follow_the_model_file() -> None:
    reference = reference_model()
    other = reference.with_vector(reference.to_vector() + 0.3)  # further than the reference's bounds of theta
    shape = Shape("house", {}, model=other.to_json())
    problem = make_problem(shape)
    theta, (lower, upper) = problem.theta_default(), problem.theta_bounds()
    count = other.to_vector().size
    assert np.array_equal(theta[:count], other.to_vector())
    assert ((lower <= theta) & (theta <= upper)).all()
    assert (theta[:count] > make_problem(Shape("house", {})).theta_bounds()[1][:count]).all()
    observer = make_observer(shape, {p.name: p.default for p in problem.theta})
    assert observer is not None and observer["output_coefficients"] == other.output_coefficients.tolist()


def test_what_is_no_model_file_and_who_has_none_are_one_line() -> None:
    with pytest.raises(ValueError) as broken:
        make_problem(Shape("house", {}, model=json.dumps({"lags": 12})))
    assert getattr(broken.value, "exit_code", None) in (65, 78)
    with pytest.raises(UnknownSystemError, match="battery has no model file"):
        make_problem(Shape("battery", {}, model="{}"))
