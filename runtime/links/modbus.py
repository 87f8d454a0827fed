"""A Modbus RTU device on a serial port. Reads and writes happen in the worker's thread and never block the cycle."""

from __future__ import annotations

import logging
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.actuate.delivery import IN_FORCE, Delivery, unsent
from runtime.clock import Clock
from runtime.formats.literals import NoValueError
from runtime.inputs.signals import Arrival
from runtime.links.last_good import LastGood
from runtime.links.registers import decode, encode, words_of
from runtime.links.worker import LATE, DeviceError, DeviceRefusedError, Worker
from runtime.site.signals import Register, SerialSection

if TYPE_CHECKING:
    from pymodbus.client import ModbusSerialClient


class ModbusLink:
    """One device. `read` and `write` are called by the cycle's thread only."""

    def __init__(self, name: str, section: SerialSection, clock: Clock, *, deadline_s: float | None) -> None:
        """deadline_s: how long the cycle waits for a job; None waits until it is done (lockstep)."""
        self.name = name
        self._clock = clock
        self._port = _Port(section)
        self._worker = Worker(name, self._port, clock, deadline_s=deadline_s)
        self._arrivals = LastGood()

    @property
    def problem(self) -> str:
        """Empty while the device answers."""
        return self._worker.problem

    @property
    def session(self) -> int:
        """Changes when the device may have forgotten what it was told."""
        return self._worker.session

    def read(self, registers: Mapping[str, Register]) -> dict[str, Arrival]:
        """Read all registers; what could not be read keeps its last value and age, and says why."""

        def job() -> None:
            for name, register in registers.items():
                try:
                    value = decode(self._port.exchange(register, None), register)
                except (ValueError, DeviceRefusedError) as error:
                    missing = isinstance(error, NoValueError)
                    self._arrivals.put(name, Arrival(None, self._clock.monotonic(), str(error), missing))
                else:
                    self._arrivals.put(name, Arrival(value, self._clock.monotonic()))

        problem = self._worker.run(job)
        return self._arrivals.take(registers, problem, self._clock.monotonic())

    def write(
        self,
        register: Register,
        value: float,
        *,
        readback: bool,
        within: float | None = None,
        timeout: tuple[Register, float] | None = None,
    ) -> Delivery:
        """Write a set-point and, if asked, read it back: it is in force if that is the same or `within` so much of it.

        timeout: where the device keeps its own time-out and what it shall be; told once, and again after a failure.
        """
        try:
            words = encode(value, register)
            setting = None if timeout is None else (timeout[0], encode(timeout[1], timeout[0]))
        except ValueError as error:
            return unsent(str(error))
        steps: list[str] = []
        found: list[Sequence[int]] = []

        def job() -> None:
            steps.append("begun")
            try:
                if setting is not None:
                    self._port.set_once(*setting)
                self._port.exchange(register, words)
                steps.append("written")
                if readback:
                    found.append(self._port.exchange(register, None))
            except DeviceRefusedError as error:  # an answer all the same: the line is in order
                steps.append(str(error))

        problem = self._worker.run(job)
        arrived = "written" in steps
        if problem or not arrived or (readback and not found):
            text = problem or (f"written, but not read back: {steps[-1]}" if arrived else steps[-1])
            # What takes too long may well be written after all.
            return Delivery(text, arrived, answered=arrived or not problem or (problem == LATE and bool(steps)))
        return _compared(register, value, words, found[0], within) if readback else IN_FORCE

    def insist(self) -> None:
        """The next request is made at once, also if the last one failed."""
        self._worker.insist()

    def close(self) -> None:
        """Stop the thread and free the port."""
        self._worker.stop()


def _compared(
    register: Register, value: float, words: Sequence[int], found: Sequence[int], within: float | None
) -> Delivery:
    """Whether what was read back is what was written."""
    if list(found) == list(words):
        return IN_FORCE
    try:
        held = decode(found, register)
    except ValueError as error:
        return Delivery(f"read back nothing ({error}) after writing {value:g}")
    if within is not None and abs(held - value) <= within * (1 + 1e-9):
        return IN_FORCE
    return Delivery(f"read back {held:g} after writing {value:g}")


class _Port:
    """The line as pymodbus sees it; used in the worker's thread only."""

    def __init__(self, section: SerialSection) -> None:
        self._section = section
        self._client: ModbusSerialClient | None = None
        self._settings: dict[int, Sequence[int]] = {}

    def open(self) -> None:
        if self._client is not None:
            return
        # Here, not on top: a site without serial devices does not pay for it, and the first cycle does not wait for it.
        import pymodbus.client

        # What it reports comes back as return values and exceptions.
        logging.getLogger(pymodbus.__name__).setLevel(logging.CRITICAL)
        s = self._section
        client = pymodbus.client.ModbusSerialClient(
            s.port, baudrate=s.baudrate, parity=s.parity, stopbits=s.stopbits, timeout=s.timeout_s, retries=1
        )
        try:
            connected = client.connect()
        except termios.error as error:
            raise DeviceError(f"port {s.port} does not take {s.baudrate} {s.parity}: {error.args[-1]}") from error
        if not connected:
            there = Path(s.port).exists()
            raise DeviceError(f"port {s.port} " + ("is in use or not for us to open" if there else "is not there"))
        self._client = client

    def close(self) -> None:
        self._settings.clear()
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def set_once(self, register: Register, words: Sequence[int]) -> None:
        """Write a setting unless the device was told since the port was opened: such registers live in flash."""
        if self._settings.get(register.address) != words:
            if list(self.exchange(register, None)) != list(words):
                self.exchange(register, words)
            self._settings[register.address] = words

    def exchange(self, register: Register, words: Sequence[int] | None) -> Sequence[int]:
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
        except (ModbusException, OSError, termios.error) as error:
            raise DeviceError(f"no valid answer from device {device} at register {address}") from error
        if answer.function_code & 0x7F != _function_code(register, words):
            # An RTU frame does not say what it answers: after a time-out it may well be the request before.
            raise DeviceError(f"device {device} answers an earlier request; it may need a longer timeout_s")
        if answer.isError():
            code = getattr(answer, "exception_code", "?")
            raise DeviceRefusedError(f"device {device} refused register {address} (exception {code})")
        return list(answer.registers)


def _function_code(register: Register, words: Sequence[int] | None) -> int:
    """Modbus function of reading the register, or of writing `words` to it."""
    if words is not None:
        return 6 if len(words) == 1 else 16
    return 4 if register.kind == "input" else 3
