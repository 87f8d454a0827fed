"""What a build machine may ask of the house, by name, and the answer to each: the program that `deploy` sends along."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

from deploy.onsite.activate import begin, follow
from deploy.onsite.log import send_rows
from deploy.onsite.places import Places
from deploy.onsite.probe import probe
from deploy.onsite.receive import receive
from deploy.onsite.release import examined, make_release
from deploy.onsite.savings import keep_savings
from deploy.onsite.wire import OnsiteError, tell

EXIT_OK, EXIT_FAILED = 0, 3


def main(request: dict[str, Any]) -> int:
    """Do what is asked and answer; the exit code."""
    try:
        done = _do(request)
    except OnsiteError as error:
        tell(failed=str(error))
        return EXIT_FAILED
    except BrokenPipeError:
        return EXIT_FAILED  # nobody listens any more
    except OSError as error:
        where, what = error.filename or "this machine", error.strerror or str(error)
        remedy = "make room there" if error.errno == errno.ENOSPC else "see to it there"
        tell(failed=f"{where}: {what}; {remedy}, then run the same again")
        return EXIT_FAILED
    tell(done=done)
    return EXIT_OK


def _do(request: dict[str, Any]) -> dict[str, Any]:
    places = Places(Path(request.get("base", "/opt/nisse")))
    match request["do"]:
        case "log":
            return send_rows(Path(request["site"]), request["known"])
        case "savings":
            return keep_savings(Path(request["site"]), request["text"])
        case "probe":
            return probe(places)
        case "receive":
            with places.lock():
                return receive(places, request["files"], sys.stdin.buffer)
        case "prepare":
            with places.lock():
                make_release(places, request["manifest"])
                return {"findings": examined(places, request["manifest"])}
        case "activate":
            begin(places, request["manifest"], request["kind"])
            return {}
        case "follow":
            return follow(places)
        case other:
            raise OnsiteError(f"{other!r} is no request")
