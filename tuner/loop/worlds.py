"""The worlds to learn in and to be judged in: the user's own prices, load, panels and weather, else generated ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from runtime.formats.documents import read_json
from systems.assets.load.fit import week_profile
from systems.house_file import House
from systems.logs.log import DAY_S, Array, Log
from systems.portrait import log_columns
from systems.series import TimeSeries
from systems.tariff import Tariff
from systems.world import Exogenous, WorldColumn
from systems.world.foresight import Usual
from systems.world.generate import generated_world, moment
from tuner.loop.periods import PeriodError, weeks_of

LEARNING_START, HELD_OUT_START = "2021-10-04", "2022-10-03"
SEASON_DAYS, YEAR_DAYS = 203.0, 371.0
MOST_DAYS = 800.0
MARGIN_DAYS = 2
HELD_OUT_SALT = 1_000


@dataclass(frozen=True, eq=False)
class Worlds:
    """Of each: the world and the first steps of its weeks."""

    learning: Exogenous
    learning_weeks: tuple[int, ...]
    held_out: Exogenous
    held_out_weeks: tuple[int, ...]
    told: str
    """Which parts are the user's own, and which are generated."""
    until: str | None = None
    """ISO 8601, where series of the user's own are cut: what is after it judges."""


def generated_worlds(house: House, *, seed: int, prices: str, tariff: Tariff | None = None) -> Worlds:
    """A heating season to learn from and another one to be judged in; of a house without zones a year each."""
    days = SEASON_DAYS if house.of("zone") else YEAR_DAYS
    learning, held_out = (
        generated_world(house, moment(start, house.timezone), days, seed=of, prices=prices, tariff=tariff)
        for start, of in ((LEARNING_START, seed), (HELD_OUT_START, seed + HELD_OUT_SALT))
    )
    told = f"weather, prices and use of the house are generated ({prices}, seed {seed})"
    return Worlds(learning, tuple(weeks_of(house, learning)), held_out, tuple(weeks_of(house, held_out)), told)


def own_worlds(
    house: House,
    *,
    prices: TimeSeries | None,
    log: Log | None,
    until: datetime | None,
    seed: int,
    kind: str,
    tariff: Tariff | None = None,
) -> Worlds:
    """One world of the user's own series, cut at `until` (by default in the middle); what they leave is generated.

    Raises PeriodError where either side has no whole week.
    """
    spans = [span for span in (_span_of_prices(prices), _span_of_log(log)) if span is not None]
    start_s, end_s = max(s for s, _ in spans), min(e for _, e in spans)
    start = datetime.fromtimestamp(start_s, house.timezone)
    start = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    days = min((end_s - start.timestamp()) // DAY_S, MOST_DAYS)
    if days < 14 + 2 * MARGIN_DAYS:
        raise PeriodError(f"the given series share {max(days, 0):.0f} days; at least 18 are needed: bring longer ones")
    world = generated_world(house, start, days, seed=seed, prices=kind, tariff=tariff, spot=prices)
    own = ["prices"] if prices is not None else []
    cut = world.step_at(until) if until is not None else len(world) // 2
    if log is not None:
        world, columns = _with_log(house, world, log, cut)
        own += columns
    weeks = weeks_of(house, world)
    week = round(7 * DAY_S / world.dt_s)
    before = tuple(s for s in weeks if s + week <= cut)
    after = tuple(s for s in weeks if s >= cut)
    if not before or not after:
        raise PeriodError(
            f"{len(before)} weeks to learn from and {len(after)} to hold out; choose --train-until within the series, "
            "or bring longer ones"
        )
    rest = [name for name in world.columns if name not in (*own, "buy", "sell")] + ([] if prices else ["prices"])
    told = f"own: {', '.join(own)}; generated: {', '.join(rest)}" if rest else f"own: {', '.join(own)}"
    return Worlds(world, before, world, after, told, world.time(cut).isoformat())


def _span_of_prices(prices: TimeSeries | None) -> tuple[float, float] | None:
    if prices is None:
        return None
    start = prices.start.timestamp()
    return start, start + prices.dt_s * len(next(iter(prices.values.values())))


def _span_of_log(log: Log | None) -> tuple[float, float] | None:
    return None if log is None else (log.start_s, log.start_s + log.dt_s * len(log))


def _with_log(house: House, world: Exogenous, log: Log, cut: int) -> tuple[Exogenous, list[str]]:
    """The world with what the log records of it; what is usual is learned from the part before `cut`."""
    shift = round((world.time_s(0) - log.start_s) / world.dt_s)
    columns, own = dict(world.columns), list[str]()
    for column in log_columns(house):
        if not column.world or column.name not in log or column.world not in columns or column.world in own:
            continue
        logged = log[column.name][shift : shift + len(world)]
        values = np.where(np.isfinite(logged), logged, world[column.world][: len(logged)])
        foresight = columns[column.world].foresight
        if isinstance(foresight, Usual):
            foresight = Usual(_usual(values, world, cut))
        columns[column.world] = WorldColumn(values, foresight)
        own.append(column.world)
    return replace(world, columns=columns, source=f"{log.source} and {world.source}"), own


def _usual(values: Array, world: Exogenous, cut: int) -> Array:
    """(n,) by hour and kind of day, learned before `cut`."""
    minutes = world.minute_of_week
    profile = week_profile(values[:cut], minutes[:cut], world.dt_s, "workdays and weekends")
    return np.asarray(profile[minutes // 60])


def check_trained_until(theta: Path, worlds: Worlds) -> None:
    """Raises PeriodError for a theta that says it was tuned on weeks of the same series that would judge it."""
    provenance = read_json(theta).get("provenance", {})
    until = provenance.get("trained_until")
    if until is None or worlds.until is None or provenance.get("data") != worlds.told:
        return
    if datetime.fromisoformat(until) > datetime.fromisoformat(worlds.until):
        raise PeriodError(
            f"{theta}: was tuned on data until {until}, the held-out weeks begin {worlds.until}; "
            "use --train-until with the date of the tuning, or later"
        )
