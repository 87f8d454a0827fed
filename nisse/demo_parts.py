"""What the demos share: progress, a signed bundle, a run through the daemon, and sentences about both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from codegen.build import BuildResult
    from hil.bench import Result as BenchResult
    from hil.scenario import Scenario
    from pages.page import Text
    from systems.catalogue import Shape


@contextmanager
def step(console: Console, text: str) -> Iterator[None]:
    """A waiting sign while the block runs, then its text with the time it took."""
    began = time.monotonic()
    with console.status(text):
        yield
    console.print(f"{text} [dim]{time.monotonic() - began:.1f} s[/]")


@contextmanager
def bar(console: Console) -> Iterator[Progress]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as shown:
        yield shown


def build(
    console: Console,
    output: Path,
    shape: Shape,
    theta: Mapping[str, float],
    *,
    chosen: str,
    seed: int,
    problems: int = 40,
) -> tuple[BuildResult, str]:
    """A bundle for this machine, `output`/SYSTEM.nisse, and the public key that signed it.

    Verified with fewer problems than `nisse build` takes: the same solver of reference, in a fifth of the time.
    """
    from codegen.build import BuildRequest, build_bundle
    from codegen.targets import host_arch
    from runtime.bundle.keys import load_key, new_key
    from runtime.bundle.manifest import new_serial

    key_path = output / "demo-key.pem"
    key = load_key(key_path) if key_path.exists() else new_key(key_path)
    now = datetime.now(UTC)
    request = BuildRequest(
        shape=shape,
        targets=(host_arch(),),
        theta=theta,
        created=now.isoformat(timespec="seconds"),
        serial=new_serial(now.timestamp()),
        provenance={"theta": {"from": f"nisse demo, {chosen}"}},
        problems=problems,
        seed=seed,
    )
    with bar(console) as shown:
        task = shown.add_task("build", total=None)

        def progress(what: str, done: int, total: int) -> None:
            shown.update(task, description=f"build: {what}", completed=done, total=total)

        built = build_bundle(request, key, output / f"{shape.system}.nisse", progress=progress)
    return built, key.public


def bench(console: Console, output: Path, scenario: Scenario, bundle: Path, public_key: str, text: str) -> BenchResult:
    """The scenario in lockstep: the real daemon, a real broker, a Modbus device on a pseudo-terminal."""
    from hil.bench import run_scenario

    with bar(console) as shown:
        task = shown.add_task(f"bench: {text}", total=None)
        return run_scenario(
            scenario,
            bundle,
            public_key,
            output / "bench",
            progress=lambda done, total, level: shown.update(task, completed=done, total=total),
        )


def period(run: BenchResult) -> str:
    """How long the bench simulated, in words."""
    days = len(run.record.cycles) * run.record.step_s / 86400.0
    return f"{days:g} {'day' if days == 1 else 'days'}"


def notes(chosen: str, certificate: Mapping[str, Any], run: BenchResult, folder: Path) -> list[Text]:
    """What the certificate and the bench found, for a page in `folder`."""
    from pages.page import Link, quiet

    found = [
        quiet(
            f"Certificate ({arch}): {entry['problems']} seeded problems against {certificate['reference']}, "
            f"largest relative objective gap {entry['max_relative_objective_gap']:.1e}, "
            f"largest KKT residual {entry['max_kkt_residual']:.1e}."
        )
        for arch, entry in certificate["arch"].items()
        if "skipped" not in entry
    ]
    verdict = "every predicate held" if run.verdict.passed else "a predicate failed"
    href = run.html_path.relative_to(folder).as_posix()
    found.append(
        quiet(
            f"Bench: {period(run)} of the {chosen.replace('_', '-')} controller in the daemon, "
            f"over MQTT and Modbus RTU, in {run.wall_s:.0f} s; {verdict}. ",
            Link("The page of the bench", href),
            ".",
        )
    )
    return found


def print_end(console: Console, run: BenchResult, bundle: Path, chosen: str, report: Path, took_s: float) -> None:
    """The last lines of a demo: bench, bundle, page."""
    mark = "[green]passed[/]" if run.verdict.passed else "[bold red]FAILED[/]"
    console.print(
        f"bench: {period(run)} through the daemon in {run.wall_s:.0f} s, {mark}; {run.html_path}", soft_wrap=True
    )
    console.print(f"bundle: {bundle} ({chosen.replace('_', '-')} theta)")
    console.print(f"[bold]report: {report}[/] ({took_s:.0f} s in all)", soft_wrap=True)


def bench_document(run: BenchResult) -> dict[str, Any]:
    return {"passed": run.verdict.passed, "wall_s": run.wall_s, "record_sha256": run.record.sha256()}
