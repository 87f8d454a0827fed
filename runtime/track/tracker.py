"""What the daemon tracks and whether it still does: the aim of the last decision, the caps of the meter, the doubts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.bundle.manifest import Manifest
from runtime.bundle.tracking import Tracking
from runtime.decide.ladder import Level
from runtime.decide.rules_data import SelfConsumptionRule
from runtime.site.config import SiteFile
from runtime.site.rules import rules_in_force
from runtime.track.aim import aim_of, held, self_consumption, within_soc, worth_buying_kw
from runtime.track.interval import IntervalImport
from runtime.track.law import Aim, Caps, Powers, Range, TrackingGains, followed, left_of_interval_kw, nudged
from runtime.track.planned import planned_imports_kw, planned_stages
from runtime.track.watch import AnswerWatch

Vector = tuple[float, ...]
MISSED = 3
"""Looks at the meter in a row that bring no reading: then it is told, and the plan's set-points are held."""
LONGEST_RETRY_S = 86_400.0
AGAIN_S = 120.0
"""What goes wrong again so soon is tried later and later."""
STILL_S, PROBE_KW = 60.0, 0.3
"""A meter that has shown one number for so long, to the last digit, is asked by a small move whether it lives."""


@dataclass(frozen=True)
class MeterReading:
    """Of the meter, kW from the grid, and when it came (monotonic); None and why where there is none to use."""

    kw: float | None
    monotonic_s: float = -math.inf
    problem: str = ""


@dataclass(frozen=True)
class Decided:
    """What a cycle decided, as far as tracking goes by it."""

    level: Level
    action: Vector
    forecast: Sequence[Sequence[float]] | None
    """(N + 1, nd) that it was planned with, the first row that of now; None where nobody knows."""
    plan: Sequence[Vector] = ()
    """(N, na)"""
    state: Vector = ()
    caps: Mapping[str, float] = field(default_factory=dict)
    """What an operator allows of an action at most."""


@dataclass(frozen=True)
class Tracked:
    """What is published: `why` nothing is tracked, empty while it is."""

    aim: Aim | None
    caps: Caps
    meter_kw: float | None
    why: str
    batteries: tuple[str, ...] = ()


