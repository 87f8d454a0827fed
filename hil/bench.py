"""The bench: plant -> links -> one cycle of the real daemon -> what the device was told -> plant, and again.

`run_scenario` is the one way in. The daemon is the process a user runs, the broker and the serial line are real; only
time is the bench's own.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil import kpi
from hil.bench_feeds import BenchFeeds
from hil.errors import BenchUsageError, ScenarioError
from hil.junit import write_junit
from hil.link_faults import BenchLinks
from hil.lockstep import LockstepDaemon, LockstepFeeds
from hil.loop import Loop
from hil.plant import Plant, make_plant
from hil.predicates import Predicate
from hil.record import (
    FORMAT_VERSION,
    BenchTiming,
    RunRecord,
    RunRecordError,
    read_record,
    read_timing,
    write_timing,
)
from hil.rig import set_up
from hil.scenario import Expect, Scenario
from hil.schedule import signals_of, with_random_faults
from hil.site import check_bundle
from hil.verdict import Verdict, judge, parse_expectations
from runtime.bundle.archive import Bundle, open_bundle

Progress = Callable[[int, int, str], None]
"""Called with (cycles done, cycles in all, level of the last cycle)."""
TIMING_FILE = "timing.jsonl"


@dataclass(frozen=True)
class BenchResult:
    """A finished run and where its files are."""

    scenario: Scenario
    verdict: Verdict
    kpis: Mapping[str, float]
    recoveries_s: Mapping[str, float]
    record: RunRecord
    timing: tuple[BenchTiming, ...]
    wall_s: float
    record_path: Path
    html_path: Path
    junit_path: Path


def exit_on_sigterm() -> None:
    """For the program that runs the bench: a cancelled run takes its broker and daemon with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def run_scenario(
    scenario: Scenario,
    bundle_path: Path | None,
    trusted_key: str | None,
    output_dir: Path,
    *,
    progress: Progress | None = None,
    page: bool = True,
) -> BenchResult:
    """Run a scenario and write record, JUnit XML and HTML report to `output_dir`.

    `bundle_path` overrides the scenario's own. `trusted_key` is the public key `ed25519:...` that the daemon is told to
    trust; None trusts whoever signed this bundle, which is right on a bench and wrong in a house.

    Raises:
        BenchUsageError: no bundle named anywhere.
        ScenarioError: a predicate, signal or site template that does not fit the plant.
        BenchError: the bench or the daemon failed outside of what the scenario breaks.
        runtime.errors.BundleError: the bundle must not be run.
    """
    path = bundle_of(scenario, bundle_path)
    bundle = open_bundle(path, None if trusted_key is None else [trusted_key])
    plant = make_plant(scenario)
    check_bundle(plant.house, bundle.manifest)
    scenario = with_random_faults(scenario, plant)
    expectations = parse_expectations(scenario, plant)
    _check_signals(scenario, plant)
    output_dir.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    record, timing = _run(scenario, plant, path, bundle, output_dir, progress)
    wall_s = time.perf_counter() - began
    return write_results(scenario, plant, expectations, record, timing, wall_s, output_dir, page)


def replay_scenario(scenario: Scenario, record_path: Path, output_dir: Path) -> BenchResult:
    """Judge a recorded run again, without the daemon: the plant, driven by the recorded set-points, must do the same.

    Raises:
        RecordError: the file is no record, or not one of this scenario and this plant.
        ScenarioError: as `run_scenario`.
    """
    plant = make_plant(scenario)
    scenario = with_random_faults(scenario, plant)
    expectations = parse_expectations(scenario, plant)
    record = read_record(record_path)
    began = time.perf_counter()
    for number, cycle in enumerate(record.cycles):
        minutes = cycle.inside.get("applied")
        if plant.time_s() != cycle.time_s or cycle.plant != (
            plant.advance(cycle.applied) if minutes is None else plant.advance_by_minutes(minutes)
        ):
            raise RunRecordError(
                f"{record_path}:{number + 2}: the plant does not do this under {scenario.head.name}: replay with the "
                "scenario and the version that made the record, or run the scenario again"
            )
    output_dir.mkdir(parents=True, exist_ok=True)
    timing = read_timing(record_path.with_name(TIMING_FILE))
    return write_results(scenario, plant, expectations, record, timing, time.perf_counter() - began, output_dir)


