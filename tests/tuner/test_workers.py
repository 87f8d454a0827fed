"""Whoever computes, the result is the same: this process, its children, and the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster

from codegen.solver import build_solver
from codegen.targets import host_arch
from nisse.cli import main
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.world.generate import generated_world
from tuner.evaluate.comparison import contenders, evaluate_house
from tuner.loop.explore import CompiledLabeller, PlantWorld, learning_entries
from tuner.loop.periods import weeks_of
from tuner.loop.workers import Cluster, LocalWorkers, Workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    # Two threads a worker: they share one solver, and must not at once.
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as found:
        yield found.scheduler_address


def everything(workers: Workers, library: Path) -> list[np.ndarray]:
    """Episodes, what theta says of them, tries on held-in weeks, and a verdict: all that workers are asked for."""
    design = HouseDesign(read_house("tank")[0])
    world = generated_world(design.house, datetime(2024, 1, 8, tzinfo=UTC), 24, seed=2)
    weeks, theta = weeks_of(design.house, world), design.problem.theta_default()
    plants = PlantWorld(
        design, library, world, tuple(weeks[1:]), tuple(weeks[:1]), 3, 0.5, 0, workers, held_in_days=0.5
    )
    experience = plants.explore(theta, 0)
    entries, scale = learning_entries(design.problem.theta, ("cost", "terminal"))
    labelled = CompiledLabeller(design, library, workers).label(experience, theta, entries, scale, with_advantage=True)
    tried = plants.try_all([theta, 1.01 * theta])
    judged = evaluate_house(design, world, weeks[:2], contenders(design.problem.theta, None), days=0.5, workers=workers)
    t = labelled.transitions
    return [
        *(stretch.deeds.cost for stretch in experience), t.policy_jacobian, t.value, t.advantage, t.segment,
        *(one.total for one in tried), *(judged.totals(name) for name in judged.results),
    ]  # fmt: skip


def test_a_cluster_and_processes_say_what_one_process_says(cluster: str, tmp_path: Path) -> None:
    library = build_solver(HouseDesign(read_house("tank")[0]).problem, host_arch()).library
    alone = everything(LocalWorkers(1), library)
    for workers in (LocalWorkers(2), Cluster(cluster)):
        for mine, theirs in zip(alone, everything(workers, library), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    # A worker elsewhere has no library of this machine, and builds its own.
    elsewhere = everything(Cluster(cluster), tmp_path / "not" / "here.so")
    for mine, theirs in zip(alone[:3], elsewhere, strict=False):
        np.testing.assert_array_equal(mine, theirs)


def test_a_scheduler_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "tank", "--weeks", "2", "--search", "0", "--cluster", "nowhere"]
    assert main(command) == 69
    error = capsys.readouterr().err
    assert "no Dask scheduler answers at nowhere" in error and error.count("\n") == 1
