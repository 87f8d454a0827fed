"""What a service really answered, to be shown to others: every request and answer as a file, secrets removed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from feeds.errors import SourceError
from feeds.fetch import Http, HttpResponse, Request, Validators

REMOVED = "***"
_SECRET_KEYS = re.compile(
    r'("(?:latitude|longitude|lat|lon|address\d?|postalCode|ownerInfo|id|eic|meterSerial)"\s*:\s*)'
    r'("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?)',
    re.IGNORECASE,
)
_COORDINATES = re.compile(r'("coordinates"\s*:\s*)\[[^\]]*\]')
_WHERE = frozenset({"lat", "latitude", "lon", "longitude", "altitude", "elevation"})


@dataclass
class Recorder:
    """Asks through `http` and writes what went over the wire into `folder`, one file for each request."""

    http: Http
    folder: Path
    now: Callable[[], float]
    count: int = 0

    def fetch(self, request: Request, validators: Validators) -> HttpResponse:
        """Raises SourceError, recorded too; OSError where the folder cannot be written."""
        try:
            response = self.http.fetch(request, validators)
        except SourceError as error:
            self._write(request, {"error": f"{error.word}: {error}"})
            raise
        about = {"status": response.status, "headers": dict(response.headers)}
        self._write(request, {**about, "body": response.body.decode("utf-8", "replace")})
        return response

    def _write(self, request: Request, answer: dict[str, object]) -> None:
        self.count += 1
        asked = {
            "url": request.url,
            "params": [[key, REMOVED if key.lower() in _WHERE else value] for key, value in request.params],
            "body": None if request.body is None else request.body.decode("utf-8", "replace"),
        }
        text = json.dumps({"time": round(self.now()), "request": asked, "answer": answer}, indent=1, ensure_ascii=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        host = re.sub(r"[^A-Za-z0-9.-]", "_", request.url.split("/")[2])
        (self.folder / f"{self.count:02d}-{host}.json").write_text(without_secrets(text, request), encoding="utf-8")


def without_secrets(text: str, request: Request) -> str:
    """The text without the request's secrets, the host's name of a private address, places and ids of persons."""
    for secret in sorted(request.secrets, key=len, reverse=True):
        if secret:
            once = json.dumps(secret)[1:-1]
            for written in (json.dumps(once)[1:-1], once, secret):  # in a body that is text in a document, and plain
                text = text.replace(written, REMOVED)
    # A body stands in the document as text, its quotes behind a backslash.
    plain = text.replace('\\"', "\x00")
    plain = _SECRET_KEYS.sub(rf'\1"{REMOVED}"', plain)
    escaped = re.sub(
        _SECRET_KEYS.pattern.replace('"', "\x00"), "\\1\x00" + REMOVED + "\x00", plain, flags=re.IGNORECASE
    )
    escaped = re.sub(_COORDINATES.pattern.replace('"', "\x00"), r"\1[]", escaped)
    return escaped.replace("\x00", '\\"')
