"""What cleaning a log has left out, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from systems.logs.log import LogFault

SHOWN_FAULTS = 12


def faults_table(faults: Sequence[LogFault], share_excluded: Mapping[str, float]) -> Table:
    share = 100 * share_excluded["rows"]
    table = Table(title=f"Left out: {share:.1f} % of the samples miss a value ({len(faults)} faults)")
    for heading in ("rows", "signal", "kind", "what"):
        table.add_column(heading)
    for fault in faults[:SHOWN_FAULTS]:
        table.add_row(f"{fault.first_row}-{fault.last_row}", fault.signal, fault.kind, fault.detail)
    if len(faults) > SHOWN_FAULTS:
        table.add_row("...", "", "", f"{len(faults) - SHOWN_FAULTS} more; all of them with --json")
    return table
