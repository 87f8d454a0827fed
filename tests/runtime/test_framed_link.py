"""The link to a board that answers anything, late, twice, or for another: neither an exception nor a wrong value."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from answering import Answering

from hil.serial_line import SerialLine
from runtime.actuate.delivery import IN_FORCE, Delivery
from runtime.clock import LockstepClock
from runtime.links import frames
from runtime.links.framed import FramedLink
from runtime.links.frames import Frame, FrameReader
from runtime.links.worker import BACKOFF_LAST_S
from runtime.site.register import Channel, SerialSection

INPUT, OUTPUT = Channel(number=0, scale=0.1), Channel(number=0, scale=0.1)
HELLO = bytes([1, 1]) + b"test board"
ROUNDS = 400


@pytest.fixture
def line(tmp_path: Path) -> Iterator[SerialLine]:
    line = SerialLine(tmp_path / "line")
    yield line
    line.close()


def reading(raw: int, *, status: int = 0, held: int = 1) -> bytes:
    return struct.pack("<BBii", status, held, raw, 0)


class Board:
    """A well-behaved board of one input and one output, to be made worse by tests."""

    def __init__(self) -> None:
        self.reader, self.raw, self.status, self.held = FrameReader(), 215, 0, 1
        self.kinds: list[int] = []

    def answers(self, request: bytes) -> list[Frame]:
        found = list(self.reader.feed(request))
        self.kinds += [frame.kind for frame in found]
        return [self.answer(frame) for frame in found]

    def answer(self, frame: Frame) -> Frame:
        match frame.kind:
            case frames.HELLO:
                self.status, payload = 0, HELLO
            case frames.READ:
                payload = reading(self.raw, status=self.status, held=self.held)
            case _:
                payload = bytes([self.status]) + frame.payload[:5]
        return Frame(frame.kind | frames.ANSWER, frame.sequence, payload)

    def serve(self, request: bytes) -> bytes:
        return b"".join(map(frames.pack, self.answers(request)))


def open_link(line: SerialLine, clock: LockstepClock, timeout_s: float = 0.5) -> FramedLink:
    clock.set(0.0)
    section = SerialSection(protocol="framed", port=str(line.link), parity="N", timeout_s=timeout_s)
    return FramedLink("board", section, clock, deadline_s=None, boot_s=0.0)


def test_any_bytes_for_an_answer(line: SerialLine) -> None:
    """Random bytes, broken frames, and well-formed frames of any kind and content, also in answer to HELLO."""
    rng, board = np.random.default_rng(0), Board()

    def answer(request: bytes) -> bytes:
        wire = bytearray()
        for good in board.answers(request):
            noise = rng.bytes(int(rng.integers(0, 60)))
            match int(rng.integers(0, 5)):
                case 0:
                    wire += noise
                case 1:
                    wire += frames.pack(Frame(int(rng.integers(256)), good.sequence, noise[:59]))
                case 2:
                    wire += frames.pack(Frame(good.kind, good.sequence, noise[:59]))
                case 3:
                    wire += noise + frames.pack(good)[: int(rng.integers(1, 12))]
                case _:
                    wire += noise + b"\0" + frames.pack(good)
        return bytes(wire)

    clock = LockstepClock()
    link, answering = open_link(line, clock, 0.01), Answering(line, answer)
    values: set[float | None] = set()
    for k in range(ROUNDS):
        clock.set((k + 1) * 2 * BACKOFF_LAST_S)
        arrival = link.read({"x": INPUT})["x"]
        assert arrival.problem or isinstance(arrival.value, float)
        if not arrival.problem:
            values.add(arrival.value)
        assert isinstance(link.write(OUTPUT, 1.0, hold_s=60), Delivery)
    print(f"{answering.answered} answers of any bytes tried")
    assert answering.answered > ROUNDS and 21.5 in values
    answering.stop()
    link.close()


def test_answers_that_belong_to_another_request_are_not_taken(line: SerialLine) -> None:
    """Every answer twice, and once more with an old sequence number and a wrong value: only the right one counts."""
    board = Board()

    def answer(request: bytes) -> bytes:
        wire = b""
        for good in board.answers(request):
            old = Frame(good.kind, (good.sequence - 1) % 256, reading(9999))
            wire += frames.pack(old) + frames.pack(good) + frames.pack(good)
        return wire

    link, answering = open_link(line, LockstepClock()), Answering(line, answer)
    for raw in range(300):  # round the end of the sequence numbers
        board.raw = raw
        assert link.read({"x": INPUT})["x"].value == pytest.approx(raw / 10)
    answering.stop()
    link.close()


def test_what_the_board_says_of_itself_makes_set_points_be_said_again(line: SerialLine) -> None:
    board = Board()
    link, answering = open_link(line, LockstepClock()), Answering(line, board.serve)
    assert link.write(OUTPUT, 1.0, hold_s=60) == IN_FORCE
    link.read({"x": INPUT})
    session = link.session
    board.held = 0  # the hold time was over before the refresh came
    link.read({"x": INPUT})
    link.read({"x": INPUT})
    assert link.session == session + 1
    board.status, board.kinds = 1, []  # it has started again: greeted once
    link.read({"x": INPUT})
    link.read({"x": INPUT})
    assert link.session == session + 2 and board.kinds == [frames.READ, frames.HELLO, frames.READ]
    answering.stop()
    link.close()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (lambda f: Frame(f.kind, f.sequence, f.payload, version=2), "speaks version 2"),
        (lambda f: Frame(frames.REFUSED, f.sequence, b"\6"), "speaks another version"),
        (lambda f: Frame(frames.REFUSED, f.sequence), "refused the request"),
        (lambda f: Frame(f.kind, f.sequence, b"\xff\xff"), "more channels than fit"),
    ],
)
def test_a_board_of_another_kind_is_named_as_such(line: SerialLine, reply: object, problem: str) -> None:
    board = Board()
    answering = Answering(line, lambda r: b"".join(frames.pack(reply(f)) for f in board.answers(r)))  # type: ignore[operator]
    link = open_link(line, LockstepClock())
    assert problem in link.read({"x": INPUT})["x"].problem
    answering.stop()
    link.close()
