"""Bundles of described houses: states by groups, forecasts with a step of their own, heat from power by the COP."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from runtime.bundle.manifest import ArxObserver, Manifest
from runtime.decide.estimator import make_estimator
from runtime.inputs.process_image import ProcessImage, forecast_now, forecast_rows
from runtime.inputs.signals import Sample, Validity
from systems.design import HouseDesign
from systems.house_file import SHIPPED

ALONE = {"states": ["home_soc"], "estimator": {"type": "direct"}}
COP = [[-10.0, 2.0], [10.0, 4.0]]
STEP_S = 300.0


def cabin_document(**changes: Any) -> dict[str, Any]:
    """A battery, one zone of two lags heated by a pump whose heat is power times COP, and a tank."""
    signal = {"unit": "1", "lower": -100.0, "upper": 100.0}
    arx = {
        "type": "arx",
        "dt_s": STEP_S,
        "outputs": [{**signal, "name": "living_temperature"}],
        "inputs": ["outdoor", "hp_power"],
        "output_coefficients": [[[0.9]], [[0.05]]],
        "input_coefficients": [[[0.05, 0.02]], [[0.0, 0.01]]],
        "innovation_mean": [0.0],
        "innovation_covariance": [[1e-4]],
        "measurement_std": [0.01],
        "input_std": [5.0, 0.5],
        "input_gains": [{"input": "hp_power", "by": "outdoor", "points": COP}],
    }
    groups = [
        {"states": ["home_soc"], "estimator": {"type": "direct"}},
        {"states": ["living_temperature", "living_past_2"], "estimator": arx},
        {"states": ["water_temperature"], "estimator": {"type": "direct"}},
    ]
    names = [name for group in groups for name in group["states"]]
    return {
        "format_version": 2,
        "name": "cabin",
        "system": "cabin",
        "dt_s": 1800.0,
        "horizon": 4,
        "discount": 1.0,
        "states": [{**signal, "name": name} for name in names],
        "actions": [{"name": "hp_power", "unit": "kW", "lower": 0.0, "upper": 2.0}],
        "forecasts": [{**signal, "name": "buy"}, {**signal, "name": "outdoor", "steps": 6}],
        "theta": [],
        "estimator": {"type": "groups", "groups": groups},
        **changes,
    }


def image(time_s: float, outdoor: float, living: float | None, soc: float | None = 0.5) -> ProcessImage:
    def reading(name: str, value: float | None) -> Sample:
        return Sample(name, value, None if value is None else 0.0, Validity.STALE if value is None else Validity.OK)

    samples = [reading("home_soc", soc), reading("living_temperature", living), reading("water_temperature", 50.0)]
    columns = {"buy": (0.2,) * 5, "outdoor": tuple(outdoor + 0.1 * i for i in range(30))}
    return ProcessImage(time_s, time_s, {s.name: s for s in samples}, columns)


def test_each_group_of_states_is_estimated_its_own_way_and_heat_is_power_times_the_cop() -> None:
    """Against the model written out: the second lag's part is what its coefficients make of heat, not of power."""
    manifest = Manifest.model_validate(cabin_document())
    assert [s.name for s in manifest.measured] == ["home_soc", "living_temperature", "water_temperature"]
    estimator = make_estimator(manifest)
    outdoor, power, y, past = 4.0, 1.5, 20.0, None
    rng = np.random.default_rng(0)
    heat = power * float(np.interp(outdoor, *np.transpose(COP)))
    for k in range(40):
        estimate = estimator.update(image(k * STEP_S, outdoor, y), (power,))
        assert estimate.state is not None
        soc, living, second, water = estimate.state
        assert (soc, water) == (0.5, 50.0)
        if past is not None and k > 20:
            assert living == pytest.approx(y, abs=0.02)
            assert second == pytest.approx(0.05 * past + 0.01 * heat, abs=0.02)
        past, y = y, 0.9 * y + 0.05 * (past or y) + 0.05 * outdoor + 0.03 * heat + 0.002 * rng.standard_normal()


def test_one_group_that_is_not_known_leaves_the_state_unknown_and_the_others_go_on() -> None:
    estimator = make_estimator(Manifest.model_validate(cabin_document()))
    estimator.update(image(0.0, 5.0, 20.0), None)
    unknown = estimator.update(image(STEP_S, 5.0, 19.3, soc=None), (1.0,))
    assert unknown.state is None and "home_soc" in unknown.problem
    again = estimator.update(image(2 * STEP_S, 5.0, 18.7), (1.0,))
    assert again.state is not None and again.state[1] == pytest.approx(18.7, abs=0.05)


