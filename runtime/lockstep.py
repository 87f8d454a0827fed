"""Lockstep: a bench sets the clock and says when to run a cycle, over JSON lines on a Unix socket.

    daemon -> {"event": "ready"}
    bench  -> {"do": "cycle", "time": <Unix s>, "elapsed": <true s since the last cycle, optional>,
               "barrier": {"topic": "bench/barrier", "sequence": n} | null}
    daemon -> {"event": "cycle", "time": ..., "level": ..., "action": {...}, ..., "timing": {...}}
    bench  -> {"do": "between", "time": ..., "elapsed": ...}      daemon -> {"event": "between"}
    bench  -> {"do": "track", "time": ..., "elapsed": ..., "barrier": ...}
    daemon -> {"event": "track", "tracking": {...}}
    bench  -> {"do": "stop"}      daemon -> {"event": "stopped"}, and exit 0

The bench publishes all inputs and then, on the same connection with QoS 1, the barrier message: when it has arrived, so
have the inputs. "between" lets the daemon do what is due between two cycles: set-points that failed or must be
refreshed, and commands. "track" is one look at the meter by what follows it between cycles. An event other than the one
that was asked for says what cannot be done: {"event": "error", "error": "..."}.
"""

from __future__ import annotations

import socket
from typing import Any, TextIO

from runtime.channel import parse, send
from runtime.clock import LockstepClock
from runtime.daemon import Daemon
from runtime.errors import LinkError
from runtime.interrupts import Signals
from runtime.links.mqtt import BARRIER_TOPIC
from runtime.publish.cycle_documents import event_document

# Real seconds, while the clock of the cycle stands still: on a loaded machine a broker is slow and not away.
BROKER_WAIT_S = BARRIER_WAIT_S = ACKNOWLEDGE_WAIT_S = 300.0


def run_lockstep(daemon: Daemon, clock: LockstepClock, channel: socket.socket, signals: Signals) -> None:
    """Obey the bench until it says stop, or a signal does; the devices are left safe then.

    Raises LinkError when the bench dies or says what cannot be understood.
    """
    with channel, channel.makefile("r", encoding="utf-8") as lines, channel.makefile("w", encoding="utf-8") as out:
        mqtt, asked = daemon.links.mqtt, False
        with signals.also(lambda: channel.shutdown(socket.SHUT_RD)):  # the bench is waited for no longer
            if mqtt is not None:
                mqtt.wait_tried(BROKER_WAIT_S)  # a bench may well start us without a broker
            try:
                send(out, {"event": "ready"})
                asked = _obey(daemon, clock, lines, out)
            finally:
                safe = daemon.stop()
        if not asked and not signals.stop_requested:
            how = "safe" if safe else "as they are"
            raise LinkError(f"the bench went away without a stop; the devices were left {how}")
        send(out, {"event": "stopped"})


def _obey(daemon: Daemon, clock: LockstepClock, lines: TextIO, out: TextIO) -> bool:
    """Cycles until the bench says stop; False when it is gone."""
    try:
        for line in lines:
            order = parse(line, ORDERS)
            if order["do"] == "stop":
                return True
            send(out, ORDERS[order["do"]](daemon, clock, order))
    except ConnectionError:
        return False
    return False


def _set(clock: LockstepClock, order: dict[str, Any]) -> None:
    elapsed = order.get("elapsed")
    clock.set(float(order["time"]), None if elapsed is None else float(elapsed))


def _between(daemon: Daemon, clock: LockstepClock, order: dict[str, Any]) -> dict[str, Any]:
    _set(clock, order)
    daemon.between()
    return {"event": "between"}


def _track(daemon: Daemon, clock: LockstepClock, order: dict[str, Any]) -> dict[str, Any]:
    _set(clock, order)
    problem = _wait(daemon, order)
    return {"event": "error", "error": problem} if problem else {"event": "track", "tracking": daemon.track()}


def _wait(daemon: Daemon, order: dict[str, Any]) -> str:
    """Until what the bench has published is here; the problem where it does not come."""
    mqtt, barrier = daemon.links.mqtt, order.get("barrier")
    if barrier is not None and mqtt is not None and not mqtt.wait_barrier(int(barrier["sequence"]), BARRIER_WAIT_S):
        return f"barrier {barrier['sequence']} did not arrive on {BARRIER_TOPIC}"
    return ""


def _cycle(daemon: Daemon, clock: LockstepClock, order: dict[str, Any]) -> dict[str, Any]:
    _set(clock, order)
    mqtt, problem = daemon.links.mqtt, _wait(daemon, order)
    if problem:
        return {"event": "error", "error": problem}
    daemon.obey_commands()
    cycle, timing = daemon.cycle()
    if mqtt is not None:
        mqtt.wait_acknowledged(ACKNOWLEDGE_WAIT_S)
    return event_document(cycle, daemon.bundle, timing)


ORDERS = {"cycle": _cycle, "between": _between, "track": _track}
