"""The cycles of a run: plant -> faults -> links -> one cycle of the daemon -> what the device holds -> plant."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hil.device import PlantDevices
from hil.errors import BenchError
from hil.faults import SignalFaults, active, seen
from hil.kpi import LEVELS
from hil.link_faults import BenchLinks, LinkFaults
from hil.lockstep import DaemonShotError
from hil.memory import resident_mb
from hil.minutes import run_minutes
from hil.patience import HANG_S
from hil.plant import Plant
from hil.record import BenchCycle, BenchTiming
from hil.rig import Elapsed
from hil.scenario import Scenario

PLAN_EVERY = 24
"""Cycles between two plans in the record: enough for a plot."""


class Loop:
    """The cycles of one run."""

    def __init__(
        self,
        scenario: Scenario,
        plant: Plant,
        device: PlantDevices,
        links: BenchLinks,
        elapsed: Elapsed,
        here: Mapping[str, str],
    ) -> None:
        self._scenario, self._plant, self._device, self._links = scenario, plant, device, links
        self._elapsed, self._here = elapsed, here
        self._signal_faults = SignalFaults(scenario.faults, scenario.head.seed)
        self._link_faults = LinkFaults(scenario.faults, links)
        self._last_order_s = 0.0
        self.cycles: list[BenchCycle] = []
        self.timing: list[BenchTiming] = []

    def step(self) -> None:
        """One cycle, and one step of the plant."""
        began = time.perf_counter()
        now_s, time_s = self._elapsed.seconds, self._plant.time_s()
        self._link_faults.advance(now_s)
        displays = self._show(now_s)
        self._forecasts(time_s)
        report, cycle_s = self._cycle(now_s, time_s)
        self._link_faults.after_cycle()
        self._collect()
        held = self._device.held()
        if self._plant.inside_s:
            applied, quantities, inside = self._minutes(now_s, time_s)
        else:
            applied, inside = self._applied(now_s, time_s), {}
            quantities = self._plant.advance(applied)
        spent = report.get("timing", {})
        self.cycles.append(
            BenchCycle(
                elapsed_s=now_s,
                time_s=time_s,
                level=report["level"],
                reason=self._nowhere(report["reason"]),
                plant=quantities,
                seen=seen(displays),
                set_point=held,
                applied=applied,
                action=report.get("action", {}),
                plan=self._plan(report, time_s),
                faults=active(self._scenario.faults, now_s, self._plant.step_s),
                inside=inside,
            )
        )
        bench_s = time.perf_counter() - began - (cycle_s or 0.0)
        daemon = self._links.daemon
        self.timing.append(
            BenchTiming(
                cycle_s,
                None if held_decision(report) else spent.get("solve_s"),
                spent.get("link_s"),
                spent.get("overhead_s"),
                bench_s,
                daemon.starts,
                None if daemon.pid is None else resident_mb(daemon.pid),
            )
        )
        self._elapsed.seconds = now_s + self._plant.step_s

    def _collect(self) -> None:
        """Wait until the device has done what it was asked, and note what was written."""
        if not self._links.device.settle(HANG_S):
            raise BenchError(f"the device did not get through its requests in {HANG_S:g} s: shorten its delay")
        self._device.collect_writes()

    def _applied(self, now_s: float, time_s: float) -> dict[str, float]:
        """Mean set-points over the step that follows, with what the daemon does between its cycles."""
        step_s, span_s = self._plant.step_s, self._scenario.head.between or self._plant.step_s
        total = dict.fromkeys(self._device.held(), 0.0)
        for k in range(math.ceil(step_s / span_s)):
            begin_s = k * span_s
            if k > 0:
                self._elapsed.seconds = now_s + begin_s
                self._between(now_s + begin_s, time_s + begin_s)
            share_s = min(span_s, step_s - begin_s)
            for name, value in self._device.mean(share_s).items():
                total[name] += value * share_s
        return {name: value / step_s for name, value in total.items()}

    def _minutes(self, now_s: float, time_s: float) -> tuple[dict[str, float], Mapping[str, float], Mapping[str, Any]]:
        """A step minute by minute: mean set-points over it, the true quantities, and the record's `inside`."""

        def track(at_s: float) -> Mapping[str, Any] | None:
            links, found = self._links, None
            self._elapsed.seconds = at_s
            self._link_faults.advance(at_s)
            if links.daemon.running:
                wall_s = time_s + (at_s - now_s) + links.clock_offset_s
                found = links.daemon.track(wall_s, at_s - self._last_order_s)
                self._last_order_s = at_s
                if (at_s - now_s) % self._plant.inside_s == 0.0:
                    links.daemon.between(wall_s, 0.0)
            self._collect()
            return found

        seen_inside = run_minutes(
            self._plant, self._device, self._signal_faults, track, now_s, self._scenario.head.look
        )
        applied = {name: sum(values) / len(values) for name, values in seen_inside.applied.items()}
        return applied, self._plant.end(), seen_inside.document()

    def _between(self, now_s: float, time_s: float) -> None:
        links = self._links
        self._link_faults.advance(now_s)
        if links.daemon.running:
            links.daemon.between(time_s + links.clock_offset_s, now_s - self._last_order_s)
            self._last_order_s = now_s
        self._collect()

    def _show(self, now_s: float) -> dict[str, Any]:
        """Plant -> faults -> registers and messages."""
        values: dict[str, Any] = dict(self._plant.measured())
        values.update({name: value for name, value in self._plant.shown().items() if name in self._device.elsewhere})
        forecasts = {} if self._links.forecasts is not None else self._plant.forecasts()
        values.update({name: forecast.values for name, forecast in forecasts.items()})
        displays = {name: self._signal_faults.show(name, value, now_s) for name, value in values.items()}
        self._device.show(displays)
        if self._links.broker.running:
            self._links.mqtt.publish(forecasts, displays)
        return displays

    def _forecasts(self, time_s: float) -> None:
        """What the feeds have to do since the last cycle; the broker has it all before the daemon's barrier."""
        links = self._links
        if links.forecasts is not None:
            barrier = links.mqtt.barrier() if links.broker.running else None
            links.forecasts.advance(time_s, links.clock_offset_s, barrier)

    def _cycle(self, now_s: float, time_s: float) -> tuple[dict[str, Any], float | None]:
        """The daemon's report and how long it took; level "off" without a daemon."""
        links = self._links
        if not links.daemon.running:
            return {"level": "off", "reason": "the daemon does not run"}, None
        barrier = links.mqtt.barrier() if links.broker.running else None
        began = time.perf_counter()
        try:
            report = links.daemon.cycle(time_s + links.clock_offset_s, now_s - self._last_order_s, barrier)
        except DaemonShotError as error:
            links.daemon.kill()
            return {"level": "off", "reason": str(error)}, None
        self._last_order_s = now_s
        return report, time.perf_counter() - began

    def _nowhere(self, text: str) -> str:
        """A path or port of this run, by its name in the site template: the record must not say where it was made."""
        for name, value in self._here.items():
            text = text.replace(value, f"${name}")
        return text

    def _plan(self, report: Mapping[str, Any], time_s: float) -> Mapping[str, Sequence[float]]:
        """Now and then, what the controller means to do, as published; a plan that is held was told before."""
        links = self._links
        told = report["level"] == LEVELS[0] and links.broker.running and not held_decision(report)
        if len(self.cycles) % PLAN_EVERY or not told:
            return {}
        return links.mqtt.plan(time_s + links.clock_offset_s)


def held_decision(report: Mapping[str, Any]) -> bool:
    """Whether the daemon acted on a decision of an earlier cycle, and so solved nothing."""
    return bool((report.get("decision") or {}).get("held"))
