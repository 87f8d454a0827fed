"""Exit codes, standard streams that may be closed, full or gone, and how an error becomes one line with a remedy."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable

from runtime.formats.text import LONGEST_LINE, plain

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_MACHINE = 74
"""The machine did not let it: no space, no permission, too many open files."""
EXIT_READER_GONE = 141
"""As of a program that SIGPIPE ends: `nisse device list | head -1`."""

MACHINE = {
    errno.ENOSPC: "free some space there, or write elsewhere",
    errno.EDQUOT: "free some space there, or write elsewhere",
    errno.EFBIG: "write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "run it as a user who may, or name another place",
    errno.EPERM: "run it as a user who may, or name another place",
    errno.ENOTDIR: "name another place",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "look at the disk (`dmesg`)",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "close some programs: the machine has no open file left",
    errno.ENOMEM: "close some programs: the machine has no memory left",
}
"""What is no defect of ours, and what to do about it."""


def run_command(name: str, run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a sub-command. An exception with an `exit_code` (the parts' own error classes) is printed as one line, and so
    is what the machine refuses.

    Anything else is a defect and keeps its traceback.
    """
    try:
        return run(args)
    except KeyboardInterrupt:
        # Pressed again, while the interpreter ends: that must not change how it ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"nisse {name}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is not None:
            print(plain(f"nisse {name}: {error}", LONGEST_LINE), file=sys.stderr)
            return int(code)
        if isinstance(error, OSError) and (error.errno in MACHINE or _reader_gone(error)):
            return _refused(name, error)
        raise


def open_streams() -> None:
    """Every standard stream is there: a closed one leads to /dev/null, or the next file that is opened would take its
    number; and a character that the terminal has not is escaped."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            found = os.open(os.devnull, os.O_RDWR)
            if found != number:
                os.dup2(found, number)
                os.close(found)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def delivered(name: str | None, code: int) -> int:
    """The exit code of a command whose words have arrived, another where they have not."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _refused(name or "", error)
    return code


def _refused(name: str, error: OSError) -> int:
    if _reader_gone(error):
        _silence()
        return EXIT_READER_GONE
    where = f"{error.filename}: " if error.filename is not None else ""
    remedy = MACHINE.get(error.errno or 0, "look at standard output")
    print(plain(f"nisse {name}: {where}{error.strerror}; {remedy}", LONGEST_LINE), file=sys.stderr)
    _silence()
    return EXIT_MACHINE


def _reader_gone(error: OSError) -> bool:
    """Of our standard output, not of another pipe."""
    if error.errno != errno.EPIPE:
        return False
    with contextlib.suppress(OSError, ValueError):
        asked = select.poll()
        asked.register(sys.stdout.fileno(), 0)
        return any(said & select.POLLERR for _, said in asked.poll(0))
    return False


def _silence() -> None:
    """What is left in the buffer goes nowhere: the interpreter must not stumble over it at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
