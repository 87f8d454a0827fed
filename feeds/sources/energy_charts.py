"""Energy-Charts (Fraunhofer ISE): day-ahead prices of a bidding zone in EUR, without a token.

Source: "Energy-Charts API" (api.energy-charts.info, OpenAPI): /price?bzn=&start=&end= with columns `unix_seconds` and
`price` and the `unit` EUR / MWh; a zone's licence may forbid uses other than private ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo

from feeds.errors import GarbledError, ImplausibleError, NothingYetError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Daily, Rhythm
from feeds.series import Channels
from feeds.source import Money, document_of, local_day, profile, rows, table

URL = "https://api.energy-charts.info"
MARKET = "Europe/Brussels"
RHYTHM = Daily(MARKET, 13, 0)


@dataclass(frozen=True)
class EnergyCharts:
    zone: str
    money: Money
    url: str = URL
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 3 * 86400.0

    @property
    def label(self) -> str:
        return f"energy-charts {self.zone}"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        first, last = (local_day(now_s, ZoneInfo(MARKET), d).isoformat() for d in (0, 1))
        return {"prices": Request(f"{self.url}/price", (("bzn", self.zone), ("start", first), ("end", last)))}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        document = document_of(response)
        times, values = rows(document, "unix_seconds"), rows(document, "price")
        currency, _, energy = str(table(document, "unit")).replace(" ", "").partition("/")
        if energy.lower() != "mwh":
            raise ImplausibleError(f"prices in {str(document['unit'])[:20]!r} and not per MWh")
        if len(times) != len(values):
            raise GarbledError("columns that are not of one length")
        if not times:
            raise NothingYetError("no prices for this zone and time")
        if not all(isinstance(t, int) and not isinstance(t, bool) for t in times) or any(
            b <= a for a, b in pairwise(times)
        ):
            raise GarbledError("times that are no Unix seconds or do not go forward")
        # The end of a price is the beginning of the next one, unless that is hours away.
        steps = [b - a for a, b in pairwise(times)] or [3600]
        usual = min(min(steps), 3600)
        ends = [a + (step if step <= 3600 else usual) for a, step in zip(times, [*steps, usual], strict=True)]
        return {"energy": profile(list(zip(times, ends, values, strict=True)), factor=1e-3 * self.money.of(currency))}
