"""The verdict: every expectation of a scenario, evaluated over its window of the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil import kpi
from hil.errors import ScenarioError
from hil.explanation import under_fault, unexplained
from hil.plant import Plant
from hil.predicates import Predicate, PredicateError, PredicateOutcome, parse
from hil.record import RunRecord
from hil.scenario import Expect, Scenario


@dataclass(frozen=True)
class Check:
    """One expectation and what became of it; `first_failure_s` counts from the start of the scenario."""

    expect: Expect
    outcome: PredicateOutcome
    first_failure_s: float | None

    @property
    def window(self) -> str:
        """In words; empty for the whole run."""
        begin, until = self.expect.begin, self.expect.until
        parts = []
        if begin > 0.0 or until is not None:
            parts.append(f"from {begin / 3600:g} h" + ("" if until is None else f" to {until / 3600:g} h"))
        if self.expect.unless is not None:
            parts.append(f"unless by a {self.expect.unless}")
        return " ".join(parts)


@dataclass(frozen=True)
class Verdict:
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.outcome.holds for check in self.checks)


def parse_expectations(scenario: Scenario, plant: Plant) -> list[tuple[Expect, Predicate]]:
    """The scenario's predicates. Raises ScenarioError when one cannot be read or names what the plant has not."""
    known = [*plant.quantities, *(f"set_point.{s.name}" for s in plant.set_points), *kpi.INDICATORS]
    known += kpi.TRACKED if plant.inside_s else ()
    parsed = []
    for expect in scenario.expectations:
        try:
            parsed.append((expect, parse(expect.that, known)))
        except PredicateError as error:
            raise ScenarioError(f"{scenario.head.name}: [[expect]] {error}") from error
    return parsed


def judge(
    expectations: Sequence[tuple[Expect, Predicate]], record: RunRecord, indicators: Mapping[str, float]
) -> Verdict:
    """Evaluate all; indicators are always those of the whole run, signals those of the window."""
    arrays = kpi.signals(record)
    checks = []
    for expect, predicate in expectations:
        window = [
            i
            for i, cycle in enumerate(record.cycles)
            if cycle.elapsed_s >= expect.begin and (expect.until is None or cycle.elapsed_s < expect.until)
        ]
        if expect.unless == "fault":
            window = _without_explained(window, record, predicate, arrays, indicators)
        outcome = predicate.evaluate({name: values[window] for name, values in arrays.items()}, indicators)
        first = None if outcome.first_failure is None else record.cycles[window[outcome.first_failure]].elapsed_s
        checks.append(Check(expect, outcome, first))
    return Verdict(tuple(checks))


def _without_explained(
    window: list[int],
    record: RunRecord,
    predicate: Predicate,
    arrays: Mapping[str, NDArray[np.float64]],
    indicators: Mapping[str, float],
) -> list[int]:
    """The cycles of the window but for those whose failing a fault explains."""
    failing = ~np.broadcast_to(predicate.holds(arrays, indicators), len(record.cycles))
    excused = failing & ~unexplained(failing, under_fault(record))
    return [k for k in window if not excused[k]]
