"""A serial device's own thread: jobs with a deadline, and a device that fails is left alone for a while.

A dead port or a silent device never blocks the cycle. After a failure jobs fail at once for a time that doubles up to a
bound. In lockstep a job is waited for as long as it takes, so that what a cycle sees does not depend on the computer.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Protocol

from runtime.clock import Clock

BACKOFF_FIRST_S = 1.0
BACKOFF_LAST_S = 60.0
MAX_JOBS = 8
LATE = "no answer in time"

log = logging.getLogger("nisse.serial")


class DeviceError(Exception):
    """One exchange with the device failed; the text says how."""


class DeviceRefusedError(DeviceError):
    """The device answered that it will not: the line is in order."""


class Port(Protocol):
    """What a worker opens before a job and closes after a failure; both only in the worker's thread."""

    def open(self) -> None:
        """Does nothing when open. Raises DeviceError."""

    def close(self) -> None: ...


class Worker:
    """One device's thread. `run` is called by the cycle's thread only."""

    def __init__(self, name: str, port: Port, clock: Clock, *, deadline_s: float | None) -> None:
        """deadline_s: how long the cycle waits for a job; None waits until it is done (lockstep)."""
        self.name = name
        self.problem = "not opened yet"
        """Empty while the device answers."""
        self.session = 0
        """Counts the moments after which the device may have forgotten what it was told."""
        self._port, self._clock, self._deadline_s = port, clock, deadline_s
        self._open = False
        self._retry_at = float("-inf")
        self._backoff_s = 0.0
        self._jobs: queue.Queue[tuple[Callable[[], None], Future[None]] | None] = queue.Queue(MAX_JOBS)
        self._thread = threading.Thread(target=self._work, name=f"serial-{name}", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], None]) -> str:
        """Hand the job to the thread and wait; the problem, or an empty string when it was done."""
        return self.begin(job)()

    def begin(self, job: Callable[[], None]) -> Callable[[], str]:
        """Hand the job to the thread; what then waits for it, from now on, and says what became of it."""
        future: Future[None] = Future()
        try:
            self._jobs.put_nowait((job, future))
        except queue.Full:
            return lambda: "busy with earlier requests"
        deadline = None if self._deadline_s is None else time.monotonic() + self._deadline_s

        def ended() -> str:
            try:
                future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except FutureTimeoutError:
                future.cancel()
                return LATE
            except DeviceError as error:
                return str(error)
            return ""

        return ended

    def insist(self) -> None:
        """Leave a device that failed alone no longer."""
        self._retry_at = float("-inf")

    def forgotten(self) -> None:
        """The device has lost what it was told: whoever told it must tell it again."""
        self.session += 1

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stop the thread and free the port; one that hangs is left behind."""
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                self._open_port()
                job()
            except DeviceRefusedError as error:
                self._succeeded()
                future.set_exception(error)
            except DeviceError as error:
                self._failed(str(error))
                future.set_exception(error)
            except Exception as error:
                # A defect of ours or of a library; the house is not left without control for it.
                log.exception("%s", self.name)
                self._failed(f"{type(error).__name__}: {error}")
                future.set_exception(DeviceError(self.problem))
            else:
                self._succeeded()
                future.set_result(None)
        self._port.close()

    def _open_port(self) -> None:
        if not self._open and self._clock.monotonic() < self._retry_at:
            raise DeviceError(self.problem)
        self._port.open()
        self._open = True

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s: %s", self.name, problem)
        self.problem = problem
        self.session += 1
        if self._open:
            # A new port handle: the old one may belong to an adapter that was unplugged.
            self._port.close()
            self._open = False
        elif self._clock.monotonic() < self._retry_at:
            return
        self._backoff_s = min(BACKOFF_LAST_S, self._backoff_s * 2 or BACKOFF_FIRST_S)
        self._retry_at = self._clock.monotonic() + self._backoff_s

    def _succeeded(self) -> None:
        if self.problem and self._backoff_s:
            log.info("%s: answers again", self.name)
        self.problem, self._backoff_s, self._retry_at = "", 0.0, float("-inf")
