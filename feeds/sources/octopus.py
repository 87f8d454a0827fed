"""Octopus Energy: the unit rates of a product and tariff in pence, VAT and fees included, without a token.

Source: Octopus Energy, "REST API" (developer.octopus.energy): standard-unit-rates with `results` of `value_inc_vat`,
`valid_from`, `valid_to` (null: until further notice) and `payment_method`; times in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from feeds.errors import NothingYetError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Daily, Rhythm
from feeds.series import Channels
from feeds.source import Money, document_of, local_day, midnight_s, profile, rows, table

URL = "https://api.octopus.energy"
BRITAIN = "Europe/London"
RHYTHM = Daily(BRITAIN, 16, 0)
"""Agile's rates until 23:00 of tomorrow come in the afternoon."""
DIRECT_DEBIT = "DIRECT_DEBIT"
PENCE = 0.01
LATEST_S = 4 * 86400.0


@dataclass(frozen=True)
class Octopus:
    product: str
    tariff: str
    money: Money
    url: str = URL
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 3 * 86400.0

    @property
    def label(self) -> str:
        return f"octopus {self.tariff}"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        zone = ZoneInfo(BRITAIN)
        ends = (midnight_s(local_day(now_s, zone, d), zone) for d in (0, 2))
        first, last = (datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%dT%H:%MZ") for s in ends)
        path = f"/v1/products/{self.product}/electricity-tariffs/{self.tariff}/standard-unit-rates/"
        params = (("period_from", first), ("period_to", last), ("page_size", "1500"))
        return {"rates": Request(self.url + path, params)}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        entries = [
            entry
            for entry in rows(document_of(response), "results")
            if isinstance(entry, dict) and entry.get("payment_method") in {None, DIRECT_DEBIT}
        ]
        if not entries:
            raise NothingYetError("no rates for this time")
        lines = [
            (
                table(e, "valid_from"),
                now_s + LATEST_S if e.get("valid_to") is None else e["valid_to"],
                e["value_inc_vat"],
            )
            for e in entries
            if table(e, "value_inc_vat") is not None
        ]
        return {"energy": profile(lines, factor=PENCE * self.money.of("GBP"))}
