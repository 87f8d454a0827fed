"""Whether values of theta are those of a bundle: each of its parameters, inside its bounds."""

from __future__ import annotations

import math

from runtime.bundle.manifest import ParameterSpec


def check_theta(specs: tuple[ParameterSpec, ...], theta: dict[str, float]) -> None:
    """Raises ValueError unless theta has exactly the named parameters, finite and inside their bounds."""
    missing, unknown = {s.name for s in specs} - set(theta), set(theta) - {s.name for s in specs}
    if unknown:
        raise ValueError(f"{_few(unknown)} is no parameter here; this theta is of another house or system")
    if missing:
        raise ValueError(f"theta lacks {_few(missing)}")
    for spec in specs:
        value = theta[spec.name]
        if not math.isfinite(value) or not spec.lower <= value <= spec.upper:
            raise ValueError(f"theta {spec.name} = {value} is outside [{spec.lower}, {spec.upper}]")


def _few(names: set[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{min(names)}{more}"
