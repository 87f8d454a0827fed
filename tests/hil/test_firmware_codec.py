"""The codec in C against the one in Python: the same bytes out, the same frames in, whatever arrives."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hil.board import FIRMWARE
from runtime.links import frames
from runtime.links.frames import Frame, FrameReader

BYTE = st.integers(0, 255)
FRAMES = st.builds(Frame, kind=BYTE, sequence=BYTE, payload=st.binary(max_size=frames.MAX_PAYLOAD_BYTES), version=BYTE)
# Noise, and wires that are almost right, which noise alone never is.
PIECES = st.binary(max_size=90) | FRAMES.map(frames.pack) | FRAMES.map(lambda f: frames.pack(f)[1:])
PIECES |= st.tuples(FRAMES, BYTE, BYTE).map(lambda t: _with_byte(frames.pack(t[0]), t[1], t[2]))


def _with_byte(wire: bytes, where: int, byte: int) -> bytes:
    at = where % len(wire)
    return wire[:at] + bytes([byte]) + wire[at + 1 :]


class CFrame(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint8),
        ("kind", ctypes.c_uint8),
        ("sequence", ctypes.c_uint8),
        ("length", ctypes.c_uint8),
        ("payload", ctypes.c_uint8 * frames.MAX_PAYLOAD_BYTES),
    )


class CReader(ctypes.Structure):
    _fields_ = (
        ("body", ctypes.c_uint8 * frames.MAX_BODY_BYTES),
        ("length", ctypes.c_uint8),
        ("left", ctypes.c_uint8),
        ("zero", ctypes.c_bool),
        ("bad", ctypes.c_bool),
    )


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    assert compiler is not None, "these tests need a C compiler"
    out = tmp_path_factory.mktemp("protocol") / "protocol.so"
    source: Path = FIRMWARE / "protocol.c"
    subprocess.run([compiler, "-std=c99", "-O1", "-shared", "-fPIC", "-o", str(out), str(source)], check=True)
    library = ctypes.CDLL(str(out))
    library.frame_take.argtypes = [ctypes.POINTER(CReader), ctypes.c_uint8, ctypes.POINTER(CFrame)]
    library.frame_take.restype = ctypes.c_bool
    library.frame_wire.argtypes = [ctypes.POINTER(CFrame), ctypes.c_char_p]
    library.frame_wire.restype = ctypes.c_uint8
    return library


@settings(max_examples=400, deadline=None)
@given(frame=FRAMES)
def test_the_same_bytes_out(protocol: ctypes.CDLL, frame: Frame) -> None:
    payload = (ctypes.c_uint8 * frames.MAX_PAYLOAD_BYTES)(*frame.payload)
    made = CFrame(frame.version, frame.kind, frame.sequence, len(frame.payload), payload)
    wire = ctypes.create_string_buffer(frames.MAX_ENCODED_BYTES + 1)
    count = protocol.frame_wire(ctypes.byref(made), wire)
    assert wire.raw[:count] == frames.pack(frame)


@settings(max_examples=1500, deadline=None)
@given(stream=st.lists(PIECES, max_size=6).map(b"".join))
@example(stream=b"\x01" * 70 + b"\0" + frames.pack(Frame(1, 1)))
@example(stream=b"\xff" + b"\x07" * 300 + b"\0" + frames.pack(Frame(1, 1)))
def test_the_same_frames_in(protocol: ctypes.CDLL, stream: bytes) -> None:
    reader, found = CReader(), CFrame()
    heard = []
    for byte in stream:
        if protocol.frame_take(ctypes.byref(reader), byte, ctypes.byref(found)):
            payload = bytes(found.payload[: found.length])
            heard.append(Frame(found.kind, found.sequence, payload, found.version))
    assert heard == list(FrameReader().feed(stream))
