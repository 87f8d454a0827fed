"""A tuning says how far it is and about how long the rest takes, from the first step on."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from patience import comes_true
from rich.console import Console

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.world.generate import generated_world
from tests.tuner.test_bound import HOURLY
from tuner.commands.tune_pace import (
    EXPLORE,
    JUDGE,
    KINDS,
    LEARN,
    PAIRS,
    TRY,
    Teller,
    beat,
    plan_of,
    plan_of_log,
    seconds_of_a_decision,
)
from tuner.loop.explore import PlantWorld
from tuner.loop.pace import Counted, Pace, Tasks, in_words
from tuner.loop.workers import LocalWorkers

PLAN = [Tasks(JUDGE, 3, 10.0), Tasks(TRY, 1, 10.0), Tasks(EXPLORE, 2, 5.0), Tasks(TRY, 1, 10.0)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(plan: list[Tasks]) -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(plan, 2, 0.5, clock, lambda line: None), clock


def test_what_was_measured_beforehand_counts_as_much_as_a_first_task() -> None:
    pace, clock = begun(PLAN)
    # Three weeks in two processes are two rounds: 20 + 10 + 5 + 10 decisions one after another.
    assert pace.remaining_s() == pytest.approx(22.5)
    pace.start(JUDGE, 3)
    assert pace.remaining_s() == pytest.approx(22.5)
    for _ in range(2):
        clock.now += 10.0  # two weeks side by side in 20 s, 2 s a decision; before, 10 decisions of half a second
        pace.finish_task()
    seconds = (20.0 + 5.0) / (10 + 10)
    assert pace.remaining_s() == pytest.approx(seconds * (10 + 10 + 5 + 10))
    assert pace.line() == f"{JUDGE}: 2 of 3, about 44 s left"


def test_what_is_done_again_comes_on_top_and_what_is_left_out_is_dropped() -> None:
    pace, _ = begun(PLAN)
    pace.start(TRY, 1)  # nothing to compare: straight to the first look
    pace.finish_task()
    pace.seconds = 1.0
    pace.start(EXPLORE, 2)
    pace.start(TRY, 1)
    assert pace.remaining_s() == pytest.approx(10.0)
    pace.start(TRY, 1)  # the change is halved and tried again
    assert pace.remaining_s() == pytest.approx(10.0)


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "1 s"), (89.0, "89 s"), (120.0, "2 min"), (7200.0, "2.0 h")])
def test_times_in_words(seconds: float, said: str) -> None:
    assert in_words(seconds) == said


def test_the_estimate_comes_before_the_work_and_lines_follow_it_where_there_is_no_terminal() -> None:
    design = HouseDesign(HOURLY)
    library = build_solver(design.problem, host_arch()).library
    world = generated_world(design.house, datetime(2022, 4, 3, tzinfo=UTC), 20, seed=1)
    theta, said = design.problem.theta_default(), io.StringIO()
    seconds = seconds_of_a_decision(design, library, theta, world, 24)
    assert 0.0 < seconds < 60.0
    plan = plan_of(design, looks=0, tried=1, iterations=1, episodes=2, episode_days=4.0, replay=3, judged=6)
    # Weeks and episodes begin a day earlier; a lesson solves three programs of each decision.
    assert plan == [
        Tasks(TRY, 1, 192.0), Tasks(EXPLORE, 2, 120.0), Tasks(LEARN, 2, 288.0),
        Tasks(TRY, 1, 192.0), Tasks(JUDGE, 6, 192.0),
    ]  # fmt: skip
    in_pairs = plan_of(
        design, looks=0, tried=1, iterations=1, episodes=2, episode_days=4.0, replay=3, judged=0, tries=7
    )
    assert in_pairs == [Tasks(TRY, 1, 192.0), Tasks(PAIRS, 14, 120.0), Tasks(TRY, 1, 192.0)]
    on_a_log = plan_of_log(design, stretches=2, decisions=300, iterations=2, judged=3)
    assert on_a_log == [Tasks(LEARN, 2, 450.0), Tasks(LEARN, 2, 450.0), Tasks(JUDGE, 3, 192.0)]
    clock = Clock()
    teller = Teller(Console(file=said, width=200), clock)
    with teller.begin(plan, 1, seconds) as pace:
        workers = Counted(LocalWorkers(1), pace, KINDS)
        assert said.getvalue().startswith("some 2,352 decisions at ")
        plants = PlantWorld(design, library, world, (24,), (24, 192), 2, 0.5, 0, workers, held_in_days=0.5)
        clock.now = 30.0
        assert len(plants.try_out(theta).total) == 2 and len(plants.explore(theta, 0)) == 2
        # A line now and then, not one for each task.
        assert [line.split(",")[0] for line in said.getvalue().splitlines()[1:]] == [f"{TRY}: 0 of 2"]
        # The same stretches whatever theta, and others at the next iteration.
        costs, later = (plants.compare([theta, 1.01 * theta, theta], i) for i in (0, 1))
        np.testing.assert_array_equal(costs[0], costs[2])
        assert np.all(costs[0] != costs[1]) and np.all(costs[0] != later[0])


def test_a_long_task_is_told_of_by_the_clock_and_what_is_left_grows_less_meanwhile() -> None:
    pace, clock = begun([Tasks(JUDGE, 1, 100.0), Tasks(TRY, 1, 10.0)])
    said: list[str] = []
    pace.tell, over = said.append, threading.Event()
    pace.start(JUDGE, 1)
    clock.now = 20.0
    assert pace.remaining_s() == pytest.approx(0.5 * 110.0 - 20.0)
    clock.now = 500.0  # longer than was thought: what comes after it is still ahead
    assert pace.remaining_s() == pytest.approx(0.5 * 10.0)
    alive = threading.Thread(target=beat, args=(pace, over, 0.001))
    alive.start()
    assert comes_true(lambda: len(said) > 3, every_s=0.001)
    over.set()
    alive.join()
    assert said[-1] == f"{JUDGE}: 0 of 1, about 5 s left"
