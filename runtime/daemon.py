"""The daemon: opens what a site needs, runs cycles, says and logs each, and leaves the devices safe."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.actuator import Actuator
from runtime.bundle import Bundle
from runtime.clock import Clock
from runtime.config import SiteFile, load_site
from runtime.cycle import ControlLoop, Cycle, Timing
from runtime.documents import transition
from runtime.errors import ConfigError, NisseError, SolverProcessError, StoreError
from runtime.ladder import Level
from runtime.plan import Plan
from runtime.remote import TOO_MANY, VERBS, Order, RateLimit, RefusedError, answer, parse_order, wished
from runtime.site_check import open_site_bundle, warnings
from runtime.solver_process import SolverProcess
from runtime.store import Store
from runtime.surface import Places, Surface
from runtime.wiring import Links, open_links

log = logging.getLogger("nisse.daemon")


@dataclass
class Tally:
    """What a run came to."""

    cycles: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    first_action_s: float | None = None
    """From the start of the daemon to its first action."""


class Daemon:
    """A running site. `cycle` does one cycle with all that follows from it; when to call it is the caller's."""

    def __init__(
        self,
        site: SiteFile,
        clock: Clock,
        *,
        lockstep: bool = False,
        dry: bool = False,
        places: Places | None = None,
        credentials: Path | None = None,
    ) -> None:
        """Raises BundleError, ConfigError. A log that cannot be used is a notice, not an error.

        dry: reads and decides, and neither moves a device nor says or logs anything. credentials: folder of secrets.
        """
        self.site, self.clock = site, clock
        self.bundle: Bundle = open_site_bundle(site)
        for warning in warnings(site, self.bundle.manifest):
            log.warning("%s", warning)
        self.notices: dict[str, str] = {}
        self.tally = Tally()
        self.cycle_wanted = False
        """A command asks for a cycle now."""
        self.links: Links = open_links(site, clock, lockstep=lockstep, dry=dry, credentials=credentials)
        self.solver = SolverProcess(self.bundle.library_or_fail(), tuple(self.bundle.theta.values()))
        # Started before anything connects: the child loads its solver meanwhile.
        self.solver.start()
        self.actuator = Actuator(site.outputs, self.links.sinks(dry=dry), clock)
        self._store = None if dry else self._open_store()
        self._rate = RateLimit()
        self._level: Level | None = None
        self._logged_plan: Plan | None = None
        self._begun = time.perf_counter()
        self._loop: ControlLoop | None = None
        self.surface = Surface(site, clock, self.links.mqtt, Places() if dry or places is None else places)
        self.surface.open()
        if self.links.mqtt is not None:
            self.links.mqtt.start()

    def cycle(self) -> tuple[Cycle, Timing]:
        """Read, decide, actuate; then say and log it. The timing covers all of it."""
        begun, cpu_begun = time.perf_counter(), time.thread_time()
        self.cycle_wanted = False
        loop = self._control_loop()
        cycle = loop.run()
        if self.tally.first_action_s is None:
            self.tally.first_action_s = time.perf_counter() - self._begun
        self.tally.cycles += 1
        self.tally.levels[cycle.level.label] += 1
        if cycle.level is not self._level:
            log.warning("level %s%s", cycle.level.label, f": {cycle.reason}" if cycle.reason else "")
            self._level = cycle.level
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
        """Whether the last cycle was not the optimiser's, so that the next should not wait for the grid."""
        return self._level is not Level.MPC

    def between(self) -> None:
        """What is due between cycles: commands, and set-points that failed or must be refreshed."""
        self.actuator.tick()
        self.obey_commands()

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
            log.warning("command %s %s%s", order.name, order.value, f": {error}" if error else "")
            self.surface.commands["error" if error else "ok"] += 1
            mqtt.answer(f"{mqtt.prefix}/response/{order.name}", answer(order, error))
        if refused is not None:
            log.warning("%d commands refused: %s", lost, TOO_MANY)
            self.surface.commands["error"] += lost
            mqtt.answer(f"{mqtt.prefix}/response/{refused.name}", answer(refused, TOO_MANY))

    def reload(self) -> None:
        """Read the site file again and swap in its bundle; whatever is wrong with it, the old one stays in force."""
        try:
            site = load_site(self.site.path)
            bundle = open_site_bundle(site)
            fixed = {"path", "text", "controller", "rule"}
            changed = [
                n for n in type(site).model_fields if n not in fixed and getattr(site, n) != getattr(self.site, n)
            ]
            if changed:
                raise ConfigError(f"{site.path}: [{changed[0]}] changed; that takes a restart")
            solver = SolverProcess(bundle.library_or_fail(), tuple(bundle.theta.values()))
            try:
                check_dimensions(solver, bundle)
            except SolverProcessError:
                solver.close()
                raise
        except NisseError as error:
            self._notice("reload", f"not reloaded: {error}")
            return
        self.solver.close()
        self.site, self.bundle, self.solver = site, bundle, solver
        self.surface.site = site
        self._control_loop().swap(site, bundle, solver)
        self.notices.pop("reload", None)
        log.warning("reloaded: bundle %s %s", bundle.manifest.name, bundle.digest[:16])

    def stop(self) -> None:
        """Devices safe, availability offline, everything closed."""
        for name, written in self.actuator.safe().items():
            if written.problem:
                log.error("output %s could not be set to its safe value: %s", name, written.problem)
        self.links.close()
        self.surface.close()
        self.solver.close()
        if self._store is not None:
            self._store.close()

    def _control_loop(self) -> ControlLoop:
        """Made at the first cycle: a plan from before a restart is dated by the clock, which lockstep sets late."""
        if self._loop is None:
            self._loop = ControlLoop(
                self.site, self.bundle, self.clock, self.links.read, self.actuator, self.solver, self._plan_before()
            )
        return self._loop

    def _plan_before(self) -> Plan | None:
        if self._store is None:
            return None
        try:
            return self._store.last_plan(self.bundle.digest, self.clock.wall(), self.clock.monotonic())
        except StoreError as error:
            log.warning("%s", error)
            return None

    def _open_store(self) -> Store | None:
        try:
            return Store(
                self.site.relative(self.site.store.path),
                max_transitions=self.site.store.max_transitions,
                cycle_s=self.site.controller.cycle_s,
            )
        except StoreError as error:
            self._notice("log", str(error))
            return None

    def _append(self, cycle: Cycle) -> None:
        if self._store is None:
            return
        t = cycle.timing
        new_plan = cycle.plan if cycle.plan is not self._logged_plan else None
        try:
            self._store.append(transition(cycle, self.bundle), new_plan, (t.solve_s, t.link_s, t.overhead_s))
        except StoreError as error:
            self._notice("log", str(error))
        else:
            self._logged_plan = cycle.plan
            self.notices.pop("log", None)

    def _say(self, cycle: Cycle) -> None:
        self.surface.show(cycle, self.bundle, self.notices, self._control_loop().wishes, self.tally.levels)

    def _obey(self, order: Order) -> str:
        """Do it; the error, or an empty string."""
        loop = self._control_loop()
        match order.kind, order.name:
            case "set", _:
                try:
                    loop.wishes = wished(loop.wishes, order, self.bundle.manifest)
                except RefusedError as error:
                    return str(error)
            case "request", "reload":
                self.reload()
                if "reload" in self.notices:
                    return self.notices["reload"]
            case "request", "cycle":
                pass
            case _:
                return f"known here: set/..., request/{', request/'.join(VERBS)}"
        self.cycle_wanted = True
        return ""

    def _notice(self, subject: str, text: str) -> None:
        if self.notices.get(subject) != text:
            log.error("%s", text)
        self.notices[subject] = text


def check_dimensions(solver: SolverProcess, bundle: Bundle) -> None:
    """The library loads, takes its theta and is of the sizes that the manifest says. Raises SolverProcessError."""
    m = bundle.manifest
    expected = (len(m.states), len(m.actions), len(m.forecasts), m.horizon)
    if solver.dimensions() != expected:
        raise SolverProcessError(
            f"library has sizes {solver.dimensions()}, manifest {expected}; build the bundle again"
        )
