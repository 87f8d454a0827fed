"""A campaign: many runs of one scenario, each under a random schedule of faults; and the smallest that still fails.

Schedules come from the seed alone: run k of seed s is the same on every machine and for any number of jobs. A failing
schedule is shrunk by leaving out one fault after the other for as long as the run still fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hil.bench import exit_on_sigterm, run_scenario
from hil.errors import BenchError
from hil.plant import make_plant
from hil.scenario import Fault, Scenario
from hil.schedule import draw, signals_of

ONCE = "not when run again: "
"""How the failures of a run begin that did not fail a second time."""

Progress = Callable[[int, int, int], None]
"""Called with (runs done, runs in all, failures)."""


@dataclass(frozen=True)
class CampaignRun:
    """One run: its faults and which predicates failed (or the bench's error); `smallest` only where it failed."""

    number: int
    faults: tuple[Fault, ...]
    failures: tuple[str, ...]
    smallest: tuple[Fault, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures


def run_campaign(
    scenario: Scenario,
    bundle_path: Path,
    trusted_key: str | None,
    output_dir: Path,
    *,
    runs: int,
    jobs: int,
    done: Sequence[CampaignRun] = (),
    finished: Callable[[CampaignRun], None] = lambda trial: None,
    progress: Progress | None = None,
) -> list[CampaignRun]:
    """Run `runs` schedules drawn from the scenario's seed. What failed keeps its folder `run-NNN`.

    done: what an earlier start has finished, not run again. finished: called with every other trial as it ends.

    Raises:
        ScenarioError, BundleError: as `run_scenario`.
    """
    plant = make_plant(scenario)
    signals = signals_of(scenario, plant)
    schedules = [
        draw(np.random.default_rng([scenario.head.seed, number]), signals, scenario.head.duration, scenario.links)
        for number in range(runs)
    ]
    trials = [trial for trial in done if trial.number < runs]
    known = {trial.number for trial in trials}
    # Spawned, not forked: the bench runs threads (broker client, device) that a fork would tear.
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=exit_on_sigterm) as pool:
        futures = [
            pool.submit(_trial, scenario, bundle_path, trusted_key, output_dir / f"run-{number:03d}", number, faults)
            for number, faults in enumerate(schedules)
            if number not in known
        ]
        try:
            for future in as_completed(futures):
                trials.append(future.result())
                finished(trials[-1])
                if progress is not None:
                    progress(len(trials), runs, sum(not t.passed for t in trials))
        except BaseException:  # stopped: what has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(trials, key=lambda t: t.number)


def _trial(
    scenario: Scenario, bundle: Path, key: str | None, folder: Path, number: int, faults: tuple[Fault, ...]
) -> CampaignRun:
    """One run; shrunk when it fails, and cleaned up when it does not."""

    def failures_of(some: tuple[Fault, ...], where: Path) -> tuple[str, ...]:
        return _failures(scenario, some, bundle, key, where)

    trial = CampaignRun(number, faults, failures_of(faults, folder))
    if trial.passed:
        shutil.rmtree(folder)
        return trial
    attempt = folder / "shrinking"
    if not failures_of(faults, attempt):
        # The schedule is not to blame: a computer too busy for its real-time limits, or a race. Nothing to shrink.
        shutil.rmtree(attempt)
        return replace(trial, failures=tuple(f"{ONCE}{text}" for text in trial.failures), smallest=faults)
    smallest = shrink(faults, lambda fewer: bool(failures_of(fewer, attempt)))
    shutil.rmtree(attempt, ignore_errors=True)
    return replace(trial, smallest=smallest)


def _failures(
    scenario: Scenario, faults: tuple[Fault, ...], bundle: Path, key: str | None, folder: Path
) -> tuple[str, ...]:
    """The predicates that do not hold under these faults, or the bench's error: a dead daemon is a failure as well."""
    try:
        result = run_scenario(scenario.model_copy(update={"faults": faults}), bundle, key, folder, page=False)
    except BenchError as error:
        return (str(error),)
    return tuple(f"{c.outcome.text}: {c.outcome.detail}" for c in result.verdict.checks if not c.outcome.holds)


def shrink(faults: tuple[Fault, ...], fails: Callable[[tuple[Fault, ...]], bool]) -> tuple[Fault, ...]:
    """A subset that still fails and of which no fault can be left out; empty when it fails by itself."""
    for i in range(len(faults)):
        fewer = faults[:i] + faults[i + 1 :]
        if fails(fewer):
            return shrink(fewer, fails)
    return faults


def as_toml(faults: Sequence[Fault]) -> str:
    """The schedule as [[fault]] tables, to be put into a scenario file; a comment when there is none."""
    if not faults:
        return "# it fails with nothing broken\n"
    tables = []
    for fault in faults:
        fields = fault.model_dump(by_alias=True, exclude_defaults=True)
        lines = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in fields.items()]
        tables.append("\n".join(["[[fault]]", *lines]))
    return "\n\n".join(tables) + "\n"
