"""What the build and verify commands share: a progress bar and a table of the certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from codegen.verify import Progress as Report


@contextmanager
def progress_bar() -> Iterator[Report]:
    """A bar on stderr per kind of work; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield report


def print_certificate(certificate: Mapping[str, Any]) -> None:
    """One line per architecture."""
    table = Table(
        title=f"Seeded problems against {certificate['reference']}",
        box=box.SIMPLE,
        title_justify="left",
        caption="largest gaps, relative; iterations: mean (most); * of several programs,\n"
        "where odd prices make a plan a search",
        caption_justify="left",
    )
    for column in ("target", "verified", "solved", "objective", "first move", "KKT", "iterations"):
        table.add_column(column, no_wrap=column not in ("target", "first move"))
    skipped = {arch: entry["skipped"] for arch, entry in certificate["arch"].items() if "skipped" in entry}
    for arch, entry in certificate["arch"].items():
        if arch in skipped:
            continue
        table.add_row(
            arch + ("\nqemu" if entry["emulated"] else ""),
            "yes" if entry["verified"] else "NO",
            f"{entry['solved']} of {entry['problems']}",
            _number(entry["max_relative_objective_gap"]),
            _number(entry["max_relative_first_move_gap"]),
            _number(entry["max_kkt_residual"]),
            "\n".join(
                f"{part['mean']:.0f} ({part['most']}){'*' * (which == 'searched')}"
                for which, part in entry["iterations_of"].items()
            ),
        )
    console = Console()
    if table.row_count:
        console.print(table)
    for arch, reason in skipped.items():
        console.print(f"{arch}: not verified: {reason}", soft_wrap=True)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.1e}"
