"""/metrics and /healthz on localhost: one thread, one request at a time, short time-outs, nothing to post to."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from runtime.errors import LinkError
from runtime.metrics import CONTENT_TYPE, Snapshot, metrics

HOST = "127.0.0.1"
REQUEST_TIMEOUT_S = 2.0

log = logging.getLogger("nisse.http")


class StatusServer:
    """Serves what `snapshot` returns at the time of a request; `now` is the daemon's monotonic clock."""

    def __init__(
        self, port: int, snapshot: Callable[[], Snapshot | None], now: Callable[[], float], version: str
    ) -> None:
        """Raises LinkError when the port cannot be had."""

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_TIMEOUT_S

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._send(HTTPStatus.OK, CONTENT_TYPE, metrics(snapshot(), now(), version))
                elif self.path == "/healthz":
                    healthy, document = health(snapshot(), now())
                    status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
                    self._send(status, "application/json", json.dumps(document) + "\n")
                else:
                    self._send(HTTPStatus.NOT_FOUND, "text/plain", "here are /metrics and /healthz\n")

            def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def version_string(self) -> str:
                return "nisse"

            def log_message(self, format: str, *args: Any) -> None:
                log.debug(format, *args)

        class Server(HTTPServer):
            request_queue_size = 8
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                # a visitor who leaves early or says nothing; anything else is ours and goes to the log
                log.debug("request of %s failed", client_address, exc_info=True)

        try:
            self._server = Server((HOST, port), Handler)
        except OSError as error:
            raise LinkError(f"{HOST}:{port}: {error.strerror}; choose another [status] http_port") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(REQUEST_TIMEOUT_S)


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
