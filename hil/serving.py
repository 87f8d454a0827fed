"""The services of `hil.services` on a loopback port, with what goes wrong on demand."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

from hil.services import DAY_S, EXPIRING, SERVICES, ServedWorld

FAULTS = (
    "429", "500", "html", "truncated", "yesterday", "slow", "schema", "empty", "gone", "redirect", "wrong_unit",
    "bomb", "repeat", "reset",
)  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: ServedWorld

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
            self._hang_up()
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
                self._hang_up()
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
                tag = f'"{crc32(body):08x}"'
                own = {"ETag": tag}
                if path in EXPIRING:
                    own |= {"Expires": formatdate(self.world.now() + EXPIRING[path], usegmt=True)}
                if headers.get("if-none-match") == tag:
                    self._send(304, kind, b"", own)
                else:
                    self._send(status, kind, body, own)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

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
                self.world.sent_slowly += 1
                time.sleep(self.world.slow_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serving(world: ServedWorld) -> Iterator[str]:
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
