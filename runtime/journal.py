"""The journal: keeps the log open whatever the disk does. Trouble is told, control goes on, nothing is deleted.

A log that cannot be written is opened again at the next cycle; a damaged one is moved aside, with the time in its name,
and a new one begun.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from runtime.clock import Clock
from runtime.config import SiteFile
from runtime.errors import StoreCorruptError, StoreError
from runtime.plan import Plan
from runtime.store import Store, Transition

SUBJECT = "log"
T = TypeVar("T")

log = logging.getLogger("nisse.journal")


class Journal:
    """Used by the daemon's thread only. `notice(subject, text)` tells the operator; an empty text takes it back."""

    def __init__(self, site: SiteFile, clock: Clock, notice: Callable[[str, str], None]) -> None:
        self._path = site.relative(site.store.path)
        self._max, self._cycle_s = site.store.max_transitions, site.controller.cycle_s
        self._clock, self._notice = clock, notice
        self._store: Store | None = None
        self._logged_plan: Plan | None = None
        self._told(self._open)

    def recall(self, question: Callable[[Store], T | None]) -> T | None:
        """Ask the log about the time before; None where it does not know."""
        if self._store is None:
            return None
        try:
            return question(self._store)
        except StoreError as error:
            log.warning("%s", error)
            return None

    def append(self, row: Transition, plan: Plan | None, timing: tuple[float, float, float]) -> None:
        """Commit one cycle; the plan only where it is another than before."""

        def write() -> None:
            if self._store is None:
                self._open()
            assert self._store is not None
            new_plan = plan if plan is not self._logged_plan else None
            self._store.append(row, new_plan, timing, self._clock.boot)
            self._logged_plan = plan

        self._told(write)

    def keep(self, key: str, text: str) -> None:
        """Remember something beyond a restart; where the disk does not take it, that is told."""

        def write() -> None:
            if self._store is None:
                self._open()
            assert self._store is not None
            self._store.keep(key, text)

        self._told(write)

    def close(self) -> None:
        """The devices have been left safe."""
        if self._store is None:
            return
        with contextlib.suppress(StoreError):  # a log that has been in trouble has been told of
            self._store.stopped()
        self._store.close()

    def _told(self, what: Callable[[], None]) -> None:
        try:
            what()
        except StoreCorruptError as error:
            self._begin_again(error)
        except StoreError as error:
            self._let_go()
            self._notice(SUBJECT, str(error))
        else:
            self._notice(SUBJECT, "")

    def _open(self) -> None:
        self._store = Store(self._path, max_transitions=self._max, cycle_s=self._cycle_s)
        self._logged_plan = None

    def _let_go(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _begin_again(self, error: StoreCorruptError) -> None:
        """Move the damaged file and what belongs to it aside and begin a new log."""
        self._let_go()
        stamp = datetime.fromtimestamp(self._clock.wall(), UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = _free(self._path.with_name(f"{self._path.name}.damaged-{stamp}"))
        try:
            for suffix in ("", "-wal", "-shm"):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            self._open()
        except (OSError, StoreError) as trouble:
            self._notice(SUBJECT, f"{error}; it could not be moved aside: {trouble}")
            return
        self._notice(SUBJECT, f"{self._path} was damaged ({error}); it was moved to {aside.name} and a new log begun")


def _free(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... that does not exist: nothing is overwritten."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
