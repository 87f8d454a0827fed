"""The headline numbers of README.md and of the result pages are those of the JSON beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from installed_wheel import ROOT

from tuner.evaluate.statistics import crossed_interval, mean_interval

RESULTS = ROOT / "docs" / "results"


def page(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def numbers(path: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / path).read_text(encoding="utf-8")))


def test_the_battery_on_real_prices() -> None:
    found = numbers("battery/evaluation.json")
    costs = {name: np.array(weeks) for name, weeks in found["week_costs_eur"].items()}
    gain = mean_interval(100 * (costs["data_fitted"] - costs["tuned"]) / costs["data_fitted"].mean())
    ends = f"{gain.low:.2f} to {gain.high:.2f} %"
    assert f"{gain.mean:.2f} % of the bill ({ends})" in page("README.md")
    assert f"{gain.mean:.2f} % of the bill, 95 % interval {ends}" in page("docs/results/battery.md")
    for name, weeks in costs.items():
        interval = mean_interval(weeks)
        assert found["policies"][name]["cost_eur_per_week"]["low"] == pytest.approx(interval.low)
        assert f"| {interval.mean:.2f} | {interval.low:.2f} .. {interval.high:.2f} |" in page("docs/results/battery.md")


@pytest.mark.parametrize(
    "path", [RESULTS / "smart-home.json", *sorted((RESULTS / "smart-home").glob("*.json"))], ids=lambda p: p.stem
)
def test_a_reading_of_the_smart_home(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    row = []
    for part in (found, found["confirmation"]):
        before, after = (np.array(part["total_eur_per_period"][name]) for name in ("data_fitted", "tuned"))
        gain = crossed_interval(100 * (before - after) / before.mean(0))
        assert part["improvement_percent"]["low"] == pytest.approx(gain.low)
        row.append(f"{gain.mean:.1f} ({gain.low:.1f} .. {gain.high:.1f})")
    assert f"| {' | '.join(row)} |" in page("docs/results/smart-home.md")
    if path.stem == "smart-home":
        gain = found["improvement_percent"]
        assert f"{gain['mean']:.1f} % ({gain['low']:.1f} to {gain['high']:.1f} %)" in page("README.md")


def test_the_physical_house() -> None:
    for name, where in (
        ("beta 0.002", "deterministic policy gradient, default"),
        ("from a log, first day 60", "from 31 October"),
        ("from a log, first day 120", "the same from 30 December"),
    ):
        found = numbers("house-physical.json")["evaluate"][name]
        weeks = {policy: np.array(found["policies"][policy]["total_eur_of_each_week"]) for policy in found["policies"]}
        gain = mean_interval(100 * (weeks["data_fitted"] - weeks["tuned"]) / weeks["data_fitted"].mean())
        cell = f"{gain.mean:.1f} ({gain.low:.1f} .. {gain.high:.1f}) |"
        assert f"{where} | {cell}" in page("docs/results/house-physical.md")
        if name == "beta 0.002":
            stated = f"{gain.mean:.1f} % of the total cost ({gain.low:.1f} to {gain.high:.1f} %"
            assert stated in page("README.md")


def test_the_scalar_battery_over_seeds() -> None:
    found = numbers("battery-tuning.json")["cases"]
    for case in found.values():
        assert len(case["seeds"]) >= 5 and "0" not in case["seeds"]
        for name, ends in case["over_seeds"].items():
            closed = [study["methods"][name]["gap_closed"] for study in case["seeds"].values()]
            assert ends["gap_closed"] == [min(closed), max(closed)]
            low, high = (f"{100 * end:.3f}" for end in ends["gap_closed"])
            assert f"| {low} to {high} |" in page("docs/results/battery-tuning.md") or low == high
    for number, decimals in (("1", 2), ("2", 3)):
        low, high = found[number]["over_seeds"]["dpg"]["gap_closed"]
        assert f"{100 * low:.2f} to {100 * high:.{decimals}f} %" in page("README.md")
    loss = found["1"]["over_seeds"]["dpg"]["remaining_loss_of_abs_J_star"]
    assert f"{100 * loss[0]:.1f} to {100 * loss[1]:.1f} % of the optimal return remain" in page("README.md")
