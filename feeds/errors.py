"""What can go wrong between a service and a forecast; each says what is wrong in one line, without a secret."""

from __future__ import annotations

from runtime.errors import NisseError


class FeedError(NisseError):
    """A feed that cannot be had."""


class SourceError(FeedError):
    """What a source did wrong; `word` names the kind in statistics and notices."""

    word = "trouble"


class UnreachableError(SourceError):
    """No answer: no network, no such host, too slow, cut off."""

    word = "unreachable"


class RefusedError(SourceError):
    """The service answered that it does not answer. `retry_after_s`: when it may be asked again, if it said so."""

    word = "refused"

    def __init__(self, text: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


class GarbledError(SourceError):
    """An answer that is not what the service's documentation describes."""

    word = "garbled"


class ImplausibleError(SourceError):
    """An answer in the right form that cannot be true."""

    word = "implausible"


class NothingYetError(SourceError):
    """The service has no data for this time, or none yet."""

    word = "nothing yet"


class QuotaError(SourceError):
    """The requests of this day are used up."""

    word = "quota"
