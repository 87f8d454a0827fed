"""An I/O board that speaks the framed protocol (docs/reference/serial.md) on a serial port; firmware: hil/firmware/.

A board holds what it was told for a stated time and then makes its outputs safe by itself, so a set-point is said again
well before. What the board says of itself (just started, output no longer held) makes the daemon say everything again.
"""

from __future__ import annotations

import contextlib
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.actuate.delivery import IN_FORCE, Delivery, unsent
from runtime.clock import Clock
from runtime.inputs.signals import Arrival
from runtime.links import frames
from runtime.links.frames import BoardIdentity, Frame, FrameError, FrameReader
from runtime.links.last_good import LastGood
from runtime.links.worker import DeviceError, DeviceRefusedError, Worker
from runtime.site.register import Channel, SerialSection

if TYPE_CHECKING:
    import serial

ATTEMPTS = 2
# Opening a port resets many boards, which then sit in their bootloader for a moment.
BOOT_S = 2.5


class BoardSilentError(DeviceError):
    """Nothing came, or nothing that was an answer."""


class FramedLink:
    """One board. `read` and `write` are called by the cycle's thread only."""

    def __init__(
        self, name: str, section: SerialSection, clock: Clock, *, deadline_s: float | None, boot_s: float = BOOT_S
    ) -> None:
        """deadline_s: how long the cycle waits for a job; None waits until it is done (lockstep).

        boot_s: how long a board may be silent after its port was opened.
        """
        self.name = name
        self._clock = clock
        self._port = _Port(section, boot_s)
        self._worker = Worker(name, self._port, clock, deadline_s=deadline_s)
        self._arrivals = LastGood()
        self._told: set[int] = set()
        """Outputs that the board should be holding; the worker's."""

    @property
    def problem(self) -> str:
        """Empty while the board answers."""
        return self._worker.problem

    @property
    def session(self) -> int:
        """Changes when the board may have forgotten what it was told."""
        return self._worker.session

    def read(self, channels: Mapping[str, Channel]) -> dict[str, Arrival]:
        """All inputs by one request; what could not be read keeps its last value and age, and says why."""
        return self.begin(channels)()

    def begin(self, channels: Mapping[str, Channel]) -> Callable[[], dict[str, Arrival]]:
        """Ask for all inputs; what then waits for them."""

        def job() -> None:
            reading = self._port.read()
            lost = {k for k in self._told if k >= len(reading.held) or not reading.held[k]}
            if reading.started or lost:
                self._told -= lost
                self._worker.forgotten()
            now_s = self._clock.monotonic()
            for name, channel in channels.items():
                self._arrivals.put(name, _arrival(channel, reading.inputs, now_s))

        ended = self._worker.begin(job)
        return lambda: self._arrivals.take(channels, ended(), self._clock.monotonic())

    def write(self, channel: Channel, value: float, *, hold_s: float) -> Delivery:
        """Tell an output its set-point, to be held for hold_s."""
        raw = channel.raw(value)
        try:
            payload = frames.write_payload(channel.number, raw, max(1, round(hold_s)))
        except FrameError as error:
            return unsent(str(error))
        found: list[tuple[int, int]] = []
        refused: list[str] = []

        def job() -> None:
            try:
                found.append(self._port.write(payload))
            except DeviceRefusedError as error:
                refused.append(str(error))
            else:
                self._told.add(channel.number)

        problem = self._worker.run(job)
        if refused:
            return Delivery(refused[0], arrived=False)
        if problem:
            return unsent(problem)
        if found[0] != (channel.number, raw):
            text = f"channel {found[0][0]} holds {found[0][1]} after writing {raw} to channel {channel.number}"
            return Delivery(text, arrived=True)
        return IN_FORCE

    def insist(self) -> None:
        """The next request is made at once, also if the last one failed."""
        self._worker.insist()

    def close(self) -> None:
        """Stop the thread and free the port."""
        self._worker.stop()


def _arrival(channel: Channel, inputs: tuple[int, ...], now_s: float) -> Arrival:
    if channel.number >= len(inputs):
        return Arrival(None, now_s, f"the board has no input {channel.number}; it has {len(inputs)}")
    raw = inputs[channel.number]
    if raw == frames.NO_VALUE:
        return Arrival(None, now_s, f"nothing connected to input {channel.number}")
    return Arrival(channel.value(raw), now_s)


