"""The services that the feeds ask, as their documentation describes them.

Prices and weather are functions of time, so that every value that comes out at the other end can be checked.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

HOUR_S, DAY_S = 3600.0, 86400.0
BRUSSELS = ZoneInfo("Europe/Brussels")
TOKEN = "tok-5eCr3t-0f-th1s-h0use"


def price_eur_mwh(time_s: float) -> float:
    """Of the market: another one in every quarter hour."""
    hours = time_s / HOUR_S
    return round(
        60.0 + 40.0 * math.sin(2 * math.pi * hours / 24.0) + 7.0 * math.sin(hours / 5.3) + 0.01 * (hours % 7), 2
    )


def outdoor_c(time_s: float) -> float:
    return round(3.0 + 6.0 * math.sin(2 * math.pi * (time_s / HOUR_S - 9.0) / 24.0) + math.sin(time_s / 1e5), 1)


def sun_w_m2(time_s: float) -> float:
    return round(max(0.0, 500.0 * math.sin(2 * math.pi * (time_s / HOUR_S - 6.0) / 24.0)), 1)


def usual_beam(sun: float, time_s: float) -> tuple[float, float]:
    """W/m2 of direct normal and of diffuse irradiance, of the global one."""
    return 0.8 * sun, 0.4 * sun


@dataclass
class ServedWorld:
    """`now`: the Unix time of the services. `fault`: (service) -> what goes wrong now, "" for nothing.

    `price` (EUR/MWh), `outdoor` (degC) and `sun` (W/m2) are what the services know of a Unix time; `beam` splits it.
    """

    now: Callable[[], float] = time.time
    fault: Callable[[str], str] = lambda service: ""
    slow_s: float = 1.0
    """Between two bytes of a slow answer."""
    sent_slowly: int = 0
    """Bytes of slow answers: a clock for whoever will not wait."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(service, path with query, headers)."""
    step_min: int = 15
    price: Callable[[float], float] = price_eur_mwh
    outdoor: Callable[[float], float] = outdoor_c
    sun: Callable[[float], float] = sun_w_m2
    beam: Callable[[float, float], tuple[float, float]] = usual_beam
    cloud: Callable[[float], float] = lambda time_s: 50.0
    """% of the sky."""

    def known_until(self) -> datetime:
        """Midnight of the last day of which the market has prices."""
        local = datetime.fromtimestamp(self.now(), BRUSSELS)
        days = 2 if (local.hour, local.minute) >= (12, 45) else 1
        wall = local.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0, fold=0)
        return (wall + timedelta(days=days)).replace(tzinfo=BRUSSELS)

    def slots(self, first_s: float, last_s: float) -> Iterator[float]:
        step_s = 60.0 * self.step_min
        k = math.ceil(first_s / step_s)
        while k * step_s < min(last_s, self.known_until().timestamp()):
            yield k * step_s
            k += 1


def entsoe(world: ServedWorld, query: dict[str, str], shift_s: float = 0.0) -> tuple[int, str, str]:
    if query.get("securityToken") != TOKEN:
        return 401, "text/xml", _acknowledgement("Unauthorized. Missing or invalid security token.")
    begin, end = (
        datetime.strptime(query[k], "%Y%m%d%H%M").replace(tzinfo=UTC).timestamp() for k in ("periodStart", "periodEnd")
    )
    assert query["documentType"] == "A44" and query["in_Domain"] == query["out_Domain"]
    times = list(world.slots(begin - shift_s, end - shift_s))
    if not times:
        return 200, "text/xml", _acknowledgement("No matching data found for Data item Day-ahead Prices")
    series = []
    days: dict[Any, list[float]] = {}
    for t in times:
        days.setdefault(datetime.fromtimestamp(t, BRUSSELS).date(), []).append(t)
    for number, day in enumerate(days.values(), 1):
        points, last = [], None
        for k, t in enumerate(day, 1):
            value = world.price(t)
            if value != last:  # curve type A03 leaves out what repeats
                points.append(f"<Point><position>{k}</position><price.amount>{value}</price.amount></Point>")
            last = value
        stop = day[-1] + 60 * world.step_min
        series.append(
            f"<TimeSeries><mRID>{number}</mRID><auction.type>A01</auction.type><businessType>A62</businessType>"
            "<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
            f"<curveType>A03</curveType><Period><timeInterval><start>{_utc(day[0])}</start><end>{_utc(stop)}</end>"
            f"</timeInterval><resolution>PT{world.step_min}M</resolution>{''.join(points)}</Period></TimeSeries>"
        )
    namespace = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<Publication_MarketDocument xmlns="{namespace}"><type>A44</type>'
    return 200, "text/xml", f"{head}{''.join(series)}</Publication_MarketDocument>"


def _acknowledgement(text: str) -> str:
    namespace = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Acknowledgement_MarketDocument xmlns="{namespace}">'
        f"<Reason><code>999</code><text>{text}</text></Reason></Acknowledgement_MarketDocument>"
    )


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%MZ")


