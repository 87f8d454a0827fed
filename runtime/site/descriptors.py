"""How many files may be open, against how many a site needs: known at the start, not when one is missing."""

from __future__ import annotations

import contextlib
import resource

from runtime.errors import MachineError
from runtime.site.config import SiteFile

# With a serial device and a broker about 20 are open at work, a dozen more while a bundle is looked at; some to spare.
WITHOUT_DEVICES = 40
PER_DEVICE = 4
PER_VISITOR = 16
"""Of /metrics and /healthz, all together."""


def needed(site: SiteFile) -> int:
    """Open files that the daemon of this site may need at once."""
    return WITHOUT_DEVICES + PER_DEVICE * len(site.lines) + (PER_VISITOR if site.status.http_port else 0)


def allowed(least: int) -> int:
    """How many files may be open, after raising what this process may raise itself to `least`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= least:
        return least if soft == resource.RLIM_INFINITY else soft
    wanted = least if hard == resource.RLIM_INFINITY else min(least, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def require(site: SiteFile) -> None:
    """Raises MachineError where too few files may be open."""
    wanted, found = needed(site), allowed(needed(site))
    if found < wanted:
        raise MachineError(
            f"only {found} files may be open, this site needs {wanted}: raise LimitNOFILE= (systemctl edit nisse) "
            "or ulimit -n"
        )
