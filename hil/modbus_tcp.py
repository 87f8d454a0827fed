"""Modbus TCP devices on loopback: the registers of the serial ones, by MBAP frames, with the faults of a network."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU

from hil.modbus_plant import DEVICE_BUSY, Registers, respond

HEADER = struct.Struct(">HHHB")
"""Transaction, protocol, length of what follows it, unit."""
GATEWAY_SILENT = 11
Answer = Literal["normal", "silent", "slow", "exception", "other_transaction", "twice", "garbage", "cut", "hang_up"]


class ModbusTcpServer:
    """Serves the registers of each device id on 127.0.0.1, in threads of its own, until closed.

    `answer` selects the behaviour: "other_transaction" answers under another number, "twice" sends every answer again
    before the next, "cut" half an answer, "slow" waits `delay_s` of real time before each.
    """

    def __init__(self, slaves: Mapping[int, Registers], clock: Callable[[], float]) -> None:
        self.slaves = dict(slaves)
        self.answer: Answer = "normal"
        self.delay_s = 0.0
        self.requests = 0
        self._clock = clock
        self._decoder = DecodePDU(is_server=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._clients: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, name="modbus-tcp", daemon=True).start()

    def hang_up(self) -> None:
        """End every connection, as devices do with those who are silent."""
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), name="modbus-tcp-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        last = b""
        with client, contextlib.suppress(OSError, struct.error):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while len(header := _exactly(client, HEADER.size)) == HEADER.size:
                transaction, _, length, unit = HEADER.unpack(header)
                request = self._decoder.decode(_exactly(client, length - 1))
                self.requests += 1
                if request is None or self.answer == "silent":
                    continue
                if self.answer == "hang_up":
                    return
                if self.answer == "slow":
                    time.sleep(self.delay_s)
                if self.answer == "other_transaction":
                    transaction = (transaction + 7) & 0xFFFF
                frame = self._frame(transaction, unit, self._answered(unit, request))
                if self.answer == "garbage":
                    frame = bytes(range(17))
                elif self.answer == "cut":
                    frame = frame[: len(frame) // 2]
                client.sendall(last + frame if self.answer == "twice" else frame)
                last = frame
        self._clients.discard(client)

    def _answered(self, unit: int, request: ModbusPDU) -> ModbusPDU:
        if unit not in self.slaves:
            return ExceptionResponse(request.function_code, GATEWAY_SILENT)
        if self.answer == "exception":
            return ExceptionResponse(request.function_code, DEVICE_BUSY)
        return respond(request, self.slaves[unit], self._clock())

    @staticmethod
    def _frame(transaction: int, unit: int, pdu: ModbusPDU) -> bytes:
        body = pdu.function_code.to_bytes(1, "big") + pdu.encode()
        return HEADER.pack(transaction, 0, len(body) + 1, unit) + body


def _exactly(client: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer at the end of the connection."""
    found = b""
    while len(found) < count and (more := client.recv(count - len(found))):
        found += more
    return found
