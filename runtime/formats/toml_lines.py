"""Where in a TOML text a key stands, and which key was probably meant; tomllib itself forgets positions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

_HEADER = re.compile(r"^\s*(\[{1,2})\s*([^\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line (from 1) of the key at `path`, or of the nearest table around it; 1 when there is none.

    The tables of an array are counted from 0.
    """
    wanted = tuple(str(part) for part in path)
    best_line, best_depth = 1, 0
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header.group(2))
            if header.group(1) == "[[":
                counts[table] = counts.get(table, -1) + 1
            number_of = next((n for n in range(len(table), 0, -1) if table[:n] in counts), 0)
            if number_of:
                table = (*table[:number_of], str(counts[table[:number_of]]), *table[number_of:])
            here = table
        elif key := _KEY.match(line):
            here = table + _parts(key.group(1))
        else:
            continue
        # A key inside the wanted table stands for it, where the table has no header of its own.
        here = here[: len(wanted)]
        depth = len(here)
        if depth > best_depth and here == wanted[:depth]:
            best_line, best_depth = number, depth
    return best_line


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the known words when none is close."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(words)}"


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
