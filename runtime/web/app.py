"""The application behind the page: who may look, what is shown, and what is passed on; a WSGI callable.

Nothing is changed by GET. A POST carries the token of its session. What is not asked for by a name of this house is
refused, so that a stranger's page cannot reach it by a name that it points here (OWASP, "DNS rebinding").
Source of the interface: PEP 3333.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

from runtime.formats.text import plain_document
from runtime.publish.operator_commands import RateLimit
from runtime.publish.status_file import Status, StatusError
from runtime.web.page import door_page, house_page, settings_of, trouble_page, wishes_page
from runtime.web.password import matches
from runtime.web.visitors import COOKIE, SESSION_S, Visitors

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

STYLE = Path(__file__).with_name("nisse.css")
MAX_FORM_BYTES = 4096
MOST_FIELDS = 8
LONGEST_TEXT = 300
COMMANDS_PER_S, COMMANDS_BURST = 0.5, 10
HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
     "frame-ancestors 'none'; base-uri 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cache-Control", "no-store"),
)  # fmt: skip
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,71}")

log = logging.getLogger("nisse.web")


class Commands(Protocol):
    def say(self, name: str, value: str, until: str) -> str:
        """What the daemon answered: empty where it took it, else why not."""
        ...


@dataclass(frozen=True)
class Reply:
    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    extra: tuple[tuple[str, str], ...] = ()


class App:
    """`look` reads state and plan, `clock` is Unix time, `now` monotonic; `kept` is the password's hash or empty.

    `saved` tells what was saved lately, by Unix time.
    """

    def __init__(
        self,
        site: str,
        hosts: frozenset[str],
        look: Callable[[], Status],
        commands: Commands,
        *,
        kept: str,
        https: bool,
        clock: Callable[[], float],
        now: Callable[[], float],
        saved: Callable[[float], str] = lambda now_s: "",
    ) -> None:
        self._site, self._hosts, self._look, self._commands = site, hosts, look, commands
        self._kept, self._https, self._clock, self._now = kept, https, clock, now
        self._saved = saved
        self._visitors = Visitors(password_needed=bool(kept))
        self._limit = RateLimit(COMMANDS_PER_S, COMMANDS_BURST)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        reply = self._reply(environ)
        head = [("Content-Type", reply.kind), ("Content-Length", str(len(reply.body))), *HEADERS, *reply.extra]
        start_response(f"{reply.status.value} {reply.status.phrase}", head)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else reply.body]

    def _reply(self, environ: Environ) -> Reply:
        method, path = str(environ.get("REQUEST_METHOD", "")), str(environ.get("PATH_INFO", ""))
        host = _HOST.fullmatch(str(environ.get("HTTP_HOST", "")))
        if host is None or host[1].lower() not in self._hosts:
            return _text(HTTPStatus.MISDIRECTED_REQUEST, "ask for this page by a name of [web] names in the site file")
        known = {"/": ("GET", "HEAD"), "/nisse.css": ("GET", "HEAD"), "/wishes": ("GET", "HEAD", "POST")}
        allowed = {**known, "/door": ("GET", "HEAD", "POST")}.get(path)
        if allowed is None:
            return _text(HTTPStatus.NOT_FOUND, "no such page; there are / and /wishes")
        if method not in allowed:
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, f"only {', '.join(allowed)}", ("Allow", ", ".join(allowed)))
        if path == "/nisse.css":
            return Reply(HTTPStatus.OK, STYLE.read_bytes(), "text/css; charset=utf-8")
        session = self._visitors.session(str(environ.get("HTTP_COOKIE", "")))
        if method == "POST":
            return self._posted(path, session, environ)
        if not session:
            session = self._visitors.new_session()
        if path == "/door" or not self._visitors.may_look(session, self._now()):
            return self._with_cookie(session, door_page(self._site, self._visitors.token(session)))
        return self._with_cookie(session, self._shown(path, session))

    def _shown(self, path: str, session: str, answer: str = "", bad: bool = False) -> str:
        try:
            status = self._heard()
        except StatusError as error:
            return trouble_page(self._site, str(error))
        if path == "/wishes":
            return wishes_page(status, settings_of(status.state), self._visitors.token(session), answer, bad)
        now_s = self._clock()
        return house_page(status, now_s, self._saved(now_s))

    def _heard(self) -> Status:
        """Cleaned: whoever may write the status may have written anything."""
        status = self._look()
        return Status(
            status.site, status.written_s, plain_document(status.state, LONGEST_TEXT), plain_document(status.plan)
        )

    def _posted(self, path: str, session: str, environ: Environ) -> Reply:
        origin = str(environ.get("HTTP_ORIGIN", ""))
        if origin and origin.partition("://")[2] != environ.get("HTTP_HOST"):
            return _text(HTTPStatus.FORBIDDEN, "this form is from another page")
        form = _form(environ)
        if form is None:
            return _text(HTTPStatus.BAD_REQUEST, "not a form of this page")
        if not self._visitors.is_own(session, form.get("token", "")):
            return _text(HTTPStatus.FORBIDDEN, "this form is too old; load the page again")
        if path == "/door":
            return self._knocked(session, form.get("password", ""))
        if not self._visitors.may_look(session, self._now()):
            return _text(HTTPStatus.FORBIDDEN, "say the password first, at /door")
        if not self._limit.allows(self._now()):
            answer, bad = "too many at once; wait a few seconds", True
        elif not _NAME.fullmatch(form.get("name", "")):
            return _text(HTTPStatus.BAD_REQUEST, "nothing of that name can be set")
        else:
            refused = self._commands.say(form["name"], form.get("value", ""), form.get("until", ""))
            answer, bad = refused or "Done; the page shows it with the next cycle.", bool(refused)
        return self._with_cookie(session, self._shown("/wishes", session, answer, bad))

    def _knocked(self, session: str, password: str) -> Reply:
        if not self._kept:
            return Reply(HTTPStatus.SEE_OTHER, extra=(("Location", "/"),))
        if not self._visitors.may_try(self._now()):
            text = door_page(self._site, self._visitors.token(session), "Too many tries; wait half a minute.")
            return Reply(HTTPStatus.TOO_MANY_REQUESTS, text.encode(), extra=(("Retry-After", "30"),))
        if not matches(password, self._kept):
            log.warning("a wrong password for the page")
            text = door_page(self._site, self._visitors.token(session), "That is not the password.")
            return Reply(HTTPStatus.FORBIDDEN, text.encode())
        # A new one: what somebody may have planted before is worth nothing.
        self._visitors.goodbye(session)
        cookie = self._cookie(self._visitors.welcome(self._now()))
        return Reply(HTTPStatus.SEE_OTHER, extra=(("Location", "/"), ("Set-Cookie", cookie)))

    def _with_cookie(self, session: str, text: str) -> Reply:
        return Reply(HTTPStatus.OK, text.encode(), extra=(("Set-Cookie", self._cookie(session)),))

    def _cookie(self, session: str) -> str:
        secure = "; Secure" if self._https else ""
        return f"{COOKIE}={session}; Path=/; Max-Age={SESSION_S:.0f}; HttpOnly; SameSite=Strict{secure}"


def _form(environ: Environ) -> dict[str, str] | None:
    """The fields of a form, None where it is none or too large."""
    if not str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        return None
    try:
        length = int(str(environ.get("CONTENT_LENGTH") or "0"))
        if not 0 <= length <= MAX_FORM_BYTES:
            return None
        body = environ["wsgi.input"].read(length).decode("ascii")
        fields = parse_qs(body, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except (ValueError, KeyError):
        return None
    return {name: values[0].strip() for name, values in fields.items()}


def _text(status: HTTPStatus, text: str, *extra: tuple[str, str]) -> Reply:
    return Reply(status, (text + "\n").encode(), "text/plain; charset=utf-8", extra)
