"""The journal: keeps the log open whatever the disk does. Trouble is told, control goes on, nothing is deleted.

A log that cannot be written is opened again at the next cycle; a damaged one is moved aside, with the time in its name,
and a new one begun. A cycle on the grid always has its row. Cycles in between, which commands and troubles ask for,
have a budget of rows; beyond it the newest takes the place of the one before, so that nobody turns the log over.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from runtime.clock import Clock
from runtime.decide.plan import Plan
from runtime.errors import StoreCorruptError, StoreError
from runtime.publish.operator_commands import RateLimit
from runtime.site.config import SiteFile
from runtime.store.transitions import Store, Transition

SUBJECT = "log"
EXTRA_ROWS_PER_HOUR, EXTRA_ROWS_BURST = 12.0, 60
"""Rows of cycles off the grid: with the default length, a log lasts half a year or more, whatever is asked of it."""
T = TypeVar("T")

log = logging.getLogger("nisse.journal")


class Journal:
    """Used by the daemon's thread only. `notice(subject, text)` tells the operator; an empty text takes it back."""

    def __init__(self, site: SiteFile, clock: Clock, notice: Callable[[str, str], None]) -> None:
        self._path = site.relative(site.store.path)
        self._max = site.store.max_transitions
        self._cycle_s = site.controller.cycle_s
        self._extra_rows = RateLimit(EXTRA_ROWS_PER_HOUR / 3600.0, EXTRA_ROWS_BURST)
        self._slot = -1
        self._last_extra: int | None = None
        self._memory: dict[str, str] = {}
        self._unkept: set[str] = set()
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
        slot = int(row.time_s // self._cycle_s)
        extra = slot == self._slot
        room = not extra or self._extra_rows.allows(self._clock.monotonic())

        def write() -> None:
            store = self._opened()
            for key in sorted(self._unkept):
                store.keep(key, self._memory[key])
                self._unkept.discard(key)
            new_plan = plan if plan is not self._logged_plan else None
            instead_of = None if room else self._last_extra
            number = store.append(row, new_plan, timing, self._clock.boot, instead_of)
            self._logged_plan, self._slot = plan, slot
            self._last_extra = number if extra else self._last_extra

        self._told(write)

    def keep(self, key: str, text: str) -> str:
        """Remember something beyond a restart, before returning; the problem, or an empty string when it is kept.

        What the disk does not take is told, and tried again with every cycle.
        """
        if self._memory.get(key) == text and key not in self._unkept:
            return ""
        self._memory[key] = text
        self._unkept.add(key)

        def write() -> None:
            self._opened().keep(key, text)
            self._unkept.discard(key)

        return self._told(write)

    def kept(self, key: str) -> str | None:
        """What was kept under `key`, also by an earlier run; None where nothing is."""
        text = self.recall(lambda store: store.kept(key))
        if text is not None:
            self._memory[key] = text
        return text

    def close(self, *, safe: bool) -> None:
        """safe: the devices have been left safe."""
        if self._store is None:
            return
        with contextlib.suppress(StoreError):  # a log that has been in trouble has been told of
            if safe:
                self._store.stopped()
        self._store.close()

    def _told(self, what: Callable[[], None]) -> str:
        """Do it, and tell the operator how that went; the problem, or an empty string."""
        try:
            what()
        except StoreCorruptError as error:
            self._begin_again(error)
            return str(error)
        except StoreError as error:
            self._let_go()
            self._notice(SUBJECT, str(error))
            return str(error)
        self._notice(SUBJECT, "")
        return ""

    def _opened(self) -> Store:
        if self._store is None:
            self._open()
        assert self._store is not None
        return self._store

    def _open(self) -> None:
        self._store = Store(self._path, max_transitions=self._max)
        self._logged_plan = self._last_extra = None

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
                if part.is_file():
                    part.rename(aside.with_name(aside.name + suffix))
            self._open()
            self._unkept |= set(self._memory)  # what the damaged one knew, the new one must
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
