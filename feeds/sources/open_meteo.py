"""Open-Meteo: outdoor temperature and sun by the hour, without a token.

Source: Open-Meteo, "Weather Forecast API" (/v1/forecast): columns of one length with `hourly_units`,
`timeformat=unixtime` in UTC, radiation as the mean of the hour before; errors as {"error": true, "reason": ...}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from feeds.errors import GarbledError, RefusedError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Rhythm, Steady
from feeds.series import Channels
from feeds.source import Place, document_of, profile, rows, table

URL = "https://api.open-meteo.com"
RHYTHM = Steady(3600.0)
# Column -> (our channel, unit that is expected, whether it is a mean over the hour before)
COLUMNS = {
    "temperature_2m": ("outdoor", "°C", False),
    "shortwave_radiation": ("sun", "W/m²", True),
    "direct_normal_irradiance": ("direct", "W/m²", True),
    "diffuse_radiation": ("diffuse", "W/m²", True),
}


@dataclass(frozen=True)
class OpenMeteo:
    place: Place
    url: str = URL
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 36 * 3600.0

    @property
    def label(self) -> str:
        return "open-meteo"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        params = (
            ("latitude", f"{self.place.latitude:.4f}"),
            ("longitude", f"{self.place.longitude:.4f}"),
            *((("elevation", str(self.place.altitude_m)),) if self.place.altitude_m is not None else ()),
            ("hourly", ",".join(COLUMNS)),
            ("timeformat", "unixtime"),
            ("timezone", "GMT"),
            ("forecast_days", "4"),
        )
        return {"weather": Request(f"{self.url}/v1/forecast", params)}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        document = document_of(response)
        if isinstance(document, dict) and document.get("error"):
            raise RefusedError(f"says: {str(document.get('reason'))[:120]}")
        times = rows(document, "hourly", "time")
        found: dict[str, Any] = {}
        for column, (channel, unit, before) in COLUMNS.items():
            said = table(document, "hourly_units", column)
            if said != unit:
                raise GarbledError(f"{column} in {str(said)[:12]!r} and not in {unit}")
            values = rows(document, "hourly", column)
            if len(values) != len(times) or len(times) < 2:
                raise GarbledError("columns that are not of one length")
            if not all(isinstance(t, int) and not isinstance(t, bool) for t in times):
                raise GarbledError("times that are not Unix seconds")
            if any(b <= a for a, b in pairwise(times)):
                raise GarbledError("times that do not go forward")
            if before:
                edges = zip([2 * times[0] - times[1], *times], times, values, strict=False)
                found[channel] = profile(list(edges))
            else:
                ends = [*times[1:], 2 * times[-1] - times[-2]]
                found[channel] = profile(list(zip(times, ends, values, strict=True)), instants=True)
        return found
