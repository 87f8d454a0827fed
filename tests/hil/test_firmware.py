"""The I/O board's firmware, as a process and as an emulated ATmega328P, with the runtime's own link and daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from patience import comes_true

from hil.board import BoardProcess, Kind, LockstepBoard, build, missing_tools
from runtime.clock import SystemClock
from runtime.links import frames
from runtime.links.framed import FramedLink
from runtime.links.frames import Frame, FrameReader
from runtime.site.register import Channel, SerialSection

POWER, RELAY = Channel(number=0, scale=0.001), Channel(number=1)
VOLTAGE = {"voltage": Channel(number=2, scale=5.0 / 1024)}
FUZZED_BYTES = {"posix": 200_000, "emulator": 20_000}

# Of the process only: a read or write out of bounds, or an overflow, ends it at once.
SANITIZED = "CFLAGS=-std=c99 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


def needed(kind: Kind) -> None:
    missing = missing_tools(kind)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module", params=["posix", "emulator"])
def kind(request: pytest.FixtureRequest) -> Kind:
    needed(request.param)
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def command(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return build(kind, tmp_path_factory.mktemp(f"Zoë's {kind} $(id); {{a}} [b]"), SANITIZED)


@pytest.fixture
def board(command: tuple[str, ...], tmp_path: Path) -> Iterator[BoardProcess]:
    board = BoardProcess(command, tmp_path / "serial-by-id-board")
    board.start()
    yield board
    board.stop()


@pytest.fixture
def link(board: BoardProcess) -> Iterator[FramedLink]:
    section = SerialSection(protocol="framed", port=str(board.link), parity="N", timeout_s=1.0)
    link = FramedLink("board", section, SystemClock(), deadline_s=20.0)
    yield link
    link.close()


def test_set_points_reach_the_pins_and_fall_when_the_host_is_silent(board: BoardProcess, link: FramedLink) -> None:
    assert link.write(POWER, 0.5, hold_s=3).problem == "" and link.write(RELAY, 1, hold_s=9).problem == ""
    assert board.wait_output(0, 500, 60.0) and board.wait_output(1, 1, 60.0)
    session = link.session
    assert board.wait_output(0, 0, 120.0)
    assert board.output(1) == 1  # its own time is not over
    assert board.wait_output(1, 0, 120.0)
    seen = [(t, value) for t, output, value in board.changes if output == 0]
    rise = next(t for t, value in seen if value == 500)
    fall = next(t for t, value in seen if value == 0 and t > rise)
    assert fall - rise == pytest.approx(3.0, abs=1.5)  # lockstep is exact, see below
    assert link.read(VOLTAGE)["voltage"].problem == ""
    assert link.session != session  # so that the daemon says its set-points again


def test_what_the_board_does_not_take_is_refused(board: BoardProcess, link: FramedLink) -> None:
    assert "does not take such a value" in link.write(POWER, 1.001, hold_s=60).problem
    assert "does not take such a value" in link.write(POWER, -0.001, hold_s=60).problem
    assert "does not take such a value" in link.write(RELAY, 2, hold_s=60).problem
    assert "no such channel" in link.write(Channel(number=3), 1, hold_s=60).problem
    assert "do not fit" in link.write(POWER, 1e9, hold_s=60).problem
    assert "no input 9" in link.read({"other": Channel(number=9)})["other"].problem
    assert link.problem == ""  # refusals are no trouble with the line: nothing is left alone for them
    assert link.write(POWER, 1.0, hold_s=60).problem == ""
    assert board.wait_output(0, 1000, 60.0)


def test_port_gone_and_back_under_another_name(board: BoardProcess, link: FramedLink) -> None:
    assert link.write(RELAY, 1, hold_s=60).problem == ""
    session = link.session
    board.stop()
    begun = time.monotonic()
    problems = [link.write(RELAY, 1, hold_s=60).problem for _ in range(100)]
    assert all(problems) and time.monotonic() - begun < 5.0  # left alone, not tried a hundred times
    assert comes_true(lambda: "is not there" in link.write(RELAY, 1, hold_s=60).problem)
    board.start()
    assert comes_true(lambda: link.write(RELAY, 1, hold_s=60).problem == "")
    assert link.session != session and board.wait_output(1, 1, 60.0)


def test_any_bytes_and_the_board_still_answers(board: BoardProcess, link: FramedLink, kind: Kind) -> None:
    """Noise, broken frames, and whole frames of any content, into the real firmware."""
    rng = np.random.default_rng(0)
    sent = 0
    line = os.open(board.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    while sent < FUZZED_BYTES[kind]:
        noise = rng.bytes(int(rng.integers(1, 80)))
        if rng.random() < 0.5:
            request = Frame(int(rng.integers(256)), int(rng.integers(256)), noise[: frames.MAX_PAYLOAD_BYTES])
            noise = frames.pack(request)
            noise = noise if rng.random() < 0.7 else noise[: len(noise) // 2]
        try:
            sent += os.write(line, noise)
            os.read(line, 4096)
        except BlockingIOError:
            time.sleep(0.001)
    os.close(line)
    print(f"{sent} bytes tried on {kind}")
    assert comes_true(lambda: link.read(VOLTAGE)["voltage"].problem in ("", "nothing connected to input 2"))
    assert comes_true(lambda: link.write(POWER, 0.25, hold_s=60).problem == "") and board.wait_output(0, 250, 10.0)


@pytest.fixture
def emulator(tmp_path: Path) -> BoardProcess:
    needed("emulator")
    return BoardProcess(build("emulator", tmp_path / "firmware"), tmp_path / "serial-by-id-board")


def test_a_voltage_is_read_and_a_reset_is_noticed(emulator: BoardProcess) -> None:
    emulator.start()
    section = SerialSection(protocol="framed", port=str(emulator.link), parity="N", timeout_s=1.0)
    link = FramedLink("board", section, SystemClock(), deadline_s=20.0)
    emulator.tell("input 2 1250")
    assert comes_true(lambda: abs((link.read(VOLTAGE)["voltage"].value or 0.0) - 1.25) <= 0.005)  # type: ignore[operator]
    assert link.write(RELAY, 1, hold_s=600).problem == "" and emulator.wait_output(1, 1, 60.0)
    session = link.session
    emulator.tell("reset")
    assert comes_true(lambda: link.read(VOLTAGE)["voltage"].problem == "" and link.session > session)
    settled = link.session
    link.read(VOLTAGE)
    assert link.session == settled  # told once
    assert link.write(RELAY, 1, hold_s=600).problem == ""
    link.close()
    emulator.stop()


def test_lockstep_is_the_same_every_time_and_exact_to_the_millisecond(emulator: BoardProcess) -> None:
    """A minute of polling in emulated time, twice; then the hold time by the count of clock cycles."""
    requests = [frames.pack(Frame(frames.HELLO, 0))]
    requests += [frames.pack(Frame(frames.READ, k)) for k in range(1, 60)]

    def run() -> tuple[list[list[str]], int]:
        board = LockstepBoard(emulator.command)
        board.run(0.01, "input 0 2500")
        heard = [board.run(1.0, f"send {request.hex()}") for request in requests]
        order = frames.pack(Frame(frames.WRITE, 99, frames.write_payload(1, 1, 30)))
        assert "output 1 1" in board.run(0.5, f"send {order.hex()}")
        begun = board.cycle
        while not any(line == "output 1 0" for line in board.run(0.001)):
            pass
        ended = board.cycle
        board.close()
        return heard, ended - begun

    (first, cycles), again = run(), run()
    assert (first, cycles) == again
    answer = bytes(int(line.split()[1], 16) for line in first[5] if line.startswith("sent"))
    (frame,) = FrameReader().feed(answer)
    reading = frames.reading_of(frame.payload, frames.BoardIdentity(4, 3, ""))
    assert frame.sequence == 5 and reading.inputs[0] == 511 and not any(reading.held)
    # 30 s less the half second that passed before the count, plus what the line took for the request.
    assert 29.5 < cycles / 16e6 < 29.52