def open_meteo(world: ServedWorld, query: dict[str, str], shift_s: float = 0.0) -> tuple[int, str, str]:
    start_s = math.floor(world.now() / DAY_S) * DAY_S - shift_s
    times = [int(start_s + k * HOUR_S) for k in range(24 * int(query["forecast_days"]))]
    made = {
        "temperature_2m": ("°C", world.outdoor),
        "shortwave_radiation": ("W/m²", lambda t: world.sun(t - HOUR_S / 2)),
        "direct_normal_irradiance": ("W/m²", lambda t: world.beam(world.sun(t - HOUR_S / 2), t - HOUR_S / 2)[0]),
        "diffuse_radiation": ("W/m²", lambda t: world.beam(world.sun(t - HOUR_S / 2), t - HOUR_S / 2)[1]),
    }
    names = query["hourly"].split(",")
    if any(name not in made for name in names):
        return 400, "application/json", json.dumps({"error": True, "reason": f"invalid String value {names}"})
    document = {
        "latitude": float(query["latitude"]), "longitude": float(query["longitude"]), "utc_offset_seconds": 0,
        "timezone": "GMT", "elevation": 38.0,
        "hourly_units": {"time": "unixtime", **{name: made[name][0] for name in names}},
        "hourly": {"time": times, **{name: [made[name][1](t) for t in times] for name in names}},
    }  # fmt: skip
    return 200, "application/json; charset=utf-8", json.dumps(document)


def nordpool(world: ServedWorld, query: dict[str, str], shift_s: float = 0.0) -> tuple[int, str, str]:
    day = datetime.fromisoformat(query["date"]) - timedelta(seconds=shift_s)
    begin = day.replace(tzinfo=BRUSSELS)
    end = (day + timedelta(days=1)).replace(tzinfo=BRUSSELS)
    times = list(world.slots(begin.timestamp(), end.timestamp()))
    if not times:
        return 204, "application/json", ""
    area, rate = query["deliveryArea"], 11.5 if query["currency"] == "NOK" else 1.0
    document = {
        "deliveryDateCET": f"{day:%Y-%m-%d}", "version": 2, "deliveryAreas": [area], "market": query["market"],
        "multiAreaEntries": [
            {
                "deliveryStart": _iso(t),
                "deliveryEnd": _iso(t + 60 * world.step_min),
                "entryPerArea": {area: world.price(t) * rate},
            }
            for t in times
        ],
        "currency": query["currency"], "exchangeRate": rate, "areaStates": [{"state": "Final", "areas": [area]}],
    }  # fmt: skip
    return 200, "application/json", json.dumps(document)


def energy_charts(world: ServedWorld, query: dict[str, str], shift_s: float = 0.0) -> tuple[int, str, str]:
    first = datetime.fromisoformat(query["start"]).replace(tzinfo=BRUSSELS).timestamp() - shift_s
    last = (datetime.fromisoformat(query["end"]) + timedelta(days=1)).replace(tzinfo=BRUSSELS).timestamp() - shift_s
    times = [int(t) for t in world.slots(first, last)]
    document = {
        "license_info": "CC BY 4.0", "unix_seconds": times, "price": [world.price(t) for t in times],
        "unit": "EUR / MWh", "deprecated": False,
    }  # fmt: skip
    return 200, "application/json", json.dumps(document)


def awattar(world: ServedWorld, query: dict[str, str], shift_s: float = 0.0) -> tuple[int, str, str]:
    first, last = (float(query[key]) / 1000 - shift_s for key in ("start", "end"))
    data = [
        {
            "start_timestamp": int(t * 1000),
            "end_timestamp": int((t + 60 * world.step_min) * 1000),
            "marketprice": world.price(t),
            "unit": "Eur/MWh",
        }
        for t in world.slots(first, last)
    ]
    return 200, "application/json", json.dumps({"object": "list", "data": data, "url": "/at/v1/marketdata"})


def tibber(
    world: ServedWorld, query: dict[str, str], shift_s: float = 0.0, headers: Any = None, body: bytes = b""
) -> tuple[int, str, str]:
    if headers.get("authorization") != f"Bearer {TOKEN}":
        error = {"errors": [{"message": "No valid access token", "extensions": {"code": "UNAUTHENTICATED"}}]}
        return 200, "application/json", json.dumps({**error, "data": None})
    assert "priceInfo(resolution: QUARTER_HOURLY)" in json.loads(body)["query"]
    oslo = ZoneInfo("Europe/Oslo")
    midnight = datetime.fromtimestamp(world.now() - shift_s, oslo).replace(hour=0, minute=0, second=0, microsecond=0)
    days = []
    for k in (0, 1):
        first = (midnight.replace(tzinfo=None) + timedelta(days=k)).replace(tzinfo=oslo)
        last = (midnight.replace(tzinfo=None) + timedelta(days=k + 1)).replace(tzinfo=oslo)
        days.append(
            [
                {
                    "startsAt": datetime.fromtimestamp(t, oslo).isoformat(timespec="milliseconds"),
                    "total": round(world.price(t) / 1000 * 11.5 * 1.25, 6),
                    "currency": "NOK",
                }
                for t in world.slots(first.timestamp(), last.timestamp())
            ]
        )
    info = {"today": days[0], "tomorrow": days[1]}
    home = {"id": "96a14971-525a-4420-aae9-e5aedaa129ff", "currentSubscription": {"priceInfo": info}}
    left = {"id": "left", "currentSubscription": None}
    return 200, "application/json", json.dumps({"data": {"viewer": {"homes": [left, home]}}})


