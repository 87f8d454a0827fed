"""Which entries of theta learn, and how far from the data fit each may plausibly lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from systems.house.theta import GROUPS, HouseMpcError
from systems.problem import Parameter

Array = NDArray[np.float64]

SCALES = {"bias": 0.02, "set_point": 0.5, "backoff": 0.3, "cost": 0.3, "terminal": 0.05}
"""In the unit of the parameters."""
ARX_SCALES = {"a": 0.003, "outdoor": 0.001, "power": 0.02}


def learning_entries(table: Sequence[Parameter], groups: Sequence[str]) -> tuple[NDArray[np.int64], Array]:
    """(indices in theta (p,), scales (p,)) of the groups. Raises HouseMpcError for an unknown group."""
    unknown = set(groups) - set(GROUPS)
    if unknown or not groups:
        raise HouseMpcError(f"unknown groups of theta {sorted(unknown)}; choose among {', '.join(GROUPS)}")
    entries = [i for i, parameter in enumerate(table) if parameter.group in groups]
    return np.array(entries), np.array([_scale(table[i]) for i in entries])


def _scale(parameter: Parameter) -> float:
    if parameter.group != "arx":
        return SCALES[parameter.group]
    kind = "a" if parameter.name.startswith("a") else "outdoor" if parameter.name.endswith("outdoor") else "power"
    return ARX_SCALES[kind]
