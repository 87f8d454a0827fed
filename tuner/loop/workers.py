"""Who computes the episodes and weeks of a tuning or a verdict: the processes of this machine, or a Dask cluster.

Whoever it is, a result depends on its arguments alone and comes in the order in which it was asked for.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from joblib import Parallel, delayed

from runtime.version import DISTRIBUTION

_TURN = threading.Lock()
"""The compiled solver of a process has one memory."""
AHEAD = 256
"""Tasks that a cluster is given before their first result is taken."""


class WorkersError(RuntimeError):
    """There is nobody to compute."""

    exit_code = 69


class Workers(Protocol):
    """Runs `function(*shared, *task)` for each of the tasks; all of it must pickle."""

    def run(
        self, function: Callable[..., Any], shared: tuple[Any, ...], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        """Results in the order of the tasks, each as soon as it and those before it are there."""
        ...


@dataclass(frozen=True)
class LocalWorkers:
    """`jobs` processes of this machine; 1 computes in this one, -1 takes one per core."""

    jobs: int = 1

    def run(
        self, function: Callable[..., Any], shared: tuple[Any, ...], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        calls = (delayed(function)(*shared, *task) for task in tasks)
        return iter(Parallel(n_jobs=self.jobs, return_as="generator")(calls))


@dataclass(frozen=True)
class Cluster:
    """The workers of a Dask scheduler at `address`, as tcp://10.0.0.5:8786. Each needs nisse installed as it is here.

    What is shared travels once to every worker. A worker without the compiled program builds its own. A worker's
    threads take turns, so give each one thread and start as many workers as there are cores.
    """

    address: str

    def run(
        self, function: Callable[..., Any], shared: tuple[Any, ...], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any]:
        """Raises WorkersError where Dask is not installed or the scheduler cannot be reached."""
        with self._client() as client:
            kept = client.scatter([shared], broadcast=True, hash=False)[0]
            for begin in range(0, len(tasks), AHEAD):
                part = tasks[begin : begin + AHEAD]
                futures = [client.submit(_alone, function, kept, task, pure=False) for task in part]
                for future in futures:
                    yield future.result()

    def _client(self) -> Any:
        try:
            distributed = importlib.import_module("distributed")
        except ImportError as error:
            raise WorkersError(
                f"a cluster needs Dask; install it with: {sys.executable} -m pip install '{DISTRIBUTION}[cluster]'"
            ) from error
        try:
            return distributed.Client(self.address, timeout="10s", set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise WorkersError(
                f"no Dask scheduler answers at {self.address}; start one by `dask scheduler`, or leave --cluster out"
            ) from error


def _alone(function: Callable[..., Any], shared: tuple[Any, ...], task: tuple[Any, ...]) -> Any:
    with _TURN:
        return function(*shared, *task)
