"""One control cycle: read -> estimate -> solve -> gate -> filter -> actuate -> read back.

The cycle decides on a frozen process image. Each level of the ladder offers an action or a reason why it has none; the
ladder chooses; ramp, dwell and the safety filter have the last word on whatever was chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.actuator import Actuator, Written, set_points
from runtime.bundle import Bundle
from runtime.clock import Clock
from runtime.config import SiteFile
from runtime.errors import SolverProcessError
from runtime.estimator import Estimate, make_estimator
from runtime.gate import LastAction, Limited, limit, refusal, remember
from runtime.ladder import Ladder, Level, step
from runtime.plan import Plan, PlanStep, shifted
from runtime.process_image import ProcessImage, forecast_now, forecast_rows, take_image
from runtime.remote import Wishes, still_valid
from runtime.rules import RuleUnavailableError, rule_action
from runtime.safety import Filtered, safety_filter
from runtime.signals import Arrival
from runtime.solver_process import Solved, SolverProcess

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


@dataclass(frozen=True)
class Cycle:
    """All that one cycle knew, decided and did. `action` is None at level `safe`: the devices' defaults apply."""

    image: ProcessImage
    estimate: Estimate
    forecast: tuple[Vector, ...] | None
    solved: Solved | None
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


class ControlLoop:
    """Runs cycles and carries from one to the next: ladder, last action, last good plan, estimator."""

    def __init__(
        self,
        site: SiteFile,
        bundle: Bundle,
        clock: Clock,
        read: Callable[[], Mapping[str, Arrival]],
        actuator: Actuator,
        solver: SolverProcess,
        plan: Plan | None = None,
    ) -> None:
        """plan: what was in force when the daemon stopped, if that is known."""
        self._site, self._bundle, self._clock = site, bundle, clock
        self._read, self._actuator, self._solver = read, actuator, solver
        self._estimator = make_estimator(bundle.manifest)
        self._ladder = Ladder()
        self._last: LastAction | None = None
        self._plan = plan
        self.wishes = Wishes()
        """What the operator allows."""

    def swap(self, site: SiteFile, bundle: Bundle, solver: SolverProcess) -> None:
        """Go on with another bundle; what belonged to the old one's model and signals is forgotten."""
        if [a.name for a in bundle.manifest.actions] != [a.name for a in self._bundle.manifest.actions]:
            self._last = None
        self._site, self._bundle, self._solver, self._plan = site, bundle, solver, None
        self._estimator = make_estimator(bundle.manifest)
        self.wishes = still_valid(self.wishes, bundle.manifest)

    def run(self) -> Cycle:
        """One cycle at the clock's present time."""
        begun = time.perf_counter()
        arrivals = self._read()
        read_s = time.perf_counter() - begun
        manifest = self._bundle.manifest
        image = take_image(self._site, manifest, arrivals, self._clock.wall(), self._clock.monotonic())
        estimate = self._estimator.update(image, None if self._last is None else self._last.action)
        forecast = forecast_rows(image, manifest)

        solve_begun = time.perf_counter()
        solved, problem = self._solve(image, estimate, forecast)
        solve_s = time.perf_counter() - solve_begun

        offers = self._offers(image, estimate, solved, problem)
        problems = {level: offer for level, offer in offers.items() if isinstance(offer, str)}
        self._ladder = step(self._ladder, problems, image.monotonic_s, self._site.dwell_s)
        chosen = offers.get(self._ladder.level)
        if self._ladder.level is Level.MPC and solved is not None:
            self._plan = Plan(image.time_s, image.monotonic_s, manifest.dt_s, solved.plan_x, solved.plan_a)

        limited = filtered = None
        if isinstance(chosen, Candidate):
            limited = limit(chosen.action, self._last, manifest, image.monotonic_s, self.wishes.caps)
            filtered = safety_filter(limited.action, chosen.state, forecast_now(image, manifest), manifest)
        write_begun = time.perf_counter()
        outputs = self._actuate(filtered)
        write_s = time.perf_counter() - write_begun
        self._last = None if filtered is None else remember(filtered.action, self._last, image.monotonic_s)
        link_s = read_s + write_s
        return Cycle(
            image=image,
            estimate=estimate,
            forecast=forecast,
            solved=solved,
            solver_problem=problem,
            level=self._ladder.level,
            reason=self._ladder.reason,
            nominal=chosen.action if isinstance(chosen, Candidate) else None,
            limited=limited,
            filtered=filtered,
            action=None if filtered is None else filtered.action,
            outputs=outputs,
            plan=self._plan,
            timing=Timing(solve_s, link_s, time.perf_counter() - begun - solve_s - link_s),
        )

    def _solve(
        self, image: ProcessImage, estimate: Estimate, forecast: tuple[Vector, ...] | None
    ) -> tuple[Solved | None, str]:
        """The solution, and why it must not be used; solved whenever the inputs allow, to know when `mpc` is back."""
        if estimate.state is None:
            return None, estimate.problem
        if forecast is None:
            missing = [s for s in self._bundle.manifest.forecasts if s.name not in image.columns]
            found = image.samples[missing[0].name]
            return None, f"{found.name}: {found.problem or found.validity}"
        try:
            solved = self._solver.solve(estimate.state, forecast, self._site.controller.solve_timeout_s)
        except SolverProcessError as error:
            return None, str(error)
        return solved, refusal(solved, self._bundle.manifest)

    def _offers(
        self, image: ProcessImage, estimate: Estimate, solved: Solved | None, problem: str
    ) -> dict[Level, Candidate | str]:
        """What each level would do, or why it cannot."""
        offers: dict[Level, Candidate | str] = {}
        state = estimate.state
        if solved is not None and state is not None and not problem:
            offers[Level.MPC] = Candidate(solved.action, state)
        else:
            offers[Level.MPC] = problem
        max_age_s = self._site.controller.plan_max_age_s
        planned = shifted(self._plan, image.time_s, image.monotonic_s, max_age_s)
        if isinstance(planned, PlanStep):
            # Where the state cannot be measured, the filter works on the one that the plan expected.
            offers[Level.SHIFTED_PLAN] = Candidate(planned.action, state if state is not None else planned.state)
        else:
            offers[Level.SHIFTED_PLAN] = planned
        offers[Level.RULE] = self._rule(image, state) if state is not None else estimate.problem
        for level in Level:
            if level < self.wishes.ceiling:
                offers[level] = f"limited to {self.wishes.mode} by command"
        return offers

    def _rule(self, image: ProcessImage, state: Vector) -> Candidate | str:
        last = None if self._last is None else self._last.action
        try:
            return Candidate(rule_action(self._site.rule, image.values(), last, self._bundle.manifest), state)
        except RuleUnavailableError as error:
            return str(error)

    def _actuate(self, filtered: Filtered | None) -> dict[str, Written]:
        if filtered is None:
            return self._actuator.safe()
        return self._actuator.apply(set_points(self._site.outputs, self._bundle.manifest.actions, filtered.action))
