"""What one cycle knew, decided and did, and where its time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.actuate.actuator import Written
from runtime.bundle.trial import Phase, TrialOutcome
from runtime.decide.compressors import Pulsed
from runtime.decide.decision import InForce
from runtime.decide.estimate import Estimate
from runtime.decide.gate import Limited
from runtime.decide.ladder import Level
from runtime.decide.plan import Plan
from runtime.decide.policy import Policy
from runtime.decide.safety import Filtered
from runtime.decide.solver_process import Solved
from runtime.inputs.process_image import ProcessImage
from runtime.track.tracker import Tracked

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """Where the time of a cycle went, in seconds: the solver, the wires, and the rest, which is ours.

    Of the rest, `log_s` was spent on committing to the disk. `cpu_s` is the processor time of the cycle's thread, which
    does not depend on what else the machine does.
    """

    solve_s: float
    link_s: float
    overhead_s: float
    log_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """What a level would do: an action, at a state that is measured or, for a plan, expected."""

    action: Vector
    state: Vector
    problems: Mapping[str, str] = field(default_factory=dict)
    """Of a rule: what parts of the house it cannot move now, and why."""


@dataclass(frozen=True)
class Cycle:
    """All that one cycle knew, decided and did. `action` is None at level `safe`: the devices' defaults apply."""

    policy: Policy
    """Whose decision it was."""
    image: ProcessImage
    estimate: Estimate
    forecast: tuple[Vector, ...] | None
    solved: Solved | None
    """Of this cycle, or of the decision that is held."""
    solver_problem: str
    level: Level
    reason: str
    nominal: Vector | None
    limited: Limited | None
    filtered: Filtered | None
    action: Vector | None
    outputs: Mapping[str, Written]
    plan: Plan | None
    """The plan in force: of this cycle at level `mpc`, an older one otherwise."""
    timing: Timing
    trial: TrialStep | None = None
    decision: InForce | None = None
    """What was acted on at level `mpc`; None below it."""
    held: bool = False
    """The decision is of an earlier cycle; nothing was solved in this one."""
    next_decision_s: float | None = None
    """Unix time of the next one; None where every cycle decides."""
    at_rest: Mapping[str, str] = field(default_factory=dict)
    """At level `rule`, actions that their rule cannot move, and why."""
    pulsed: Pulsed | None = None
    """What compressors made of the action that passed the filter."""
    tracked: Tracked | None = None
    """What follows the meter from here to the next cycle, or why nothing does."""


@dataclass(frozen=True)
class TrialStep:
    """What a cycle did to the trial that was on: where it stands now, and why where it ended badly."""

    newcomer: Policy
    phase: Phase
    passed: int
    needed: int
    outcome: TrialOutcome
    reason: str = ""
