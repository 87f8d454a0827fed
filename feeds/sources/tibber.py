"""Tibber: what a customer pays for energy, VAT and certificates included and the grid's fee not, with a token.

Source: Tibber, "Tibber GraphQL API reference" (developer.tibber.com): viewer.homes.currentSubscription.priceInfo of the
resolution QUARTER_HOURLY; errors come with status 200 as {"errors": [...]}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feeds.errors import GarbledError, NothingYetError, RefusedError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Daily, Rhythm
from feeds.series import Channels
from feeds.source import Money, document_of, profile, rows, table

URL = "https://api.tibber.com/v1-beta/gql"
RHYTHM = Daily("Europe/Oslo", 13, 0)
_PRICES = "{ startsAt total currency }"
QUERY = (
    "{ viewer { homes { id currentSubscription { priceInfo(resolution: QUARTER_HOURLY) "
    f"{{ today {_PRICES} tomorrow {_PRICES} }} }} }} }} }}"
)


@dataclass(frozen=True)
class Tibber:
    token: str
    money: Money
    home: str | None = None
    url: str = URL
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 3 * 86400.0

    @property
    def label(self) -> str:
        return "tibber"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        headers = (("Authorization", f"Bearer {self.token}"), ("Content-Type", "application/json"))
        secrets = (self.token, *((self.home,) if self.home else ()))
        return {
            "prices": Request(self.url, headers=headers, body=json.dumps({"query": QUERY}).encode(), secrets=secrets)
        }

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        document = document_of(response)
        if isinstance(document, dict) and document.get("errors"):
            first = document["errors"][0] if isinstance(document["errors"], list) else {}
            text = first.get("message") if isinstance(first, dict) else None
            raise RefusedError(f"says: {str(text)[:120]}")
        info = table(self._home(rows(document, "data", "viewer", "homes")), "currentSubscription", "priceInfo")
        entries = [*rows(info, "today"), *(rows(info, "tomorrow") if info.get("tomorrow") else [])]
        if not entries:
            raise NothingYetError("neither today nor tomorrow has prices")
        currencies = {str(table(entry, "currency")) for entry in entries}
        if len(currencies) != 1:
            raise GarbledError("prices in several currencies")
        lines = [(table(entry, "startsAt"), None, table(entry, "total")) for entry in entries]
        return {"energy": profile(lines, factor=self.money.of(currencies.pop()))}

    def _home(self, homes: list[Any]) -> Any:
        customers = [h for h in homes if isinstance(h, dict) and h.get("currentSubscription")]
        found = [h for h in customers if self.home in {None, h.get("id")}]
        if not found:
            raise RefusedError("the account has no home with a subscription" + (" and that id" if self.home else ""))
        if len(found) > 1:
            raise RefusedError("the account has several homes; say which: home")
        return found[0]
