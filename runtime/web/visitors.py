"""Who is asking: sessions by cookie, the token that every form carries, and how often a password may be tried.

A token is an HMAC of the session's own cookie, so a page of a stranger, which cannot read the cookie, cannot make one
(OWASP, "Cross-Site Request Forgery Prevention", signed double-submit cookie).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections import OrderedDict
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie

from runtime.publish.operator_commands import RateLimit

COOKIE = "nisse"
SESSION_S = 30 * 86400.0
MOST_SESSIONS = 64
TRIES_PER_S, TRIES_BURST = 1.0 / 30.0, 5
"""Of a password, by all visitors together: an attacker has many addresses, a household one password."""
_SESSION = re.compile(r"[A-Za-z0-9_-]{43}")


class Visitors:
    """Sessions live as long as the process. `now_s` is monotonic."""

    def __init__(self, *, password_needed: bool) -> None:
        self._needed = password_needed
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[str, float] = OrderedDict()
        self._tries = RateLimit(TRIES_PER_S, TRIES_BURST)

    def session(self, header: str) -> str:
        """The session of a Cookie header; empty where there is none of the right form."""
        try:
            morsel = SimpleCookie(header).get(COOKIE)
        except CookieError:
            return ""
        value = morsel.value if morsel is not None else ""
        return value if _SESSION.fullmatch(value) else ""

    def new_session(self) -> str:
        return secrets.token_urlsafe(32)

    def token(self, session: str) -> str:
        """What a form of this session carries."""
        return hmac.new(self._key, session.encode(), sha256).hexdigest()

    def is_own(self, session: str, token: str) -> bool:
        return bool(session) and hmac.compare_digest(self.token(session).encode(), token.encode())

    def may_look(self, session: str, now_s: float) -> bool:
        """Whether the session has said the password, where one is needed."""
        return not self._needed or self._known.get(session, -1.0) > now_s

    def may_try(self, now_s: float) -> bool:
        """Whether a password may be tried now; takes one try."""
        return self._tries.allows(now_s)

    def welcome(self, now_s: float) -> str:
        """A new session that has said the password; the oldest goes where there are too many."""
        session = self.new_session()
        self._known[session] = now_s + SESSION_S
        while len(self._known) > MOST_SESSIONS:
            self._known.popitem(last=False)
        return session

    def goodbye(self, session: str) -> None:
        self._known.pop(session, None)