def write_results(
    scenario: Scenario,
    plant: Plant,
    expectations: Sequence[tuple[Expect, Predicate]],
    record: RunRecord,
    timing: tuple[BenchTiming, ...],
    wall_s: float,
    output_dir: Path,
    page: bool = True,
) -> BenchResult:
    """Judge a record and write it with its JUnit XML and, unless `page` is False and all is well, its HTML page."""
    kpis = kpi.indicators(record, timing)
    result = BenchResult(
        scenario=scenario,
        verdict=judge(expectations, record, kpis),
        kpis=kpis,
        recoveries_s=kpi.recoveries(record),
        record=record,
        timing=timing,
        wall_s=wall_s,
        record_path=output_dir / "record.jsonl",
        html_path=output_dir / "report.html",
        junit_path=output_dir / "junit.xml",
    )
    record.write(result.record_path)
    write_timing(output_dir / TIMING_FILE, timing)
    write_junit(result.junit_path, scenario.head.name, result.verdict, wall_s)
    if not page and result.verdict.passed:
        return result
    from hil.report import write_report  # matplotlib takes a second to import: not before the run

    write_report(result.html_path, result, plant)
    return result


def _run(
    scenario: Scenario,
    plant: Plant,
    bundle_path: Path,
    bundle: Bundle,
    output_dir: Path,
    progress: Progress | None,
) -> tuple[RunRecord, tuple[BenchTiming, ...]]:
    """Set everything up, run all cycles, take everything down."""
    for leftover in ("nisse.db", "nisse.db-wal", "nisse.db-shm", "daemon.log", "broker.log", "feeds.log"):
        (output_dir / leftover).unlink(missing_ok=True)  # a run starts from nothing, or it could not be repeated
    for leftover in ("nisse.bundles", "feeds"):
        shutil.rmtree(output_dir / leftover, ignore_errors=True)
    with ExitStack() as stack:
        rig = set_up(stack, scenario, plant, bundle_path, bundle, output_dir)
        daemon = LockstepDaemon(rig.site, output_dir / "daemon.log")
        stack.callback(daemon.close)
        links = BenchLinks(rig.line, rig.server, rig.broker, rig.mqtt, daemon, named=rig.device.named)
        if rig.outside is not None and scenario.feeds is not None:
            links.forecasts = BenchFeeds(LockstepFeeds(rig.site, output_dir / "feeds.log"), rig.outside)
            stack.callback(links.forecasts.process.close)
            links.forecasts.start(rig.mqtt, rig.broker)
            links.forecasts.learn(plant, rig.mqtt, scenario.feeds.learned, rig.measured)
        links.start_daemon()
        loop = Loop(scenario, plant, rig.device, links, rig.elapsed, rig.here)
        count = max(1, round(scenario.head.duration / plant.step_s))
        for number in range(count):
            loop.step()
            if progress is not None:
                progress(number + 1, count, loop.cycles[-1].level)
        daemon.stop()
        if links.forecasts is not None:
            links.forecasts.process.stop()
    return RunRecord(_header(scenario, plant, bundle), tuple(loop.cycles)), tuple(loop.timing)


def bundle_of(scenario: Scenario, given: Path | None) -> Path:
    """The bundle given, or the scenario's own. Raises BenchUsageError when there is neither."""
    if given is not None:
        return given
    if scenario.head.bundle is not None:
        return scenario.path(scenario.head.bundle)
    raise BenchUsageError(
        f"{scenario.head.name} names no bundle: build one with `nisse key new signing.pem` and `nisse build "
        f"{scenario.head.house} --key signing.pem --output {Path(scenario.head.house).stem}.nisse`, and pass it with "
        "--bundle"
    )


def _check_signals(scenario: Scenario, plant: Plant) -> None:
    known = set(signals_of(scenario, plant))
    for fault in scenario.faults:
        if fault.signal is not None and fault.signal not in known:
            raise ScenarioError(
                f"{scenario.head.name}: no signal is called {fault.signal!r}: there are {', '.join(sorted(known))}"
            )


def _header(scenario: Scenario, plant: Plant, bundle: Bundle) -> dict[str, Any]:
    """What the run was, without anything that names the machine or the day."""
    head = scenario.head
    return {
        "format_version": FORMAT_VERSION,
        "scenario": head.name,
        "scenario_sha256": hashlib.sha256(scenario.source.encode()).hexdigest(),
        "house": plant.house.name,
        "seed": head.seed,
        "step_s": plant.step_s,
        "plan_step_s": bundle.manifest.dt_s,
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.digest,
        "faults": [{"label": f.label, "at_s": f.at, "end_s": f.end} for f in scenario.faults],
    }
