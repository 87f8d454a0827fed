"""Exit codes, and how an error becomes one line with a remedy."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from runtime.formats.text import LONGEST_LINE, plain

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2


def run_command(name: str, run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a sub-command. An exception with an `exit_code` (the parts' own error classes) is printed as one line.

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
        if code is None:
            raise
        print(plain(f"nisse {name}: {error}", LONGEST_LINE), file=sys.stderr)
        return int(code)
