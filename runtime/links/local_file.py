"""Inputs from files of this machine: what another program puts there, whole, is read when it has changed.

A forecast says its own times. A number is of the time at which its file was written, unless the message names another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

from runtime.clock import Clock
from runtime.formats.literals import NoValueError, PayloadError
from runtime.formats.payload import MAX_PAYLOAD_BYTES, parse_payload, parse_time
from runtime.formats.plain_files import read_plain
from runtime.inputs.signals import Arrival

CLOCK_SKEW_S = 60.0


@dataclass(frozen=True)
class FileInput:
    """One input: its file, and where in it the value is."""

    path: Path
    pointer: str = ""
    unit: str = ""
    unit_pointer: str = ""
    value_key: str = ""
    timestamp_pointer: str = ""
    zone: tzinfo = UTC


class FileLink:
    """Looks at each file once a cycle; a file that is not there, or is none, is an input that is missing."""

    def __init__(self, inputs: Mapping[str, FileInput], clock: Clock) -> None:
        self._inputs, self._clock = dict(inputs), clock
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._arrivals: dict[str, Arrival] = {}

    def read(self) -> dict[str, Arrival]:
        """The last arrival of every input."""
        for name, entry in self._inputs.items():
            self._look(name, entry)
        return dict(self._arrivals)

    def _look(self, name: str, entry: FileInput) -> None:
        try:
            found = os.stat(entry.path)  # noqa: PTH116  # through a link, as the file is read
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._seen.get(name) == mark:
                return
            payload = read_plain(entry.path, MAX_PAYLOAD_BYTES)
            self._seen[name] = mark
        except OSError as error:
            self._seen.pop(name, None)
            self._keep(name, f"{entry.path.name}: {error.strerror or error}", missing=True)
            return
        try:
            self._arrivals[name] = self._parsed(entry, payload, found.st_mtime)
        except PayloadError as error:
            self._keep(name, f"{entry.path.name}: {error}", missing=isinstance(error, NoValueError))

    def _keep(self, name: str, problem: str, *, missing: bool) -> None:
        """What was there before stays in force until it is too old, and why nothing newer is."""
        last = self._arrivals.get(name)
        value, stamp = (None, self._clock.monotonic()) if last is None else (last.value, last.monotonic_s)
        self._arrivals[name] = Arrival(value, stamp, problem, missing and value is None)

    def _parsed(self, entry: FileInput, payload: bytes, written_s: float) -> Arrival:
        """Raises PayloadError."""
        value = parse_payload(
            payload, entry.pointer, unit=entry.unit, unit_pointer=entry.unit_pointer, value_key=entry.value_key,
            zone=entry.zone,
        )  # fmt: skip
        now_s = self._clock.wall()
        if entry.timestamp_pointer:
            written_s = parse_time(payload, entry.timestamp_pointer, entry.zone, now_s + CLOCK_SKEW_S)
        if written_s > now_s + CLOCK_SKEW_S:
            raise PayloadError(f"its time is {written_s - now_s:.0f} s ahead of this clock; one of the two is wrong")
        return Arrival(value, self._clock.monotonic() - max(0.0, now_s - written_s))
