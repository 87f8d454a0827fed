"""The trial of a newcomer: first asked in shadow and not obeyed, then obeyed on probation, with a way back.

    shadow     the newcomer must solve what the policy in force solves, `needed` times
    probation  the newcomer is in force; where it fails and its predecessor does not, the predecessor is back at once

Cycles in which nobody could have solved (an input is missing) count for nothing and against nobody; nor do those that
hold a decision made before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from runtime.decide.policy import Decision, Policy


class Phase(StrEnum):
    SHADOW = "shadow"
    PROBATION = "probation"


class TrialOutcome(StrEnum):
    """What a cycle of a trial led to."""

    GOES_ON = "goes on"
    SWAPPED = "swapped"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class Trial:
    """`other` is the one of the two that is not in force: the newcomer in shadow, its predecessor on probation."""

    newcomer: Policy
    other: Policy
    needed: int
    phase: Phase = Phase.SHADOW
    passed: int = 0


def after_shadow(trial: Trial, in_force: Decision, newcomer: Decision) -> tuple[Trial, TrialOutcome]:
    """One cycle in shadow."""
    if newcomer.at_fault:
        # What defeats both is the problem's doing, not the newcomer's.
        return trial, TrialOutcome.GOES_ON if in_force.at_fault else TrialOutcome.REFUSED
    if newcomer.solved is None:
        return trial, TrialOutcome.GOES_ON
    trial = replace(trial, passed=trial.passed + 1)
    return trial, TrialOutcome.SWAPPED if trial.passed >= trial.needed else TrialOutcome.GOES_ON


def after_probation(trial: Trial, newcomer: Decision, predecessor: Decision | None) -> tuple[Trial, TrialOutcome]:
    """One cycle on probation; the predecessor is asked only where the newcomer is at fault."""
    if newcomer.at_fault:
        able = predecessor is not None and predecessor.solved is not None and not predecessor.problem
        return trial, TrialOutcome.ROLLED_BACK if able else TrialOutcome.GOES_ON
    if newcomer.solved is None:
        return trial, TrialOutcome.GOES_ON
    trial = replace(trial, passed=trial.passed + 1)
    return trial, TrialOutcome.ACCEPTED if trial.passed >= trial.needed else TrialOutcome.GOES_ON
