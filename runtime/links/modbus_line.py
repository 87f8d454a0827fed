"""A Modbus line as pymodbus sees it, serial or TCP: one request at a time, in the worker's thread only."""

from __future__ import annotations

import contextlib
import logging
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.links.modbus_blocks import RegisterSpan
from runtime.links.registers import BITS
from runtime.links.worker import DeviceError, DeviceRefusedError
from runtime.site.register import ModbusSection, SerialSection

if TYPE_CHECKING:
    from pymodbus.client.base import ModbusBaseSyncClient
    from pymodbus.pdu import ModbusPDU

READ = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""Function code by kind of register."""
GATEWAY_SILENT = frozenset({10, 11})
"""What a gateway answers for a device behind it that says nothing."""
ATTEMPTS = 2


class ModbusLine:
    """Opened before a job and closed after a failure, by the worker."""

    def __init__(self, section: SerialSection | ModbusSection) -> None:
        self.device_id = section.device_id
        """Of registers that name none."""
        self.gap = section.gap
        self._section = section
        self._client: ModbusBaseSyncClient | None = None
        self._free_s = 0.0

    def open(self) -> None:
        """Raises DeviceError."""
        if self._client is not None:
            return
        # Here, not on top: a site without such devices does not pay for it, and the first cycle does not wait for it.
        import pymodbus

        # What it reports comes back as return values and exceptions.
        logging.getLogger(pymodbus.__name__).setLevel(logging.CRITICAL)
        section = self._section
        self._client = _tcp(section) if isinstance(section, ModbusSection) else _serial(section)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, termios.error):
                client.close()  # type: ignore[no-untyped-call]

    def read(self, span: RegisterSpan) -> list[int]:
        """Its words, or bits. Raises DeviceError."""
        code = READ[span.kind]
        answer = self._ask(code, span.device, span.address, span.count, ())
        if span.kind in BITS:
            bits = [int(bit) for bit in answer.bits]
            found = bits[: span.count]
            # A bit field is padded to whole bytes.
            fits = len(bits) >= span.count and len(bits) - span.count < 8
        else:
            found = list(answer.registers)
            fits = len(found) == span.count
        if not fits:
            raise DeviceError(f"device {span.device} answers an earlier request; it may need a longer timeout_s")
        return found

    def write(self, span: RegisterSpan, words: Sequence[int], function: int) -> None:
        """Raises DeviceError, and DeviceRefusedError where it answers that it will not."""
        answer = self._ask(function, span.device, span.address, len(words), words)
        if answer.address != span.address:
            raise DeviceError(f"device {span.device} answers an earlier request; it may need a longer timeout_s")

    def _ask(self, code: int, device: int, address: int, count: int, words: Sequence[int]) -> ModbusPDU:
        from pymodbus.exceptions import ConnectionException, ModbusException

        time.sleep(max(0.0, self._free_s - time.monotonic()))
        try:
            try:
                answer = self._exchange(code, device, address, count, words)
            except ConnectionException:
                # Many devices hang up on who is silent for a minute; the client connects anew. On a serial line this
                # is an adapter that was unplugged.
                if not isinstance(self._section, ModbusSection):
                    raise
                answer = self._exchange(code, device, address, count, words)
        except (ModbusException, OSError, termios.error) as error:
            raise DeviceError(f"no valid answer from device {device} at register {address}") from error
        finally:
            self._free_s = time.monotonic() + self._section.pause_s
        if answer.function_code & 0x7F != code:
            # An RTU frame does not say what it answers: after a time-out it may well be the request before.
            raise DeviceError(f"device {device} answers an earlier request; it may need a longer timeout_s")
        if answer.isError():
            refusal = getattr(answer, "exception_code", "?")
            if refusal in GATEWAY_SILENT:
                raise DeviceError(f"the gateway gets no answer from device {device} (exception {refusal})")
            raise DeviceRefusedError(f"device {device} refused register {address} (exception {refusal})")
        return answer

    def _exchange(self, code: int, device: int, address: int, count: int, words: Sequence[int]) -> ModbusPDU:
        """One request and its answer, by function code."""
        client = self._client
        if client is None:
            raise DeviceError("port closed")
        match code:
            case 1:
                return client.read_coils(address, count=count, device_id=device)
            case 2:
                return client.read_discrete_inputs(address, count=count, device_id=device)
            case 3:
                return client.read_holding_registers(address, count=count, device_id=device)
            case 4:
                return client.read_input_registers(address, count=count, device_id=device)
            case 5:
                return client.write_coil(address, bool(words[0]), device_id=device)
            case 6:
                return client.write_register(address, words[0], device_id=device)
            case 15:
                return client.write_coils(address, [bool(word) for word in words], device_id=device)
            case _:
                return client.write_registers(address, list(words), device_id=device)


def _serial(s: SerialSection) -> ModbusBaseSyncClient:
    from pymodbus.client import ModbusSerialClient

    client = ModbusSerialClient(
        s.port, baudrate=s.baudrate, parity=s.parity, stopbits=s.stopbits, timeout=s.timeout_s, retries=ATTEMPTS - 1
    )
    try:
        connected = client.connect()
    except termios.error as error:
        raise DeviceError(f"port {s.port} does not take {s.baudrate} {s.parity}: {error.args[-1]}") from error
    if not connected:
        there = Path(s.port).exists()
        raise DeviceError(f"port {s.port} " + ("is in use or not for us to open" if there else "is not there"))
    return client


def _tcp(s: ModbusSection) -> ModbusBaseSyncClient:
    from pymodbus.client import ModbusTcpClient

    client = ModbusTcpClient(s.host, port=s.port, timeout=s.timeout_s, retries=ATTEMPTS - 1)
    if not client.connect():  # type: ignore[no-untyped-call]
        raise DeviceError(f"{s.host}:{s.port} cannot be reached; is Modbus TCP switched on, and nobody else connected?")
    time.sleep(s.connect_s)
    return client
