"""The live table of a tuning run: what a person wants to see while they wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tuner.learn.tuning import Tuning, TuningProgress

P = TypeVar("P")
OLD, TUNED = "old", "tuned"
"""What --output holds, by its provenance."""
ROWS = 15
"""Iterations that are shown at once."""


@dataclass(frozen=True)
class TableView(Generic[P]):
    """How one system shows an iteration."""

    title: str
    columns: Sequence[str]
    row: Callable[[P], Sequence[str]]
    """Cells of an iteration."""
    line: Callable[[P], str]
    """The same for a log file, where no table lives."""
    waiting: str
    """What goes on before the first iteration."""


class LiveTable(Generic[P]):
    """A context manager with two callbacks: `update` per iteration, `held_out` per judged week."""

    def __init__(self, console: Console, view: TableView[P]) -> None:
        self.console, self.view = console, view
        self.rows: list[P] = []
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self.wait = self.bar.add_task(view.waiting, total=None)
        self.live = Live(self._view(), console=console, refresh_per_second=4)

    def __enter__(self) -> LiveTable[P]:
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop_task(self.wait)
        self.bar.update(self.wait, visible=False)
        self.live.update(self._view())
        self.live.__exit__(kind, error, traceback)
        if not self.console.is_terminal:
            self.console.print()

    def update(self, progress: P) -> None:
        self.rows.append(progress)
        if not self.console.is_terminal:
            self.console.print(self.view.line(progress), highlight=False, soft_wrap=True)
        self.bar.update(self.wait, visible=False)
        self.live.update(self._view())

    def doing(self, what: str) -> None:
        """What goes on until the next iteration."""
        self.bar.update(self.wait, description=what, visible=True)

    def held_out(self, done: int, total: int) -> None:
        self.bar.update(self.wait, description="held-out weeks", completed=done, total=total, visible=done < total)

    def _view(self) -> Group:
        table = Table(title=self.view.title, box=box.SIMPLE, padding=(0, 1, 0, 0))
        for heading in self.view.columns:
            table.add_column(heading, justify="right")
        for progress in self.rows[-ROWS:]:
            table.add_row(*self.view.row(progress))
        return Group(table, self.bar) if self.rows else Group(self.bar)


def milliseconds(progress: TuningProgress) -> str:
    """A solve with its derivatives; of tries in pairs, where none is labelled, nothing."""
    return f"{progress.ms_per_solve:.2f}" if progress.record.solves else "-"


def tuning_view(title: str, currency: str = "EUR") -> TableView[TuningProgress]:
    """How an iteration is shown; costs are per held-in week."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    def change(p: TuningProgress) -> str:
        if not p.record.accepted:
            return "none"
        total = p.record.total
        return "taken" if total is None or p.start_total is None else f"{100 * (total / p.start_total - 1):+.2f} %"

    def row(p: TuningProgress) -> list[str]:
        r = p.record
        return [
            str(r.iteration), shown(r.price), shown(r.comfort), shown(r.total), change(p), shown(r.td_error),
            milliseconds(p), str(r.failures), str(r.at_bounds), f"{p.remaining_s:.0f} s",
        ]  # fmt: skip

    def line(p: TuningProgress) -> str:
        r = p.record
        return (
            f"iteration {r.iteration}: price {shown(r.price)}, comfort {shown(r.comfort)}, total {shown(r.total)} "
            f"{currency}/week, change {change(p)}, {r.failures} failures, {p.remaining_s:.0f} s left"
        )

    costs = ("price", "comfort", "total", "change")
    columns = ("step", *costs, "TD error", "ms/solve", "failed", "at bounds", "left")
    return TableView(title, columns, row, line, "first look at the held-in weeks")


def changes_table(tuning: Tuning) -> Table:
    """What moved, with its bounds."""
    table = Table(title="theta")
    for heading in ("parameter", "unit", "before", "tuned", "bounds"):
        table.add_column(heading, justify="left" if heading in ("parameter", "unit") else "right")
    for p, before, after in tuning.changes()[:40]:
        bound = " (at its bound)" if after in (p.lower, p.upper) else ""
        table.add_row(p.name, p.unit, f"{before:.4f}", f"{after:.4f}{bound}", f"{p.lower:.4g}..{p.upper:.4g}")
    if len(tuning.changes()) > 40:
        table.add_row(f"and {len(tuning.changes()) - 40} more", "", "", "", "")
    return table
