"""The solver's process on a machine that has no time for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_site import ABI, HERE

from runtime.bundle.archive import LIBRARY
from runtime.decide.solver_process import SolverProcess
from runtime.errors import SolverProcessError, SolverStartingError

FORECAST = [(0.1,)] * 5
SPIN = "while True: pass"


def hashes(library: Path) -> dict[str, str]:
    return {library.name: hashlib.sha256(library.read_bytes()).hexdigest()}


@contextlib.contextmanager
def crowded(pids: list[int], crowd: int = 4) -> Iterator[None]:
    """One processor for these processes and a crowd of others that never rest."""
    processor = min(os.sched_getaffinity(0))
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(crowd)]
    try:
        for pid in (*pids, *(p.pid for p in others)):
            os.sched_setaffinity(pid, {processor})
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def busy_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny controller that needs 0.6 s of processor time above a level of 0.9."""
    out = tmp_path_factory.mktemp("busy") / LIBRARY
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "these tests need a C compiler"
    mood = ["-DTINY_MOOD='b'", "-I", str(ABI), str(HERE / "tiny_controller.c")]
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", *mood, "-o", str(out), "-lm"], check=True)
    return out


@pytest.mark.parametrize("lockstep", [True, False])
def test_in_lockstep_waiting_for_a_processor_does_not_count(busy_library: Path, lockstep: bool) -> None:
    solver = SolverProcess(busy_library, hashes(busy_library), lockstep=lockstep)
    try:
        while True:
            with contextlib.suppress(SolverStartingError):
                quick = solver.solve([0.3], FORECAST, (1.0,), 60.0)
                break
        assert quick.action == pytest.approx((0.3,)) and solver.pid is not None
        with crowded([solver.pid]):
            if lockstep:
                assert solver.solve([0.94], FORECAST, (1.0,), 1.5).action == pytest.approx((-0.34,))
            else:  # here a second is a second: whoever waits for the set-point knows no excuse
                with pytest.raises(SolverProcessError, match="took longer than its deadline"):
                    solver.solve([0.94], FORECAST, (1.0,), 1.5)
    finally:
        solver.close()


def test_in_lockstep_nobody_is_in_a_hurry_for_a_solver_that_starts(busy_library: Path) -> None:
    hurried, patient = (
        SolverProcess(busy_library, hashes(busy_library)),
        SolverProcess(busy_library, hashes(busy_library), lockstep=True),
    )
    try:
        with pytest.raises(SolverStartingError):
            hurried.solve([0.3], FORECAST, (1.0,), 60.0, patience_s=0.0)
        assert hurried.pid is not None, "it goes on loading"
        assert patient.solve([0.3], FORECAST, (1.0,), 60.0, patience_s=0.0).action == pytest.approx((0.3,))
    finally:
        hurried.close()
        patient.close()
