"""A week of watching a theta that was sent: what was promised, what the log then measured, and whether it goes back.

Promise and measure are both savings against the rules, so that a cold week is not a broken promise: the rules live
through the same week. A theta goes back where even the upper end of what was measured lies below the low end of what a
single week was promised to save.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from runtime.formats.documents import read_json
from systems.commands.output import write_json
from systems.design import HouseDesign
from systems.grid import HOUR_S
from tuner.evaluate.savings import Saving, saving_since
from tuner.loop.replay import replay_log
from tuner.retune.study import Promise

FORMAT = "nisse-watch-1"
WATCH_DAYS = 7.0
LEAST_DAYS = 2.0
"""Before it nothing is said, however bad it looks: stores carry over from the theta before."""
Outcome = Literal["goes on", "kept", "goes back"]


class WatchFileError(ValueError):
    """The record of what is watched cannot be used."""

    exit_code = 65


@dataclass(frozen=True)
class SentTheta:
    """What was sent, and what it is held to."""

    house: str
    bundle: str
    """Digest of the bundle that it is for."""
    serial: int
    theta: Mapping[str, float]
    previous: Mapping[str, float]
    """The theta before, which comes back."""
    promise: Promise
    sent_s: float
    """Unix time."""


@dataclass(frozen=True)
class Watched:
    """What came of it so far."""

    outcome: Outcome
    saving: Saving | None
    said: str


def write_watch(path: Path, watch: SentTheta) -> None:
    """Whole or not at all."""
    write_json(path, {"format": FORMAT, **asdict(watch)})


def read_watch(path: Path) -> SentTheta | None:
    """None where nothing is watched. Raises WatchFileError."""
    if not path.exists():
        return None
    try:
        document = read_json(path)
        if document.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        return SentTheta(**{**document, "promise": Promise(**document["promise"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WatchFileError(
            f"{path}: not a record of what is watched ({error}); remove it, and see by `nisse savings` how it does"
        ) from error


def watched(watch: SentTheta, log: Path, design: HouseDesign, now_s: float) -> Watched:
    """Raises LogError for a log that does not fit."""
    house = design.house
    until_s = watch.sent_s + WATCH_DAYS * 24 * HOUR_S
    replay = replay_log(log, design)
    found = saving_since(replay, watch.sent_s, until_s, zone=house.timezone, step_s=house.grid.step_s)
    days = 0.0 if found is None else found.days
    if found is None or days < LEAST_DAYS:
        over = now_s > until_s + 24 * HOUR_S
        said = f"{days:.1f} days of the log count since it was sent"
        if over:
            return Watched("goes back", found, f"{said}: its week is over and cannot be judged")
        return Watched("goes on", found, f"{said}; a week is watched")
    week = found.total * 7.0 / days
    measured = f"{week:.2f} {house.currency} a week against the rules measured in {days:.1f} days"
    promised = f"{watch.promise.mean:.2f} promised, no single week below {watch.promise.low:.2f}"
    highest = week if found.high is None else found.high * 7.0 / days
    if highest < watch.promise.low:
        return Watched("goes back", found, f"{measured}, at most {highest:.2f}; {promised}")
    if days >= 0.9 * WATCH_DAYS or now_s > until_s:
        return Watched("kept", found, f"{measured}; {promised}")
    return Watched("goes on", found, f"{measured} so far; {promised}")
