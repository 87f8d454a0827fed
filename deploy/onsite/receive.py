"""Contents as they come in: each checked by its hash before it counts, and not asked for again then."""

from __future__ import annotations

import hashlib
import os
from typing import Any, BinaryIO

from deploy.onsite.places import Places
from deploy.onsite.wire import OnsiteError, say

CHUNK = 1 << 16


def receive(places: Places, files: list[dict[str, Any]], stream: BinaryIO) -> dict[str, Any]:
    """files: `name`, `sha256` and `size` of each, in the order in which they come."""
    for file in files:
        _take(places, file, stream)
    say(f"{len(files)} files came whole")
    return {"received": len(files)}


def _take(places: Places, file: dict[str, Any], stream: BinaryIO) -> None:
    target = places.file(file["sha256"])
    partial = target.with_name(f".{target.name}.partial")
    hashed, left = hashlib.sha256(), int(file["size"])
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            while left:
                data = stream.read(min(CHUNK, left))
                if not data:
                    raise OnsiteError(f"{file['name']} did not come whole; run the same again")
                out.write(data)
                hashed.update(data)
                left -= len(data)
            out.flush()
            os.fsync(out.fileno())
        if hashed.hexdigest() != file["sha256"]:
            raise OnsiteError(f"{file['name']} came altered; run the same again")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
