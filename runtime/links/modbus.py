"""A Modbus RTU device on a serial port, in a thread of its own: a dead port or a silent device never blocks the cycle.

Reads and writes are jobs with a deadline. After a failure the device is left alone for a time that doubles up to a
bound; jobs in that time fail at once. In lockstep a job is waited for as long as it takes, so that what a cycle sees
does not depend on the computer's speed.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.clock import Clock
from runtime.config import Register, SerialSection
from runtime.links.registers import decode, encode, words_of
from runtime.signals import Arrival

if TYPE_CHECKING:
    from pymodbus.client import ModbusSerialClient

BACKOFF_FIRST_S = 1.0
BACKOFF_LAST_S = 60.0
MAX_JOBS = 8

log = logging.getLogger("nisse.modbus")


class DeviceError(Exception):
    """One exchange with the device failed; the text says how."""


class DeviceRefusedError(DeviceError):
    """The device answered, with a Modbus exception: the line is in order."""


class ModbusLink:
    """One device. `read` and `write` are called by the cycle's thread only."""

    def __init__(self, name: str, section: SerialSection, clock: Clock, *, deadline_s: float | None) -> None:
        """deadline_s: how long the cycle waits for a job; None waits until it is done (lockstep)."""
        self.name = name
        self.problem = "not opened yet"
        """Empty while the device answers."""
        self.session = 0
        """Counts the failures: after one, the device may have forgotten what it was told."""
        self._section, self._clock, self._deadline_s = section, clock, deadline_s
        self._client: ModbusSerialClient | None = None
        self._retry_at = float("-inf")
        self._backoff_s = 0.0
        self._last: dict[str, Arrival] = {}
        self._jobs: queue.Queue[tuple[Callable[[], None], Future[None]] | None] = queue.Queue(MAX_JOBS)
        self._thread = threading.Thread(target=self._work, name=f"modbus-{name}", daemon=True)
        self._thread.start()

    def read(self, registers: Mapping[str, Register]) -> dict[str, Arrival]:
        """Read all registers; what could not be read keeps its last value and age, and says why."""
        fresh: dict[str, Arrival] = {}

        def job() -> None:
            for name, register in registers.items():
                try:
                    value = decode(self._exchange(register, None), register)
                    fresh[name] = Arrival(value, self._clock.monotonic())
                except (ValueError, DeviceRefusedError) as error:
                    fresh[name] = self._stale(name, str(error))

        problem = self._run(job)
        for name in registers:
            self._last[name] = fresh.get(name) or self._stale(name, problem or "no answer in time")
        return {name: self._last[name] for name in registers}

    def write(self, register: Register, value: float, *, readback: bool) -> str:
        """Write a set-point and, if asked, read it back; the problem, or an empty string when it is in force."""
        try:
            words = encode(value, register)
        except ValueError as error:
            return str(error)
        found: list[Sequence[int]] = []

        def job() -> None:
            self._exchange(register, words)
            if readback:
                found.append(self._exchange(register, None))

        problem = self._run(job)
        if not problem and readback and list(found[0]) != words:
            held = decode(found[0], register) if len(found[0]) == len(words) else "something else"
            return f"read back {held} after writing {value:g}"
        return problem

    def close(self) -> None:
        """Stop the thread and free the port."""
        self._jobs.put(None)
        self._thread.join(timeout=5.0)

    def _stale(self, name: str, problem: str) -> Arrival:
        last = self._last.get(name)
        return (
            Arrival(None, self._clock.monotonic(), problem)
            if last is None
            else Arrival(last.value, last.monotonic_s, problem)
        )

    def _run(self, job: Callable[[], None]) -> str:
        """Hand the job to the thread and wait; returns the problem."""
        future: Future[None] = Future()
        try:
            self._jobs.put_nowait((job, future))
            future.result(self._deadline_s)
        except queue.Full:
            return "busy with earlier requests"
        except FutureTimeoutError:
            future.cancel()
            return "no answer in time"
        except DeviceError as error:
            return str(error)
        return ""

    # Below: the worker's thread.

    def _work(self) -> None:
        # Here, not on top: a site without serial devices does not pay for it, and the first cycle does not wait for it.
        import pymodbus.client

        # What it reports comes back as return values and exceptions.
        logging.getLogger(pymodbus.__name__).setLevel(logging.CRITICAL)
        while (item := self._jobs.get()) is not None:
            job, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                self._open()
                job()
            except DeviceRefusedError as error:
                self._succeeded()
                future.set_exception(error)
            except DeviceError as error:
                self._failed(str(error))
                future.set_exception(error)
            except BaseException as error:
                future.set_exception(error)
            else:
                self._succeeded()
                future.set_result(None)
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]

    def _open(self) -> None:
        if self._client is not None:
            return
        if self._clock.monotonic() < self._retry_at:
            raise DeviceError(self.problem)
        from pymodbus.client import ModbusSerialClient

        s = self._section
        client = ModbusSerialClient(
            s.port, baudrate=s.baudrate, parity=s.parity, stopbits=s.stopbits, timeout=s.timeout_s, retries=1
        )
        if not client.connect():
            there = Path(s.port).exists()
            raise DeviceError(f"port {s.port} " + ("is in use or not for us to open" if there else "is not there"))
        self._client = client

    def _exchange(self, register: Register, words: Sequence[int] | None) -> Sequence[int]:
        """Read the register, or write `words` to it. Raises DeviceError."""
        from pymodbus.exceptions import ModbusException

        client, device, address = self._client, self._section.device_id, register.address
        if client is None:
            raise DeviceError("port closed")
        try:
            if words is not None:
                # Function 6 for one word: some devices know no other way to write.
                answer = (
                    client.write_register(address, words[0], device_id=device)
                    if len(words) == 1
                    else client.write_registers(address, list(words), device_id=device)
                )
            elif register.kind == "input":
                answer = client.read_input_registers(address, count=words_of(register), device_id=device)
            else:
                answer = client.read_holding_registers(address, count=words_of(register), device_id=device)
        except (ModbusException, OSError) as error:
            raise DeviceError(f"no valid answer from device {device} at register {address}") from error
        if answer.function_code & 0x7F != _function_code(register, words):
            # An RTU frame does not say what it answers: after a time-out it may well be the request before.
            raise DeviceError(f"device {device} answers an earlier request; it may need a longer timeout_s")
        if answer.isError():
            code = getattr(answer, "exception_code", "?")
            raise DeviceRefusedError(f"device {device} refused register {address} (exception {code})")
        return list(answer.registers)

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s: %s", self.name, problem)
        self.problem = problem
        self.session += 1
        if self._client is not None:
            # A new port handle: the old one may belong to an adapter that was unplugged.
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None
        elif self._clock.monotonic() < self._retry_at:
            return
        self._backoff_s = min(BACKOFF_LAST_S, self._backoff_s * 2 or BACKOFF_FIRST_S)
        self._retry_at = self._clock.monotonic() + self._backoff_s

    def _succeeded(self) -> None:
        if self.problem and self._backoff_s:
            log.warning("%s: answers again", self.name)
        self.problem, self._backoff_s, self._retry_at = "", 0.0, float("-inf")


def _function_code(register: Register, words: Sequence[int] | None) -> int:
    """Modbus function of reading the register, or of writing `words` to it."""
    if words is not None:
        return 6 if len(words) == 1 else 16
    return 4 if register.kind == "input" else 3
