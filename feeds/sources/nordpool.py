"""Nord Pool: day-ahead prices of a delivery area in the currency that is asked for, without a token.

Source: the answers of the data portal behind data.nordpoolgroup.com (`/api/DayAheadPrices?date=&market=&deliveryArea=
&currency=`), which Nord Pool does not document: as Home Assistant's integration "Nord Pool" reads them. 204 and no
body while a day is not published; `areaStates` says Final or Preliminary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from feeds.errors import GarbledError, NothingYetError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Daily, Rhythm
from feeds.series import Channels
from feeds.source import Money, document_of, local_day, profile, rows, table

URL = "https://dataportal-api.nordpoolgroup.com"
MARKET = "Europe/Brussels"
RHYTHM = Daily(MARKET, 12, 45)
ASKED_IN = frozenset({"EUR", "NOK", "SEK", "DKK", "PLN", "GBP", "RON", "BGN"})
"""Currencies in which the portal answers; others are converted from EUR."""


@dataclass(frozen=True)
class NordPool:
    zone: str
    money: Money
    url: str = URL
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 3 * 86400.0

    @property
    def label(self) -> str:
        return f"nordpool {self.zone}"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        market = ZoneInfo(MARKET)
        days = [local_day(now_s, market, d).isoformat() for d in (0, 1)]
        currency = self.money.currency if self.money.currency in ASKED_IN else "EUR"
        about = (("market", "DayAhead"), ("deliveryArea", self.zone), ("currency", currency))
        url = f"{self.url}/api/DayAheadPrices"
        return {day: Request(url, (("date", day), *about), once=True) for day in days}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        document = document_of(response)
        if table(document, "deliveryDateCET") != key:
            raise GarbledError(f"asked for {key}, answered of {str(table(document, 'deliveryDateCET'))[:12]!r}")
        states = {
            str(state.get("state"))
            for state in document.get("areaStates", [])
            if isinstance(state, dict) and self.zone in state.get("areas", [self.zone])
        }
        if states and "Final" not in states:
            raise NothingYetError(f"prices of {key} are {', '.join(sorted(states))[:30]} and not final")
        factor = 1e-3 * self.money.of(str(table(document, "currency")))
        lines = []
        for entry in rows(document, "multiAreaEntries"):
            value = table(entry, "entryPerArea", self.zone)
            lines.append((table(entry, "deliveryStart"), table(entry, "deliveryEnd"), value))
        if not lines:
            raise NothingYetError(f"no prices of {key}")
        return {"energy": profile(lines, factor=factor)}
