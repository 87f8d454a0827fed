"""A tariff that is known for ever: one price, or by the hour, the weekday and the season."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from feeds.errors import GarbledError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Rhythm, Steady
from feeds.series import Channels
from feeds.tariff import fixed_price
from runtime.site.feeds import SeasonalValue

DAY_S = 86400.0
RHYTHM = Steady(6 * 3600.0)
DAYS = 5


@dataclass(frozen=True)
class Fixed:
    value: SeasonalValue
    zone: tzinfo
    rhythm: Rhythm = RHYTHM
    good_for_s: float = DAYS * DAY_S

    @property
    def label(self) -> str:
        return "fixed tariff"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        return {}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        raise GarbledError("a fixed tariff is asked of nobody")

    def known(self, now_s: float) -> Channels:
        start_s = math.floor(now_s / 3600.0) * 3600.0 - 3600.0
        return {"energy": fixed_price(self.value, start_s, now_s + DAYS * DAY_S, self.zone)}
