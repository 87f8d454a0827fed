"""Text from outside cannot leave its line: not in the log, in metrics, on the terminal or to the service manager."""

from __future__ import annotations

import io
import json
import logging
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_site import tiny_manifest

from nisse.exits import run_command
from runtime.errors import NisseError
from runtime.formats.literals import PayloadError
from runtime.formats.payload import parse_payload
from runtime.formats.text import LineFormatter, plain, plain_document
from runtime.publish.metrics import Snapshot, metrics
from runtime.publish.operator_commands import Wishes, parse_order, wished
from runtime.publish.status_file import Status
from runtime.publish.status_view import view
from runtime.systemd import Notifier

NASTY = "ok\nERROR nisse: forged\x1b[2J\x9b31m\u2028\u202e\u200b\x85\x00\ud800"
MANIFEST = tiny_manifest()
# What a payload may look like, so that the parsers get far enough to say something of it.
PAYLOADS = st.binary(max_size=400) | st.text(max_size=80).flatmap(
    lambda t: st.sampled_from(
        [t, {"value": t}, {"start": t, "step_s": 60, "values": [1]}, {"start": 0, "step_s": 60, "values": [t]}, {t: t}]
    ).map(lambda document: json.dumps(document).encode())
)


def logged(message: str, *, exception: Exception | None = None) -> str:
    """What a record with this text looks like in the log of the daemon."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    info = None if exception is None else (type(exception), exception, exception.__traceback__)
    handler.handle(logging.LogRecord("nisse.x", logging.WARNING, "", 0, "%s", (message,), info))
    return stream.getvalue()


def assert_one_line(text: str) -> None:
    assert text.endswith("\n") and text[:-1].isprintable() and len(text) <= 16_001
    assert text.startswith("WARNING nisse.x: ")


@given(st.text(), st.integers(2, 400))
def test_plain_text_is_printable_bounded_and_leaves_print_alone(text: str, longest: int) -> None:
    shown = plain(text, longest)
    assert shown.isprintable() and len(shown) <= longest
    if text.isprintable() and len(text) <= longest:
        assert shown == text
    assert plain(shown, longest) == shown


@given(PAYLOADS, st.text(max_size=40), st.text(max_size=20))
def test_whatever_the_parsers_say_of_any_payload_is_one_line_of_the_log(
    payload: bytes, pointer: str, topic: str
) -> None:
    order = parse_order("set/" + topic, payload)
    said = [order.name, order.value, order.problem, order.transaction]
    for name in ("mode", "max_inflow"):
        try:
            wished(Wishes(), parse_order(f"set/{name}", payload), MANIFEST)
        except ValueError as error:
            said.append(str(error))
    for where, unit_pointer in (("", ""), ("/" + pointer, ""), ("/values", "/value")):
        try:
            parse_payload(payload, where, unit="kW", unit_pointer=unit_pointer)
        except PayloadError as error:
            said.append(f"{topic}: {error}")
            assert_one_line(logged("payload", exception=error))
    for text in said:
        assert_one_line(logged(text))


def test_no_part_of_the_view_of_the_operator_is_forged() -> None:
    entry = {"value": 1.0, "unit": NASTY, "age_s": 1.0, "validity": NASTY, "problem": NASTY}
    state = {
        "level": NASTY, "reason": NASTY, "inputs": {NASTY: entry}, "action": {NASTY: 1.0}, "limits": [NASTY],
        "outputs": {NASTY: {"value": 0.0, "problem": NASTY}}, "notices": {NASTY: NASTY}, "filter": {"limits": [NASTY]},
        "solver": {"problem": NASTY, "status": NASTY, "iterations": NASTY}, "bundle": {"name": NASTY, "system": NASTY},
        "control": {"mode": NASTY},
    }  # fmt: skip
    assert all(line.isprintable() for line in view(Status("site", 0.0, state), 0.0))
    whole = {
        **state, "timing": {"solve_s": 0.0, "link_s": 0.0, "overhead_s": 0.0}, "filter": {"changed": False},
        "bundle": {"name": NASTY, "system": 'a"b\\', "digest": ""},
    }  # fmt: skip
    page = metrics(Snapshot(whole, 0.0, 1.0, {NASTY: 1}, {}), 0.0, NASTY)
    assert all(line.isprintable() and line.startswith(("nisse_", "process_", "# ")) for line in page.splitlines())
    assert plain_document({NASTY: [NASTY, 1, None]}) == {plain(NASTY): [plain(NASTY), 1, None]}


def test_the_service_manager_and_the_shell_are_told_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        Notifier(str(tmp_path / "n")).status("rule x\nMAINPID=1\n" + NASTY)
        heard = manager.recv(4096).decode()
    assert heard.startswith("STATUS=rule x\\nMAINPID=1") and heard.isprintable()

    def fails(_: object) -> int:
        raise NisseError(f"/tmp/{NASTY}: no such file")

    assert run_command("check", fails, None) == 1  # type: ignore[arg-type]
    assert capsys.readouterr().err.removesuffix("\n").isprintable()
