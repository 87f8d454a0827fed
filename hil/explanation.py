"""What a fault explains: a cycle below level `mpc`, or a limit of the plant that was crossed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.record import RunRecord

RESPITE_CYCLES = 2.0
"""A controller needs this long to be back: until then what a fault has left behind is still the fault's."""

Mask = NDArray[np.bool_]


def under_fault(record: RunRecord) -> Mask:
    """Per cycle: whether a fault acts on it or ended less than RESPITE_CYCLES before."""
    respite_s = RESPITE_CYCLES * record.step_s
    spans = [(fault["at_s"], fault["end_s"] + respite_s) for fault in record.header.get("faults", ())]
    return np.array([bool(c.faults) or any(a <= c.elapsed_s < b for a, b in spans) for c in record.cycles], bool)


def unexplained(failing: Mask, faulty: Mask) -> Mask:
    """The failing cycles of every unbroken row of them that began without a fault.

    A battery that a stuck sensor let run over its limit is still over it when the sensor is well again.
    """
    found = failing.copy()
    explained = False
    for k, fails in enumerate(failing):
        explained = bool(fails) and (explained or (bool(faulty[k]) and (k == 0 or not failing[k - 1])))
        found[k] = bool(fails) and not explained
    return found
