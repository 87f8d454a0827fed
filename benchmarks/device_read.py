"""How long a cycle's reading takes: five Modbus TCP devices with 60 registers each, answering after a stated time.

.venv/bin/python -m benchmarks.device_read
"""

from __future__ import annotations

import statistics
import time

from hil.modbus_plant import Registers
from hil.modbus_tcp import ModbusTcpServer
from runtime.clock import SystemClock
from runtime.links.modbus import ModbusLink
from runtime.site.register import ModbusSection, Register

DEVICES, REGISTERS, CYCLES = 5, 60, 30


def main() -> None:
    for apart, delay_s in ((1, 0.0), (1, 0.02), (3, 0.02), (1, 0.1)):
        memory = dict.fromkeys(range(400), 7)
        servers = [ModbusTcpServer({1: Registers(holding=dict(memory))}, time.monotonic) for _ in range(DEVICES)]
        links = []
        for server in servers:
            server.answer, server.delay_s = "slow", delay_s
            section = ModbusSection(host="127.0.0.1", port=server.port, timeout_s=5.0)
            links.append(ModbusLink("device", section, SystemClock(), deadline_s=None))
        asked = {f"r{k}": [Register(kind="holding", address=apart * k)] for k in range(REGISTERS)}
        times = []
        for _ in range(CYCLES):
            begun = time.perf_counter()
            for ended in [link.begin(asked) for link in links]:
                assert all(arrival.problem == "" for arrival in ended().values())
            times.append(time.perf_counter() - begun)
        requests, how = servers[0].requests // CYCLES, "side by side" if apart == 1 else "apart"
        print(
            f"{DEVICES} devices, {REGISTERS} registers {how}, {1000 * delay_s:g} ms an answer: "
            f"{requests} requests each, median {1000 * statistics.median(times):.0f} ms, "
            f"most {1000 * max(times):.0f} ms"
        )
        for link, server in zip(links, servers, strict=True):
            link.close()
            server.close()


if __name__ == "__main__":
    main()
