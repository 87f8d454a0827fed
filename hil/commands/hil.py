"""`nisse hil`: run one scenario, or a campaign of random faults, and give a verdict."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from hil.bench import BenchResult, bundle_of, exit_on_sigterm, replay_scenario, run_scenario
from hil.campaign import as_toml, run_campaign
from hil.campaign_log import LOG_FILE, append, begin_log, identity
from hil.errors import BenchUsageError
from hil.house_run import HouseRun, house_scenario, is_house
from hil.kpi import LEVELS
from hil.scenario import Scenario, load_scenario, shipped_scenario
from hil.words import number, timing_rows, unit
from runtime.bundle.archive import open_bundle
from systems.commands.output import output_folder, output_path, write_json

EXIT_OK, EXIT_CHECK_FAILED = 0, 1
SHOWN = ("cost_tot", "ener_tot", "pele_tot", "time_rat", "recovery_s", "level_changes", "actuator_travel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenario", metavar="SCENARIO|HOUSE", help="scenario file or house file (TOML), or the name of a shipped one"
    )
    parser.add_argument("--days", type=float, metavar="N", help="of a house: how many days nothing breaks (default: 7)")
    parser.add_argument("--start", metavar="DATE", help="of a house: its first day (default: 2024-01-15)")
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="controller bundle; overrides the scenario's own")
    parser.add_argument(
        "--trusted-key", metavar="KEY", help="public key that must have signed the bundle (default: its own signer)"
    )
    parser.add_argument(
        "--replay", type=Path, metavar="RECORD", help="judge a recorded run again instead of running the daemon"
    )
    parser.add_argument(
        "--campaign", type=int, metavar="N", help="run N random fault schedules and report the smallest that fails"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time in a campaign (default: 2)")
    parser.add_argument("--output", type=output_folder, metavar="DIR", help="of the results (default: out/hil/NAME)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write verdict and indicators as JSON")
    parser.add_argument("--junit", type=output_path, metavar="PATH", help="write the JUnit XML here as well")
    parser.epilog = (
        "examples:\n  nisse hil villa --bundle villa.nisse --days 2 --start 2024-07-08\n"
        "  nisse hil battery-week --bundle battery.nisse --output out/week\n"
        "  nisse hil battery-campaign --bundle battery.nisse --campaign 20 --output out/campaign\n\n"
        "exit codes: 0 all predicates hold, 1 one does not, 2 usage, 65 bad bundle or data, 78 bad scenario"
    )


def run(args: argparse.Namespace) -> int:
    exit_on_sigterm()
    scenario = _scenario(args)
    output = args.output or Path("out") / "hil" / scenario.head.name
    if args.campaign is not None:
        return _campaign(scenario, args, output)
    result = replay_scenario(scenario, args.replay, output) if args.replay else _run(scenario, args, output)
    if args.json is not None:
        write_json(args.json, as_json(result))
    if args.junit is not None:
        args.junit.parent.mkdir(parents=True, exist_ok=True)
        args.junit.write_bytes(result.junit_path.read_bytes())
    show(result, Console())
    return EXIT_OK if result.verdict.passed else EXIT_CHECK_FAILED


def _scenario(args: argparse.Namespace) -> Scenario:
    """Of a file or a shipped name: a scenario, or some days of a house."""
    if is_house(args.scenario):
        chosen = {name: getattr(args, name) for name in ("days", "start") if getattr(args, name) is not None}
        return house_scenario(args.scenario, HouseRun(**chosen))
    if args.days is not None or args.start is not None:
        raise BenchUsageError(f"--days and --start are for a house: {args.scenario} says its own duration and start")
    given = Path(args.scenario)
    return load_scenario(shipped_scenario(args.scenario) if given.suffix == "" and not given.exists() else given)


def _campaign(scenario: Scenario, args: argparse.Namespace, output: Path) -> int:
    from hil import campaign_report  # matplotlib takes a second to import

    if args.campaign < 1 or args.jobs < 1:
        raise BenchUsageError("--campaign and --jobs need a number of at least 1")
    console, began = Console(), time.perf_counter()
    bundle_path = bundle_of(scenario, args.bundle)
    bundle = open_bundle(bundle_path, None if args.trusted_key is None else [args.trusted_key])
    done = begin_log(output, identity(scenario, bundle.digest))
    if done:
        console.print(f"{len(done)} runs are in {output / LOG_FILE}: going on behind them", soft_wrap=True)
    with _bar("schedules, {task.fields[failed]} failed") as bar:
        task = bar.add_task(scenario.head.name, total=args.campaign, failed=0)
        trials = run_campaign(
            scenario,
            bundle_path,
            args.trusted_key,
            output,
            done=done,
            finished=lambda trial: append(output, trial),
            runs=args.campaign,
            jobs=args.jobs,
            progress=lambda done, total, failed: bar.update(task, completed=done, total=total, failed=failed),
        )
    campaign_report.write_campaign_page(
        output / "campaign.html", scenario, trials, None if done else time.perf_counter() - began
    )
    junit = args.junit or output / "junit.xml"
    junit.parent.mkdir(parents=True, exist_ok=True)
    campaign_report.write_junit(junit, scenario, trials)
    if args.json is not None:
        write_json(args.json, campaign_report.as_json(scenario, trials))
    failed = [trial for trial in trials if not trial.passed]
    for trial in failed:
        console.print(f"[bold red]run {trial.number:03d} fails[/]", "; ".join(trial.failures), soft_wrap=True)
        console.print(as_toml(trial.smallest), markup=False, highlight=False)
    console.print(f"{len(trials) - len(failed)} of {len(trials)} fault schedules survived")
    console.print(f"report: {output / 'campaign.html'}", soft_wrap=True)
    return EXIT_CHECK_FAILED if failed else EXIT_OK


def _bar(text: str) -> Progress:
    """A progress bar on a terminal; a log file wants none."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(text), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(
        TextColumn("{task.description}"), *columns, console=console, transient=True, disable=not console.is_terminal
    )


