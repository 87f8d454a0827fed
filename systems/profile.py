"""A quantity by hour of the week, with its spread: what a log taught, as a forecast where nobody publishes one."""

from __future__ import annotations

import json
from dataclasses import dataclass

from runtime.formats.documents import parse_json
from runtime.formats.weekly import Span, Weekly
from runtime.inputs.correction import Carries

HOURS = 168


class ProfileError(ValueError):
    """A profile file that cannot be used."""

    exit_code = 65


@dataclass(frozen=True)
class WeekProfile:
    """(168,) means by local hour since Monday, 00:00, and standard deviations, in the unit of the quantity."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    carries: Carries | None = None
    """How a deviation from the means goes on."""

    def weekly(self, *, lowest: float = 0.0, of: str = "mean") -> Weekly:
        """As a schedule; hours of equal value on several days share a span."""
        values = [max(lowest, round(value, 4)) for value in getattr(self, of)]
        spans = []
        for hour in range(24):
            days: dict[float, list[int]] = {}
            for day in range(7):
                days.setdefault(values[day * 24 + hour], []).append(day)
            spans += [
                Span(days=tuple(on), begin=60 * hour, end=60 * (hour + 1), value=value) for value, on in days.items()
            ]
        return Weekly(default=round(sum(values) / HOURS, 4), schedule=tuple(spans))

    def to_json(self) -> str:
        document: dict[str, object] = {name: [round(v, 5) for v in getattr(self, name)] for name in ("mean", "spread")}
        return json.dumps(document if self.carries is None else document | {"carries": self.carries.model_dump()})

    @classmethod
    def from_json(cls, text: str) -> WeekProfile:
        """Raises ProfileError."""
        try:
            document = parse_json(text)
            mean, spread = (tuple(float(v) for v in document[key]) for key in ("mean", "spread"))
            carries = Carries.model_validate(document["carries"]) if "carries" in document else None
        except (ValueError, KeyError, TypeError) as error:
            raise ProfileError(
                f"not a profile by hour of the week ({error}); write it with `nisse identify`"
            ) from error
        if len(mean) != HOURS or len(spread) != HOURS:
            raise ProfileError(f"a profile of {len(mean)} hours; a week has {HOURS}: write it with `nisse identify`")
        return cls(mean, spread, carries)
