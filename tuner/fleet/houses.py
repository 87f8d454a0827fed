"""The houses of a folder: what each has of its own, and how it is worked on in a process of its own.

    HOUSES/NAME/house.toml   with, where they are there, model.json, theta.json and the daemon's log nisse.db
    HOUSES/NAME.toml         a house file alone

A house is one task: everything random follows from its name and the seed, so results do not depend on who computes
them, in which order, or how often. A house that fails says why and keeps nobody else from going on.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codegen.commands.build import design_from
from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.tariff import Tariff
from systems.theta import read_theta
from tuner.evaluate.comparison import RULE, TUNED, UNBIASED, Contender, evaluate_house
from tuner.evaluate.health import document as findings_document
from tuner.evaluate.health import health_of
from tuner.evaluate.savings import savings_of
from tuner.evaluate.statistics import Interval
from tuner.learn.tuning import TuningSpec, tune
from tuner.loop.explore import CompiledLabeller, PlantWorld, learned_by_default, learning_entries
from tuner.loop.periods import spread
from tuner.loop.replay import replay_log
from tuner.loop.sensors import ill_sensors
from tuner.loop.workers import LocalWorkers
from tuner.loop.worlds import generated_worlds

HOUSE, MODEL, THETA, LOG = "house.toml", "model.json", "theta.json", "nisse.db"
DAY_S = 86_400.0


class FleetError(ValueError):
    """A folder without houses."""

    exit_code = 66


@dataclass(frozen=True)
class Effort:
    """How much is done for each house."""

    tune: bool
    iterations: int = 1
    episodes: int = 2
    episode_days: float = 2.0
    held_in: int = 1
    weeks: int = 4
    days: float = 7.0
    """Of each week that judges."""
    prices: str = "nordic"
    seed: int = 0


@dataclass(frozen=True)
class Member:
    """A house of the fleet: where its files are."""

    name: str
    house: Path
    model: Path | None = None
    theta: Path | None = None
    log: Path | None = None

    @property
    def seed(self) -> int:
        """Of its own, by its name."""
        return zlib.crc32(self.name.encode()) % 10_000


def members(folder: Path) -> list[Member]:
    """By name. Raises FleetError."""
    found = [Member(file.stem, file) for file in sorted(folder.glob("*.toml"))]
    for place in sorted(path.parent for path in folder.glob(f"*/{HOUSE}")):
        own = {key: place / name for key, name in (("model", MODEL), ("theta", THETA), ("log", LOG))}
        found.append(Member(place.name, place / HOUSE, **{k: v if v.exists() else None for k, v in own.items()}))
    if not found:
        raise FleetError(f"{folder}: no house there; put NAME/{HOUSE} or NAME.toml into it, one for each house")
    return sorted(found, key=lambda member: member.name)


@dataclass(frozen=True)
class Packed:
    """A member as a task: texts in the place of files, but for the log, which every worker has to see."""

    name: str
    seed: int
    text: str
    fits: tuple[tuple[str, str], ...]
    theta: tuple[tuple[str, float], ...] | None
    log: str | None
    problem: str = ""
    """Why it cannot be worked on."""


def packed(member: Member) -> Packed:
    """What is wrong with its files is said in `problem`."""
    try:
        design = design_from(str(member.house), member.model)
        theta = None if member.theta is None else read_theta(member.theta, design.problem)
    except ValueError as error:
        return Packed(member.name, member.seed, "", (), None, None, str(error))
    return Packed(
        member.name, member.seed, design.text, tuple(sorted(design.fits.items())),
        None if theta is None else tuple(theta.items()), None if member.log is None else str(member.log.absolute()),
    )  # fmt: skip


def worked(effort: Effort, member: Packed) -> dict[str, Any]:
    """In a worker: what came of a house, as plain data; equal arguments give equal data."""
    if member.problem:
        return {"name": member.name, "problem": member.problem}
    try:
        return _worked(effort, member)
    except ValueError as error:
        return {"name": member.name, "problem": str(error)}


def _worked(effort: Effort, member: Packed) -> dict[str, Any]:
    design = HouseDesign(member.text, dict(member.fits), Path(member.name))
    fit = {p.name: p.default for p in design.problem.theta}
    seed = effort.seed + member.seed
    worlds = generated_worlds(design.house, seed=seed, prices=effort.prices, tariff=Tariff())
    found: dict[str, Any] = {"name": member.name, "house": design.house.name, "currency": design.house.currency}
    given = None if member.theta is None else dict(member.theta)
    start = given or fit
    theta, solves = given, 0
    if effort.tune:
        library = build_solver(design.problem, host_arch()).library
        held_in = spread(worlds.learning_weeks, min(effort.held_in, len(worlds.learning_weeks)), "held-in")
        free = tuple(week for week in worlds.learning_weeks if week not in held_in) or worlds.learning_weeks
        world = PlantWorld(
            design, library, worlds.learning, free, held_in, effort.episodes, effort.episode_days, seed, LocalWorkers(),
            held_in_days=effort.days,
        )  # fmt: skip
        parameters = design.problem.theta
        learn = learned_by_default(parameters)
        tuning = tune(
            world, CompiledLabeller(design, library, LocalWorkers()), parameters, learning_entries(parameters, learn),
            np.array([start[p.name] for p in parameters]),
            TuningSpec(learn=learn, iterations=effort.iterations, seed=seed),
        )  # fmt: skip
        solves += sum(record.solves for record in tuning.course.history)
        if tuning.improved:
            theta = {p.name: float(v) for p, v in zip(parameters, tuning.theta, strict=True)}
        found["changes"] = [[p.name, before, after] for p, before, after in tuning.changes()]
    weeks = spread(worlds.held_out_weeks, min(effort.weeks, len(worlds.held_out_weeks)), "held-out")
    policies = [Contender(RULE, None), Contender(UNBIASED, tuple(start.values()))]
    if theta is not None and theta != start:
        policies.append(Contender(TUNED, tuple(theta[name] for name in fit)))
    judged = evaluate_house(design, worlds.held_out, weeks, policies, days=effort.days, seed=seed)
    solves += sum(result.solves for results in judged.results.values() for result in results)
    gain = judged.saving(TUNED, UNBIASED) if TUNED in judged.results else None
    kept = gain is None or gain.low <= 0.0
    found |= {
        "weeks": len(weeks),
        "solves": solves,
        "costs": {name: float(judged.totals(name).mean()) for name in judged.results},
        "against_rule": _ends(judged.saving(UNBIASED, RULE)),
        "tuned_against_start": _ends(gain),
        "gains": not kept,
        "theta": start if kept or theta is None else theta,
    }
    return found | _of_log(design, member)


def _of_log(design: HouseDesign, member: Packed) -> dict[str, Any]:
    """What its log says, where it has one."""
    if member.log is None:
        return {}
    path, house = Path(member.log), design.house
    replay = replay_log(path, design)
    saved = savings_of(replay, house=house.name, currency=house.currency, zone=house.timezone, step_s=house.grid.step_s)
    findings = health_of(replay, design)
    return {
        "saved": saved.document()["whole"],
        "ill": [*ill_sensors(path), *(finding.said for finding in findings if not finding.holds)],
        "findings": findings_document(findings),
    }


def _ends(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high}


def summary(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Who gains, who does not, who is ill, who could not be worked on; by name."""
    fine = {name: one for name, one in found.items() if "problem" not in one}
    return {
        "gain": sorted(name for name, one in fine.items() if one["gains"]),
        "do_not": sorted(name for name, one in fine.items() if not one["gains"]),
        "ill": {name: one["ill"] for name, one in sorted(fine.items()) if one.get("ill")},
        "problems": {name: one["problem"] for name, one in sorted(found.items()) if "problem" in one},
        "solves": sum(int(one["solves"]) for one in fine.values()),
    }
