"""ENTSO-E Transparency Platform: day-ahead prices of a bidding zone, with a token.

Source: "Transparency Platform RESTful API - user guide" (documentType A44, article 12.1.D) and "Response" of the
platform's help pages: times in UTC, whole days, the Acknowledgement_MarketDocument when there is nothing. In curves of
type A03 a position that is left out repeats the one before ("The introduction of different TimeSeries possibilities").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

from feeds.errors import GarbledError, NothingYetError, RefusedError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Daily, Rhythm
from feeds.series import Channels
from feeds.source import Money, local_day, midnight_s, profile
from feeds.sources.zones import EIC, is_eic
from runtime.formats.literals import PayloadError, moment, number

URL = "https://web-api.tp.entsoe.eu/api"
MARKET = "Europe/Brussels"
RHYTHM = Daily(MARKET, 12, 45)
"""The coupled auction is published from 12:45 on."""
_STEP = re.compile(r"PT(\d{1,3})M")
_NO_DATA = "no matching data"


@dataclass(frozen=True)
class Entsoe:
    zone: str
    token: str
    money: Money
    url: str = URL
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 3 * 86400.0

    @property
    def label(self) -> str:
        return f"entsoe {self.zone}"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        """Two market days, today and tomorrow: the platform answers with whole days and what there is of them."""
        market = ZoneInfo(MARKET)
        ends = (midnight_s(local_day(now_s, market, days), market) for days in (0, 2))
        begin, end = (datetime.fromtimestamp(s, UTC).strftime("%Y%m%d%H%M") for s in ends)
        area = EIC.get(self.zone, self.zone)
        if not is_eic(area):
            raise RefusedError(f"{self.zone!r} is no bidding zone; known are {', '.join(EIC)}, and any EIC code")
        params = (
            ("documentType", "A44"), ("in_Domain", area), ("out_Domain", area), ("periodStart", begin),
            ("periodEnd", end), ("securityToken", self.token),
        )  # fmt: skip
        return {"prices": Request(self.url, params, secrets=(self.token,))}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        root = _root(response.body)
        name = _local(root)
        if name == "Acknowledgement_MarketDocument":
            reason = next((e.text or "" for e in root.iter() if _local(e) == "text"), "no reason")
            if _NO_DATA in reason.lower():
                raise NothingYetError("no prices for this zone and time")
            raise RefusedError(f"says: {reason.strip()[:120]}")
        if name != "Publication_MarketDocument":
            raise GarbledError(f"a {name[:40]!r} where prices are due")
        series = [one for one in root if _local(one) == "TimeSeries" and _of_first_auction(one)]
        # Where one day is given in two resolutions the finer one is painted over the coarser.
        lines = sorted((line for one in series for line in self._lines(one)), key=lambda line: line[0] - line[1])
        if not lines:
            raise NothingYetError("a document without prices")
        return {"energy": profile(lines)}

    def _lines(self, series: ElementTree.Element) -> Iterator[tuple[float, float, float]]:
        """(start, end, money per kWh), runs of equal positions as one."""
        currency, unit = _text(series, "currency_Unit.name"), _text(series, "price_Measure_Unit.name")
        factor = self._factor(currency, unit)
        repeats = _text(series, "curveType") == "A03"
        for period in (e for e in series if _local(e) == "Period"):
            interval = next((e for e in period if _local(e) == "timeInterval"), None)
            if interval is None:
                raise GarbledError("a Period without timeInterval")
            found = _STEP.fullmatch(_text(period, "resolution"))
            step_s = 60.0 * int(found[1]) if found else 0.0
            try:
                start, end = (moment(_text(interval, name), UTC) for name in ("start", "end"))
                points = {
                    int(number(_text(p, "position"))): number(_text(p, "price.amount"))
                    for p in period
                    if _local(p) == "Point"
                }
            except PayloadError as error:
                raise GarbledError(str(error)) from None
            count = round((end - start) / step_s) if step_s else 0
            if not 0 < count <= 1000 or any(not 1 <= k <= count for k in points):
                raise GarbledError(f"positions that do not fit a period of {timedelta(seconds=end - start)}")
            last: float | None = None
            for k in range(1, count + 1):
                last = points.get(k, last if repeats else None)
                if last is not None:
                    yield start + (k - 1) * step_s, start + k * step_s, factor * last

    def _factor(self, currency: str, unit: str) -> float:
        if unit.upper() != "MWH":
            raise GarbledError(f"prices per {unit[:10]!r} and not per MWH")
        return self.money.of(currency) * 1e-3


def _of_first_auction(series: ElementTree.Element) -> bool:
    """Germany and others show more than one auction of a day; the first is the coupled one that bills go by."""
    return _text(series, "classificationSequence_AttributeInstanceComponent.position") in {"", "1"}


def _root(body: bytes) -> ElementTree.Element:
    """Raises GarbledError. A document type, with which XML can be made to grow without bound, is refused unread."""
    head = body[:1000].lstrip().lower()
    if b"<!doctype" in head or head.startswith(b"<html"):
        raise GarbledError("a web page in place of data")
    if b"<!doctype" in body.lower() or b"<!entity" in body.lower():
        raise GarbledError("XML with a document type")
    try:
        return ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError):
        raise GarbledError("no XML, or cut off") from None


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str:
    return next(((e.text or "").strip() for e in element if _local(e) == name), "")
