"""Reloads: one look at the files at a time, beside the loop; whoever asks meanwhile is answered by the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from runtime.background import Background
from runtime.publish.operator_commands import Order

T = TypeVar("T")


class Reloading(Generic[T]):
    """Used by the daemon's thread only, but for `wake`, which is called from another one when a look is done."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._background: Background[T] | None = None
        self._asked: list[Order] = []
        self._waiting: list[Order] = []
        self._again = False
        self.wake: Callable[[], None] = lambda: None

    @property
    def under_way(self) -> bool:
        return self._background is not None

    def ask(self, order: Order | None) -> None:
        """Look, and look again where a look is under way that began before this."""
        if order is not None:
            self._waiting.append(order)
        self._again = True
        self.go_on()

    def go_on(self) -> None:
        """Begin the next look, if one is wanted and none under way."""
        if self._again and self._background is None:
            self._again, self._asked, self._waiting = False, self._waiting, []
            self._background = Background("reload", self._look, self.wake)

    def taken(self, *, wait: bool) -> tuple[Background[T], list[Order]] | None:
        """The look that is done, and who asked for it; None while there is none. wait: as long as it takes."""
        look = self._background
        if look is None or not (wait or look.finished):
            return None
        look.wait()
        self._background = None
        return look, self._asked
