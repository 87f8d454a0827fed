"""The framed protocol's codec: packed is unpacked, and any bytes are a frame or are dropped, in bounded memory."""

from __future__ import annotations

import binascii
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.links import cobs, frames
from runtime.links.frames import BoardIdentity, BoardReading, Frame, FrameError, FrameReader

PAYLOADS = st.binary(max_size=frames.MAX_PAYLOAD_BYTES)
FRAMES = st.builds(Frame, kind=st.integers(0, 255), sequence=st.integers(0, 255), payload=PAYLOADS)
FUZZED_BYTES = 400_000


def test_published_examples_of_the_stuffing() -> None:
    """The paper's rule by hand, and the full group, which stands for no zero."""
    for plain, encoded in (
        ("", "01"),
        ("00", "01 01"),
        ("00 00", "01 01 01"),
        ("11 22 00 33", "03 11 22 02 33"),
        ("11 00 00 00", "02 11 01 01 01"),
    ):
        assert cobs.encode(bytes.fromhex(plain)) == bytes.fromhex(encoded)
        assert cobs.decode(bytes.fromhex(encoded)) == bytes.fromhex(plain)
    run = bytes(range(1, 255))
    assert cobs.encode(run) == b"\xff" + run
    assert cobs.encode(run + b"\0") == b"\xff" + run + b"\x01\x01"
    assert cobs.encode(b"\0" + run + b"\xff") == b"\x01\xff" + run + b"\x02\xff"


@given(st.binary(max_size=1200) | st.integers(0, 1100).map(lambda n: b"\x07" * n))
def test_stuffing_has_no_zero_and_comes_back(data: bytes) -> None:
    encoded = cobs.encode(data)
    assert 0 not in encoded and len(encoded) <= len(data) + 1 + len(data) // 254
    assert cobs.decode(encoded) == data


@given(st.binary(max_size=300))
def test_any_bytes_are_unstuffed_or_refused(encoded: bytes) -> None:
    try:
        data = cobs.decode(encoded)
    except cobs.CobsError:
        return
    assert 0 not in encoded and len(data) < len(encoded)


@given(st.binary(max_size=80))
@example(b"123456789")
def test_checksum(data: bytes) -> None:
    """Against the standard library's, which starts at a value of choice."""
    assert frames.crc16(data) == binascii.crc_hqx(data, 0xFFFF)
    assert frames.crc16(b"123456789") == 0x29B1


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_frames_survive_any_splitting_of_the_stream(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"\0" + b"".join(map(frames.pack, sent))
    edges = [0, *sorted(cuts), len(stream)]
    reader = FrameReader()
    heard = [frame for begin, end in pairwise(edges) for frame in reader.feed(stream[begin:end])]
    assert heard == sent and reader.dropped == 0


@settings(max_examples=300)
@given(FRAMES, st.integers(0, 10_000), st.integers(1, 255))
def test_one_wrong_byte_is_noticed_and_the_next_frame_heard(frame: Frame, where: int, wrong: int) -> None:
    wire = bytearray(frames.pack(frame))
    wire[where % len(wire)] ^= wrong
    after = Frame(frames.READ, 77)
    heard = list(FrameReader().feed(bytes(wire) + b"\0" + frames.pack(after)))
    assert heard == [after]


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_answers_of_any_bytes(payload: bytes) -> None:
    for parse in (frames.board_of, lambda p: frames.reading_of(p, frames.BoardIdentity(4, 3, "")), frames.written_of):
        try:
            assert parse(payload) is not None
        except FrameError as error:
            assert "\n" not in str(error)


def test_what_a_reading_means() -> None:
    payload = bytes.fromhex("01 02 ffffffff 10270000 00000080")
    board = frames.board_of(bytes([1, 2]) + b"a board")
    assert frames.reading_of(payload, board) == BoardReading(True, (False, True), (-1,), (10_000, frames.NO_VALUE))
    with pytest.raises(FrameError, match="do not fit"):
        frames.write_payload(0, 2**31, 60)
    with pytest.raises(FrameError, match="at most 59"):
        frames.pack(Frame(1, 1, bytes(60)))


def test_a_stream_of_noise_leaves_the_reader_small() -> None:
    """Random bytes with and without zeros, frames cut and glued: counted, never raised; the next frame is heard."""
    rng = np.random.default_rng(0)
    reader, fed, heard = FrameReader(), 0, 0
    while fed < FUZZED_BYTES:
        noise = rng.bytes(int(rng.integers(1, 2000)))
        match int(rng.integers(0, 3)):
            case 0:
                noise = noise.replace(b"\0", b"\x01")
            case 1:
                wire = frames.pack(Frame(int(rng.integers(256)), int(rng.integers(256)), noise[:50].ljust(50)))
                noise = wire[: int(rng.integers(len(wire) + 1))] + noise[:10]
        heard += len(list(reader.feed(noise)))
        fed += len(noise)
        assert len(reader._buffer) <= frames.MAX_ENCODED_BYTES
    list(reader.feed(b"\0"))
    last = Frame(frames.HELLO, 9)
    assert list(reader.feed(frames.pack(last))) == [last]
    print(f"{fed} bytes tried, {reader.dropped} pieces dropped, {heard} frames heard")
    assert reader.dropped > 500


def test_the_exchange_in_the_documentation() -> None:
    """Whoever implements a board from the page must meet these bytes."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "serial.md").read_text()
    wires = [bytes.fromhex(found) for found in re.findall(r"^\S.* [<>] ((?:[0-9a-f]{2} ?)+)$", page, re.MULTILINE)]
    board = BoardIdentity(4, 3, "nisse io mega328")
    hello, welcome, write, written, refused = (frame for wire in wires for frame in FrameReader().feed(wire))
    assert hello == Frame(frames.HELLO, 1) and frames.board_of(welcome.payload) == board
    assert write == Frame(frames.WRITE, 3, frames.write_payload(0, 500, 60))
    assert frames.written_of(written.payload) == (0, 500)
    assert refused == Frame(frames.REFUSED, 4, b"\4")
    assert [frames.pack(frame) for frame in (hello, welcome, write, written, refused)] == wires
