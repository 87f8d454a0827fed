"""The charge for peaks in a house file: its fee, the convex cost of a plan, and what is no charge."""

from __future__ import annotations

import numpy as np
import pytest

from systems.assets.meter.capacity import Capacity
from systems.compose import compose
from systems.house_file import SHIPPED, HouseFileError, parse_house
from systems.problem import Problem

VILLA = (SHIPPED / "villa.toml").read_text()
CHARGE = 'capacity = { price_per_kw = 5, interval = "1 h" }'
STAIRS = "tiers = [[2, 120], [5, 200], [10, 350], [15, 500], [20, 650]]"


def test_a_fee_by_tiers_is_a_staircase_and_its_hull_lies_below_and_meets_it_at_the_edges() -> None:
    capacity = Capacity(tiers=((2, 120), (5, 200), (10, 350), (15, 500), (20, 650)))
    assert [capacity.fee(kw) for kw in (0, 2, 2.1, 5, 7, 30)] == [120, 120, 200, 200, 350, 650]
    slopes = capacity.slopes()

    def hull(kw: float) -> float:
        return 120 + sum(
            slope * (min(kw, end) - start)
            for (start, slope), (end, _) in zip(slopes, [*slopes[1:], (np.inf, 0)], strict=True)
            if kw > start
        )

    assert [s for _, s in slopes] == sorted(s for _, s in slopes)
    for kw in np.linspace(0, 20, 81):
        assert hull(kw) <= capacity.fee(kw) + 1e-9
    for edge in capacity.edges:
        assert hull(edge) == pytest.approx(capacity.fee(edge))


def end_cost(problem: Problem, peak_kw: float) -> float:
    x, d = np.zeros(problem.nx), np.zeros(problem.nd)
    x[[s.name for s in problem.states].index("month_peak")] = peak_kw
    p = problem.prepare(problem.theta_default())  # type: ignore[misc]
    soft = np.array(problem.soft_terminal(x, d, np.zeros(problem.nz), p)).ravel()  # type: ignore[misc]
    slack = np.maximum(0.0, -soft)
    penalty = problem.soft_terminal_penalty
    plain = float(problem.terminal_cost(x, d, np.zeros(problem.nz), p))
    return plain + float(np.dot(penalty.linear, slack) + np.dot(penalty.quadratic, slack**2) / 2)


@pytest.mark.parametrize("charge", [CHARGE, f"capacity = {{ {STAIRS}, days = 3 }}"])
def test_the_end_of_a_plan_pays_what_the_peak_adds(charge: str) -> None:
    house = parse_house(VILLA.replace(CHARGE, charge))
    problem, capacity = compose(house), house.only("meter").capacity
    for low, high in ((2.0, 5.0), (5.0, 10.0), (10.0, 20.0)):
        risen = end_cost(problem, high) - end_cost(problem, low)
        fee = capacity.fee(high) - capacity.fee(low)
        assert risen == pytest.approx(fee / capacity.days, rel=1e-9)


@pytest.mark.parametrize(
    "charge",
    ["interval = '1 h'", f"price_per_kw = 5, {STAIRS}", "tiers = [[5, 200], [2, 120]]", "price_per_kw = 5, days = 0"],
)
def test_what_is_no_charge_is_refused(charge: str) -> None:
    with pytest.raises(HouseFileError, match=r"house\.toml"):
        parse_house(VILLA.replace(CHARGE, f"capacity = {{ {charge} }}"))
