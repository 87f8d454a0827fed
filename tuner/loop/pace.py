"""How much of a tuning is done and how long the rest takes, by what its workers are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.loop.workers import Workers

MINUTE_S, HOUR_S = 60.0, 3600.0


@dataclass(frozen=True)
class Tasks:
    """A number of tasks of one kind, side by side, and how many decisions each of them takes."""

    kind: str
    tasks: int
    decisions: float

    def waiting(self, jobs: int) -> float:
        """Decisions that follow each other in the longest of so many processes."""
        return -(-self.tasks // jobs) * self.decisions


class Pace:
    """Follows a plan of steps. A step that is done again, as where a change is taken back, is counted as it comes."""

    def __init__(
        self, plan: Sequence[Tasks], jobs: int, seconds: float, clock: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        """seconds: of a decision, measured beforehand; clock: seconds that only grow; tell: hears of what was done.

        What was measured beforehand counts as much as a first task: that may be one of rules, which takes no time.
        """
        self.ahead, self.jobs, self.seconds, self.clock, self.tell = list(plan), jobs, seconds, clock, tell
        self.step, self.done, self.waited = Tasks("", 0, 0.0), 0, max((step.decisions for step in plan), default=0.0)
        self.began, self.looked = clock() - seconds * self.waited, clock()

    def start(self, kind: str, tasks: int) -> None:
        """Steps of the plan that were left out on the way are dropped."""
        if kind != self.step.kind or (self.ahead and self.ahead[0].kind == kind):
            while self.ahead and self.ahead[0].kind != kind:
                self.ahead.pop(0)
            planned = self.ahead.pop(0) if self.ahead else Tasks(kind, tasks, 0.0)
        else:
            planned = self.step
        self.step, self.done, self.looked = Tasks(kind, tasks, planned.decisions), 0, self.clock()
        self.tell(self.line())

    def finish_task(self) -> None:
        self.done, self.looked = self.done + 1, self.clock()
        self.waited += self.step.decisions / min(self.jobs, max(self.step.tasks, 1))
        if self.waited:
            self.seconds = (self.clock() - self.began) / self.waited
        self.tell(self.line())

    def remaining_s(self) -> float:
        """Less as the clock goes on, down to what comes after the tasks that are being done."""
        left = Tasks(self.step.kind, self.step.tasks - self.done, self.step.decisions)
        now, ahead = left.waiting(self.jobs), sum(step.waiting(self.jobs) for step in self.ahead)
        round_s = self.seconds * min(now, left.decisions)
        return self.seconds * (now + ahead) - min(self.clock() - self.looked, round_s)

    def line(self) -> str:
        return f"{self.step.kind}: {self.done} of {self.step.tasks}, about {in_words(self.remaining_s())} left"


@dataclass(frozen=True, eq=False)
class Counted:
    """Workers that let a pace know of what they do."""

    workers: Workers
    pace: Pace
    kinds: dict[str, str]
    """What functions do, by name."""

    def run(
        self, function: Callable[..., Any], shared: tuple[Any, ...], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        self.pace.start(self.kinds[function.__name__], len(tasks))
        for result in self.workers.run(function, shared, tasks):
            self.pace.finish_task()
            yield result


def in_words(seconds: float) -> str:
    if seconds < 1.5 * MINUTE_S:
        return f"{max(seconds, 1.0):.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < 1.5 * HOUR_S else f"{seconds / HOUR_S:.1f} h"
