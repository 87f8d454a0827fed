"""Lockstep: a bench says what time it is, and the feeds do all that is due then.

    feeds -> {"event": "ready"}
    bench -> {"do": "feed", "time": <Unix s>, "barrier": n | null}
    feeds -> {"event": "feed", "due": <Unix s, when to come back at the latest>}
    bench -> {"do": "stop"}      feeds -> {"event": "stopped"}, and exit 0

What the daemon has published before the barrier of that number is heard before, at the time of the order before; what
is published is with the broker when the answer comes. Nothing here takes real time: a piece of an answer, however long
it was waited for, counts as a second, so that a service that sends a byte a second is given up in the same place on any
computer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from feeds.runner import Runner
from runtime.channel import parse, send
from runtime.clock import LockstepClock
from runtime.errors import LinkError
from runtime.interrupts import Signals

WAIT_S = 300.0
"""Real seconds: on a loaded machine a broker is slow and not away."""


class Broker(Protocol):
    def wait_connected(self, timeout_s: float) -> bool: ...

    def wait_barrier(self, sequence: int, timeout_s: float) -> bool: ...

    def settle(self, timeout_s: float) -> bool: ...


def counted() -> Callable[[], float]:
    """A clock that moves by a second whenever it is looked at."""
    seconds = 0.0

    def look() -> float:
        nonlocal seconds
        seconds += 1.0
        return seconds

    return look


def run_lockstep(
    runner: Runner, broker: Broker | None, clock: LockstepClock, channel: socket.socket, signals: Signals
) -> None:
    """Obey the bench until it says stop, or a signal does. Raises LinkError when it dies or is not understood."""
    with channel, channel.makefile("r", encoding="utf-8") as lines, channel.makefile("w", encoding="utf-8") as out:
        with signals.also(lambda: channel.shutdown(socket.SHUT_RD)):
            send(out, {"event": "ready"})
            opened = False
            for line in lines:
                order = parse(line, ("feed",))
                if order["do"] == "stop":
                    send(out, {"event": "stopped"})
                    return
                _hear(broker, order.get("barrier"))
                clock.set(float(order["time"]))
                if not opened:
                    runner.open(clock.wall())
                    opened = True
                due_s = runner.step(clock.wall())
                if broker is not None:
                    broker.settle(WAIT_S)
                send(out, {"event": "feed", "due": due_s})
        if not signals.stop_requested:
            raise LinkError("the bench went away without a stop")


def _hear(broker: Broker | None, barrier: int | None) -> None:
    """What was said before the barrier. Raises LinkError where that does not come."""
    if broker is None or barrier is None:
        return
    if not (broker.wait_connected(WAIT_S) and broker.wait_barrier(barrier, WAIT_S)):
        raise LinkError(f"the bench's barrier {barrier} did not arrive; see the broker's log")
