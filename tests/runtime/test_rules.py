"""Rules, one for each asset: what each does, what the loss of a signal costs, and how files and bundles say them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tiny_site import site_text, tiny_manifest

from runtime.actuate.set_points import resting, set_points
from runtime.bundle.keys import new_key
from runtime.bundle.manifest import Manifest, SignalSpec
from runtime.decide.rules import Rulebook, RuleUnavailableError
from runtime.decide.rules_data import AnyRule
from runtime.errors import ConfigError
from runtime.site.check import check_against, warnings
from runtime.site.config import SiteFile, load_site
from runtime.site.rules import all_inputs, rules_in_force, wishes
from runtime.site.signals import OutputSection
from systems.design import HouseDesign
from systems.house_file import SHIPPED

RULES = TypeAdapter(tuple[AnyRule, ...])
NOW = {
    "ground_temperature": 19.0, "upper_temperature": 19.0, "studio_temperature": 19.0, "water_temperature": 52.0,
    "ground_set_point": 21.0, "upper_set_point": 20.0, "studio_set_point": 19.0, "water_lower": 45.0,
    "water_upper": 65.0, "outdoor": -3.0, "load": 1.2, "pv": 0.4, "buy": 0.2, "sell": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def villa() -> Rulebook:
    design = HouseDesign((SHIPPED / "villa.toml").read_text())
    p = design.problem
    rules = RULES.validate_python(design.rules({t.name: t.default for t in p.theta}))
    return Rulebook(rules, {a.name: (a.lower, a.upper) for a in p.actions}, {"hp_power": 1.2})


def act(book: Rulebook, values: dict[str, float], **rest: Any) -> dict[str, float]:
    return dict(zip(book.bounds, book.act(values, **rest).action, strict=True))


def test_every_asset_of_a_house_has_its_rule(villa: Rulebook) -> None:
    """The pump heats three zones by their mean error, the tank by its bound, the battery serves all of it."""
    assert act(villa, NOW) == {
        "home_charge": 0.0, "home_discharge": pytest.approx(0.8 + 3.5), "hp_power": 3.5, "hp_water_power": 0.0,
        "roof_curtailment": 0.0,
    }  # fmt: skip
    warm = {**NOW, "ground_temperature": 22.5, "pv": 5.0}
    assert act(villa, warm)["hp_power"] == 0.0  # nobody knows what it did before
    assert act(villa, warm)["home_charge"] == pytest.approx(3.8)
    on = tuple(3.5 if name == "hp_power" else 0.0 for name in villa.bounds)
    dead = {**NOW, "ground_temperature": 21.2}
    assert act(villa, dead, last=on)["hp_power"] == 3.5 and act(villa, dead)["hp_power"] == 0.0
    # What was held back is what it asks for again, not what came of it.
    assert act(villa, dead, last=(0.0,) * 5, before=on)["hp_power"] == 3.5
    assert act(villa, {**NOW, "water_temperature": 47.9})["hp_water_power"] == 3.5
    # The weekly hour: on below 58 and a reserve, and off at the upper bound.
    hot = {**NOW, "water_lower": 58.0}
    assert act(villa, {**hot, "water_temperature": 60.5})["hp_water_power"] == 3.5
    assert act(villa, {**hot, "water_temperature": 65.1}, last=(3.5,) * 5)["hp_water_power"] == 0.0


def test_a_meter_at_the_grid_sees_the_battery_and_what_the_others_change(villa: Rulebook) -> None:
    last = dict.fromkeys(villa.bounds, 0.0) | {"home_discharge": 2.0, "hp_power": 3.5}
    metered = {**NOW, "grid_power": 0.5}
    # Others take 2.5 kW of it; the pump goes on.
    assert act(villa, metered, last=tuple(last.values()))["home_discharge"] == pytest.approx(2.5)
    # It stops: 3.5 kW less.
    warm = {**metered, "ground_temperature": 25.0}
    assert act(villa, warm, last=tuple(last.values()))["home_charge"] == pytest.approx(1.0)


LOSABLE = ["outdoor", "load", "pv", "buy", "sell", "ground_set_point", "upper_set_point", "studio_set_point"]


@settings(deadline=None, max_examples=60)
@given(st.sets(st.sampled_from([*LOSABLE, "water_lower", "water_upper", "water_temperature", "upper_temperature"])))
def test_what_is_lost_costs_only_what_needs_it(villa: Rulebook, lost: set[str]) -> None:
    """A lost forecast never ends a rule that has its thermometer or its meter; usual wishes stand in."""
    usual = {"ground_set_point": 21.0, "upper_set_point": 20.0, "studio_set_point": 19.0}
    usual |= {"water_lower": 45.0, "water_upper": 65.0}
    book = Rulebook(villa.rules, villa.bounds, villa.idle, usual)
    values = {name: value for name, value in NOW.items() if name not in lost} | {"grid_power": 1.0}
    last = (0.0,) * len(book.bounds)
    ruled = book.act(values, last=last)
    whole = act(book, {**NOW, "grid_power": 1.0}, last=last)
    assert set(ruled.problems) == ({"hp_water_power"} if "water_temperature" in lost else set())
    assert dict(zip(book.bounds, ruled.action, strict=True)) == pytest.approx(whole)


def test_what_cannot_be_checked_rests_at_its_safe_value(villa: Rulebook) -> None:
    ruled = villa.act(NOW, blocked={"hp_power"})
    actions = dict(zip(villa.bounds, ruled.action, strict=True))
    assert actions["hp_power"] == 1.2 and ruled.problems == {"hp_power": "its limits cannot be checked"}
    assert actions["home_discharge"] == pytest.approx(0.8 + 1.2)
    with pytest.raises(RuleUnavailableError, match="rule needs one of"):
        villa.act({})
    nothing = villa.act({"water_temperature": 20.0, "water_lower": 45.0, "water_upper": 65.0})
    assert set(nothing.problems) == {"home_charge, home_discharge", "hp_power"}


def test_a_heating_curve_goes_on_with_either_of_its_two_signals() -> None:
    rules = RULES.validate_python(
        [{"kind": "heating_curve", "action": "hp", "measurement": "living", "set_point": 21, "slope": 0.05}]
    )
    book = Rulebook(rules, {"hp": (0.0, 2.0)})
    assert book.act({"living": 20.0, "outdoor": -5.0}).action == (pytest.approx(1.3),)
    assert book.act({"outdoor": -5.0}).action == (pytest.approx(1.0),)
    assert book.act({"living": 20.0}).action == (pytest.approx(0.75 + 0.3),)
    with pytest.raises(RuleUnavailableError, match="living"):
        book.act({})


def output(**changes: Any) -> OutputSection:
    return OutputSection.model_validate({"sink": "mqtt", "topic": "t", "unit": "W", "safe": 0.0, **changes})


def test_what_rests_gives_the_outputs_their_safe_values() -> None:
    actions = [SignalSpec(name=n, unit="kW", lower=lo, upper=2) for n, lo in (("a", 0), ("b", 0), ("c", 0.5))]
    outputs = {"one": output(combine={"a": 1.0, "b": -1.0}, safe=-700.0), "two": output(combine={"c": 1.0}, safe=900.0)}
    rest = resting(outputs, actions)
    assert rest == pytest.approx({"a": 0.0, "b": 0.7, "c": 0.9})
    assert set_points(outputs, actions, tuple(rest[a.name] for a in actions)) == pytest.approx(
        {"one": -700.0, "two": 900.0}
    )
    assert resting({"two": output(combine={"c": 1.0}, safe=0.0)}, actions) == {"c": 0.5}


METERED = {
    "kind": "self_consumption", "charge": "inflow", "discharge": "outflow", "net_load": "demand", "meter": "grid_power",
}  # fmt: skip


def pumped(**changes: Any) -> Manifest:
    actions = [{"name": name, "unit": "kW", "lower": 0, "upper": 1} for name in ("inflow", "outflow", "heat")]
    safety = {
        "limits": [{"name": "level", "lower": 0.05}], "state_matrix": [[1.0]], "action_matrix": [[1.0, -1.0, 0.0]],
    }  # fmt: skip
    rules = [METERED, {"kind": "thermostat", "action": "heat", "measurement": "level", "set_point": "demand", "on": 1}]
    return tiny_manifest(**{"format_version": 2, "actions": actions, "safety": safety, "rules": rules, **changes})


def site(tmp_path: Path, text: str) -> SiteFile:
    whole = site_text(Path("tank.nisse"), new_key(tmp_path / "key.pem").public, Path("/dev/pump"), 1883)
    head, _, _ = whole.partition("[rule]")
    (tmp_path / "key.pem").unlink()
    (tmp_path / "site.toml").write_text(head.replace("inflow = 1.0", "inflow = 1, outflow = -1, heat = 1") + text)
    return load_site(tmp_path / "site.toml")


def test_the_bundle_has_the_rules_that_the_site_does_not(tmp_path: Path) -> None:
    manifest = pumped()
    assert json.loads(manifest.model_dump_json())["rules"] and manifest.oldest_format == 2
    assert "rules" not in json.loads(tiny_manifest().model_dump_json())
    bare = site(tmp_path, "")
    check_against(bare, manifest)
    # A meter that the site has not is done without.
    assert [(r.kind, getattr(r, "meter", None)) for r in rules_in_force(bare, manifest)] == [
        ("self_consumption", None), ("thermostat", None),
    ]  # fmt: skip
    own = site(tmp_path, '[[rule]]\nkind = "hold"\nvalues = { heat = 0.3 }\n')
    check_against(own, manifest)
    assert [r.kind for r in rules_in_force(own, manifest)] == ["hold", "self_consumption"]
    meter = site(tmp_path, '[inputs.grid_power]\nsource = "mqtt"\ntopic = "m"\nunit = "W"\nmax_age_s = 60\n')
    check_against(meter, manifest)
    spec = all_inputs(meter, manifest)[-1]
    assert (spec.name, spec.unit, spec.lower, spec.upper) == ("grid_power", "kW", -1.0, 1.0)
    assert wishes(own, manifest) == {}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[[rule]]\nkind = "hold"\n[[rule]]\nkind = "tank"\naction = "heat"\n', 3, "rule.measurement is missing"),
        ('[[rule]]\nkind = "hold"\n[[rule]]\nkind = "hold"\nvalus = {}\n', 5, "did you mean 'values'"),
        ('[[rule]]\nkind = "hold"\nvalues = { heat = 1 }\n[[rule]]\nkind = "hold"\nvalues = { heat = 0.2 }\n', 4,
         "heat is moved by a rule before this one"),
        ('[[rule]]\nkind = "thermostat"\naction = "heet"\nmeasurement = "level"\nset_point = 1\non = 1\n', 1,
         "no action 'heet'; did you mean 'heat'"),
        ('[[rule]]\nkind = "thermostat"\naction = "heat"\nmeasurement = "level"\nset_point = "demnd"\non = 1\n', 1,
         "no input 'demnd'; did you mean 'demand'"),
        ('[[rule]]\nkind = "thermostat"\naction = "heat"\nmeasurement = ["level"]\nset_point = [1, 2]\non = 1\n', 1,
         "give one, or one each"),
        ('[rule]\nkind = "thermostat"\naction = "heat"\nmeasurement = "level"\nset_point = true\non = 1\n', 5,
         "rule.set_point"),
        ('[[rule]]\nkind = "nap"\n', 2, "nap"),
        ("rule = 3\n", 1, "rule"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_told_by_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        check_against(site(tmp_path, text), pumped())
    assert "\n" not in str(told.value)
    first = (tmp_path / "site.toml").read_text().count("\n") - text.count("\n")
    if text.startswith("["):
        assert f"site.toml:{first + line}: " in str(told.value)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([{"kind": "hold", "values": {"fan": 1.0}}], "'fan', which is no action"),
        ([{"kind": "thermostat", "action": "heat", "measurement": "sun", "set_point": 1, "on": 1}], "no input"),
        ([{"kind": "hold", "values": {"heat": 1.0}}] * 2, "a rule before it moves"),
        ([{**METERED, "meter": "level"}], "is a signal already"),
        ([{"kind": "hold", "values": {"heat": float("nan")}}], "finite number"),
        ([{"kind": "hold"}] * 101, "at most 100"),
    ],
)
def test_a_bundle_with_a_wrong_rule_is_refused(rules: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        pumped(rules=rules)


def test_a_safe_power_at_which_no_compressor_turns_is_told(tmp_path: Path) -> None:
    manifest = pumped(compressors=[{"name": "pump", "actions": ["inflow"], "least_kw": 0.4, "most_kw": 1.0}])
    for safe, told in ((0.0, False), (0.3, True), (0.5, False)):
        text = site(tmp_path, "").text
        (tmp_path / "site.toml").write_text(text.replace("safe = 0.0", f"safe = {safe}"))
        found = warnings(load_site(tmp_path / "site.toml"), manifest)
        assert any("turns at no less than 0.4 kW" in text for text in found) is told


def test_a_meter_that_the_bundle_measures_is_one_input(tmp_path: Path) -> None:
    """The month's peak is observed from the meter that the battery's rule and the import limit go by."""
    peak = {"name": "month_peak", "unit": "kW", "lower": 0, "upper": 20}
    meter = {"name": "grid_power", "unit": "kW", "lower": -20, "upper": 20}
    level = tiny_manifest().states[0].model_dump()
    groups = [
        {"states": ["level"], "estimator": {"type": "direct"}},
        {"states": ["month_peak"], "estimator": {"type": "peak", "meter": meter, "interval_s": 900.0}},
    ]
    limit = {"name": "import", "upper": 1.0, "actions": [{"signal": "heat", "factor": 1}], "meter": "grid_power"}
    safety = {
        "limits": [{"name": "level", "lower": 0.05}], "state_matrix": [[1.0, 0.0], [0.0, 1.0]],
        "action_matrix": [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]], "power": [limit],
    }  # fmt: skip
    manifest = pumped(states=[level, peak], safety=safety, estimator={"type": "groups", "groups": groups})
    own = '[inputs.grid_power]\nsource = "mqtt"\ntopic = "m"\nunit = "W"\nmax_age_s = 60\n'
    whole = site(tmp_path, own)
    check_against(whole, manifest)
    assert [spec.name for spec in all_inputs(whole, manifest)].count("grid_power") == 1
