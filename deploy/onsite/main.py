"""Requests by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.onsite.log import send_rows
from deploy.onsite.wire import OnsiteError, tell

EXIT_OK, EXIT_FAILED = 0, 3


def main(request: dict[str, Any]) -> int:
    """Do what is asked and answer; the exit code."""
    try:
        done = _do(request)
    except OnsiteError as error:
        tell(failed=str(error))
        return EXIT_FAILED
    except OSError as error:
        tell(failed=f"{error.filename or 'here'}: {error.strerror or error}; see to it there, then run the same again")
        return EXIT_FAILED
    tell(done=done)
    return EXIT_OK


def _do(request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "log":
            return send_rows(Path(request["site"]), request["known"])
        case other:
            raise OnsiteError(f"{other!r} is no request")
