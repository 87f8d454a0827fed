"""/metrics and /healthz on localhost: one thread, few sockets, and nobody waits for a visitor who is slow.

One loop serves all connections as their bytes come. Each has a bounded time and a bounded head, and when there are too
many the oldest goes, so that whoever asks at once is answered at once. What is not for this machine by name is refused:
a page of a stranger, opened in a browser here, could otherwise read it by a name that it points at 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from runtime.errors import LinkError
from runtime.publish.metrics import CONTENT_TYPE, Snapshot, metrics

HOST = "127.0.0.1"
NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""By which this machine may be asked for; the port does not matter, as a tunnel may end at another."""
REQUEST_TIMEOUT_S = 2.0
"""For the whole of a request and its answer."""
MAX_HEAD_BYTES = 8192
MAX_CONNECTIONS = 32
ACCEPT_PAUSE_S = 0.05
_ALLOWED = "GET, HEAD"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,1024}) HTTP/1\.([01])")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:[0-9]{0,5})?")

log = logging.getLogger("nisse.http")


@dataclass(frozen=True)
class HttpAnswer:
    """What is sent back; `extra` are further header lines."""

    status: HTTPStatus
    kind: str
    text: str
    extra: tuple[str, ...] = ()


@dataclass(eq=False)
class _Visitor:
    """One connection; times are monotonic seconds."""

    connection: socket.socket
    until_s: float
    head: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class StatusServer:
    """Serves what `snapshot` returns at the time of a request; `now` is the daemon's monotonic clock."""

    def __init__(
        self, port: int, snapshot: Callable[[], Snapshot | None], now: Callable[[], float], version: str
    ) -> None:
        """Raises LinkError when the port cannot be had."""
        self._snapshot, self._now, self._version = snapshot, now, version
        self._visitors: dict[socket.socket, _Visitor] = {}
        try:
            self._listener = socket.create_server((HOST, port), backlog=MAX_CONNECTIONS)
        except OSError as error:
            raise LinkError(f"{HOST}:{port}: {error.strerror}; choose another [status] http_port") from error
        self._listener.setblocking(False)
        self._bell, self._rope = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._rope.close()  # which rings the bell
        self._thread.join(REQUEST_TIMEOUT_S)

    # -- the server's thread

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select(self._patience_s()):
                if key.fileobj is self._bell:
                    self._close_all()
                    return
                if key.fileobj is self._listener:
                    self._welcome()
                elif key.data.connection in self._visitors:  # not one who had to make room just now
                    self._attend(key.data)
            now_s = time.monotonic()
            for visitor in [v for v in self._visitors.values() if v.until_s <= now_s]:
                self._part(visitor)

    def _patience_s(self) -> float | None:
        """Until the first visitor has had the time; without one there is nothing to wait for."""
        return max(0.0, min(v.until_s for v in self._visitors.values()) - time.monotonic()) if self._visitors else None

    def _welcome(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            log.debug("accept: %s", error)
            # Gone again, or no descriptors left: whoever waits is not waited for at full speed.
            time.sleep(ACCEPT_PAUSE_S)
            return
        connection.setblocking(False)
        if len(self._visitors) >= MAX_CONNECTIONS:
            self._part(next(iter(self._visitors.values())))
        visitor = self._visitors[connection] = _Visitor(connection, time.monotonic() + REQUEST_TIMEOUT_S)
        self._selector.register(connection, selectors.EVENT_READ, visitor)

    def _attend(self, visitor: _Visitor) -> None:
        """Read what there is of the request, or write what goes of the answer."""
        try:
            if visitor.answer is None:
                heard = visitor.connection.recv(4096)
                if not heard:
                    self._part(visitor)
                    return
                visitor.head += heard
                answer = self._answered(visitor.head)
                if answer is None:
                    return
                visitor.answer = memoryview(answer)
                self._selector.modify(visitor.connection, selectors.EVENT_WRITE, visitor)
            visitor.answer = visitor.answer[visitor.connection.send(visitor.answer) :]
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("a visitor left: %s", error)
            self._part(visitor)
            return
        except Exception:
            # A defect of ours; the others are served on.
            log.exception("an answer could not be made")
            self._part(visitor)
            return
        if not visitor.answer:
            self._part(visitor)

    def _answered(self, head: bytes | bytearray) -> bytes | None:
        """The whole answer; None while the request is not complete."""
        end = head.find(b"\r\n\r\n")
        if end < 0 and len(head) <= MAX_HEAD_BYTES:
            return None
        if not 0 <= end <= MAX_HEAD_BYTES:
            return _packed(_refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too much of a request"), "GET")
        try:
            method, path = parse_request(bytes(head[:end]))
        except _RefusedError as refused:
            return _packed(refused.answer, "GET")
        return _packed(self._page(path), method)

    def _page(self, path: str) -> HttpAnswer:
        if path == "/metrics":
            return HttpAnswer(HTTPStatus.OK, CONTENT_TYPE, metrics(self._snapshot(), self._now(), self._version))
        if path == "/healthz":
            healthy, document = health(self._snapshot(), self._now())
            status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
            return HttpAnswer(status, "application/json", json.dumps(document) + "\n")
        return _refusal(HTTPStatus.NOT_FOUND, "here are /metrics and /healthz")

    def _part(self, visitor: _Visitor) -> None:
        self._visitors.pop(visitor.connection, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(visitor.connection)
        with contextlib.suppress(OSError):
            # Bytes of the request that nobody has read would turn the close into a reset, which eats the answer.
            visitor.connection.shutdown(socket.SHUT_WR)
            visitor.connection.recv(8 * MAX_HEAD_BYTES)
        visitor.connection.close()

    def _close_all(self) -> None:
        for visitor in list(self._visitors.values()):
            self._part(visitor)
        self._selector.close()
        self._listener.close()
        self._bell.close()


class _RefusedError(Exception):
    def __init__(self, answer: HttpAnswer) -> None:
        self.answer = answer


def parse_request(head: bytes) -> tuple[str, str]:
    """(method, path) of a request without its empty line. Raises _RefusedError with what to answer instead."""
    first, *fields = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise _RefusedError(_refusal(HTTPStatus.BAD_REQUEST, "no HTTP/1.1 request"))
    method, path = match[1].decode("ascii"), match[2].decode("ascii")
    named = [(name.strip().lower(), value.strip()) for name, _, value in (f.partition(b":") for f in fields)]
    hosts = [value.decode("latin-1") for name, value in named if name == b"host"]
    if len(hosts) > 1 or (not hosts and match[3] == b"1"):
        raise _RefusedError(_refusal(HTTPStatus.BAD_REQUEST, "one Host header, please"))
    host = _HOST.fullmatch(hosts[0]) if hosts else None
    if hosts and (host is None or host[1].lower() not in NAMES):
        raise _RefusedError(_refusal(HTTPStatus.MISDIRECTED_REQUEST, f"ask for {HOST} or localhost"))
    if method not in {"GET", "HEAD"}:
        refusal = _refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"only {_ALLOWED}", f"Allow: {_ALLOWED}")
        raise _RefusedError(refusal)
    return method, path


def _refusal(status: HTTPStatus, text: str, *extra: str) -> HttpAnswer:
    return HttpAnswer(status, "text/plain; charset=utf-8", text + "\n", extra)


def _packed(answer: HttpAnswer, method: str) -> bytes:
    body = answer.text.encode()
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        "Server: nisse",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *answer.extra,
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if method == "HEAD" else body)


def health(snapshot: Snapshot | None, now_s: float) -> tuple[bool, dict[str, Any]]:
    """Whether cycles run, at whatever level, and what to say. Before the first one the daemon is not yet healthy."""
    if snapshot is None:
        return False, {"status": "starting"}
    age = now_s - snapshot.monotonic_s
    healthy = age <= snapshot.healthy_for_s
    return healthy, {
        "status": "ok" if healthy else "overdue",
        "level": snapshot.state["level"],
        "reason": snapshot.state["reason"],
        "last_cycle_age_s": round(age, 3),
    }
