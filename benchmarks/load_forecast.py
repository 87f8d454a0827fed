"""How well the load of a home is foretold on weeks not seen: by what runs in the field, and by a package of statistics.

python -m benchmarks.load_forecast load.csv [...] --weeks 12 --json out.json   # columns time, load_kw; hourly or finer
pip install statsforecast==2.1.1                                                  # for the last rows; left out without

Every forecast is made at a midnight or a noon of the held-out weeks, 24 hours ahead, from what was before it.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feeds.usual import usual
from systems.assets.load.fit import week_profile

Array = NDArray[np.float64]
HOUR_S, AHEAD, WEEK = 3600.0, 24, 168
LEARN_WEEKS = 26
"""At least, before the first held-out one."""
SHOWN_WEEKS = 8
"""Of the past, for the package: what it fits anew at each origin."""


@dataclass(frozen=True, eq=False)
class Home:
    """Hourly means, kW, from a time on."""

    name: str
    start: datetime
    load: Array

    @property
    def minutes(self) -> NDArray[np.int64]:
        first = self.start.weekday() * 1440 + self.start.hour * 60
        return (first + 60 * np.arange(len(self.load) + AHEAD)) % 10_080


Way = Callable[[Home, int], Array]
"""(home, first unknown hour) -> (24,) kW"""


def read(path: Path) -> Home:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    start = datetime.fromisoformat(rows[0]["time"])
    hours: dict[int, list[float]] = {}
    for row in rows:
        after = (datetime.fromisoformat(row["time"]) - start).total_seconds()
        hours.setdefault(int(after // HOUR_S), []).append(float(row["load_kw"]))
    load = np.array([np.mean(hours.get(hour, [np.nan])) for hour in range(max(hours) + 1)])
    return Home(path.stem, start, load)


def as_a_week_ago(home: Home, now: int) -> Array:
    return home.load[now - WEEK : now - WEEK + AHEAD]


def as_yesterday(home: Home, now: int) -> Array:
    return home.load[now - AHEAD : now]


def profile(home: Home, now: int) -> Array:
    """What `nisse identify` keeps: by hour of the week, from all that was."""
    means = week_profile(home.load[:now], home.minutes[:now], HOUR_S, "workdays and weekends")
    return means[home.minutes[now : now + AHEAD] // 60]


def feed(level: bool) -> Way:
    """What the feed says in the field."""

    def way(home: Home, now: int) -> Array:
        start_s = home.start.timestamp()
        first = max(0, now - 29 * 24)
        actual = {
            round((start_s + HOUR_S * k) / 900.0) + quarter: float(home.load[k])
            for k in range(first, now)
            for quarter in range(4)
        }
        now_s = start_s + HOUR_S * now
        times = [now_s + HOUR_S * (k + 0.5) for k in range(AHEAD)]
        zone = timezone(home.start.utcoffset() or timedelta(0))
        found = usual(actual, now_s, times, zone, level=level)
        return np.array([np.nan if value is None else value for value in found])

    return way


def package(kind: str) -> Way:
    def way(home: Home, now: int) -> Array:
        import statsforecast.models as models

        past = home.load[now - SHOWN_WEEKS * WEEK : now].astype(np.float32)
        if kind == "MSTL":
            model = models.MSTL(season_length=[24, WEEK], trend_forecaster=models.AutoETS(model="ZZN"))
        else:
            model = models.DynamicOptimizedTheta(season_length=24)
        return np.asarray(model.forecast(past, AHEAD)["mean"], dtype=float)

    return way


def ways() -> dict[str, Way]:
    found: dict[str, Way] = {
        "as yesterday": as_yesterday,
        "as a week ago": as_a_week_ago,
        "profile of `nisse identify`": profile,
        "feed, usual": feed(False),
        "feed, usual with its level": feed(True),
    }
    try:
        import statsforecast  # noqa: F401
    except ImportError:
        return found
    return found | {"statsforecast MSTL": package("MSTL"), "statsforecast theta": package("theta")}


def origins(home: Home, weeks: int) -> list[int]:
    """Midnights and noons of `weeks` weeks, evenly over what is left after the first half year."""
    last = len(home.load) - AHEAD
    starts = np.linspace(LEARN_WEEKS * WEEK, last - WEEK, weeks).round().astype(int)
    return [int(s) + 12 * k for s in starts for k in range(14) if int(s) + 12 * k <= last]


def judged(home: Home, way: Way, at: Sequence[int]) -> tuple[Array, Array]:
    """(errors (n, 24), n,) by origin."""
    return np.array([way(home, now) - home.load[now : now + AHEAD] for now in at]), np.array(at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("homes", nargs="+", type=Path)
    parser.add_argument("--weeks", type=int, default=12)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for path in args.homes:
        home = read(path)
        at = origins(home, args.weeks)
        for name, way in ways().items():
            errors, _ = judged(home, way, at)
            rows.append(
                {
                    "home": home.name, "way": name, "forecasts": len(at), "mean_kw": float(np.nanmean(home.load)),
                    "rmse_kw": float(np.sqrt(np.nanmean(errors**2))), "mae_kw": float(np.nanmean(np.abs(errors))),
                    "rmse_3h_kw": float(np.sqrt(np.nanmean(errors[:, :3] ** 2))), "bias_kw": float(np.nanmean(errors)),
                }
            )  # fmt: skip
            r = rows[-1]
            print(
                f"{r['home']:8} {name:30} rmse {r['rmse_kw']:.3f}  first three hours {r['rmse_3h_kw']:.3f}  "
                f"mean absolute {r['mae_kw']:.3f}  bias {r['bias_kw']:+.3f} kW"
            )
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
