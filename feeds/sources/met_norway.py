"""MET Norway: outdoor temperature and clouds for any place, with the user's address and without a token.

Source: MET Norway, "Locationforecast 2.0" (compact: properties.timeseries of `time` and data.instant.details, units
under properties.meta.units) and "Terms of Service" of api.met.no: a User-Agent that names program and contact, at most
four decimals, nothing asked again before `Expires`, If-Modified-Since as last told, 203 for a version that goes.
The sun is not in it: it is made of the clouds (`feeds.sun`), and coarser than a service that computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from feeds.errors import GarbledError
from feeds.fetch import AGENT, HttpResponse, Request
from feeds.rhythm import Rhythm, Steady
from feeds.series import Channels
from feeds.source import Place, document_of, profile, rows, table
from feeds.sun import LOWEST_SINE, diffuse_share, sun_at, under_clouds
from runtime.formats.literals import PayloadError, moment, number
from runtime.formats.profile import Profile

URL = "https://api.met.no"
RHYTHM = Steady(3600.0)
STEP_S = 900.0
LONGEST_STEP_S = 6 * 3600.0


@dataclass(frozen=True)
class MetNorway:
    place: Place
    contact: str
    url: str = URL
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 36 * 3600.0

    @property
    def label(self) -> str:
        return "met-norway"

    def requests(self, now_s: float) -> Mapping[str, Request]:
        where = self.place
        altitude = (("altitude", str(where.altitude_m)),) if where.altitude_m is not None else ()
        params = (("lat", f"{where.latitude:.4f}"), ("lon", f"{where.longitude:.4f}"), *altitude)
        headers = (("User-Agent", f"{AGENT} {self.contact}"),)
        url = f"{self.url}/weatherapi/locationforecast/2.0/compact"
        return {"weather": Request(url, params, headers, secrets=(self.contact,))}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        properties = table(document_of(response), "properties")
        for name, unit in (("air_temperature", "celsius"), ("cloud_area_fraction", "%")):
            said = table(properties, "meta", "units", name)
            if said != unit:
                raise GarbledError(f"{name} in {str(said)[:12]!r} and not in {unit}")
        try:
            moments = [
                (
                    moment(table(entry, "time"), None),
                    number(table(entry, "data", "instant", "details", "air_temperature")),
                    number(table(entry, "data", "instant", "details", "cloud_area_fraction")) / 100.0,
                )
                for entry in rows(properties, "timeseries")
            ]
        except PayloadError as error:
            raise GarbledError(str(error)) from None
        if len(moments) < 2 or any(b[0] <= a[0] for a, b in pairwise(moments)):
            raise GarbledError("times that do not go forward")
        lines = [(a[0], b[0], a[1]) for a, b in pairwise(moments) if b[0] - a[0] <= LONGEST_STEP_S]
        return {"outdoor": profile(lines, instants=True), **self._sun(moments)}

    def _sun(self, moments: list[tuple[float, float, float]]) -> dict[str, Profile]:
        """By quarter hours: between two moments the clouds change in a straight line, and the sun as it does."""
        level, beam, sky = [], [], []
        for (start, _, before), (end, _, after) in pairwise(moments):
            if end - start > LONGEST_STEP_S:
                break
            for k in range(round((end - start) / STEP_S)):
                share = (k + 0.5) * STEP_S / (end - start)
                time_s = start + (k + 0.5) * STEP_S
                sine = sun_at(time_s, self.place.latitude, self.place.longitude).sine
                total = under_clouds(sine, before + share * (after - before))
                diffuse = total * diffuse_share(total, time_s, sine)
                level.append(total)
                sky.append(diffuse)
                beam.append((total - diffuse) / sine if sine >= LOWEST_SINE else 0.0)
        begin = moments[0][0]
        made = {"sun": level, "direct": beam, "diffuse": sky}
        return {name: Profile.regular(begin, STEP_S, values) for name, values in made.items()}
