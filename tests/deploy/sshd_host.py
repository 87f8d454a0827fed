"""A machine to deploy to: a real sshd on loopback with keys and a port of its own, and a folder that stands for /."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from patience import PATIENCE_S

from deploy.ssh import Host

CUTTER = Path(__file__).with_name("cutter.py")


@dataclass
class Sshd:
    """Reached by `host`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def target(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    def options(self, *more: str) -> tuple[str, ...]:
        return (
            *more,
            f"Port={self.port}",
            f"IdentityFile={self.folder / 'client'}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
            "GlobalKnownHostsFile=/dev/null",
        )

    def host(self, *more: str) -> Host:
        return Host(self.target, self.options(*more))

    def words(self) -> list[str]:
        """The options as a command line has them."""
        return [word for option in self.options() for word in ("-o", option)]

    def cut_after(self, received: int = 1 << 40, sent: int = 1 << 40, step: int = 0) -> Host:
        """A link that breaks after so many bytes from the other side or to it; with a step, only in that request."""
        words = [sys.executable, CUTTER, self.port, received, sent]
        if step:
            counter = self.folder / f"counter{len(list(self.folder.glob('counter*')))}"
            counter.touch()
            words += [counter, step]
        return self.host(f"ProxyCommand={' '.join(map(str, words))}")

    def with_python(self, prelude: str) -> Host:
        """Where python3 finds other facts: `prelude` runs before anything else. Empty: there is no python3."""
        tools = self.folder / f"path{abs(hash(prelude))}"
        if not tools.exists():
            tools.mkdir()
            if prelude:
                wrapper = tools / "python3"
                real = os.path.realpath(sys.executable)
                wrapper.write_text(f'#!/bin/sh\nexec {real} -I -c "{prelude}\n$3"\n')
                wrapper.chmod(0o755)
        return self.searching(tools)

    def searching(self, tools: Path) -> Host:
        """Where commands are looked for in this folder only: a key of its own, which leads there."""
        key, enter = tools / "key", tools / "enter"
        if not key.exists():
            enter.write_text(f'#!/bin/sh\nexport PATH={tools}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
            enter.chmod(0o755)
            make_key(key)
            with (self.folder / "authorized").open("a") as authorized:
                authorized.write(f'command="{enter}" {key.with_suffix(".pub").read_text()}')
        return self.host(f"IdentityFile={key}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


def make_key(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", file.name, "-f", str(file)], check=True)


def start_sshd(folder: Path) -> Sshd:
    """Raises AssertionError where there is no sshd."""
    binary = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert binary is not None, "these tests need openssh-server"
    for name in ("host", "client"):
        make_key(folder / name)
    shutil.copy(folder / "client.pub", folder / "authorized")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    key = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "MaxStartups 50\nLogLevel ERROR\n"
    )
    process = subprocess.Popen([binary, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            break
        except OSError:
            assert process.poll() is None, "sshd ended"
            time.sleep(0.05)
    return Sshd(folder, port, process)
