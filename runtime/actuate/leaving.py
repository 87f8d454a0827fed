"""The end of control: every device is told its safe value, within a bound, and one that never took it is told of.

Then everything is closed, whatever becomes of one part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from runtime.actuate.actuator import Actuator
from runtime.site.config import SiteFile

# How long devices are told, again and again, before the daemon gives up and says so. A service manager must wait
# longer than that (TimeoutStopSec).
SAFE_PATIENCE_S = 10.0

log = logging.getLogger("nisse.stop")


def leave_safe(site: SiteFile, actuator: Actuator) -> bool:
    """Whether all devices have taken their safe values."""
    left = actuator.leave_safe(SAFE_PATIENCE_S)
    for name, written in left.items():
        if written.problem:
            log.critical(
                "OUTPUT %s WAS NOT SET TO ITS SAFE VALUE %g %s in %g s: %s; see to the device, it may be on",
                name, written.value, site.outputs[name].unit, SAFE_PATIENCE_S, written.problem,
            )  # fmt: skip
    return not any(written.problem for written in left.values())


def close_all(closing: Iterable[Callable[[], None]]) -> None:
    """Call each of them. One that fails, a defect of ours, is logged and keeps none of the others from its turn."""
    for close in closing:
        try:
            close()
        except Exception:
            log.exception("not closed in order")
