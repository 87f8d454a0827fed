"""The native solver in a process of its own: a crash or a hang there cannot take the daemon with it.

    python -m runtime.decide.solver_process LIBRARY HASHES

Requests come on stdin, answers go to stdout, as frames: kind (1 byte), length of the body (4 bytes), body. Bodies are
raw little-endian doubles, or JSON for the greeting. No pickle: what a broken child says is data, never code.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.errors import SolverProcessError, SolverStartingError

FRAME = struct.Struct("<cI")
RESULT = struct.Struct("<iiddd")
HELLO, THETA, SOLVE, ERROR = b"H", b"T", b"S", b"E"
MAX_BODY = 64 << 20
PR_SET_PDEATHSIG = 1
# Nobody waits that long, see `patience_s`: a child that has not greeted by then hangs and is started anew.
GREETING_TIMEOUT_S = 120.0
# Where there is nothing to do meanwhile.
FIRST_PATIENCE_S = 10.0
# Matrices may be made from theta once; a short cycle must not be too short for that.
THETA_TIMEOUT_S = 5.0


class Deadline:
    """Seconds that are left, of the real time that `lost_s` does not take away.

    In lockstep the time is lost in which the child had no processor: what a cycle sees must not depend on what else the
    computer does, and a child that hangs must still be told from one that waits for its turn.
    """

    def __init__(self, seconds: float, lost_s: Callable[[], float] = lambda: 0.0) -> None:
        self._lost_s = lost_s
        self._end_s = time.monotonic() + seconds - lost_s()

    @property
    def left_s(self) -> float:
        return max(0.0, self._end_s + self._lost_s() - time.monotonic())


def waited_for_processor_s(pid: int) -> float:
    """Seconds that a process was ready to run and did not; 0 where the kernel does not count them."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


@dataclass(frozen=True)
class Solved:
    """One answer: plan_x has horizon + 1 rows of nx, plan_a horizon rows of na; status 0 is converged."""

    status: int
    iterations: int
    residual: float
    value: float
    time_s: float
    action: tuple[float, ...]
    plan_x: tuple[tuple[float, ...], ...]
    plan_a: tuple[tuple[float, ...], ...]


