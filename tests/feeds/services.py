"""The services as their documentation describes them, on a loopback port, with what goes wrong on demand.

Prices and weather are functions of time, so that every value that comes out at the other end can be checked.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

HOUR_S, DAY_S = 3600.0, 86400.0
BRUSSELS = ZoneInfo("Europe/Brussels")
TOKEN = "tok-5eCr3t-0f-th1s-h0use"
FAULTS = (
    "429", "500", "html", "truncated", "yesterday", "slow", "schema", "empty", "gone", "redirect", "wrong_unit",
    "bomb", "repeat", "reset",
)  # fmt: skip


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


@dataclass
class World:
    """`now`: the Unix time of the services. `fault`: (service) -> what goes wrong now, "" for nothing."""

    now: Callable[[], float] = time.time
    fault: Callable[[str], str] = lambda service: ""
    slow_s: float = 0.02
    """Between two bytes of a slow answer."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(service, path with query, headers)."""
    step_min: int = 15

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


def entsoe(world: World, query: dict[str, str], shift_s: float = 0.0) -> tuple[int, str, str]:
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
            value = price_eur_mwh(t)
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


def open_meteo(world: World, query: dict[str, str], shift_s: float = 0.0) -> tuple[int, str, str]:
    start_s = math.floor(world.now() / DAY_S) * DAY_S - shift_s
    times = [int(start_s + k * HOUR_S) for k in range(24 * int(query["forecast_days"]))]
    made = {
        "temperature_2m": ("°C", outdoor_c),
        "shortwave_radiation": ("W/m²", lambda t: sun_w_m2(t - HOUR_S / 2)),
        "direct_normal_irradiance": ("W/m²", lambda t: 0.8 * sun_w_m2(t - HOUR_S / 2)),
        "diffuse_radiation": ("W/m²", lambda t: 0.4 * sun_w_m2(t - HOUR_S / 2)),
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


SERVICES: dict[str, Callable[..., tuple[int, str, str]]] = {"/api": entsoe, "/v1/forecast": open_meteo}
EXPIRING: dict[str, float] = {}
"""Path -> seconds until an answer expires."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        path = next((p for p in SERVICES if parts.path == p or parts.path.startswith(p + "/")), "")
        name = SERVICES[path].__name__ if path else "nobody"
        self.world.asked.append((name, self.path, headers))
        fault = self.world.fault(name)
        if fault == "gone":
            self.connection.close()
            return
        if not path:
            self._send(404, "text/html", b"<html>not here</html>")
            return
        service = SERVICES[path]
        more: dict[str, Any] = {"path": parts.path, "headers": headers, "body": body}
        wanted = service.__code__.co_varnames[: service.__code__.co_argcount]
        more = {key: value for key, value in more.items() if key in wanted}
        status, kind, text = service(self.world, query, shift_s=2 * DAY_S if fault == "yesterday" else 0.0, **more)
        self._spoilt(fault, status, kind, text.encode(), path, headers)

    def _spoilt(self, fault: str, status: int, kind: str, body: bytes, path: str, headers: dict[str, str]) -> None:
        match fault:
            case "429":
                self._send(429, "text/plain", b"slow down", {"Retry-After": "1800"})
            case "500":
                self._send(500, "text/html", b"<html>oops</html>")
            case "html":
                self._send(200, "text/html", b"<!DOCTYPE html><html><body>Maintenance</body></html>")
            case "truncated":
                self._send(status, kind, body[: len(body) * 2 // 3])
            case "reset":
                self._send(status, kind, body[: len(body) // 2], length=len(body))
                self.connection.close()
            case "slow":
                self._slowly(status, kind, body)
            case "schema":
                changed = body.replace(b"price.amount", b"price.value").replace(b'"hourly"', b'"hours"')
                for before, after in ((b'"price', b'"cost'), (b'"value', b'"worth'), (b"time", b"moment")):
                    changed = changed.replace(before, after)
                self._send(status, kind, changed)
            case "empty":
                self._send(200, kind, b"")
            case "redirect":
                self._send(302, "text/plain", b"", {"Location": "http://127.0.0.1:9/elsewhere"})
            case "wrong_unit":
                spoilt = (
                    body.replace(b"MWH", b"KWH").replace("°C".encode(), "°F".encode()).replace(b"\\u00b0C", b"\\u00b0F")
                )
                self._send(status, kind, spoilt.replace(b"EUR / MWh", b"EUR / GWh"))
            case "bomb":
                bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + b"x" * 1000 + b'">]><a>&b;&b;</a>'
                self._send(200, kind, bomb if b"xml" in body[:100] else b"[" * 100_000)
            case "repeat":
                self._send(status, kind, body + body)
            case _:
                tag = f'"{hash(body) & 0xFFFFFFFF:08x}"'
                own = {"ETag": tag}
                if path in EXPIRING:
                    own |= {"Expires": formatdate(self.world.now() + EXPIRING[path], usegmt=True)}
                if headers.get("if-none-match") == tag:
                    self._send(304, kind, b"", own)
                else:
                    self._send(status, kind, body, own)

    def _send(
        self, status: int, kind: str, body: bytes, more: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 304:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in (more or {}).items():
            self.send_header(key, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def _slowly(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            for k in range(len(body)):
                self.wfile.write(body[k : k + 1])
                self.wfile.flush()
                time.sleep(self.world.slow_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serving(world: World) -> Iterator[str]:
    """The services behind one address, until the block ends."""
    handler = type("Handler", (_Handler,), {"world": world})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
