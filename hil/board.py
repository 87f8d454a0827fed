"""The I/O board of `hil/firmware` on a pty: its logic as a process of this machine, or an ATmega328P in simavr.

Builds what it runs: the process needs `make` and a C compiler, the emulator also gcc-avr, avr-libc, libsimavr-dev and
libelf-dev (Debian).
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hil.errors import BenchError

FIRMWARE = Path(__file__).parent / "firmware"
CLOCK_HZ = 16_000_000

Kind = Literal["posix", "emulator"]


def missing_tools(kind: Kind) -> list[str]:
    """What has to be installed before a board of this kind can be built here."""
    tools = ["make", "cc", *(["avr-gcc"] if kind == "emulator" else [])]
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if kind == "emulator" and not Path("/usr/include/simavr/sim_avr.h").exists():
        missing.append("libsimavr-dev")
    return missing


def build(kind: Kind, out: Path, *flags: str) -> tuple[str, ...]:
    """Compile into the folder `out`; returns the command that starts the board. Raises BenchError.

    flags: settings of `make`, such as "CFLAGS=-g".
    """
    missing = missing_tools(kind)
    if missing:
        raise BenchError(f"the board needs {', '.join(missing)}; install them, or take the other kind of board")
    targets = ["posix"] if kind == "posix" else ["avr", "emulator"]
    # In a copy, so that all paths are relative: make takes one with a space for two.
    source = out / "source"
    shutil.copytree(FIRMWARE, source, dirs_exist_ok=True)
    done = subprocess.run(["make", "-s", "OUT=..", *flags, *targets], cwd=source, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the firmware does not compile: {done.stderr.strip().splitlines()[-1:]}")
    if kind == "posix":
        return (str(out / "io_board"),)
    return str(out / "emulator"), str(out / "io_board.elf")


@dataclass
class BoardProcess:
    """A board behind the stable name `link`. `changes` are (monotonic s, output, value) as seen at its pins."""

    command: Sequence[str]
    link: Path
    changes: list[tuple[float, int, int]] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None
    _heard: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        """Power on, cable plugged. Raises BenchError when no port appears."""
        self._process = subprocess.Popen(
            list(self.command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdout is not None
        word, _, port = self._process.stdout.readline().strip().partition(" ")
        if word != "port":
            raise BenchError(f"{self.command[0]} did not start; run it by hand to see why")
        temporary = self.link.with_name(self.link.name + ".new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(port)
        temporary.replace(self.link)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def stop(self) -> None:
        """Power off: the port is gone, as when a USB cable is pulled."""
        if self._process is None:
            return
        self.link.unlink(missing_ok=True)
        self._process.kill()
        self._process.wait()
        self._process = None

    def tell(self, order: str) -> None:
        """An order to the emulator: `input CHANNEL MILLIVOLTS` or `reset`."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()

    def output(self, number: int) -> int:
        """The pin now."""
        with self._heard:
            return self._now(number)

    def wait_output(self, number: int, value: int, timeout_s: float) -> bool:
        """Whether the pin shows `value` within the time."""
        with self._heard:
            return self._heard.wait_for(lambda: self._now(number) == value, timeout_s)

    def _now(self, number: int) -> int:
        return next((value for _, output, value in reversed(self.changes) if output == number), 0)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word, number, value = line.split()
            if word == "output":
                with self._heard:
                    self.changes.append((time.monotonic(), int(number), int(value)))
                    self._heard.notify_all()


class LockstepBoard:
    """The emulated board with a clock that stands still until it is moved: every run is the same, to the cycle."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [*command, "--lockstep"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.cycle = 0

    def run(self, seconds: float, *orders: str) -> list[str]:
        """Orders (`send HEX`, `input ...`), then on by `seconds`; returns what the board did, line by line."""
        assert self._process.stdin is not None and self._process.stdout is not None
        target = self.cycle + round(seconds * CLOCK_HZ)
        self._process.stdin.write("".join(f"{order}\n" for order in (*orders, f"run {target}")))
        self._process.stdin.flush()
        done: list[str] = []
        for line in self._process.stdout:
            if line.startswith("at "):
                self.cycle = int(line.split()[1])
                return done
            done.append(line.strip())
        raise BenchError("the emulator has ended; run it by hand to see why")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
