"""Frames of the framed protocol and what is in them: bytes <-> messages, no I/O. Layout: docs/reference/serial.md.

frame   = COBS(body) 0x00
body    = version, kind, sequence, payload (0 to 59 bytes), CRC-16 of all before it, low byte first
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.links import cobs

VERSION = 1
MAX_BODY_BYTES = 64
MAX_PAYLOAD_BYTES = MAX_BODY_BYTES - 5
# COBS adds one byte to a body of this size.
MAX_ENCODED_BYTES = MAX_BODY_BYTES + 1

HELLO, READ, WRITE = 0x01, 0x02, 0x03
ANSWER = 0x80
"""An answer's kind is its request's with this bit; its sequence is the request's."""
REFUSED = 0xFF
REFUSALS = {
    1: "does not know the request",
    2: "found the request of the wrong length",
    3: "has no such channel",
    4: "does not take such a value",
    5: "needs a hold time",
    6: "speaks another version of the protocol",
}
NO_VALUE = -(2**31)
"""An input that is not connected, or whose sensor is broken."""


class FrameError(ValueError):
    """Bytes that are no frame, or a frame that does not hold what its kind says."""


@dataclass(frozen=True)
class Frame:
    """One message: `kind` says what `payload` is, `sequence` which request an answer belongs to."""

    kind: int
    sequence: int
    payload: bytes = b""
    version: int = VERSION


@dataclass(frozen=True)
class BoardIdentity:
    """Answer to HELLO."""

    inputs: int
    outputs: int
    name: str


@dataclass(frozen=True)
class BoardReading:
    """Answer to READ: raw numbers of all inputs, and of all outputs as they are in force."""

    started: bool
    """The board has started since the last HELLO and knows nothing of what it was told before."""
    held: tuple[bool, ...]
    """Per output: as it was written. The others are safe: their hold time is over, or they were never written."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def crc16(data: bytes) -> int:
    """CRC-16 with polynomial 0x1021 and start 0xFFFF, not reflected ("CCITT-FALSE"): of b"123456789" it is 0x29B1."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def pack(frame: Frame) -> bytes:
    """The frame as it goes over the line, with its ending zero. Raises FrameError for a payload too long."""
    if len(frame.payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(f"a payload of {len(frame.payload)} bytes; at most {MAX_PAYLOAD_BYTES} fit")
    body = bytes([frame.version, frame.kind, frame.sequence]) + frame.payload
    return cobs.encode(body + struct.pack("<H", crc16(body))) + b"\0"


def unpack(encoded: bytes) -> Frame:
    """The frame between two zeros. Raises FrameError."""
    try:
        body = cobs.decode(encoded)
    except cobs.CobsError as error:
        raise FrameError(str(error)) from error
    if not 5 <= len(body) <= MAX_BODY_BYTES:
        raise FrameError(f"{len(body)} bytes; a frame has 5 to {MAX_BODY_BYTES}")
    if crc16(body[:-2]) != int.from_bytes(body[-2:], "little"):
        raise FrameError("wrong checksum")
    return Frame(body[1], body[2], body[3:-2], body[0])


class FrameReader:
    """Finds frames in a stream of any bytes, in bounded memory. `dropped` counts what was none."""

    def __init__(self) -> None:
        self.dropped = 0
        self._buffer = bytearray()
        self._overflow = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Whole frames in the order of their ends."""
        *ended, rest = data.split(b"\0")
        for part in ended:
            self._keep(part)
            encoded, overflow = bytes(self._buffer), self._overflow
            self._buffer.clear()
            self._overflow = False
            if not encoded and not overflow:
                continue  # a zero more than needed: a sender's way to end whatever noise came before
            try:
                if overflow:
                    raise FrameError("longer than any frame")
                frame = unpack(encoded)
            except FrameError:
                self.dropped += 1
            else:
                yield frame
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        self._buffer += part[: MAX_ENCODED_BYTES + 1]
        if len(self._buffer) > MAX_ENCODED_BYTES:
            self._overflow = True
            del self._buffer[MAX_ENCODED_BYTES:]


def write_payload(channel: int, raw: int, hold_s: int) -> bytes:
    """Payload of WRITE. Raises FrameError for numbers that the fields cannot hold."""
    try:
        return struct.pack("<BiH", channel, raw, hold_s)
    except struct.error as error:
        raise FrameError(f"channel {channel}, value {raw}, hold {hold_s} s do not fit a frame") from error


def board_of(payload: bytes) -> BoardIdentity:
    """Raises FrameError."""
    if len(payload) < 2 or payload[1] > 8 or (payload[0] + payload[1]) * 4 + 2 > MAX_PAYLOAD_BYTES:
        raise FrameError("an answer to HELLO that promises more channels than fit a frame")
    return BoardIdentity(payload[0], payload[1], payload[2:].decode("ascii", errors="replace"))


def reading_of(payload: bytes, board: BoardIdentity) -> BoardReading:
    """Raises FrameError."""
    count = board.inputs + board.outputs
    if len(payload) != 2 + 4 * count:
        raise FrameError(f"{len(payload)} bytes for {count} channels")
    status, mask, *numbers = struct.unpack(f"<BB{count}i", payload)
    held = tuple(bool(mask & 1 << k) for k in range(board.outputs))
    return BoardReading(bool(status & 1), held, tuple(numbers[: board.inputs]), tuple(numbers[board.inputs :]))


def written_of(payload: bytes) -> tuple[int, int]:
    """(channel, raw number in force). Raises FrameError."""
    if len(payload) != 6:
        raise FrameError(f"{len(payload)} bytes for one channel")
    _, channel, raw = struct.unpack("<BBi", payload)
    return channel, raw
