"""Where the sun stands and what of it falls on a plane: the few formulas, each with its source.

Angles in degrees at the functions' doors, irradiance in W/m2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

ALBEDO = 0.2
LOWEST_SINE = 0.05
"""Below 3 degrees hills and houses stand in the way, and the beam's factor on a plane explodes."""


@dataclass(frozen=True)
class Sun:
    """`sine` of its elevation; `azimuth` in degrees from north, east 90."""

    sine: float
    azimuth: float

    @property
    def elevation(self) -> float:
        return math.degrees(math.asin(max(-1.0, min(1.0, self.sine))))


def sun_at(time_s: float, latitude: float, longitude: float) -> Sun:
    """Position to some tenths of a degree: J. W. Spencer, "Fourier series representation of the position of the sun",
    Search 2 (1971) 172, for declination and equation of time."""
    utc = datetime.fromtimestamp(time_s, UTC)
    hours = utc.hour + utc.minute / 60.0 + utc.second / 3600.0
    g = 2.0 * math.pi * (utc.timetuple().tm_yday - 1 + hours / 24.0) / 365.0
    declination = (
        0.006918 - 0.399912 * math.cos(g) + 0.070257 * math.sin(g) - 0.006758 * math.cos(2 * g)
        + 0.000907 * math.sin(2 * g) - 0.002697 * math.cos(3 * g) + 0.00148 * math.sin(3 * g)
    )  # fmt: skip
    equation_min = 229.18 * (
        0.000075 + 0.001868 * math.cos(g) - 0.032077 * math.sin(g) - 0.014615 * math.cos(2 * g)
        - 0.040849 * math.sin(2 * g)
    )  # fmt: skip
    angle = math.radians(15.0 * (hours - 12.0) + longitude + equation_min / 4.0)
    lat = math.radians(latitude)
    sine = math.sin(lat) * math.sin(declination) + math.cos(lat) * math.cos(declination) * math.cos(angle)
    south = math.cos(angle) * math.sin(lat) - math.tan(declination) * math.cos(lat)
    azimuth = math.degrees(math.atan2(math.sin(angle), south)) + 180.0
    return Sun(sine, azimuth % 360.0)


def clear_sky(sine: float) -> float:
    """On the level, without clouds: B. Haurwitz, "Insolation in relation to cloudiness and cloud density", J.
    Meteorology 2 (1945) 154: 1098 sin(h) exp(-0.059 / sin(h))."""
    return 1098.0 * sine * math.exp(-0.059 / sine) if sine > 0.0 else 0.0


def under_clouds(sine: float, cover: float) -> float:
    """On the level under a cover of 0 to 1: F. Kasten and G. Czeplak, "Solar and terrestrial radiation dependent on the
    amount and type of cloud", Solar Energy 24 (1980) 177: 1 - 0.75 n^3.4."""
    covered = math.pow(min(1.0, max(0.0, cover)), 3.4)
    return clear_sky(sine) * (1.0 - 0.75 * covered)


def diffuse_share(level: float, time_s: float, sine: float) -> float:
    """Share of the irradiance on the level that comes from the sky: D. G. Erbs, S. A. Klein and J. A. Duffie,
    "Estimation of the diffuse radiation fraction", Solar Energy 28 (1982) 293."""
    if sine < LOWEST_SINE:
        return 1.0
    day = datetime.fromtimestamp(time_s, UTC).timetuple().tm_yday
    beyond = 1367.0 * (1.0 + 0.033 * math.cos(2.0 * math.pi * day / 365.0)) * sine
    kt = min(1.0, max(0.0, level / beyond))
    if kt <= 0.22:
        return 1.0 - 0.09 * kt
    if kt <= 0.8:
        return 0.9511 - 0.1604 * kt + 4.388 * kt**2 - 16.638 * kt**3 + 12.336 * kt**4
    return 0.165


def on_plane(level: float, beam: float, diffuse: float, sun: Sun, tilt: float, azimuth: float) -> tuple[float, float]:
    """(from the sun itself, from sky and ground) on a plane, with an even sky: B. Y. H. Liu and R. C. Jordan, "The
    long-term average performance of flat-plate solar-energy collectors", Solar Energy 7 (1963) 53.

    beam: on a plane that faces the sun. tilt from the level, azimuth from north.
    """
    slope, away = math.radians(tilt), math.radians(sun.azimuth - azimuth)
    across = math.sqrt(max(0.0, 1.0 - sun.sine**2))
    facing = sun.sine * math.cos(slope) + across * math.sin(slope) * math.cos(away)
    direct = beam * max(0.0, facing) if sun.sine >= LOWEST_SINE else 0.0
    sky = diffuse * (1.0 + math.cos(slope)) / 2.0
    ground = ALBEDO * level * (1.0 - math.cos(slope)) / 2.0
    return direct, sky + ground
