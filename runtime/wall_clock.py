"""The daemon on the wall clock: cycles on the grid of the tariff, and the service manager's watchdog."""

from __future__ import annotations

import logging
import math
import time

from runtime.clock import CLOCK_JUMP_S
from runtime.daemon import Daemon
from runtime.interrupts import Signals
from runtime.systemd import Notifier

log = logging.getLogger("nisse.wall")

TICK_S = 1.0
# How long the first cycle waits for the inputs that the broker has retained.
FIRST_INPUTS_S = 1.0
# Below level mpc the next cycle comes after this at the latest: a broker that boots slower than we do is not waited
# for until the next quarter of an hour.
DEGRADED_RETRY_S = 30.0


def run_on_the_wall_clock(daemon: Daemon, notifier: Notifier, signals: Signals, cycles: int | None = None) -> None:
    """Cycles until a signal, or until `cycles` are done; the first at once, the others on the grid of the wall clock.

    The watchdog is fed after a cycle that ran to its end, and between cycles while none is overdue: a daemon that hangs
    or fails does not look alive. A device that does not answer is no reason to restart; the ladder deals with it.
    """
    mqtt = daemon.links.mqtt
    daemon.listen(signals.wake)  # a command is obeyed when it comes, not at the next tick
    deadline = time.monotonic() + FIRST_INPUTS_S
    while mqtt is not None and not (mqtt.connected and mqtt.has_all()) and time.monotonic() < deadline:
        if signals.wait(0.01):
            break
    while not signals.stop_requested:
        offset_s = _offset(daemon)  # before the cycle: a clock set while it runs is noticed after it
        cycle, _ = daemon.cycle()
        if daemon.tally.cycles == 1:
            notifier.ready()
        notifier.watchdog()
        notifier.status(f"{cycle.level.label} {cycle.reason}".strip())
        if daemon.tally.cycles == cycles:
            break
        due = daemon.clock.monotonic() + _pause(daemon)
        while (left := due - daemon.clock.monotonic()) > 0 and not signals.wait(min(left, TICK_S, daemon.track_in_s)):
            if daemon.track_in_s <= 0.0:
                daemon.track()
            daemon.between()
            notifier.watchdog()
            if signals.take_reload():
                daemon.reload()
            if abs(_offset(daemon) - offset_s) > CLOCK_JUMP_S:
                # It was set, for the first time since boot perhaps: prices and plan are now of another hour.
                log.warning("the clock jumped by %.0f s", _offset(daemon) - offset_s)
                break
            if daemon.cycle_wanted:
                break
    notifier.stopping()


def _offset(daemon: Daemon) -> float:
    """Wall time minus monotonic time: changes when the clock is set, and hardly when it is slewed."""
    return daemon.clock.wall() - daemon.clock.monotonic()


def _pause(daemon: Daemon) -> float:
    """Seconds to the next cycle: the grid keeps cycles on the quarter hours of the tariff."""
    cycle_s = daemon.site.controller.cycle_s
    to_the_grid = cycle_s - math.fmod(daemon.clock.wall(), cycle_s)
    return min(to_the_grid, DEGRADED_RETRY_S) if daemon.degraded else to_the_grid
