"""A link between ssh and sshd that breaks after so many bytes from the server: cutter.py PORT BYTES."""

import os
import select
import socket
import sys


def main(port: int, left: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as server:
        while True:
            ready, _, _ = select.select([server, 0], [], [])
            if 0 in ready:
                data = os.read(0, 65536)
                if not data:
                    return
                server.sendall(data)
            if server in ready:
                data = server.recv(min(left, 65536))
                left -= len(data)
                if not data:
                    return
                os.write(1, data)
                if left <= 0:
                    return


main(int(sys.argv[1]), int(sys.argv[2]))
