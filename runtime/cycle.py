"""One control cycle: read -> estimate -> solve -> gate -> filter -> actuate -> read back.

The cycle acts on a frozen process image. Where the program decides less often than there are cycles, the decision in
force stands in for the solve while nothing speaks against it; all else is done every time. Each level of the ladder
offers an action or a reason why it has none; the ladder chooses; ramp, dwell and the safety filter have the last word
on whatever was chosen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from runtime.actuate.actuator import Actuator, Written
from runtime.actuate.set_points import resting, set_points
from runtime.actuate.shaping import Shaper
from runtime.bundle.trial import Phase, Trial, TrialOutcome, after_probation, after_shadow
from runtime.clock import Clock, clock_doubt
from runtime.cycle_record import Candidate, Cycle, Timing, TrialStep
from runtime.decide.compressors import Pulsed, Pulses
from runtime.decide.decision import InForce, next_decision_s, outdated
from runtime.decide.estimate import Estimate
from runtime.decide.exploration import explore
from runtime.decide.gate import LastAction, limit, remember
from runtime.decide.ladder import Ladder, Level, step
from runtime.decide.plan import Plan, PlanStep, shifted
from runtime.decide.policy import Decision, Observation, Policy
from runtime.decide.pulses import CycleMoment
from runtime.decide.rules import RuleUnavailableError
from runtime.decide.safety import Surroundings, safety_filter, unchecked
from runtime.decide.solver_process import Solved
from runtime.inputs.process_image import ProcessImage, forecast_now
from runtime.inputs.signals import Arrival
from runtime.publish.operator_commands import Wishes, still_valid
from runtime.site.rules import all_inputs, rulebook
from runtime.track.between import HeldCycle, MeanAction, actual, look, reading_now, reading_of, tracked_places
from runtime.track.tracker import Decided, Tracked, Tracker

Vector = tuple[float, ...]


class ControlLoop:
    """Runs cycles and carries from one to the next: policy, trial, ladder, decision in force, last action and plan."""

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        read: Callable[[], Mapping[str, Arrival]],
        actuator: Actuator,
        plan: Plan | None = None,
        last: LastAction | None = None,
    ) -> None:
        """plan, last: what was in force when the daemon stopped, if that is known."""
        self.policy = policy
        self.trial: Trial | None = None
        self._clock, self._read, self._actuator = clock, read, actuator
        self._ladder = Ladder()
        self._last = last
        self._ruled: Vector | None = None  # what the rules wanted in the cycle before, where it was they who acted
        self._plan = plan
        self._pulses = Pulses(policy.bundle.manifest, last, clock.monotonic())
        self._shaper = Shaper()
        self._in_force: InForce | None = None
        self._foreseen: tuple[Vector, ...] = ()
        """The forecast that the plan was made with."""
        self._known: HeldCycle | None = None
        self._mean = MeanAction()
        self._mean.begin(self._last_action, clock.monotonic())
        self.tracker = Tracker()
        self.wishes = Wishes()
        """What the operator allows."""

    def propose(self, newcomer: Policy, shadow_cycles: int, trial_cycles: int) -> str:
        """Put a policy on trial: so many cycles in shadow, then obeyed on probation. Another trial ends with that.

        One that skips the shadow must solve what has arrived by now. Returns why it is refused, or an empty string.
        """
        newcomer.follow(self.policy)
        if shadow_cycles == 0 and trial_cycles > 0:
            now = (self._clock.wall(), self._clock.monotonic())
            seen = newcomer.observe(self._read(), *now, self._last_action, self.wishes.overrides)
            decision = newcomer.decide(seen)
            if decision.at_fault:
                return decision.problem
        self.end_trial()
        old = self.policy
        if shadow_cycles > 0:
            self.trial = Trial(newcomer, newcomer, shadow_cycles)
            return ""
        self._enforce(newcomer)
        if trial_cycles > 0:
            self.trial = Trial(newcomer, old, trial_cycles, Phase.PROBATION)
        else:
            self._dismiss(old)
        return ""

    def decide_anew(self) -> None:
        """Hold no decision any longer: the next cycle makes one."""
        self._in_force = None

    @property
    def policies(self) -> list[Policy]:
        """The one in force, and the other one of a trial."""
        return [self.policy, *([] if self.trial is None else [self.trial.other])]

    def end_trial(self) -> None:
        """Whoever is in force stays in force."""
        trial, self.trial = self.trial, None
        if trial is not None:
            self._dismiss(trial.other)

    def close(self) -> None:
        self.end_trial()
        self.policy.solver.close()

    def run(self) -> Cycle:
        """One cycle at the clock's present time."""
        begun = time.perf_counter()
        arrivals = self._read()
        read_s = time.perf_counter() - begun
        time_s, monotonic_s, last_action = self._clock.wall(), self._clock.monotonic(), self._last_action
        meant = self._mean.mean(monotonic_s)

        def observed(policy: Policy) -> Observation:
            seen = policy.observe(arrivals, time_s, monotonic_s, meant, self.wishes.overrides)
            doubt = "" if self._clock.simulated else clock_doubt(policy.bundle.manifest.created, time_s)
            return replace(seen, problem=doubt) if doubt else seen

        seen = observed(self.policy)
        decision = self._decide(seen)
        solve_s, news = decision.solve_s, None
        if self.trial is not None and self.trial.phase is Phase.PROBATION:
            seen, decision, news = self._on_probation(seen, decision, observed)
            solve_s += decision.solve_s if news.outcome is TrialOutcome.ROLLED_BACK else 0.0
        manifest = self.policy.bundle.manifest
        image, estimate, solved, problem = seen.image, seen.estimate, decision.solved, decision.problem

        offers = self._offers(image, estimate, solved, problem)
        problems = {level: offer for level, offer in offers.items() if isinstance(offer, str)}
        self._ladder = step(self._ladder, problems, image.monotonic_s, self.policy.site.dwell_s)
        chosen = offers.get(self._ladder.level)
        if self._ladder.level is not Level.MPC:
            self._in_force = None
        elif solved is not None and seen.forecast is not None and not decision.held:
            self._plan = Plan(image.time_s, image.monotonic_s, manifest.dt_s, solved.plan_x, solved.plan_a)
            self._foreseen = seen.forecast
            self._in_force = InForce(solved, seen.forecast, image.time_s, image.monotonic_s, decision.solve_s)

        limited = filtered = pulsed = None
        if isinstance(chosen, Candidate):
            wanted = self._tracked(chosen, self._explored(chosen.action, image.time_s), image)
            limited = limit(wanted, self._last, manifest, image.monotonic_s, self.wishes.caps)
            around = Surroundings(image.values(), last_action)
            filtered = safety_filter(limited.action, chosen.state, forecast_now(image, manifest), manifest, around)
            specs = {spec.name: spec for spec in all_inputs(self.policy.site, manifest)}
            now = (forecast_now(image, manifest), image.values(), self.wishes.caps)
            self._known = HeldCycle(self.policy, chosen.state, *now, specs)
            moment = self._moment(image)
            pulsed = self._pulses.deliver(filtered.action, limited.action, moment, self.wishes.caps, around)
        write_begun = time.perf_counter()
        outputs = self._actuate(pulsed, image)
        write_s = time.perf_counter() - write_begun
        taken = (
            None
            if pulsed is None
            else actual(pulsed.action, self.policy.site.outputs, outputs, manifest, image.values())
        )
        self._took(taken, image.monotonic_s)
        acting = chosen if isinstance(chosen, Candidate) and self._ladder.level is Level.RULE else None
        self._ruled = None if acting is None else acting.action
        link_s = read_s + write_s
        policy, plan, in_force = self.policy, self._plan, self._in_force
        if self.trial is not None and self.trial.phase is Phase.SHADOW and news is None:
            # After the devices have been served: whatever a newcomer does, this cycle does not wait for it.
            news, shadow_s = self._in_shadow(decision, observed)
            solve_s += shadow_s
        return Cycle(
            policy=policy,
            image=image,
            estimate=estimate,
            forecast=seen.forecast,
            solved=solved,
            solver_problem=problem,
            level=self._ladder.level,
            reason=self._ladder.reason,
            nominal=chosen.action if isinstance(chosen, Candidate) else None,
            limited=limited,
            filtered=filtered,
            action=None if pulsed is None else pulsed.action,
            outputs=outputs,
            plan=plan,
            timing=Timing(solve_s, link_s, time.perf_counter() - begun - solve_s - link_s),
            trial=news,
            decision=in_force,
            held=decision.held,
            next_decision_s=next_decision_s(image.time_s, policy.rhythm),
            at_rest={} if acting is None else acting.problems,
            pulsed=pulsed,
            tracked=self.tracker.told,
        )

    def track(self, read: Callable[[str], Arrival | None]) -> Tracked:
        """Between cycles: follow the meter, as the last cycle allows. read: the latest of one input."""
        known, meter, last = self._known, self.tracker.meter, self._last
        if known is not None and meter is not None and last is not None:
            arrival = read(meter)
            now_s, time_s = self._clock.monotonic(), self._clock.wall()
            reading = reading_now(known, meter, arrival, now_s)
            if known.policy.peaks is not None and reading.kw is not None:
                known.policy.peaks.observe(time_s, reading.kw)
            self._last = look(known, self.tracker, reading, last, self._actuator, time_s, now_s)
            self._mean.change(self._last.action, now_s)
        return self.tracker.told

    def _tracked(self, chosen: Candidate, wanted: Vector, image: ProcessImage) -> Vector:
        """The action with what the batteries do by the meter, once it is known what the decision is for it."""
        policy, level, age_s = self.policy, self._ladder.level, 0.0
        manifest, last = policy.bundle.manifest, self._last_action
        if self._plan is not None:
            age_s = image.monotonic_s - self._plan.monotonic_s
        k = int(age_s / manifest.dt_s + 1e-6)
        rows = None if level is Level.RULE else self._foreseen[k:] or None
        plan = () if self._plan is None or level is Level.RULE else self._plan.actions[k:]
        decided = Decided(level, wanted, rows, plan, chosen.state, self.wishes.caps)
        self.tracker.renew(decided, policy.site, manifest)
        meter = self.tracker.meter
        if meter is None or last is None:
            return wanted
        reading = reading_of(image, meter)
        if reading.kw is None:
            return wanted
        moved = self.tracker.follow(reading, last, image.time_s, image.monotonic_s)
        return tracked_places(wanted, self.tracker.places, last if moved is None else moved)

    def _took(self, action: Vector | None, now_s: float) -> None:
        """What is in force from now on; None where the devices have their safe values."""
        self._last = None if action is None else remember(action, self._last, now_s)
        self._mean.begin(action, now_s)
        if action is None:
            self._known = None
            self.tracker.rest("the devices have their safe values")

    def _decide(self, seen: Observation) -> Decision:
        """A new decision, or the one in force: never over an input that does not allow a new one."""
        made, image = self._in_force, seen.image
        if seen.problem or made is None or outdated(made, image.time_s, image.monotonic_s, self.policy.rhythm):
            return self.policy.decide(seen)
        return Decision(made.solved, "", False, 0.0, held=True)

    def _explored(self, action: Vector, time_s: float) -> Vector:
        """With the site's exploration, if the MPC decides; not during a trial, which compares decisions."""
        section = self.policy.site.exploration
        if section is None or self.trial is not None or self._ladder.level is not Level.MPC:
            return action
        return explore(action, [spec.name for spec in self.policy.bundle.manifest.actions], section, time_s)

    @property
    def _last_action(self) -> Vector | None:
        return None if self._last is None else self._last.action

    def _on_probation(
        self, seen: Observation, decision: Decision, observed: Callable[[Policy], Observation]
    ) -> tuple[Observation, Decision, TrialStep]:
        """What counts this cycle: the newcomer's decision, or its predecessor's where that is better."""
        trial = self.trial
        assert trial is not None
        # The predecessor observes every cycle, so that its estimate is good on the day it is needed.
        seen_before = observed(trial.other)
        if decision.held:
            return seen, decision, _news(trial, TrialOutcome.GOES_ON, "")
        before = trial.other.decide(seen_before) if decision.at_fault else None
        self.trial, outcome = after_probation(trial, decision, before)
        news = _news(self.trial, outcome, decision.problem)
        if outcome is TrialOutcome.ROLLED_BACK and before is not None:
            self.trial = None
            self._enforce(trial.other)
            self._dismiss(trial.newcomer)
            seen, decision = seen_before, before
        elif outcome is TrialOutcome.ACCEPTED:
            self.end_trial()
        return seen, decision, news

    def _in_shadow(self, in_force: Decision, observed: Callable[[Policy], Observation]) -> tuple[TrialStep, float]:
        """Ask the newcomer; the step, and the seconds that it took to solve."""
        trial = self.trial
        assert trial is not None
        seen = observed(trial.newcomer)  # every cycle, as the one in force: both decide together
        if in_force.held:
            return _news(trial, TrialOutcome.GOES_ON, ""), 0.0
        decision = trial.newcomer.decide(seen)
        self.trial, outcome = after_shadow(trial, in_force, decision)
        news = _news(self.trial, outcome, decision.problem)
        if outcome is TrialOutcome.REFUSED:
            self.end_trial()
        elif outcome is TrialOutcome.SWAPPED:
            self.trial = Trial(trial.newcomer, self.policy, trial.needed, Phase.PROBATION)
            self._enforce(trial.newcomer)
        return news, decision.solve_s

    def _enforce(self, policy: Policy) -> None:
        """Obey this policy from now on; what belonged to the other one's model and signals is forgotten."""
        manifest = policy.bundle.manifest
        if [a.name for a in manifest.actions] != [a.name for a in self.policy.bundle.manifest.actions]:
            self._last = self._ruled = None
        if manifest.compressors != self.policy.bundle.manifest.compressors or self._last is None:
            self._pulses = Pulses(manifest, self._last, self._clock.monotonic())
        self.policy, self._plan, self._in_force, self._known = policy, None, None, None
        self.wishes = still_valid(self.wishes, manifest)

    def _dismiss(self, policy: Policy) -> None:
        """End its solver, unless the policy in force works with the same one."""
        if policy.solver is not self.policy.solver:
            policy.solver.close()

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
        max_age_s = self.policy.site.controller.plan_max_age_s
        planned = shifted(self._plan, image.time_s, image.monotonic_s, max_age_s)
        if isinstance(planned, PlanStep):
            # Where the state cannot be measured, the filter works on the one that the plan expected.
            offers[Level.SHIFTED_PLAN] = Candidate(planned.action, state if state is not None else planned.state)
        else:
            offers[Level.SHIFTED_PLAN] = planned
        offers[Level.RULE] = self._rule(image, estimate)
        for level, text in self._unheard().items():
            if isinstance(offers[level], Candidate):
                offers[level] = text
        for level in Level:
            if level < self.wishes.ceiling:
                offers[level] = f"limited to {self.wishes.mode} by command"
        return offers

    def _unheard(self) -> dict[Level, str]:
        """A plan is none where an output does not arrive: the rule moves the others, and with no other nothing does."""
        if self._actuator.undelivered():
            self._actuator.tick()  # a device that is back takes what it was told last, and is believed in this cycle
        undelivered = self._actuator.undelivered()
        if not undelivered:
            return {}
        text = "; ".join(f"output {name}: {problem}" for name, problem in undelivered.items())
        alone = len(undelivered) == len(self.policy.site.outputs)
        return {level: text for level in Level if level < Level.RULE or (alone and level is Level.RULE)}

    def _rule(self, image: ProcessImage, estimate: Estimate) -> Candidate | str:
        """What the rules say; where part of the state is not known, what belongs to the rest of it."""
        site, manifest = self.policy.site, self.policy.bundle.manifest
        book = rulebook(site, manifest)
        if estimate.state is None and (manifest.safety is None or not book.rules):
            return estimate.problem
        state = estimate.state or estimate.known or (math.nan,) * len(manifest.states)
        blocked = unchecked(manifest, state)
        try:
            ruled = book.act(image.values(), last=self._last_action, before=self._ruled, blocked=blocked)
        except RuleUnavailableError as error:
            return estimate.problem or str(error)
        return Candidate(ruled.action, state, ruled.problems)

    def _moment(self, image: ProcessImage) -> CycleMoment:
        """Where this cycle stands in the stage that it acts in, on the grid of Unix time.

        What is left ends at a point of the grid, whichever side of its own one a cycle comes from: an end that differs
        by the slack would move what a pulse makes good in the last cycle of a decision.
        """
        hold_s, rhythm = self.policy.bundle.manifest.dt_s, self.policy.rhythm
        left_s = hold_s + rhythm.slack_s - (image.time_s + rhythm.slack_s) % hold_s
        return CycleMoment(image.monotonic_s, rhythm.cycle_s, left_s, hold_s)

    def _actuate(self, pulsed: Pulsed | None, image: ProcessImage) -> dict[str, Written]:
        outputs, actions, now_s = self.policy.site.outputs, self.policy.bundle.manifest.actions, image.monotonic_s
        if pulsed is None:
            self._pulses.left_to(resting(outputs, actions), now_s)
            self._shaper.left_to(outputs, now_s)
            return self._actuator.safe()
        planned = set_points(outputs, actions, pulsed.action)
        return self._actuator.apply(self._shaper.shaped(outputs, planned, image.values(), now_s))


def _news(trial: Trial, outcome: TrialOutcome, problem: str) -> TrialStep:
    bad = outcome in {TrialOutcome.REFUSED, TrialOutcome.ROLLED_BACK}
    return TrialStep(trial.newcomer, trial.phase, trial.passed, trial.needed, outcome, problem if bad else "")
