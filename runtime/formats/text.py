"""Text from outside as it may stand in a line: nothing that ends the line, moves a cursor or turns the reading round.

Payloads, topics, file names, what devices and libraries say: whoever writes them may put anything in. Log, notices,
status view, metrics and the service manager all show them through `plain`.
"""

from __future__ import annotations

import json
import logging
from typing import Any

LONGEST = 300
"""Characters of one text within a line."""
LONGEST_LINE, LONGEST_TRACE = 2000, 16_000


def plain(text: object, longest: int = LONGEST) -> str:
    r"""`text` with every character that is no plain print escaped as \n, \x1b, \u202e; cut to `longest` characters.

    Escaped are controls (C0, C1), line and paragraph separators, format characters (bidirectional, zero width),
    surrogates, and what Unicode has not assigned.
    """
    whole = str(text)
    shown = whole[:longest]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return shown if len(shown) <= longest and len(whole) <= longest else shown[: longest - 1] + "…"


def plain_document(document: Any, longest: int = LONGEST) -> Any:
    """A JSON document with every text in it made plain, keys included."""
    if document is None or isinstance(document, float | int):  # most of a document, and asked of every cycle's
        return document
    match document:
        case str():
            return plain(document, longest)
        case dict():
            return {plain(key, longest): plain_document(value, longest) for key, value in document.items()}
        case list() | tuple():
            return [plain_document(value, longest) for value in document]
        case _:
            return document


def document_text(document: Any) -> str:
    """JSON without blanks. Raises ValueError for numbers that it has not."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


class LineFormatter(logging.Formatter):
    """One record is one line, whatever it holds: nobody writes records of their own into the log."""

    def __init__(self) -> None:
        # The service manager's log puts times on lines; in lockstep a line must not depend on the time of day.
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        traced = record.exc_info or record.stack_info
        return plain(super().format(record), LONGEST_TRACE if traced else LONGEST_LINE)


def log_to_stderr(level: int) -> None:
    """Send the log of the process to its standard error, one line a record."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler])
