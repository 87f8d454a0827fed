"""Which entries of theta learn, and how far from the data fit each may plausibly lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from research.four_rooms.theta import GROUPS, HouseMpcError
from systems.problem import Parameter

Array = NDArray[np.float64]

SCALES = {"bias": 0.02, "set_point": 0.5, "backoff": 0.3, "cost": 0.3, "terminal": 0.05}
"""In the unit of the parameters."""
POWER_CURVATURE_SCALE = 0.02
"""EUR/(kW^2 h); the group's other members are factors."""
ARX_SCALES = {"a": 0.003, "outdoor": 0.001, "power": 0.02}


def learning_entries(table: Sequence[Parameter], learn: Sequence[str]) -> tuple[NDArray[np.int64], Array]:
    """(indices in theta (p,), scales (p,)) of groups and single parameters. Raises HouseMpcError for unknown names."""
    unknown = sorted(set(learn) - set(GROUPS) - {p.name for p in table})
    if unknown or not learn:
        raise HouseMpcError(
            f"theta of the house has no {unknown[0] if unknown else ''!r} to learn; choose among its parameters and "
            f"the groups {', '.join(GROUPS)}"
        )
    entries = [i for i, parameter in enumerate(table) if parameter.group in learn or parameter.name in learn]
    return np.array(entries), np.array([_scale(table[i]) for i in entries])


def _scale(parameter: Parameter) -> float:
    if parameter.name == "power_curvature":
        return POWER_CURVATURE_SCALE
    if parameter.group != "arx":
        return SCALES[parameter.group]
    kind = "a" if parameter.name.startswith("a") else "outdoor" if parameter.name.endswith("outdoor") else "power"
    return ARX_SCALES[kind]
