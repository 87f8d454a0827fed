"""A Modbus RTU device on the plant's end of a serial line: registers in, registers out, and ways to misbehave.

Frames and PDUs are pymodbus's; the request handler is ours, because a bench must also be able to stay silent, answer
late, answer rubbish or refuse, and because every write has to be stamped with the time of the bench.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    ReadDiscreteInputsRequest,
    ReadDiscreteInputsResponse,
    WriteMultipleCoilsRequest,
    WriteMultipleCoilsResponse,
    WriteSingleCoilRequest,
    WriteSingleCoilResponse,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterRequest,
    WriteSingleRegisterResponse,
)

from hil.serial_line import SerialLine

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, DEVICE_BUSY = 1, 2, 6
SILENCE_S = 0.02
"""A frame that is not complete after this silence is noise and is dropped (RTU: 3.5 characters)."""

Moment = Literal["read", "write", "written"]
Answer = Literal["normal", "silent", "garbage", "bad_crc", "exception", "slow", "own_mode"]


@dataclass
class Registers:
    """The device's memory, 16-bit words and bits by address; thread-safe. `writes` holds (time_s, address, word)."""

    input: dict[int, int] = field(default_factory=dict)
    holding: dict[int, int] = field(default_factory=dict)
    coil: dict[int, int] = field(default_factory=dict)
    discrete: dict[int, int] = field(default_factory=dict)
    functions: frozenset[int] = frozenset({3, 4, 6, 16})
    """What the device understands; with coils also 1, 2, 5 and 15."""
    together: bool = True
    """Whether several registers may be read by one request."""
    writes: list[tuple[float, int, int]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def set_input(self, words: Mapping[int, int]) -> None:
        with self.lock:
            self.input.update({address: word & 0xFFFF for address, word in words.items()})

    def read(self, bank: dict[int, int], address: int, count: int) -> list[int] | None:
        """Words, or None when one of the addresses does not exist."""
        with self.lock:
            wanted = range(address, address + count)
            if count > 4 and not self.together:
                return None
            return [bank[a] for a in wanted] if all(a in bank for a in wanted) else None

    def write(self, time_s: float, address: int, words: list[int], bank: dict[int, int] | None = None) -> bool:
        """All words or none, to the holding registers unless said; False when one of the addresses does not exist."""
        memory = self.holding if bank is None else bank
        with self.lock:
            if not words or any(address + i not in memory for i in range(len(words))):
                return False
            for i, word in enumerate(words):
                memory[address + i] = word & 0xFFFF
                self.writes.append((time_s, address + i, word & 0xFFFF))
            return True

    def take_writes(self) -> list[tuple[float, int, int]]:
        """The writes since the last call, oldest first."""
        with self.lock:
            taken, self.writes = self.writes, []
            return taken


def respond(request: ModbusPDU, registers: Registers, time_s: float, *, deaf: bool = False) -> ModbusPDU:
    """The device's answer to one request: function codes 1 to 6, 15 and 16; anything else is an illegal function.

    deaf: what is written is acknowledged and not kept.
    """
    answer: ModbusPDU | None
    if request.function_code not in registers.functions:
        return ExceptionResponse(request.function_code, ILLEGAL_FUNCTION)
    match request:
        case ReadDiscreteInputsRequest():  # a subclass of the request for coils, so it comes first
            bits = registers.read(registers.discrete, request.address, request.count)
            answer = ReadDiscreteInputsResponse(bits=list(map(bool, bits))) if bits is not None else None
        case ReadCoilsRequest():
            bits = registers.read(registers.coil, request.address, request.count)
            answer = ReadCoilsResponse(bits=list(map(bool, bits))) if bits is not None else None
        case WriteSingleCoilRequest() | WriteMultipleCoilsRequest():
            told = [int(bit) for bit in request.bits[: request.count or 1]]
            done = deaf or registers.write(time_s, request.address, told, registers.coil)
            if not done:
                answer = None
            elif isinstance(request, WriteSingleCoilRequest):
                answer = WriteSingleCoilResponse(address=request.address, bits=request.bits)
            else:
                answer = WriteMultipleCoilsResponse(address=request.address, count=len(told))
        case ReadInputRegistersRequest():  # a subclass of the holding request, so it comes first
            words = registers.read(registers.input, request.address, request.count)
            answer = ReadInputRegistersResponse(registers=words) if words is not None else None
        case ReadHoldingRegistersRequest():
            words = registers.read(registers.holding, request.address, request.count)
            answer = ReadHoldingRegistersResponse(registers=words) if words is not None else None
        case WriteSingleRegisterRequest():
            done = deaf or registers.write(time_s, request.address, list(request.registers))
            answer = WriteSingleRegisterResponse(address=request.address, registers=request.registers) if done else None
        case WriteMultipleRegistersRequest():
            done = deaf or registers.write(time_s, request.address, list(request.registers))
            answer = (
                WriteMultipleRegistersResponse(address=request.address, count=len(request.registers)) if done else None
            )
        case _:
            return ExceptionResponse(request.function_code, ILLEGAL_FUNCTION)
    return answer if answer is not None else ExceptionResponse(request.function_code, ILLEGAL_ADDRESS)


@dataclass(frozen=True)
class Trap:
    """Something that happens inside a cycle: `act` is called once, on the next request to read, on the next to write,
    or when that has been written. It is called from the device's thread, with the line held; the request that sprang it
    gets no answer.
    """

    moment: Moment
    act: Callable[[], None]


class ModbusDevice:
    """Serves `registers` as device `device_id` on `line`, in a thread of its own, and `others` by their ids.

    `answer` selects the behaviour; `delay_s` is real time and counts for "slow". `clock` gives the time that writes are
    stamped with (the bench's, in seconds). `seed` makes the garbage reproducible.
    """

    def __init__(
        self,
        line: SerialLine,
        registers: Registers,
        clock: Callable[[], float],
        *,
        device_id: int = 1,
        seed: int = 0,
        others: Mapping[int, Registers] | None = None,
    ) -> None:
        self.line, self.registers, self.device_id = line, registers, device_id
        self.slaves = {device_id: registers, **(others or {})}
        self.mute: set[int] = set()
        """Of the devices on the line, those that say nothing."""
        self.answer: Answer = "normal"
        self.delay_s = 0.0
        self.requests = 0
        self.traps: list[Trap] = []
        self._clock = clock
        self._noise = np.random.default_rng(seed)
        self._framer = FramerRTU(DecodePDU(is_server=True))
        self._wake_read, self._wake_write = os.pipe()
        self._running = True
        self._line_lock = threading.Lock()
        self._received = b""
        self._thread = threading.Thread(target=self._serve, name="modbus-device", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def line_held(self) -> Iterator[None]:
        """Keeps the thread off the line while its file descriptors change."""
        with self._line_lock:
            yield
        os.write(self._wake_write, b"x")

    def close(self) -> None:
        self._running = False
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def settle(self, timeout_s: float) -> bool:
        """Wait until every request on the line has been dealt with, late answers included; False when it takes longer.

        In lockstep the plant must not move on before: on a real clock seconds are nothing in a step of minutes.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self._line_lock:
                fd = self.line.plant_fd
                if fd is None or (not self._received and not select.select([fd], [], [], 0.0)[0]):
                    return True
            time.sleep(0.001)  # the thread needs the lock to read what is waiting
        return False

    def _serve(self) -> None:
        while self._running:
            fd = self.line.plant_fd
            watched = [self._wake_read] if fd is None else [self._wake_read, fd]
            try:
                ready, _, _ = select.select(watched, [], [], SILENCE_S if self._received else 0.5)
            except OSError:  # the cable was pulled between the two lines above
                continue
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            with self._line_lock:
                if fd is None or fd not in ready or self.line.plant_fd != fd:
                    self._received = b""
                    continue
                try:
                    self._received += os.read(fd, 512)
                except OSError:
                    self._received = b""
                    continue
                self._received = self._handle(fd, self._received)

    def _handle(self, fd: int, received: bytes) -> bytes:
        """Answer the request in `received` if there is a whole one; returns the bytes that are left."""
        try:
            used, request = self._framer.handleFrame(received, 0, 0)
        except (struct.error, ValueError, IndexError):
            return b""
        except Exception as error:  # pymodbus raises its own family for undecodable requests
            if type(error).__module__.startswith("pymodbus"):
                return b""
            raise
        if request is not None and request.dev_id in self.slaves.keys() - self.mute:
            self.requests += 1
            self._reply(fd, request)
        return received[used:]

    def _sprung(self, moment: Moment) -> bool:
        """Act on the traps that wait for this moment; whether there were any."""
        sprung = [trap for trap in self.traps if trap.moment == moment]
        for trap in sprung:
            self.traps.remove(trap)
            trap.act()
        return bool(sprung)

    def _reply(self, fd: int, request: ModbusPDU) -> None:
        is_write = isinstance(request, WriteSingleRegisterRequest | WriteMultipleRegistersRequest)
        if self._sprung("write" if is_write else "read") or self.answer == "silent":
            return
        if self.answer == "slow":
            time.sleep(self.delay_s)
        if self.answer == "garbage":
            frame = self._noise.bytes(int(self._noise.integers(1, 40)))
        else:
            if self.answer == "exception":
                pdu: ModbusPDU = ExceptionResponse(request.function_code, DEVICE_BUSY)
            else:
                pdu = respond(request, self.slaves[request.dev_id], self._clock(), deaf=self.answer == "own_mode")
                if is_write and self._sprung("written"):
                    return
            pdu.dev_id = request.dev_id
            frame = self._framer.buildFrame(pdu)
            if self.answer == "bad_crc":
                frame = frame[:-1] + bytes([frame[-1] ^ 0xFF])
        with contextlib.suppress(OSError):  # nobody listens: a real device would not notice either
            os.write(fd, frame)