def test_a_row_of_the_forecast_holds_all_steps_of_its_stage() -> None:
    manifest = Manifest.model_validate(cabin_document())
    seen = image(0.0, 0.0, 20.0)
    rows = forecast_rows(seen, manifest)
    assert rows is not None and len(rows) == 5 and manifest.forecast_columns == 7
    for k, row in enumerate(rows):
        assert row == (0.2, *(pytest.approx(0.1 * (6 * k + i)) for i in range(6)))
    assert forecast_now(seen, manifest) == rows[0]
    blind = ProcessImage(0.0, 0.0, seen.samples, {"buy": (0.2,) * 5})
    assert forecast_rows(blind, manifest) is None
    assert forecast_now(blind, manifest) == (0.2, *(0.0,) * 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 1}, "needs format_version 2"),
        ({"compressors": [{"name": "hp", "actions": ["fan"], "most_kw": 1.0}]}, "name 'fan', which is no action"),
        ({"compressors": [{"name": n, "actions": ["hp_power"], "most_kw": 1.0} for n in "ab"]}, "or another's"),
        ({"estimator": {"type": "groups", "groups": [ALONE]}}, "in their order"),
        ({"actions": [{"name": "other", "unit": "kW", "lower": 0.0, "upper": 2.0}]}, "neither forecasts nor actions"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Manifest.model_validate(cabin_document(**change))


def test_a_gain_is_refused_that_does_not_ascend_or_names_nothing() -> None:
    document = cabin_document()
    observer = document["estimator"]["groups"][1]["estimator"]
    for gain, words in (
        ({"input": "hp_power", "by": "outdoor", "points": [[1.0, 2.0], [0.0, 3.0]]}, "do not ascend"),
        ({"input": "hp_power", "points": COP}, "not named"),
        ({"input": "hp_power", "by": "indoor", "points": COP}, "not there"),
        ({"input": "fan", "points": [[0.0, 1.0]]}, "not there"),
    ):
        observer["input_gains"] = [gain]
        with pytest.raises(ValidationError, match=words):
            Manifest.model_validate(document)


def test_what_says_nothing_new_is_written_as_older_daemons_read_it() -> None:
    document = cabin_document(
        format_version=1,
        estimator={"type": "direct"},
        forecasts=[{"name": "buy", "unit": "1", "lower": 0.0, "upper": 1.0}],
    )
    manifest = Manifest.model_validate(document)
    written = json.loads(manifest.model_dump_json())
    assert manifest.oldest_format == written["format_version"] == 1
    assert "steps" not in written["forecasts"][0]


def test_an_unknown_outdoor_temperature_leaves_the_heat_unknown() -> None:
    manifest = Manifest.model_validate(cabin_document())
    from runtime.decide.estimator_house import ArxEstimate

    observer = manifest.groups[1].estimator
    assert isinstance(observer, ArxObserver)
    blind = image(0.0, 0.0, 20.0)
    blind = ProcessImage(0.0, 0.0, blind.samples, {})
    assert math.isnan(ArxEstimate(manifest, observer)._gain("hp_power", blind))


@pytest.mark.parametrize("name", ["battery", "cabin", "flat", "four-heat-pumps", "tank", "villa"])
def test_what_a_described_house_says_of_itself_is_a_manifest(name: str) -> None:
    """Estimators, limits and forecasts of every shipped house fit its own states and actions."""
    design = HouseDesign((SHIPPED / f"{name}.toml").read_text())
    problem = design.problem
    theta = {p.name: p.default for p in problem.theta}
    signal = lambda s: {k: getattr(s, k) for k in ("name", "unit", "lower", "upper")}  # noqa: E731
    manifest = Manifest.model_validate(
        {
            "format_version": 2, "name": problem.name, "system": problem.name, "dt_s": problem.dt_s,
            "horizon": problem.horizon, "discount": problem.discount, "decide_every_s": problem.decide_every_s,
            "states": [signal(s) for s in problem.states], "actions": [signal(s) for s in problem.actions],
            "forecasts": [{**signal(f), "steps": f.steps, "schedule": f.schedule} for f in design.forecasts],
            "theta": [signal(p) for p in problem.theta], "safety": design.safety(theta),
            "estimator": design.estimator(theta), "rules": design.rules(theta), "compressors": design.compressors,
        }
    )  # fmt: skip
    assert manifest.forecast_columns == problem.nd
    # Every action has a rule but those of panels, which rest.
    owned = {action for rule in manifest.rules for action in rule.actions}
    assert {a.name for a in manifest.actions} - owned == {a.name for a in manifest.actions if "curtailment" in a.name}
    assert [f"{f.name}_0" if f.steps > 1 else f.name for f in manifest.forecasts] == [
        s.name for s in problem.forecasts if not s.name.startswith(("outdoor_", "sun_")) or s.name.endswith("_0")
    ]
