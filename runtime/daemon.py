"""The daemon: opens what a site needs, runs cycles, says and logs each, and leaves the devices safe."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from runtime.actuate.actuator import Actuator
from runtime.actuate.leaving import close_all, leave_safe
from runtime.actuate.set_points import ranges
from runtime.actuate.write_budget import WriteBudget
from runtime.background import interruptible
from runtime.bundle.archive import Bundle
from runtime.bundle.replacement import BundleReplacement
from runtime.bundle.trial import TrialOutcome
from runtime.clock import Clock
from runtime.cycle import ControlLoop
from runtime.cycle_record import Cycle, Timing
from runtime.decide.gate import LastAction
from runtime.decide.ladder import Level
from runtime.decide.overrides import CommandRefusedError
from runtime.decide.plan import Plan
from runtime.decide.policy import Policy
from runtime.errors import NisseError
from runtime.inputs.peaks import keep_peaks, recall_peaks
from runtime.inputs.recalled import recall_forecasts
from runtime.links.wiring import Links, open_links
from runtime.publish.cycle_documents import remarks, tracking_document, transition
from runtime.publish.operator_commands import (
    COMMANDS_PER_HOUR,
    TOO_MANY,
    TOO_MANY_IN_THE_HOUR,
    VERBS,
    Order,
    RateLimit,
    Wishes,
    answer,
    kept,
    parse_order,
    recalled,
    relaxes,
    wished,
)
from runtime.publish.operator_view import OperatorView, ViewPlaces
from runtime.reloading import Reloading
from runtime.site.check import warnings
from runtime.site.config import SiteFile
from runtime.site.signals import MQTT
from runtime.store.journal import Journal
from runtime.store.kept_budget import kept_budget
from runtime.tally import Tally

# Under which name the log keeps what the operator wants.
WISHES = "wishes"

log = logging.getLogger("nisse.daemon")


class Daemon:
    """A running site. `cycle` does one cycle with all that follows from it; when to call it is the caller's."""

    def __init__(
        self,
        site: SiteFile,
        clock: Clock,
        *,
        lockstep: bool = False,
        dry: bool = False,
        places: ViewPlaces | None = None,
        credentials: Path | None = None,
        allow_older: bool = False,
    ) -> None:
        """Devices can be left safe from here on; `open` does the rest. Raises ConfigError.

        dry: reads and decides, and neither moves a device nor says or logs anything. credentials: folder of secrets.
        allow_older: what lies in the bundle's place may be older than what was accepted last.
        """
        self.clock = clock
        self.notices: dict[str, str] = {}
        self.tally = Tally()
        self.cycle_wanted = False
        """A command asks for a cycle now."""
        self.unwritten: dict[str, str] = {}
        """Set-points that the last cycle could not bring into force, and why."""
        self._site, self._dry, self._lockstep, self._allow_older = site, dry, lockstep, allow_older
        self._stopping = self._closed = False
        self._left_safe: bool | None = None
        self._begun = time.perf_counter()
        self.links: Links = open_links(site, clock, lockstep=lockstep, dry=dry, credentials=credentials)
        self._writes = {name: output.write_budget for name, output in site.outputs.items()}
        # Before the log is open, so that devices can be left safe from the first moment on.
        unkept = WriteBudget(self._writes, site.zone, clock)
        self.actuator = Actuator(site.outputs, self.links.sinks(dry=dry), clock, unkept, {})
        self.view = OperatorView(site, clock, self.links.mqtt, ViewPlaces() if dry or places is None else places)
        self._rate, self._hour = RateLimit(), RateLimit(COMMANDS_PER_HOUR / 3600.0, COMMANDS_PER_HOUR)
        # The log of the machine is bounded too: commands one by one while they are few, then their number.
        self._each_told, self._sum_told = RateLimit(COMMANDS_PER_HOUR / 3600.0, COMMANDS_PER_HOUR), RateLimit(0.01, 1)
        self._untold = 0
        self._level: Level | None = None
        self._unheard = False
        self._tracked_s = -math.inf
        self._replacement: BundleReplacement | None = None
        self._newcomer: Bundle | None = None
        self._policy: Policy | None = None
        self._journal: Journal | None = None
        self._loop: ControlLoop | None = None
        self._reloading = Reloading(lambda: self.replacement.look(self._in_force))

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread, when there is something to do `between` cycles."""
        self._reloading.wake = wake
        if self.links.mqtt is not None:
            self.links.mqtt.wake = wake

    def open(self) -> None:
        """Verify the bundle, start its solver, connect. Raises BundleError, ConfigError.

        A log that cannot be used is a notice, not an error.
        """
        self._replacement = replacement = BundleReplacement(
            self._site, self._notice, lasting=not self._dry, lockstep=self._lockstep, allow_older=self._allow_older
        )
        replacement.looking = lambda: self._reloading.under_way
        bundle, self._newcomer = interruptible(lambda: replacement.first(self._site), lambda: self._stopping)
        for warning in warnings(self._site, bundle.manifest):
            log.warning("%s", warning)
        # Started before anything connects: the child loads its solver meanwhile.
        self._policy = self._replacement.started(self._site, bundle, first=True)
        self._journal = None if self._dry else Journal(self._site, self.clock, self._notice)
        self.actuator.allot(
            kept_budget(self._writes, self._site.zone, self.clock, self._journal),
            ranges(self._site.outputs, bundle.manifest.actions),
        )
        self.view.open()
        if self.links.mqtt is not None:
            self.links.mqtt.start()

    @property
    def bundle(self) -> Bundle:
        return self._in_force.bundle

    @property
    def site(self) -> SiteFile:
        return self._in_force.site

    @property
    def replacement(self) -> BundleReplacement:
        """Which bundle follows which."""
        assert self._replacement is not None, "the daemon is not open"
        return self._replacement

    def cycle(self) -> tuple[Cycle, Timing]:
        """Read, decide, actuate; then say and log it. The timing covers all of it."""
        begun, cpu_begun = time.perf_counter(), time.thread_time()
        self.cycle_wanted = False
        loop = self._control_loop()
        cycle = loop.run()
        if self._stopping:
            self.leave_safe()  # before anything is said or logged
        self.unwritten = {name: written.problem for name, written in cycle.outputs.items() if written.problem}
        if cycle.trial is not None:
            self.replacement.told(cycle.trial)
            # The new one is live now, not at the next quarter of an hour.
            self.cycle_wanted = cycle.trial.outcome is TrialOutcome.SWAPPED
        elif loop.trial is None:
            self.replacement.stands(cycle)
        self.view.site = loop.policy.site
        if self.tally.first_action_s is None:
            self.tally.first_action_s = time.perf_counter() - self._begun
        self.tally.cycles += 1
        self.tally.levels[cycle.level.label] += 1
        if cycle.level is not self._level:
            worse = cycle.level is not Level.MPC and (self._level is None or cycle.level > self._level)
            text = f"level {cycle.level.label}{f': {cycle.reason}' if cycle.reason else ''}"
            log.log(logging.WARNING if worse else logging.INFO, "%s", text)
            self._level = cycle.level
        self._unheard = any(not written.arrived for written in cycle.outputs.values())
        for name, text in self.actuator.notices().items():
            self._notice(f"output {name}", text)
        for subject, text in {**remarks(cycle), "tracking": loop.tracker.notice}.items():
            self._notice(subject, text)
        self._say(cycle)
        told, log_begun = dict(self.notices), time.perf_counter()
        self._append(cycle)
        ended = time.perf_counter()
        if self.notices != told:
            self._say(cycle)
        return cycle, replace(
            cycle.timing,
            overhead_s=ended - begun - cycle.timing.solve_s - cycle.timing.link_s,
            log_s=ended - log_begun,
            cpu_s=time.thread_time() - cpu_begun,
        )

    @property
    def degraded(self) -> bool:
        """Whether the last cycle was not the optimiser's, or did not arrive: the next should not wait for the grid."""
        return self._level is not Level.MPC or self._unheard

    def track(self) -> dict[str, Any]:
        """Between cycles: one look at the meter, and what is said of it."""
        if self._loop is None:
            return {"on": False, "why": "no cycle yet"}
        self._tracked_s = self.clock.monotonic()
        tracked = self._loop.track(lambda name: self.links.read_one(name, self.site.inputs[name].source))
        self._notice("tracking", self._loop.tracker.notice)
        return tracking_document(tracked)

    @property
    def track_in_s(self) -> float:
        """Seconds until the meter is looked at again; infinite where nothing follows it."""
        if self._loop is None or self._loop.tracker.meter is None:
            return math.inf
        return max(0.0, self._tracked_s + self.site.tracking.every_s - self.clock.monotonic())

    def between(self) -> None:
        """What is due between cycles: commands, and set-points that failed or must be refreshed."""
        self.actuator.tick()
        self.obey_commands()
        self._take_up()

    def obey_commands(self) -> None:
        """Commands that came by MQTT since the last call, each answered; those beyond the rate with one answer."""
        mqtt = self.links.mqtt
        if mqtt is None:
            return
        commands, lost = mqtt.take_commands()
        refused = Order("", "unknown", "") if lost else None
        for command in commands:
            order = parse_order(command.topic, command.payload)
            if not self._rate.allows(self.clock.monotonic()):
                refused, lost = order, lost + 1
                continue
            error = order.problem or self._obey(order)
            if self._each_told.allows(self.clock.monotonic()):
                text = f"command {order.name} {order.value}{f': {error}' if error else ''}"
                log.log(logging.WARNING if error else logging.INFO, "%s", text)
            else:
                self._untold += 1
            if error is not None:
                self._answer(order, error)
        if refused is not None:
            self._untold += lost
            self.view.commands["error"] += lost
            mqtt.answer(f"{mqtt.prefix}/response/{refused.name}", answer(refused, TOO_MANY))
        if self._untold and self._sum_told.allows(self.clock.monotonic()):
            log.warning("%d more commands, most of them refused: %s", self._untold, TOO_MANY)
            self._untold = 0

    def _answer(self, order: Order, error: str) -> None:
        self.view.commands["error" if error else "ok"] += 1
        if self.links.mqtt is not None:
            self.links.mqtt.answer(f"{self.links.mqtt.prefix}/response/{order.name}", answer(order, error))

    def reload(self, asked: Order | None = None) -> None:
        """Read the site file again; its bundle, if in order, is put on trial `between` cycles. Who asks hears then."""
        self._reloading.ask(asked)
        self._take_up()

    def _take_up(self) -> None:
        """What a look at the files has found, if it is done. In lockstep it is waited for."""
        taken = self._reloading.taken(wait=self._lockstep)
        if taken is None:
            return
        look, asked = taken
        loop, problem = self._control_loop(), ""
        try:
            self.replacement.take(loop, look.result())
            loop.decide_anew()
            self.view.site = loop.policy.site
        except NisseError as error:
            problem = f"not reloaded: {error}"
        except Exception as error:
            log.exception("reload")  # a defect of ours: the house is not left without control for it
            problem = f"not reloaded: {type(error).__name__}: {error}"
        self._notice("reload", problem)
        self.cycle_wanted = True
        for order in asked:
            self._answer(order, problem)
        self._reloading.go_on()

    def interrupt(self) -> None:
        """A stop is wanted, now: no set-point is written any more and no solver waited for. Takes no lock."""
        self._stopping = True
        self.actuator.halt()
        for policy in filter(None, (self._policy, *(() if self._loop is None else self._loop.policies))):
            policy.solver.interrupt()

    def leave_safe(self) -> bool:
        """Tell every device its safe value, within a bound; whether all of them have it."""
        if self._left_safe is None:
            if self.links.mqtt is not None and MQTT in {output.sink for output in self._site.outputs.values()}:
                self.links.mqtt.start()
            self._left_safe = leave_safe(self._site, self.actuator)
        return self._left_safe

    def stop(self) -> bool:
        """Devices safe before anything else, then availability offline, everything closed; whether all are safe."""
        if self._closed:
            return self.leave_safe()
        self._stopping = self._closed = True
        safe = self.leave_safe()
        solver = self._loop if self._loop is not None or self._policy is None else self._policy.solver
        used = (self.links, self.view, solver, self._replacement)
        closing = [one.close for one in used if one is not None]
        if self._journal is not None:
            closing.append(partial(self._journal.close, safe=safe))
        close_all(closing)
        return safe

    def _control_loop(self) -> ControlLoop:
        """Made at the first cycle: a plan from before a restart is dated by the clock, which lockstep sets late."""
        if self._loop is None:
            self._loop = ControlLoop(self._in_force, self.clock, self.links.read, self.actuator, *self._before())
            if self._journal is not None:
                self._loop.wishes = recalled(self._journal.kept(WISHES), self.bundle.manifest)
                recall_forecasts(self._journal, self._in_force, self.clock.wall())
                recall_peaks(self._in_force.peaks, self._journal.kept)
            if self._newcomer is not None:
                self.replacement.propose(self._loop, self._newcomer)
        return self._loop

    @property
    def _in_force(self) -> Policy:
        policy = self._policy if self._loop is None else self._loop.policy
        assert policy is not None, "the daemon is not open"
        return policy

    def _before(self) -> tuple[Plan | None, LastAction | None]:
        """What was in force when the daemon last stopped without leaving the devices safe."""
        if self._journal is None:
            return None, None
        bundle, clock = self.bundle, self.clock
        names = [a.name for a in bundle.manifest.actions]
        return (
            self._journal.recall(lambda store: store.last_plan(bundle.digest, clock)),
            self._journal.recall(lambda store: store.last_action(names, clock)),
        )

    def _append(self, cycle: Cycle) -> None:
        if self._journal is not None:
            t = cycle.timing
            row = transition(cycle, cycle.policy.bundle)
            self._journal.append(row, cycle.plan, (t.solve_s, t.link_s, t.overhead_s))
            keep_peaks(cycle.policy.peaks, self._journal.keep, self._notice)

    def _say(self, cycle: Cycle) -> None:
        self.view.show(cycle, cycle.policy.bundle, self.notices, self._control_loop().wishes, self.tally.levels)

    def _obey(self, order: Order) -> str | None:
        """Do it; the error, or an empty string. None where the answer comes later."""
        loop = self._control_loop()
        match order.kind, order.name:
            case "set", _:
                try:
                    now_s, zone = self.clock.wall(), self.site.zone
                    wishes = wished(loop.wishes, order, self.bundle.manifest, now_s, zone)
                except CommandRefusedError as error:
                    return str(error)
                if wishes == loop.wishes:
                    return self._kept(wishes)
                # The way down is always open; a second time it changes nothing, and the way back has its budget.
                if relaxes(wishes, loop.wishes) and not self._hour.allows(self.clock.monotonic()):
                    return TOO_MANY_IN_THE_HOUR
                loop.wishes = wishes
                loop.decide_anew()
                self.cycle_wanted = True
                return self._kept(wishes)
            case "request", verb if verb in VERBS:
                if not self._hour.allows(self.clock.monotonic()):
                    return TOO_MANY_IN_THE_HOUR
                if verb == "reload":
                    self.reload(order)
                    return None
                loop.decide_anew()
            case _:
                return f"known here: set/..., request/{', request/'.join(VERBS)}"
        self.cycle_wanted = True
        return ""

    def _kept(self, wishes: Wishes) -> str:
        """On the disk before anybody is told so; where it is not, what that means for who asked."""
        problem = "" if self._journal is None else self._journal.keep(WISHES, kept(wishes))
        return f"in force, and forgotten at a restart: {problem}; make room and say it again" if problem else ""

    def _notice(self, subject: str, text: str) -> None:
        """Tell the operator, in `state` and in the log; an empty text takes it back."""
        if not text:
            if self.notices.pop(subject, None) is not None:
                log.info("%s: in order again", subject)
            return
        if self.notices.get(subject) != text:
            log.error("%s", text)
        self.notices[subject] = text
