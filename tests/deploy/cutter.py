"""A link between ssh and sshd that breaks: cutter.py PORT RECEIVED SENT [COUNTER STEP].

It breaks after so many bytes from the server or to it. With a counter only that of the STEP-th connection does.
"""

import os
import select
import socket
import sys
from pathlib import Path


def main(port: int, received: int, sent: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as server:
        while True:
            ready, _, _ = select.select([server, 0], [], [])
            if 0 in ready:
                data = os.read(0, min(sent, 65536))
                sent -= len(data)
                if not data:
                    return
                server.sendall(data)
            if server in ready:
                data = server.recv(min(received, 65536))
                received -= len(data)
                if not data:
                    return
                os.write(1, data)
            if received <= 0 or sent <= 0:
                return


limits = [int(word) for word in sys.argv[2:4]]
if len(sys.argv) > 4:
    counter, step = Path(sys.argv[4]), int(sys.argv[5])
    with counter.open("a") as file:
        file.write("x")
    if counter.stat().st_size != step:
        limits = [1 << 40, 1 << 40]
main(int(sys.argv[1]), *limits)
