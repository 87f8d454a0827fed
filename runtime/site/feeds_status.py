"""Whence forecasts come and how old they are, as `nisse feed run` last said on this machine; for check and doctor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runtime.formats.plain_files import read_plain
from runtime.formats.text import plain
from runtime.site.config import SiteFile
from runtime.site.feeds import (
    FeedsSection,
    LearnedSection,
    PriceSection,
    PvSection,
    SourceSection,
    WeatherSection,
)
from runtime.site.signals import FEEDS

RUN = Path("/run/nisse-feeds")
MOST_BYTES = 1 << 20
SILENT_S = 3600.0
"""The feeds publish at every quarter of an hour."""


@dataclass(frozen=True)
class FeedsStatus:
    """`written_s`: Unix time; `forecasts`: quantity -> (origin, age in seconds or None, until when it is known)."""

    written_s: float
    forecasts: dict[str, tuple[str, float | None, str]]
    notices: dict[str, str]


def files_of(site: SiteFile) -> Iterator[Path]:
    """Where the status may lie: of a service, of one that was started by hand."""
    name = f"{site.site.name}.{FEEDS}.json"
    yield RUN / name
    if site.feeds is not None:
        yield site.relative(site.feeds.folder) / name


def read_feeds(site: SiteFile) -> FeedsStatus | None:
    """The newest that can be read; None where there is none."""
    found = [status for file in files_of(site) if (status := _read(file)) is not None]
    return max(found, key=lambda status: status.written_s, default=None)


def _read(file: Path) -> FeedsStatus | None:
    try:
        document: Any = json.loads(read_plain(file, MOST_BYTES))
        forecasts = {
            plain(name, 64): (
                plain(one["origin"], 80),
                None if one["age_s"] is None else float(one["age_s"]),
                plain(one["until"], 40),
            )
            for name, one in document["forecasts"].items()
        }
        notices = {plain(name, 80): plain(text) for name, text in document["notices"].items()}
        return FeedsStatus(datetime.fromisoformat(document["time"]).timestamp(), forecasts, notices)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def named(feeds: FeedsSection) -> dict[str, str]:
    """Feed -> the sources that the file names for it: `entsoe NO3, then nordpool NO3`."""
    tables: dict[str, PriceSection | WeatherSection | PvSection | LearnedSection] = {
        **({"price": feeds.price} if feeds.price is not None else {}),
        **({"weather": feeds.weather} if feeds.weather is not None else {}),
        **feeds.pv,
        **feeds.load,
    }
    return {
        name: ", then ".join(_called(s) for s in (one, one.second) if s is not None) for name, one in tables.items()
    }


def _called(section: SourceSection) -> str:
    zone = getattr(section, "zone", None) or getattr(section, "entity", None)
    return f"{section.source} {zone}" if zone else section.source


def shown(status: FeedsStatus, now_s: float) -> dict[str, str]:
    """Quantity -> `entsoe NO3, heard 12 min ago, known until ...`."""
    since_s = max(0.0, now_s - status.written_s)
    return {
        name: f"{origin or 'nothing'}"
        + (f", heard {(age_s + since_s) / 60:.0f} min ago" if age_s is not None else "")
        + f", known until {until}"
        for name, (origin, age_s, until) in status.forecasts.items()
    }
