"""One request to the machine of the house over the machine's own OpenSSH, and its answer.

The code that answers (deploy/onsite) is sent ahead of the request, so nothing needs to be installed there but python3,
and both ends always speak of the same thing. Answers are lines of JSON.
"""

from __future__ import annotations

import importlib.resources
import json
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any

from deploy.errors import DeployError, HostError, HostKeyError, LinkLostError, MachineUnfitError

MODULES = ("wire", "places", "probe", "receive", "release", "services", "log", "savings", "watch", "activate", "main")
"""Of deploy/onsite, each after those that it imports."""
OLDEST = (3, 11)
_KEPT_STRICT = ("BatchMode=yes", "StrictHostKeyChecking=yes")
_DEFAULTS = ("ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3")
# On one line, without a single quote, for any python3.
_LOADER = f"""
import sys
if sys.version_info < {OLDEST}:
    print(chr(123) + chr(34) + "old" + chr(34) + ":" + chr(34) + sys.version.split()[0] + chr(34) + chr(125))
    sys.exit(3)
import json, types
told = json.loads(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))
for name, source in told["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.exit(sys.modules["deploy.onsite.main"].main(told["request"]))
"""


@dataclass(frozen=True)
class Host:
    """`target` is what ssh takes: host, user@host, or a name of ~/.ssh/config."""

    target: str
    options: tuple[str, ...] = ()
    """What follows each -o; they cannot loosen the check of the host's key."""
    sudo: bool = False
    """Whether requests are run as root by sudo, which must not ask for a password."""
    ssh: str = "ssh"

    def __post_init__(self) -> None:
        if not self.target or self.target.startswith("-"):
            raise HostError(f"{self.target!r} is no host; write host or user@host")

    def command(self) -> list[str]:
        """The words that start ssh."""
        words = [self.ssh, "-T"]
        for option in (*_KEPT_STRICT, *self.options, *_DEFAULTS):
            words += ["-o", option]
        remote = f"{'sudo -n ' if self.sudo else ''}python3 -I -c {shlex.quote(_LOADER)}"
        return [*words, "--", self.target, remote]


def ask(
    host: Host,
    request: dict[str, Any],
    payload: Iterable[bytes] = (),
    hear: Callable[[dict[str, Any]], None] = lambda line: None,
) -> dict[str, Any]:
    """Run one request there; what it answers under `done`.

    payload: what follows the request. hear: called with every line before the last; what it raises ends the connection.
    Raises HostError and its kinds, and DeployError for what the other side refuses.
    """
    with tempfile.TemporaryFile("w+b") as complaints:
        try:
            process = subprocess.Popen(host.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints)
        except OSError as error:
            raise HostError(f"{host.ssh}: {error.strerror}; install openssh-client") from error
        assert process.stdin is not None and process.stdout is not None
        try:
            _send(process.stdin, request, payload)
            last = _answers(process.stdout, hear)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            code = process.wait()
        complaints.seek(0)
        said = complaints.read(65536).decode("utf-8", "replace")
    if last is None:
        raise _trouble(host, code, said)
    if "old" in last:
        raise MachineUnfitError(
            f"{host.target}: python3 there is {last['old']}, and nisse needs {OLDEST[0]}.{OLDEST[1]} or newer; "
            "install Debian 12 or newer there"
        )
    if "failed" in last:
        raise DeployError(f"{host.target}: {last['failed']}")
    return dict(last["done"])


def _send(stream: IO[bytes], request: dict[str, Any], payload: Iterable[bytes]) -> None:
    folder = importlib.resources.files("deploy.onsite")
    modules = [(f"deploy.onsite.{name}", (folder / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES]
    head = json.dumps({"modules": modules, "request": request}).encode()
    try:
        stream.write(b"%d\n%b" % (len(head), head))
        for chunk in payload:
            stream.write(chunk)
        stream.close()
    except BrokenPipeError:
        pass  # its answer, or its end, says why


def _answers(stream: IO[bytes], hear: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
    """The last line, where there is one that ends the answer."""
    for line in stream:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # a greeting of the login shell, or a line cut off by the end of the link
        if isinstance(document, dict):
            if document.keys() & {"done", "failed", "old"}:
                return document
            hear(document)
    return None


def _trouble(host: Host, code: int, said: str) -> HostError:
    """What ssh or the shell there said, and what to do about it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else f"ssh ended with {code}"
    where = host.target
    if "IDENTIFICATION HAS CHANGED" in said:
        return HostKeyError(
            f"{where}: its host key is another one than before, so this may be another machine; compare its "
            f"fingerprint at the machine (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: "
            f"ssh-keygen -R {where.rpartition('@')[2]}"
        )
    if "Host key verification failed" in said:
        return HostKeyError(
            f"{where}: its host key is not known here; log in once by hand (ssh {where}) and compare it"
        )
    if "Permission denied" in said and code == 255:
        return HostError(f"{where}: it does not let us in ({last}); put your public key there: ssh-copy-id {where}")
    if "sudo" in last or "a password is required" in said:
        return HostError(
            f"{where}: sudo there asks for a password ({last}); allow it without one for this user, or log in as root"
        )
    if code == 127 or "python3: not found" in said or "python3: command not found" in said:
        return MachineUnfitError(f"{where}: there is no python3; install it there: sudo apt install python3")
    unreachable = ("Could not resolve", "Connection refused", "timed out", "No route to host", "unreachable")
    if code == 255 and any(word in said for word in unreachable):
        return HostError(f"{where}: cannot be reached ({last}); is it on, and is the name right?")
    if code == 255 or code < 0:
        return LinkLostError(
            f"{where}: the link was lost ({last}); run the same again, what is there is not sent twice"
        )
    return HostError(f"{where}: no answer ({last}); try ssh {where} python3 --version")