class SolverProcess:
    """Owns the child. Every failure kills it and raises SolverProcessError; the next call starts a new one.

    theta belongs to the call, not to the process: the same child solves with a new theta and, should that one
    misbehave, with the old one again.
    """

    def __init__(
        self,
        library: Path,
        hashes: Mapping[str, str],
        expected: tuple[int, int, int, int] | None = None,
        *,
        lockstep: bool = False,
    ) -> None:
        """hashes: SHA-256 of the library and of those beside it, checked whenever they are loaded.

        expected: (nx, na, nd, horizon) that the library must have.

        lockstep: the clock stands still meanwhile, so that nobody is in a hurry; see Deadline.
        """
        self._library, self._expected, self._lockstep = library, expected, lockstep
        self._hashes = json.dumps(dict(hashes))
        self._theta: tuple[float, ...] | None = None
        """What the child has now."""
        self._child: subprocess.Popen[bytes] | None = None
        self._sizes = (0, 0, 0, 0)
        self._last_moment = self._deadline(0.0)
        """To greet."""
        self._interrupted = False
        self.starts = 0

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the child without waiting for it; its first answer is awaited by the first call."""
        if self._child is not None:
            return
        if self._interrupted:
            raise SolverProcessError("the daemon is stopping")
        self.starts += 1
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "runtime.decide.solver_process", str(self._library), self._hashes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            bufsize=0,
            process_group=0,  # what a terminal sends is for the daemon
        )
        self._sizes, self._theta, self._last_moment = (0, 0, 0, 0), None, self._deadline(GREETING_TIMEOUT_S)

    def dimensions(self) -> tuple[int, int, int, int]:
        """(nx, na, nd, horizon) of the library. Raises SolverProcessError."""
        self._ready()
        return self._sizes

    def solve(
        self,
        x0: Sequence[float],
        forecast: Sequence[Sequence[float]],
        theta: tuple[float, ...],
        deadline_s: float,
        patience_s: float = FIRST_PATIENCE_S,
    ) -> Solved:
        """Solve from a cold start, so that the result depends on the arguments alone. Raises SolverProcessError.

        patience_s: how long to wait for a child that has just been started; SolverStartingError after that, and the
        child goes on loading.
        """
        self._ready(patience_s)
        if theta != self._theta:
            deadline = self._deadline(max(deadline_s, THETA_TIMEOUT_S))
            self._ask(THETA, struct.pack(f"<{len(theta)}d", *theta), deadline)
            self._theta = theta
        nx, na, _, horizon = self._sizes
        numbers = (*x0, *(value for row in forecast for value in row))
        body = self._ask(SOLVE, struct.pack(f"<{len(numbers)}d", *numbers), self._deadline(deadline_s))
        count = na + (horizon + 1) * nx + horizon * na
        if len(body) != RESULT.size + 8 * count:
            raise self._broken("gave an answer of the wrong length")
        values = struct.unpack_from(f"<{count}d", body, RESULT.size)
        status, iterations, residual, value, time_s = RESULT.unpack_from(body)
        return Solved(
            status=status,
            iterations=iterations,
            residual=residual,
            value=value,
            time_s=time_s,
            action=values[:na],
            plan_x=_rows(values[na : na + (horizon + 1) * nx], nx),
            plan_a=_rows(values[na + (horizon + 1) * nx :], na),
        )

    def interrupt(self) -> None:
        """Whoever waits for an answer waits no longer, and nobody will again. Takes no lock: a signal may call it."""
        self._interrupted = True
        child = self._child
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _ready(self, patience_s: float = FIRST_PATIENCE_S) -> None:
        """A child that has greeted."""
        self.start()
        if self._sizes[3]:
            return
        assert self._child is not None and self._child.stdout is not None
        if not self._lockstep and patience_s < self._last_moment.left_s:
            heard, _, _ = select.select([self._child.stdout], [], [], patience_s)
            if not heard:
                raise SolverStartingError("solver process is starting")
        greeting = json.loads(self._receive(HELLO, self._last_moment))
        nx, na, nd, horizon = (int(greeting[key]) for key in ("nx", "na", "nd", "horizon"))
        if self._expected is not None and self._expected != (nx, na, nd, horizon):
            self.close()
            raise SolverProcessError(
                f"library has sizes {(nx, na, nd, horizon)}, manifest {self._expected}; build the bundle again"
            )
        self._sizes = (nx, na, nd, horizon)

    def _deadline(self, seconds: float) -> Deadline:
        pid = self.pid
        if pid is None or not self._lockstep:
            return Deadline(seconds)
        return Deadline(seconds, lambda: waited_for_processor_s(pid))

    def _ask(self, kind: bytes, body: bytes, deadline: Deadline) -> bytes:
        assert self._child is not None and self._child.stdin is not None
        try:
            _write_all(self._child.stdin.fileno(), FRAME.pack(kind, len(body)) + body, deadline)
        except (BrokenPipeError, TimeoutError):
            raise self._broken("does not listen") from None
        return self._receive(kind, deadline)

    def _receive(self, kind: bytes, deadline: Deadline) -> bytes:
        assert self._child is not None and self._child.stdout is not None
        pipe = self._child.stdout.fileno()
        try:
            found, length = FRAME.unpack(_read_exactly(pipe, FRAME.size, deadline))
            if length > MAX_BODY:
                raise self._broken("gave an answer that is no answer")
            body = _read_exactly(pipe, length, deadline)
        except TimeoutError:
            raise self._broken("took longer than its deadline") from None
        except EOFError:
            raise self._broken("died") from None
        if found == ERROR:
            raise self._broken(body.decode(errors="replace")[:300])
        if found != kind:
            raise self._broken("gave an answer that is no answer")
        return body

    def _broken(self, what: str) -> SolverProcessError:
        child = self._child
        code = None if child is None else child.poll()
        if what == "died" and child is not None:
            try:
                code = child.wait(1.0)
            except subprocess.TimeoutExpired:
                code = None
        self.close()
        how = f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""
        return SolverProcessError(f"solver process {what}{how}")


def _rows(values: Sequence[float], width: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(values[i : i + width]) for i in range(0, len(values), width))


def _write_all(descriptor: int, data: bytes, deadline: Deadline) -> None:
    os.set_blocking(descriptor, False)
    view = memoryview(data)
    while view:
        if select.select([], [descriptor], [], deadline.left_s)[1]:
            view = view[os.write(descriptor, view) :]
        elif not deadline.left_s:
            raise TimeoutError


def _read_exactly(descriptor: int, count: int, deadline: Deadline) -> bytes:
    data = bytearray()
    while len(data) < count:
        if select.select([descriptor], [], [], deadline.left_s)[0]:
            chunk = os.read(descriptor, count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        elif not deadline.left_s:
            raise TimeoutError
    return bytes(data)


def serve(library: Path, hashes: Mapping[str, str], requests: BinaryIO, answers: BinaryIO) -> None:
    """The child: load the library, greet, answer until the daemon is gone."""
    from runtime.abi.library import ControllerError, PlainController
    from runtime.bundle.sealed_code import sealed

    def answer(kind: bytes, body: bytes) -> None:
        answers.write(FRAME.pack(kind, len(body)) + body)
        answers.flush()

    try:
        with sealed(library.parent, hashes) as folder:
            controller = PlainController(folder / library.name)
        n = controller.dimensions
        answer(HELLO, json.dumps({"nx": n.nx, "na": n.na, "nd": n.nd, "horizon": n.horizon}).encode())
        while header := requests.read(FRAME.size):
            kind, length = FRAME.unpack(header)
            values = requests.read(length)
            if kind == THETA:
                controller.set_theta(values)
                answer(THETA, b"")
            else:
                answer(SOLVE, controller.solve(values))
    except (ControllerError, ValueError, OSError) as error:
        answer(ERROR, str(error).encode())


def main() -> int:
    import ctypes

    # Die with the daemon, even if it is killed while native code runs here.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # should native code print, it does not print into the protocol
    with contextlib.suppress(BrokenPipeError):
        serve(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.stdin.buffer, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
