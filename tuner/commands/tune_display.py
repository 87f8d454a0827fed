"""The live table of a tuning run: what a person wants to see while they wait."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tuner.trainer import Progress as TrainingProgress

ROWS = 15
"""Iterations that are shown at once."""


class LiveTable:
    """A context manager with two callbacks: `update` per iteration, `held_out` per judged week."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.rows: list[TrainingProgress] = []
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self.wait = self.bar.add_task("solver, data fit and gradient self-check", total=None)
        self.live = Live(self._view(), console=console, refresh_per_second=4)

    def __enter__(self) -> LiveTable:
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop_task(self.wait)
        self.bar.update(self.wait, visible=False)
        self.live.update(self._view())
        self.live.__exit__(kind, error, traceback)

    def update(self, progress: TrainingProgress) -> None:
        self.rows.append(progress)
        if not self.console.is_terminal:
            # A log file shows no live table; a line per iteration says that it goes on.
            r = progress.record
            left = f"{progress.remaining_s:.0f} s left"
            self.console.print(f"iteration {r.iteration}: held-in cost {r.cost:.4f}, {r.failures} failures, {left}")
        self.bar.update(self.wait, visible=False)
        self.live.update(self._view())

    def held_out(self, done: int, total: int) -> None:
        self.bar.update(self.wait, description="held-out weeks", completed=done, total=total, visible=done < total)

    def _view(self) -> Group:
        table = Table(title=self.title)
        for heading in ("iteration", "held-in cost", "change", "TD error", "ms/solve", "failures", "at bounds", "left"):
            table.add_column(heading, justify="right")
        for p in self.rows[-ROWS:]:
            r = p.record
            change = f"{r.cost - p.initial_cost:+.4f}" if r.accepted else "step taken back"
            table.add_row(
                str(r.iteration), f"{r.cost:.4f}", change, f"{r.td_error:.4f}", f"{p.ms_per_solve:.2f}",
                f"{r.failures} of {r.solves}", str(r.at_bounds), f"{p.remaining_s:.0f} s",
            )  # fmt: skip
        return Group(table, self.bar) if self.rows else Group(self.bar)
