"""Batteries that follow the meter inside a step, by the law that the daemon runs, minute by minute.

The daemon looks at the meter every few seconds, so within a minute its batteries are where the law puts them: each
minute is answered by itself, with all of the error at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from runtime.bundle.tracking import Tracking
from runtime.track.aim import aim_of, held, self_consumption, within_soc, worth_buying_kw
from runtime.track.interval import IntervalImport
from runtime.track.law import Aim, Caps, Range, TrackingGains, followed, left_of_interval_kw
from runtime.track.planned import first_of_each, named, planned_grid_kw, planned_imports_kw, planned_stages
from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.logs.log import Array
from systems.plant import HousePlant

AT_ONCE = TrackingGains(gain=1.0, deadband_kw=0.0)


class Follower:
    """Of one stretch: `decide` or `rule` say what is followed, `minute` gives the action of a minute."""

    def __init__(self, design: HouseDesign, theta: Sequence[float]) -> None:
        """Raises ValueError for a house without a battery or a meter."""
        problem = design.problem
        values = {p.name: float(v) for p, v in zip(problem.theta, theta, strict=True)}
        document = design.tracking(values)
        if document is None:
            raise ValueError(f"nothing of {design.house.name} follows a meter: it needs a [[battery]] and a [meter]")
        self._tracking = Tracking.model_validate(document)
        self._actions, self._forecasts = problem.actions, design.forecasts
        self._aim: Aim | None = None
        self._peak_kw: float | None = None
        self._interval = IntervalImport(self._tracking.interval_s)
        self._told: tuple[float, ...] = (0.0,) * len(self._tracking.batteries)

    def decide(self, action: Array, plan: Array | None, forecast: Array, measured: Mapping[str, float]) -> None:
        """A decision of the program: action (na), plan (N, na), forecast (N + 1, nd), all in the problem's order."""
        tracking, said = self._tracking, named(self._actions, action.tolist())
        grid_kw = planned_grid_kw(tracking, said, first_of_each(self._forecasts, forecast[0]))
        planned = [said[b.charge] - said[b.discharge] for b in tracking.batteries]
        rows = [action.tolist(), *([] if plan is None else plan[1:].tolist())]
        ahead = tracking, self._actions, self._forecasts, rows, forecast.tolist()
        most = tracking.import_limit_kw
        if tracking.peak is not None:
            self._peak_kw = max([measured[tracking.peak], *planned_imports_kw(*ahead)])
            most = min(most, self._peak_kw)
        caps = Caps(most, tracking.export_limit_kw)
        able = self._able()
        worth = [
            worth_buying_kw(measured.get(b.soc or "", np.nan), b.soc_min, up)
            for b, (_, up) in zip(tracking.batteries, able, strict=True)
        ]
        self._aim = aim_of(grid_kw, planned, able, planned_stages(*ahead), caps, worth)

    def rule(self) -> None:
        """Self-consumption, as an inverter does by itself."""
        self._aim = self_consumption(self._able())

    def minute(self, plant: HousePlant, asked: Array) -> Array:
        """What the plant is asked for in its coming minute, in the order of its actions."""
        aim, tracking = self._aim, self._tracking
        assert aim is not None, "nothing is decided yet"
        names = [a.name for a in plant.actions]
        batteries = [b.charge.removesuffix("_charge") for b in tracking.batteries]
        others = plant.others_kw(asked, batteries)
        measured = plant.measured()
        socs = [measured.get(b.soc or "", np.nan) for b in tracking.batteries]
        aim = within_soc(aim, socs, [(b.soc_min, b.soc_max) for b in tracking.batteries])
        time_s = plant.minute_time_s
        caps = self._caps(time_s)
        told = followed(others + sum(self._told), self._told, aim, caps, AT_ONCE)
        self._told = told
        # The meter of this minute, as far as it is known before it is over.
        self._interval.observe(time_s, 0.0)
        self._interval.observe(time_s + plant.minute_s, others + sum(told))
        found = np.array(asked, dtype=float)
        for battery, power in zip(tracking.batteries, told, strict=True):
            found[names.index(battery.charge)] = max(power, 0.0)
            found[names.index(battery.discharge)] = max(-power, 0.0)
        return found

    def _caps(self, time_s: float) -> Caps:
        tracking, most = self._tracking, self._tracking.import_limit_kw
        if self._peak_kw is not None:
            so_far = self._interval.so_far_kwh(time_s, self._peak_kw)
            allowed = self._peak_kw * tracking.interval_s / HOUR_S
            most = min(most, left_of_interval_kw(allowed, so_far, self._interval.left_s(time_s)))
        return Caps(most, tracking.export_limit_kw)

    def _able(self) -> tuple[Range, ...]:
        most = {a.name: a.upper for a in self._actions}
        return tuple((-most[b.discharge], most[b.charge]) for b in self._tracking.batteries)


class Holder(Follower):
    """Holds the powers of each decision, as far as the state of charge allows in each minute."""

    def decide(self, action: Array, plan: Array | None, forecast: Array, measured: Mapping[str, float]) -> None:
        said = named(self._actions, action.tolist())
        self._aim = held([said[b.charge] - said[b.discharge] for b in self._tracking.batteries], self._able())
