"""One HTTP request, bounded in time and size: whatever a server sends, a Response or a SourceError comes back."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

from feeds.errors import GarbledError, RefusedError, UnreachableError
from runtime.version import VERSION

if TYPE_CHECKING:
    import httpx

DEADLINE_S = 30.0
STEP_S = 10.0
"""Longest silence within an answer."""
MOST_BYTES = 4 << 20
AGENT = f"nisse/{VERSION}"
NOT_MODIFIED, NO_CONTENT = 304, 204
KEPT_HEADERS = ("content-type", "etag", "last-modified", "expires", "retry-after", "date", "cache-control")


@dataclass(frozen=True)
class Request:
    """`secrets` are the words in it that nobody else may see."""

    url: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    """With a body it is a POST."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    once: bool = False
    """What was answered will not change: it is not asked again."""


@dataclass(frozen=True)
class Validators:
    """What the last answer said of itself, for a conditional request."""

    etag: str = ""
    last_modified: str = ""

    def headers(self) -> dict[str, str]:
        tagged = {"If-None-Match": self.etag} if self.etag else {}
        return tagged | ({"If-Modified-Since": self.last_modified} if self.last_modified else {})


@dataclass(frozen=True)
class HttpResponse:
    """`headers` by lower-case name, those of KEPT_HEADERS only."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def validators(self) -> Validators:
        return Validators(self.headers.get("etag", ""), self.headers.get("last-modified", ""))

    @property
    def expires_s(self) -> float | None:
        """Unix time until which the answer is fresh, where the service says so (RFC 9110, Expires)."""
        return _date(self.headers.get("expires", ""))


class Http(Protocol):
    def fetch(self, request: Request, validators: Validators) -> HttpResponse:
        """Raises SourceError."""
        ...


class HttpxClient:
    """Certificates are checked, redirections are not followed: a token goes to the host that it is for."""

    def __init__(self, *, deadline_s: float = DEADLINE_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        import httpx

        for name in ("httpx", "httpcore"):  # they log whole addresses, and some services want the token there
            logging.getLogger(name).setLevel(logging.WARNING)
        self._deadline_s, self._monotonic = deadline_s, monotonic
        self._client = httpx.Client(
            timeout=min(STEP_S, deadline_s), follow_redirects=False, trust_env=True, headers={"User-Agent": AGENT}
        )

    def close(self) -> None:
        self._client.close()

    def fetch(self, request: Request, validators: Validators) -> HttpResponse:
        """Raises UnreachableError, RefusedError (any status but 200, 203, 204, 304) and GarbledError."""
        import httpx

        method = "GET" if request.body is None else "POST"
        headers = {"Accept-Encoding": "gzip", **validators.headers(), **dict(request.headers)}
        host = httpx.URL(request.url).host
        begun_s = self._monotonic()
        try:
            with self._client.stream(
                method, request.url, params=request.params or None, headers=headers, content=request.body
            ) as answer:
                body = self._body(answer, begun_s, host)
                kept = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
                status = answer.status_code
        except httpx.TimeoutException:
            raise UnreachableError(f"{host}: no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The text of the error may hold the address, and that a token: its kind has to do.
            raise UnreachableError(f"{host}: {_kind(error)}") from None
        if status in {200, 203, NO_CONTENT, NOT_MODIFIED}:
            return HttpResponse(status, body, kept)
        raise RefusedError(f"{host}: {_meaning(status)}", status, _retry_after(kept, status))

    def _body(self, answer: httpx.Response, begun_s: float, host: str) -> bytes:
        coding = answer.headers.get("content-encoding", "identity").lower()
        if coding not in {"identity", "gzip", ""}:
            raise GarbledError(f"{host}: content encoding {coding[:20]!r} was not asked for")
        unpack = zlib.decompressobj(31) if coding == "gzip" else None
        found = bytearray()
        for chunk in answer.iter_raw():  # as it comes: with a size it would wait until that is there
            try:
                found += chunk if unpack is None else unpack.decompress(chunk, MOST_BYTES + 1 - len(found))
            except zlib.error:
                raise GarbledError(f"{host}: damaged compression") from None
            if len(found) > MOST_BYTES:
                raise GarbledError(f"{host}: an answer of more than {MOST_BYTES >> 20} MB")
            if self._monotonic() - begun_s > self._deadline_s:
                raise UnreachableError(f"{host}: still sending after {self._deadline_s:g} s")
        if unpack is not None and not unpack.eof:
            raise GarbledError(f"{host}: cut off within its compression")
        return bytes(found)


def _kind(error: Exception) -> str:
    names = {
        "ConnectError": "cannot be reached",
        "RemoteProtocolError": "cut off, or does not speak HTTP",
        "ReadError": "connection lost",
        "UnsupportedProtocol": "not an address of HTTP",
    }
    return names.get(type(error).__name__, type(error).__name__)


def _meaning(status: int) -> str:
    words = {
        401: "401, the token is not accepted",
        403: "403, this is not allowed with the token or without a contact",
        404: "404, no such thing there",
        429: "429, asked too often",
    }
    if 300 <= status < 400:
        return f"{status}, has moved; give the new address as url"
    return words.get(status, f"{status}, {'its own trouble' if status >= 500 else 'the request is refused'}")


def _retry_after(headers: Mapping[str, str], status: int) -> float | None:
    """Seconds (RFC 9110, Retry-After, as a number or a date); None where it says none that is believable."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 8:
        return float(text)
    until, now = _date(text), _date(headers.get("date", ""))
    return max(0.0, until - now) if until is not None and now is not None else None


def _date(text: str) -> float | None:
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
