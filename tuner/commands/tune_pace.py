"""What is shown while a tuning works: what goes on, and about how long the rest takes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from systems.design import HouseDesign
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.world import Exogenous
from tuner.loop.pace import Pace, Tasks, in_words
from tuner.loop.policies import Mpc
from tuner.loop.view import Moment
from tuner.loop.week import WARM_UP_H, run_stretch

JUDGE, EXPLORE, LEARN, PAIRS, TRY = (
    "weeks of every policy", "exploring", "what the decisions say of theta", "theta moved to either side",
    "trying on held-in weeks",
)  # fmt: skip
KINDS = {"run_week": JUDGE, "_explored": EXPLORE, "_labelled": LEARN, "_compared": PAIRS, "_tried": TRY}
"""What the workers are asked for, by the names of the functions."""
SOLVES_OF_A_LESSON = 3.0
"""The program of a decision, that of the action that was taken, and their derivatives."""
TRIAL_S, FEWEST, MOST = 2.0, 2, 40
"""Seconds and decisions of the trial."""
QUIET_S, ALIVE_S = 60.0, 10.0
"""Between two lines where no terminal shows a bar, and between two looks at the clock: a task may take minutes."""
DAY_H, WEEK_DAYS = 24.0, 7.0


class _EnoughError(Exception):
    """The trial has what it wants."""


class _Trial(Mpc):
    def begin(self) -> None:
        super().begin()
        self.times: list[float] = []

    def decide(self, moment: Moment) -> Array:
        self.times.append(time.monotonic())
        decisions, spent = len(self.times) - 1, self.times[-1] - self.times[0]
        if decisions >= MOST or (decisions >= FEWEST and spent >= TRIAL_S):
            raise _EnoughError
        return super().decide(moment)


def seconds_of_a_decision(design: HouseDesign, library: Path, theta: Array, world: Exogenous, first: int) -> float:
    """Measured here and now, plant included."""
    trial = _Trial(design, library, theta)
    with contextlib.suppress(_EnoughError):
        run_stretch(design, HousePlant(design.house, world), trial, first=first, stages=MOST + 1, seed=0)
    return (trial.times[-1] - trial.times[0]) / (len(trial.times) - 1)


def plan_of(
    design: HouseDesign, *, looks: int, tried: int, iterations: int, episodes: int, episode_days: float, replay: int,
    judged: int, tries: int | None = None,
) -> list[Tasks]:  # fmt: skip
    """The steps of a tuning in which every change is kept at its first try. looks, tried, judged: weeks of policies.

    tries: thetas that an iteration by pairs lives each episode through with; None where it explores and labels.
    """
    a_day, warm = DAY_H / design.house.grid.hold_h, WARM_UP_H / design.house.grid.hold_h
    week, episode = WEEK_DAYS * a_day + warm, episode_days * a_day
    plan = [Tasks(JUDGE, looks, week), Tasks(TRY, tried, week)]
    for iteration in range(iterations):
        plan += lessons_of(iteration, episodes, episode, warm, replay, tries)
        plan.append(Tasks(TRY, tried, week))
    return [step for step in [*plan, Tasks(JUDGE, judged, week)] if step.tasks]


def lessons_of(
    iteration: int, episodes: int, decisions: float, warm: float, replay: int, tries: int | None
) -> list[Tasks]:
    """What an iteration learns from: episodes of so many decisions, after so many that are not counted."""
    if tries is not None:
        return [Tasks(PAIRS, episodes * tries, decisions + warm)]
    lessons = episodes * min(iteration + 1, replay)
    return [Tasks(EXPLORE, episodes, decisions + warm), Tasks(LEARN, lessons, SOLVES_OF_A_LESSON * decisions)]


def plan_of_log(design: HouseDesign, *, stretches: int, decisions: int, iterations: int, judged: int) -> list[Tasks]:
    """The steps of a tuning on a log of so many decisions, in which every iteration bears out a change."""
    lesson = Tasks(LEARN, stretches, SOLVES_OF_A_LESSON * decisions / stretches)
    week = (WEEK_DAYS * DAY_H + WARM_UP_H) / design.house.grid.hold_h
    return [step for step in [*[lesson] * iterations, Tasks(JUDGE, judged, week)] if step.tasks]


class Teller:
    """Where the pace is told: to whatever lives on the terminal, or as a line now and then where there is none."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.show: Callable[[str], None] = lambda line: None
        self._next = clock()

    def tell(self, line: str) -> None:
        self.show(line)
        if not self.console.is_terminal and self.clock() >= self._next:
            self._next = self.clock() + QUIET_S
            self.console.print(line, soft_wrap=True)

    @contextlib.contextmanager
    def begin(self, plan: Sequence[Tasks], jobs: int, seconds: float) -> Iterator[Pace]:
        """Says what is ahead; as long as it lasts, how far it is, by the clock and whenever a task is done."""
        pace = Pace(plan, jobs, seconds, self.clock, self.tell)
        decisions = sum(step.tasks * step.decisions for step in plan)
        self.console.print(
            f"some {decisions:,.0f} decisions at {1e3 * seconds:.0f} ms in {jobs} processes: about "
            f"{in_words(pace.remaining_s())}, more where a change is taken back",
            soft_wrap=True,
        )
        over = threading.Event()
        alive = threading.Thread(target=beat, args=(pace, over, ALIVE_S), daemon=True)
        alive.start()
        try:
            yield pace
        finally:
            over.set()
            alive.join()


def beat(pace: Pace, over: threading.Event, period_s: float) -> None:
    """Tells how far it is at every period, until it is over."""
    while not over.wait(period_s):
        if pace.step.kind:
            pace.tell(pace.line())