class Tracker:
    """Told of each decision by `renew`, of each reading by `follow`; gives the powers of the batteries."""

    def __init__(self) -> None:
        self._tracking: Tracking | None = None
        self._places: tuple[tuple[int, int], ...] = ()
        self._aim: Aim | None = None
        self._caps = Caps()
        self._tuning, self._settle_s, self._max_age_s, self._retry_s = TrackingGains(), 0.0, math.inf, 600.0
        self._peak_kw: float | None = None
        self._interval: IntervalImport | None = None
        self._watch = AnswerWatch()
        self._moved_s = self._acted_s = -math.inf
        self._meter_kw: float | None = None
        self._missed = self._unheld = 0
        self._unheld_text = ""
        self._changed_s = math.inf
        """When the meter last showed another number."""
        self._fault = ""
        self._off_until_s, self._pause_s = -math.inf, 0.0
        self._idle = "nothing is decided yet"

    @property
    def meter(self) -> str | None:
        """The input that is followed, where one is."""
        return None if self._tracking is None or self._aim is None else self._tracking.meter

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Of the batteries in the action: power in, power out."""
        return self._places

    @property
    def notice(self) -> str:
        """What the operator should know; empty where all is well, or nothing is to be tracked."""
        return self._fault

    @property
    def told(self) -> Tracked:
        why = self._idle or self._fault
        tracking = self._tracking
        names = () if tracking is None else tuple(b.charge.removesuffix("_charge") for b in tracking.batteries)
        return Tracked(self._aim, self._caps, self._meter_kw, why, names)

    def renew(self, decided: Decided, site: SiteFile, manifest: Manifest) -> None:
        """Another decision, or the same in another cycle."""
        section, tracking = site.tracking, manifest.tracking
        self._tuning = TrackingGains(section.gain, section.deadband_kw)
        self._settle_s, self._max_age_s, self._retry_s = section.settle_s, section.max_age_s, section.retry_s
        self._aim, self._idle = None, _unwanted(site, tracking)
        self._tracking = tracking
        if self._idle or tracking is None:
            return
        names = [action.name for action in manifest.actions]
        self._places = tuple((names.index(b.charge), names.index(b.discharge)) for b in tracking.batteries)
        able = tuple(_able(manifest, pair, decided.caps) for pair in self._places)
        planned = [decided.action[c] - decided.action[d] for c, d in self._places]
        self._peak_kw = _allowed_import_kw(tracking, manifest, decided)
        states = dict(zip((spec.name for spec in manifest.states), decided.state, strict=False))
        socs = [states.get(b.soc or "", math.nan) for b in tracking.batteries]
        if decided.level is Level.RULE:
            if not _by_self_consumption(site, manifest, tracking):
                self._idle = "the rule in force does not go by the meter"
                return
            self._aim = self_consumption(able)
        elif decided.forecast is None:
            self._idle = "what the plan foresaw of the meter is not known"
            return
        else:
            grid_kw = _imports(tracking, manifest, [decided.action], decided.forecast)[0]
            plan = (decided.action, *decided.plan[1:])
            stages = planned_stages(tracking, manifest.actions, manifest.forecasts, plan, decided.forecast)
            most = math.inf if self._peak_kw is None else self._peak_kw
            caps = Caps(min(most, tracking.import_limit_kw), tracking.export_limit_kw)
            worth = [
                worth_buying_kw(s, b.soc_min, up) for s, b, (_, up) in zip(socs, tracking.batteries, able, strict=True)
            ]
            self._aim = aim_of(grid_kw, planned, able, stages, caps, worth)
        self._aim = within_soc(self._aim, socs, [(b.soc_min, b.soc_max) for b in tracking.batteries])
        if self._interval is None or self._interval.interval_s != tracking.interval_s:
            self._interval = IntervalImport(tracking.interval_s)

    def rest(self, why: str) -> None:
        """Nothing is to be tracked: the devices have their safe values."""
        self._aim, self._idle = None, why

    def follow(self, reading: MeterReading, last: Vector, time_s: float, now_s: float) -> Vector | None:
        """The action from now on, under what was `last` written; None where it stays.

        Only the powers of batteries differ from `last`. A reading from before the last move has settled is not used.
        """
        tracking, aim = self._tracking, self._aim
        if tracking is None or aim is None:
            return None
        told = [last[c] - last[d] for c, d in self._places]
        if reading.kw is None or now_s - reading.monotonic_s > self._max_age_s:
            return self._without(reading, told, last, now_s)
        self._missed = 0
        if self._fault and now_s >= self._off_until_s:
            self._on()
        self._meter_kw = reading.kw
        if self._interval is not None:
            self._interval.observe(time_s, reading.kw)
        if self._fault:
            return self._with(held(aim.planned_kw, aim.able_kw).planned_kw, told, last, now_s)
        if reading.monotonic_s <= self._acted_s or reading.monotonic_s < self._moved_s + self._settle_s:
            return None
        self._acted_s = reading.monotonic_s
        still = self._watch.still(reading.kw)
        self._changed_s = min(self._changed_s, now_s) if still else now_s
        wrong = self._watch.heard(reading.kw, sum(told))
        if wrong:
            self._off(self._unheld_text or wrong, now_s)
            return self._with(held(aim.planned_kw, aim.able_kw).planned_kw, told, last, now_s)
        self._caps = self._caps_now(tracking, time_s)
        powers = followed(reading.kw, told, aim, self._caps, self._tuning)
        if now_s - self._changed_s >= STILL_S and powers == tuple(told):
            powers, self._changed_s = nudged(powers, aim, PROBE_KW), now_s
        return self._with(powers, told, last, now_s)

    def written(self, problem: str, now_s: float) -> None:
        """What became of a set-point that was moved: a device that again and again holds another one is left alone."""
        self._unheld = self._unheld + 1 if problem else 0
        self._unheld_text = f"the inverter keeps another power than it is told: {problem}" if problem else ""
        if self._unheld >= MISSED and not self._fault:
            self._off(self._unheld_text, now_s)

    def _without(self, reading: MeterReading, told: Sequence[float], last: Vector, now_s: float) -> Vector | None:
        self._missed += 1
        if self._missed < MISSED:
            return None
        late = reading.kw is not None
        age = f"the last reading is {now_s - reading.monotonic_s:.0f} s old" if late else ""
        text = f"no reading of the meter to follow: {reading.problem or age or 'nothing received yet'}"
        if not self._fault or now_s >= self._off_until_s:
            self._fault, self._off_until_s = text, now_s  # on again with the first reading
            self._watch.forget()
        aim = self._aim
        assert aim is not None
        return self._with(held(aim.planned_kw, aim.able_kw).planned_kw, told, last, now_s)

    def _off(self, why: str, now_s: float) -> None:
        again = now_s - self._off_until_s < AGAIN_S
        self._pause_s = min(LONGEST_RETRY_S, 2 * self._pause_s if again and self._pause_s else self._retry_s)
        self._fault = f"{why}; set-points of the plan are held"
        self._off_until_s = now_s + self._pause_s
        self._watch.forget()

    def _on(self) -> None:
        self._fault, self._unheld, self._unheld_text = "", 0, ""
        self._watch.forget()

    def _caps_now(self, tracking: Tracking, time_s: float) -> Caps:
        most, interval = tracking.import_limit_kw, self._interval
        if self._peak_kw is not None and interval is not None:
            so_far = interval.so_far_kwh(time_s, self._peak_kw)
            allowed = self._peak_kw * interval.interval_s / 3600.0
            most = min(most, left_of_interval_kw(allowed, so_far, interval.left_s(time_s)))
        return Caps(most, tracking.export_limit_kw)

    def _with(self, powers: Powers, told: Sequence[float], last: Vector, now_s: float) -> Vector | None:
        if all(abs(a - b) <= 1e-9 for a, b in zip(powers, told, strict=True)):
            return None
        action = list(last)
        for (charge, discharge), power in zip(self._places, powers, strict=True):
            action[charge], action[discharge] = max(power, 0.0), max(-power, 0.0)
        self._moved_s = now_s
        return tuple(action)


def _unwanted(site: SiteFile, tracking: Tracking | None) -> str:
    if not site.tracking.enabled:
        return "switched off in the site file"
    if tracking is None:
        return "the bundle does not say what follows the meter"
    return "" if tracking.meter in site.inputs else f"the site does not read {tracking.meter}"


def _imports(
    tracking: Tracking, manifest: Manifest, plan: Sequence[Vector], rows: Sequence[Sequence[float]]
) -> list[float]:
    return planned_imports_kw(tracking, manifest.actions, manifest.forecasts, plan, rows)


def _allowed_import_kw(tracking: Tracking, manifest: Manifest, decided: Decided) -> float | None:
    """The mean import of an interval that raises no charge: that of the month so far, or what the plan has chosen to
    raise it to. None where there is no charge for peaks."""
    if tracking.peak is None:
        return None
    states = [spec.name for spec in manifest.states]
    so_far = decided.state[states.index(tracking.peak)] if len(decided.state) == len(states) else 0.0
    return max([so_far, *_imports(tracking, manifest, decided.plan, decided.forecast or ())])


def _able(manifest: Manifest, pair: tuple[int, int], caps: Mapping[str, float]) -> Range:
    charge, discharge = (manifest.actions[j] for j in pair)
    most, least = (min(a.upper, caps.get(a.name, a.upper)) for a in (charge, discharge))
    return -max(least, 0.0), max(most, 0.0)


def _by_self_consumption(site: SiteFile, manifest: Manifest, tracking: Tracking) -> bool:
    rules = [rule for rule in rules_in_force(site, manifest) if isinstance(rule, SelfConsumptionRule)]
    metered = {rule.charge for rule in rules if rule.meter == tracking.meter and rule.meter_at == "grid"}
    return all(battery.charge in metered for battery in tracking.batteries)