def octopus(world: ServedWorld, query: dict[str, str], shift_s: float = 0.0, path: str = "") -> tuple[int, str, str]:
    assert path.endswith("/AGILE-24-10-01/electricity-tariffs/E-1R-AGILE-24-10-01-C/standard-unit-rates/")
    first, last = (datetime.fromisoformat(query[key]).timestamp() - shift_s for key in ("period_from", "period_to"))
    rates = [
        {
            "value_exc_vat": world.price(t) / 10,
            "value_inc_vat": world.price(t) / 10 * 1.05,
            "valid_from": _iso(t),
            "valid_to": _iso(t + 60 * world.step_min),
            "payment_method": None,
        }
        for t in world.slots(first, last)
    ][::-1]  # newest first
    document = {"count": len(rates), "next": None, "previous": None, "results": rates}
    return 200, "application/json", json.dumps(document)


def met_norway(
    world: ServedWorld, query: dict[str, str], shift_s: float = 0.0, headers: Any = None
) -> tuple[int, str, str]:
    if "@" not in headers.get("user-agent", ""):
        return 403, "text/html", "<html>identify yourself</html>"
    start_s = math.floor(world.now() / HOUR_S) * HOUR_S - shift_s
    times = [start_s + k * HOUR_S for k in range(60)] + [start_s + (60 + 6 * k) * HOUR_S for k in range(1, 20)]
    series = [
        {
            "time": _iso(t),
            "data": {
                "instant": {"details": {"air_temperature": world.outdoor(t), "cloud_area_fraction": world.cloud(t)}}
            },
        }
        for t in times
    ]
    units = {"air_temperature": "celsius", "cloud_area_fraction": "%", "air_pressure_at_sea_level": "hPa"}
    properties = {"meta": {"updated_at": _iso(start_s), "units": units}, "timeseries": series}
    return 200, "application/json", json.dumps({"type": "Feature", "properties": properties})


def home_assistant(
    world: ServedWorld, query: dict[str, str], shift_s: float = 0.0, path: str = "", headers: Any = None
) -> tuple[int, str, str]:
    if headers.get("authorization") != f"Bearer {TOKEN}":
        return 401, "text/plain", "401: Unauthorized"
    local = datetime.fromtimestamp(world.now() - shift_s, BRUSSELS).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = [
        {
            "start": datetime.fromtimestamp(t, BRUSSELS).isoformat(),
            "end": datetime.fromtimestamp(t + 60 * world.step_min, BRUSSELS).isoformat(),
            "value": world.price(t) / 1000,
        }
        for t in world.slots(local.timestamp(), local.timestamp() + 2 * DAY_S)
    ]
    attributes = {"raw_today": rows, "raw_tomorrow": None, "unit_of_measurement": "EUR/kWh"}
    entity = path.rpartition("/")[2]
    return 200, "application/json", json.dumps({"entity_id": entity, "state": "0.31", "attributes": attributes})


def evcc(world: ServedWorld, query: dict[str, str], shift_s: float = 0.0, path: str = "") -> tuple[int, str, str]:
    start_s = math.floor(world.now() / HOUR_S) * HOUR_S - shift_s
    solar = path.endswith("solar")
    times = [start_s + 900.0 * k for k in range(4 * 24)]
    rates = [
        {"start": _iso(t), "end": _iso(t + 900), "value": 5 * world.sun(t) if solar else world.price(t) / 1000}
        for t in times
    ]
    return 200, "application/json", json.dumps({"rates": rates})


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


SERVICES: dict[str, Callable[..., tuple[int, str, str]]] = {
    "/api/DayAheadPrices": nordpool,
    "/api/states": home_assistant,
    "/api/tariff": evcc,
    "/api": entsoe,
    "/v1/forecast": open_meteo,
    "/price": energy_charts,
    "/v1/marketdata": awattar,
    "/v1-beta/gql": tibber,
    "/v1/products": octopus,
    "/weatherapi/locationforecast": met_norway,
}
EXPIRING: dict[str, float] = {"/weatherapi/locationforecast": 1800.0}
"""Path -> seconds until an answer expires."""
