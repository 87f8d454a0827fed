"""A job in a thread of its own, with little claim on the processor: whoever asked for it looks in again."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from runtime.errors import StoppedError

T = TypeVar("T")
NICE = 10
LOOK_S = 0.1


class Background(Generic[T]):
    """Begins at once. `done` is called in its thread when there is a result, or an exception in its place."""

    def __init__(self, name: str, job: Callable[[], T], done: Callable[[], None] = lambda: None) -> None:
        self._future: Future[T] = Future()
        self._job, self._done = job, done
        # A daemon thread: what hangs in a file system must not keep the process alive.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def finished(self) -> bool:
        return self._future.done()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it has finished by then."""
        return bool(wait([self._future], timeout_s).done)

    def result(self) -> T:
        """What the job returned; raises what it raised. Waits for it."""
        return self._future.result()

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            self._future.set_result(self._job())
        except BaseException as error:
            # Whoever asks for the result gets it.
            self._future.set_exception(error)
        self._done()


def interruptible(job: Callable[[], T], stopping: Callable[[], bool]) -> T:
    """What `job` returns; raises what it raises, and StoppedError as soon as `stopping`, while it goes on alone."""
    background = Background("start", job)
    while not background.wait(LOOK_S):
        if stopping():
            raise StoppedError("stopped at the start")
    return background.result()
