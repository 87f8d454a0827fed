"""/healthz answers whoever asks properly, whatever the others do; what is not meant for this machine is refused."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S

from runtime.publish.http_status import MAX_CONNECTIONS, MAX_HEAD_BYTES, REQUEST_TIMEOUT_S, StatusServer, parse_request
from runtime.publish.metrics import Snapshot

STATE = {
    "level": "mpc", "reason": "", "inputs": {}, "solver": {}, "action": {}, "outputs": {}, "notices": {},
    "timing": {"solve_s": 0.0, "link_s": 0.0, "overhead_s": 0.0}, "filter": {"changed": False},
    "bundle": {"name": "", "system": "", "digest": ""},
}  # fmt: skip
GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost:9410\r\n\r\n"
# Far below the time that a slow visitor has, far above what a busy machine needs for an answer of a hundred bytes.
AT_ONCE_S = REQUEST_TIMEOUT_S / 2


@pytest.fixture
def server() -> Iterator[StatusServer]:
    server = StatusServer(0, lambda: Snapshot(STATE, time.monotonic(), 60.0, {}, {}), time.monotonic, "1")
    server.start()
    yield server
    server.stop()


def visit(server: StatusServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def ask(server: StatusServer, request: bytes) -> bytes:
    """The whole answer."""
    with visit(server) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
    return answer


def healthy_at_once(server: StatusServer) -> bool:
    begun = time.monotonic()
    answer = ask(server, GOOD)
    return answer.startswith(b"HTTP/1.1 200 OK\r\n") and b'"ok"' in answer and time.monotonic() - begun < AT_ONCE_S


def test_slow_half_open_and_many_visitors_keep_nobody_waiting(server: StatusServer) -> None:
    threads, open_before = threading.active_count(), descriptors()
    visitors = [visit(server) for _ in range(2 * MAX_CONNECTIONS)]  # who never say anything
    assert healthy_at_once(server)
    assert descriptors() - open_before <= len(visitors) + MAX_CONNECTIONS + 1  # the oldest had to go
    slow = visit(server)
    begun = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in GOOD * 100:  # a byte at a time is not a new time each
            slow.sendall(bytes([byte]))
            time.sleep(0.05)
            if int((time.monotonic() - begun) * 20) % 10 == 0:
                assert healthy_at_once(server)
            if time.monotonic() - begun > 10 * REQUEST_TIMEOUT_S:
                pytest.fail("a slow visitor was never let go")
    deaf = visit(server)  # asks, and takes no answer
    deaf.sendall(GOOD)
    assert healthy_at_once(server) and threading.active_count() == threads
    for connection in (*visitors, slow, deaf):
        connection.close()


def test_a_head_without_end_is_cut_off(server: StatusServer) -> None:
    answer = ask(server, b"GET /healthz HTTP/1.1\r\nX: " + b"a" * (MAX_HEAD_BYTES + 5000))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert healthy_at_once(server)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:9410", 200), ("127.0.0.1:1", 200), ("[::1]:9410", 200),
        ("evil.example", 421), ("evil.example:9410", 421), ("localhost.evil.example", 421), ("127.0.0.1.nip.io", 421),
        ("localhost@evil.example", 421), ("0.0.0.0", 421), ("192.168.1.7:9410", 421), ("", 421), ("[::1", 421),
    ],
)  # fmt: skip
def test_a_foreign_host_is_refused_also_for_what_is_not_there(server: StatusServer, host: str, status: int) -> None:
    for path in ("/healthz", "/metrics", "/nothing"):
        answer = ask(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert int(answer.split()[1]) == (404 if status == 200 and path == "/nothing" else status)
        assert (b"nisse_info" in answer or b"level" in answer) == (status == 200 and path != "/nothing")


@pytest.mark.parametrize(
    ("request_line", "more", "status"),
    [
        ("POST /healthz HTTP/1.1", "", 405), ("OPTIONS * HTTP/1.1", "", 405), ("DELETE /metrics HTTP/1.1", "", 405),
        ("GET /healthz HTTP/1.1", "Host: evil.example\r\n", 400), ("GET /healthz", "", 400),
        ("GET / HTTP/9.9", "", 400), ("GET /healthz\x00 HTTP/1.1", "", 400),
        ("GET /healthz/../healthz HTTP/1.1", "", 404), ("GET //healthz HTTP/1.1", "", 404),
        ("GET /%68ealthz HTTP/1.1", "", 404), ("GET /healthz? HTTP/1.1", "", 404),
        ("GET http://evil.example/healthz HTTP/1.1", "", 404), ("GET /../../etc/passwd HTTP/1.1", "", 404),
    ],
)  # fmt: skip
def test_methods_and_paths(server: StatusServer, request_line: str, more: str, status: int) -> None:
    answer = ask(server, f"{request_line}\r\nHost: localhost\r\n{more}\r\n".encode())
    assert int(answer.split()[1]) == status and b"level" not in answer


def test_head_has_no_body_and_old_clients_need_no_host(server: StatusServer) -> None:
    head, _, body = ask(server, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"Content-Length: " in head and body == b""
    assert ask(server, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert ask(server, b"GET /healthz HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_for_a_request(server: StatusServer, request: bytes) -> None:
    for head in (request, b"GET " + request, GOOD[:-2] + request):
        answer = ask(server, head + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 ")
        if answer.split()[1] == b"200":
            assert parse_request(head.partition(b"\r\n\r\n")[0])[1] in {"/healthz", "/metrics"}