class _Port:
    """The line and the board at its other end; used in the worker's thread only."""

    def __init__(self, section: SerialSection, boot_s: float) -> None:
        self._section, self._boot_s = section, boot_s
        self._port: serial.Serial | None = None
        self._reader = FrameReader()
        self._sequence = 0
        self._board: BoardIdentity | None = None

    def open(self) -> None:
        if self._port is not None:
            return
        import serial  # here, not on top: a site without boards does not pay for it

        s = self._section
        try:
            port = serial.Serial(
                s.port, s.baudrate, parity=s.parity, stopbits=s.stopbits, write_timeout=s.timeout_s, exclusive=True
            )
        except (OSError, ValueError, termios.error) as error:
            there = Path(s.port).exists()
            raise DeviceError(
                f"port {s.port} " + (f"cannot be opened: {error}" if there else "is not there")
            ) from error
        self._port, self._reader = port, FrameReader()
        try:
            self._hello(patience_s=self._boot_s)
        except DeviceError:
            self.close()
            raise

    def close(self) -> None:
        if self._port is not None:
            with contextlib.suppress(OSError):  # an adapter that was unplugged cannot be closed properly
                self._port.close()
            self._port = None

    def read(self) -> frames.BoardReading:
        """Raises DeviceError."""
        reading = self._read()
        if reading.started:
            self._hello()
        return reading

    def write(self, payload: bytes) -> tuple[int, int]:
        """(channel, raw number in force). Raises DeviceError."""
        answer = self._exchange(frames.WRITE, payload)
        try:
            return frames.written_of(answer.payload)
        except FrameError as error:
            raise DeviceError(f"cannot be understood: {error}") from error

    def _read(self) -> frames.BoardReading:
        assert self._board is not None  # open says hello first
        answer = self._exchange(frames.READ)
        try:
            return frames.reading_of(answer.payload, self._board)
        except FrameError as error:
            raise DeviceError(f"cannot be understood: {error}") from error

    def _hello(self, patience_s: float = 0.0) -> None:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                answer = self._exchange(frames.HELLO)
                self._board = frames.board_of(answer.payload)
                return
            except FrameError as error:
                raise DeviceError(f"cannot be understood: {error}") from error
            except DeviceRefusedError as error:  # without a greeting there is nothing to talk about
                raise DeviceError(str(error)) from error
            except BoardSilentError:
                if time.monotonic() >= deadline:
                    raise

    def _exchange(self, kind: int, payload: bytes = b"") -> Frame:
        """Ask, and ask again when nothing comes; requests may be repeated without harm. Raises DeviceError."""
        for _ in range(ATTEMPTS):
            self._sequence = (self._sequence + 1) % 256
            try:
                answer = self._ask(Frame(kind, self._sequence, payload))
            except (OSError, termios.error) as error:
                raise DeviceError(f"port {self._section.port}: {error}") from error
            if answer is not None:
                break
        else:
            broken = f"; {self._reader.dropped} broken frames so far" if self._reader.dropped else ""
            raise BoardSilentError(f"no valid answer from the board{broken}")
        if answer.kind == frames.REFUSED:
            code = answer.payload[0] if answer.payload else 0
            raise DeviceRefusedError(f"the board {frames.REFUSALS.get(code, f'refused the request (code {code})')}")
        return answer

    def _ask(self, request: Frame) -> Frame | None:
        """The answer to this very request; what else arrives meanwhile is dropped. Raises OSError."""
        port = self._port
        if port is None:
            raise DeviceError("port closed")
        # A zero first: it ends whatever noise the board may have taken for the beginning of a frame.
        port.write(b"\0" + frames.pack(request))
        deadline = time.monotonic() + self._section.timeout_s
        while (left := deadline - time.monotonic()) > 0:
            port.timeout = left
            heard = port.read(min(frames.MAX_ENCODED_BYTES, max(1, port.in_waiting)))
            for frame in self._reader.feed(heard):
                mine = frame.sequence == request.sequence and frame.kind in (
                    request.kind | frames.ANSWER,
                    frames.REFUSED,
                )
                if mine and frame.version == frames.VERSION:
                    return frame
                if mine:
                    raise DeviceError(f"the board speaks version {frame.version} of the protocol, not {frames.VERSION}")
        return None