def _run(scenario: Scenario, args: argparse.Namespace, output: Path) -> BenchResult:
    """With a progress bar."""
    with _bar("cycles, level {task.fields[level]}") as bar:
        task = bar.add_task(scenario.head.name, total=None, level="-")
        return run_scenario(
            scenario,
            args.bundle,
            args.trusted_key,
            output,
            progress=lambda done, total, level: bar.update(task, completed=done, total=total, level=level),
        )


def show(result: BenchResult, console: Console) -> None:
    """Verdict table, the main indicators, and where the files are."""
    table = Table(title=f"{result.scenario.head.name}: {'passed' if result.verdict.passed else 'FAILED'}")
    table.add_column("predicate")
    table.add_column("verdict")
    table.add_column("seen")
    for check in result.verdict.checks:
        mark = "[green]holds[/]" if check.outcome.holds else "[bold red]fails[/]"
        where = "" if check.first_failure_s is None else f" (first after {number(check.first_failure_s / 3600)} h)"
        table.add_row(" ".join(filter(None, (check.outcome.text, check.window))), mark, check.outcome.detail + where)
    console.print(table)
    facts = [(name, result.kpis[name]) for name in SHOWN if math.isfinite(result.kpis[name])]
    console.print("  ".join(f"{name} {number(value)} {unit(name)}".strip() for name, value in facts))
    times = [(level, result.kpis[f"level_seconds.{level}"]) for level in LEVELS]
    console.print("levels: " + ", ".join(f"{level} {number(s / 3600)} h" for level, s in times if s > 0))
    for title, median, high, _ in timing_rows(result.timing):
        console.print(f"{title}: median {number(median)} ms, 99 % {number(high)} ms", style="dim")
    days = len(result.record.cycles) * result.record.step_s / 86400.0
    span = f"{number(days)} day{'' if days == 1 else 's'} in {result.wall_s:.1f} s"
    console.print(f"{span}; record sha256 {result.record.sha256()[:16]}", style="dim")
    console.print(f"report: {result.html_path}", soft_wrap=True)


def as_json(result: BenchResult) -> dict[str, object]:
    """Verdict, indicators (null where there is none) and files, for machines."""
    finite = {name: value if math.isfinite(value) else None for name, value in result.kpis.items()}
    return {
        "scenario": result.scenario.head.name,
        "passed": result.verdict.passed,
        "predicates": [
            {
                "that": c.outcome.text,
                "holds": c.outcome.holds,
                "detail": c.outcome.detail,
                "failures": c.outcome.failures,
                "first_failure_s": c.first_failure_s,
            }
            for c in result.verdict.checks
        ],
        "kpis": finite,
        "recoveries_s": {k: v if math.isfinite(v) else None for k, v in result.recoveries_s.items()},
        "record_sha256": result.record.sha256(),
        "wall_s": result.wall_s,
        "timing_ms": {title: {"median": m, "p99": h, "max": x} for title, m, h, x in timing_rows(result.timing)},
        "files": {
            "record": str(result.record_path),
            "html": str(result.html_path),
            "junit": str(result.junit_path),
        },
    }
