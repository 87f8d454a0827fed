"""aWATTar: hourly day-ahead prices of Germany or Austria in EUR, without a token.

Source: aWATTar, "API" (www.awattar.de/services/api): /v1/marketdata?start=&end= in epoch milliseconds, entries with
`start_timestamp`, `end_timestamp`, `marketprice` and the `unit` Eur/MWh, without VAT; fair use is 100 requests a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from feeds.errors import ImplausibleError, NothingYetError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Daily, Rhythm
from feeds.series import Channels
from feeds.source import Money, document_of, local_day, midnight_s, profile, rows, table

URLS = {"de": "https://api.awattar.de", "at": "https://api.awattar.at"}
MARKET = "Europe/Berlin"
RHYTHM = Daily(MARKET, 14, 0)


@dataclass(frozen=True)
class Awattar:
    country: str
    money: Money
    url: str
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 3 * 86400.0

    @property
    def label(self) -> str:
        return f"awattar {self.country}"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        zone = ZoneInfo(MARKET)
        first, last = (midnight_s(local_day(now_s, zone, d), zone) for d in (0, 2))
        params = (("start", f"{first * 1000:.0f}"), ("end", f"{last * 1000:.0f}"))
        return {"prices": Request(f"{self.url}/v1/marketdata", params)}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        lines, units = [], set()
        for entry in rows(document_of(response), "data"):
            units.add(str(table(entry, "unit")).lower())
            lines.append(tuple(table(entry, name) for name in ("start_timestamp", "end_timestamp", "marketprice")))
        if not lines:
            raise NothingYetError("no prices for this time")
        if units != {"eur/mwh"}:
            raise ImplausibleError(f"prices in {', '.join(sorted(units))[:30]!r} and not in Eur/MWh")
        return {"energy": profile([(s, e, v) for s, e, v in lines], factor=1e-3 * self.money.of("EUR"))}
