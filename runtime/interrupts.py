"""Signals of the daemon, from its first line to its last: they set a wish and end it in the middle of nothing."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Callable, Iterator

# Power failing and the limit of processor time are told by signals too.
STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGXCPU})
RELOAD = frozenset({signal.SIGHUP})
# Whose default would end the daemon, or put it to sleep with its devices switched on: they mean nothing to it.
MEANINGLESS = frozenset(
    {
        signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPIPE,
        signal.SIGXFSZ, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    }
)  # fmt: skip
HEARD = STOP | RELOAD | MEANINGLESS


def hold() -> None:
    """Let signals wait until somebody listens: while modules are imported, nobody does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)


class Signals:
    """What signals have asked for, as something to wait on, so that it is done between cycles and not inside one."""

    def __init__(self) -> None:
        # Sockets and not descriptors: a thread that wakes us too late must not write into somebody else's file.
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self.stop_requested = False
        self._on_stop: list[Callable[[], None]] = []
        self._reload_requested = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[Signals]:
        """Listen, to signals that have been held as well. A process that held them listens to none after that."""
        held = bool(STOP & signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        before = {number: signal.signal(number, self._handle) for number in HEARD}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        try:
            yield self
        finally:
            for number, handler in before.items():
                # What comes while the interpreter ends must not change how it ends.
                signal.signal(number, signal.SIG_IGN if held else handler)
            self._read.close()
            self._write.close()

    @contextlib.contextmanager
    def also(self, act: Callable[[], None]) -> Iterator[None]:
        """At the first request to stop call `act`, in the main thread, wherever that is: it may take no lock.

        It is called at once where that request has come already.
        """
        self._on_stop.append(act)
        if self.stop_requested:
            act()
        try:
            yield
        finally:
            self._on_stop.remove(act)

    def wait(self, seconds: float) -> bool:
        """Sleep until a signal comes; True once a stop is requested."""
        if not self.stop_requested:
            select.select([self._read], [], [], max(0.0, seconds))
            with contextlib.suppress(BlockingIOError):
                self._read.recv(64)
        return self.stop_requested

    def wake(self) -> None:
        """End a wait; may be called from any thread."""
        with contextlib.suppress(OSError):  # full: a wake-up is under way already
            self._write.send(b"x")

    def take_reload(self) -> bool:
        """Whether a reload was requested since the last call."""
        requested, self._reload_requested = self._reload_requested, False
        return requested

    def _handle(self, number: int, frame: object) -> None:
        if number in RELOAD:
            self._reload_requested = True
        elif number in STOP:
            first, self.stop_requested = not self.stop_requested, True
            for act in self._on_stop if first else ():
                act()
        self.wake()
