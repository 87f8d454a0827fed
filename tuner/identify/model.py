"""The model of a house: the lessons of all its assets, gathered into what `nisse build` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from systems.assets import asset_kinds
from systems.house_file import House
from systems.logs.lesson import Lesson
from systems.logs.log import LogError
from systems.model_file import model_document
from tuner.identify.assemble import HouseLog


@dataclass(frozen=True, eq=False)
class HouseModel:
    """`problems` is empty for a model that may be used."""

    house: str
    lessons: tuple[Lesson, ...]
    unlearned: Mapping[str, str]
    """Why an asset that the log covers taught nothing."""
    share_excluded: Mapping[str, float]
    """Per column, share of its samples, and `rows`: share of the steps that miss any."""

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for lesson in self.lessons for problem in lesson.problems)

    @property
    def theta(self) -> dict[str, float]:
        return {name: value for lesson in self.lessons for name, value in lesson.theta.items()}

    @property
    def fits(self) -> dict[str, Any]:
        """By table; of a table with several assets, those of each joined."""
        fits: dict[str, Any] = {}
        for lesson in self.lessons:
            if lesson.model:
                fits[lesson.table] = {**fits.get(lesson.table, {}), **json.loads(lesson.model)}
        return fits

    def told(self, found: HouseLog) -> dict[str, Any]:
        """For machines and for a person: numbers with their intervals, and what is missing."""
        log = found.log
        return {
            "house": self.house,
            "log": {
                "source": log.source,
                "start": datetime.fromtimestamp(log.start_s, log.zone).isoformat(),
                "days": log.days,
                "share_excluded": dict(self.share_excluded),
                "faults": [asdict(f) for f in [*log.faults, *(f for lesson in self.lessons for f in lesson.faults)]],
            },
            "assets": {
                lesson.asset: {
                    "summary": lesson.summary,
                    "theta": dict(lesson.theta),
                    "findings": [asdict(finding) for finding in lesson.findings],
                    "notes": list(lesson.notes),
                    "problems": list(lesson.problems),
                }
                for lesson in self.lessons
            },
            "missing": {asset: [c.name for c in columns] for asset, columns in found.missing.items() if columns},
            "unlearned": dict(self.unlearned),
        }

    def document(self, found: HouseLog) -> dict[str, Any]:
        """The model file. What was left out of a log is told by --json alone: it may be long."""
        told = self.told(found)
        told["log"].pop("faults")
        return model_document(self.house, self.theta, self.fits, {key: told[key] for key in told if key != "house"})


def learn_house(house: House, found: HouseLog) -> HouseModel:
    """What the log teaches of each asset that it covers.

    Raises LogError where it teaches nothing of any. An asset of which it teaches nothing keeps its nameplate.
    """
    lessons: list[Lesson] = []
    unlearned: dict[str, str] = {}
    for kind in asset_kinds():
        if kind.learn is None:
            continue
        covered = tuple(asset for asset in house.of(kind.table) if not found.missing.get(asset.name))
        groups = [covered] if kind.together else [(asset,) for asset in covered]
        for group in groups:
            if not group:
                continue
            try:
                lessons += kind.learn(house, group, found.log)
            except LogError as error:
                unlearned[", ".join(asset.name for asset in group)] = str(error)
    if not lessons:
        raise LogError(next(iter(unlearned.values()), f"{found.log.source}: nothing to learn from"))
    return HouseModel(house.name, tuple(lessons), unlearned, _share_excluded(found))


def _share_excluded(found: HouseLog) -> dict[str, float]:
    missing = {}
    for name, values in found.log.columns.items():
        every = max(1, round(found.log.step_s[name] / found.log.dt_s))
        missing[name] = ~np.isfinite(values[::every])
    lengths = {len(mask) for mask in missing.values()}
    finest = max(lengths)
    rows = np.zeros(finest, dtype=bool)
    for mask in missing.values():
        if len(mask) == finest:
            rows |= mask
    return {name: float(mask.mean()) for name, mask in missing.items()} | {"rows": float(rows.mean())}
