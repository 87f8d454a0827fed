"""Predicates: what holds, what fails and where, what is refused and how."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.predicates import PredicateError, parse

SIGNALS = {"soc": np.array([0.5, 0.2, 0.02, 0.4]), "power": np.array([0.0, 1.0, -2.0, np.nan])}
INDICATORS = {"recovery_s": 1800.0, "cycle": 900.0, "level_seconds.safe": 0.0}
NAMES = [*SIGNALS, *INDICATORS]


@pytest.mark.parametrize(
    ("text", "holds", "failures", "first"),
    [
        ("soc >= 0.02", True, 0, None),
        ("soc >= 0.03", False, 1, 2),
        ("0.1 <= soc < 0.45", False, 2, 0),
        ("mean(soc) == 1.12 / 4", True, 0, None),
        ("max(soc) - min(soc) <= 0.48", True, 0, None),
        ("final(soc) > 0.41", False, 1, None),
        ("recovery_s <= 2*cycle", True, 0, None),
        ("recovery_s < 2*cycle", False, 1, None),
        ("recovery_s <= hour / 2", True, 0, None),
        ("level_seconds.safe == 0", True, 0, None),
        ("abs(power) <= 100", False, 1, 3),  # a missing value proves nothing
        ("power != 5", False, 1, 3),
        ("-soc < 0", True, 0, None),
    ],
)
def test_outcomes(text: str, holds: bool, failures: int, first: int | None) -> None:
    outcome = parse(text, NAMES).evaluate(SIGNALS, INDICATORS)
    assert (outcome.holds, outcome.failures, outcome.first_failure) == (holds, failures, first), outcome


def test_the_value_at_the_first_failure_is_told() -> None:
    assert "soc = 0.02" in parse("soc >= 0.03", NAMES).evaluate(SIGNALS, INDICATORS).detail


def test_an_empty_window_is_no_proof() -> None:
    assert not parse("soc >= 0", NAMES).evaluate({"soc": np.array([])}, {}).holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sok >= 0.03", "did you mean 'soc'"),
        ("level_seconds.save == 0", "did you mean 'level_seconds.safe'"),
        ("soc", "compares nothing"),
        ("soc >=", "cannot read"),
        ("soc in (1, 2)", "only < <="),
        ("__import__('os').system('true') == 0", "not offered"),
        ("soc ** 99 > 1", "not offered"),
        ("open(soc) == 1", "not offered"),
        ("soc >= 'a'", "not offered"),
        ("soc == True", "not offered"),
    ],
)
def test_refused_with_a_remedy(text: str, message: str) -> None:
    with pytest.raises(PredicateError, match=message.replace("(", r"\(")):
        parse(text, NAMES)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_in_words(text: str) -> None:
    try:
        predicate = parse(text, NAMES)
    except PredicateError:
        return
    assert predicate.names() <= {*NAMES, "minute", "hour", "day"}
    assert predicate.evaluate(SIGNALS, INDICATORS).holds in (True, False)


@given(st.floats(-10, 10), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_comparisons_mean_what_python_means(limit: float, sign: str) -> None:
    outcome = parse(f"soc {sign} {limit!r}", NAMES).evaluate(SIGNALS, INDICATORS)
    wanted = [eval(f"{value!r} {sign} {limit!r}") for value in SIGNALS["soc"].tolist()]
    assert outcome.holds == all(wanted)
    assert outcome.failures == wanted.count(False)
