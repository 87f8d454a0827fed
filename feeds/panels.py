"""The power of panels from the weather: irradiance on their plane, less what heat and the inverter take, times what the
log has taught: a scale, and shade by the direction of the sun.

Power of a warm cell after the PVWatts model (A. P. Dobos, "PVWatts Version 5 Manual", NREL/TP-6A20-62641, 2014), the
cell's warmth by its nominal operating temperature (R. G. Ross, "Interface design considerations for terrestrial solar
cell modules", 12th IEEE PVSC, 1976).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from feeds.series import Channels
from feeds.source import Place
from feeds.sun import LOWEST_SINE, diffuse_share, on_plane, sun_at
from runtime.formats.profile import Profile
from runtime.site.feeds import PvSection

STEP_S = 900.0
SYSTEM = 0.86
"""Losses of 14 % as PVWatts has them: dirt, wiring, mismatch, inverter."""
HEAT_PER_K, CELL_RISE_K_M2_W = 0.004, 0.03
USUAL_C = 10.0
"""Outdoors, where a source of sun does not say it."""
SECTOR = 10.0
"""Degrees of azimuth that have one factor of shade."""
LEAST_SHARE = 0.02
"""Of the peak power: less is not learned from."""
PRIOR_SCALE_H, PRIOR_SECTOR_H = 4.0, 2.0
"""Hours at peak power that the log must bring before it counts as much as what was believed before."""
MOST_FACTOR = 1.5


def plane_power(section: PvSection, place: Place, said: Channels) -> Profile | None:
    """kW by quarter hours, nothing learned in it; None without the sun. Where beam and sky are not told apart, Erbs."""
    sun = said.get("sun")
    if sun is None:
        return None
    first, last = int(sun.start_s // STEP_S), int(-(-sun.end_s // STEP_S))
    return Profile.regular(
        first * STEP_S, STEP_S, [_power(section, place, said, (k + 0.5) * STEP_S) for k in range(first, last)]
    )


def _power(section: PvSection, place: Place, said: Channels, time_s: float) -> float:
    """NaN where the sun is not known."""
    ends = (time_s - STEP_S / 2, time_s + STEP_S / 2)
    level = said["sun"].mean(*ends)[0]
    if level != level:
        return level
    sun = sun_at(time_s, place.latitude, place.longitude)
    sky = _known(said.get("diffuse"), ends, level * diffuse_share(level, time_s, sun.sine))
    beam = _known(said.get("direct"), ends, (level - sky) / sun.sine if sun.sine >= LOWEST_SINE else 0.0)
    outdoor = said.get("outdoor")
    air_c = USUAL_C if outdoor is None else _known(outdoor, ends, USUAL_C)
    plane = sum(on_plane(level, max(0.0, beam), max(0.0, sky), sun, section.tilt, section.azimuth))
    warm = air_c + CELL_RISE_K_M2_W * plane - 25.0
    return min(section.peak_kw, max(0.0, section.peak_kw * SYSTEM * plane / 1000.0 * (1.0 - HEAT_PER_K * warm)))


def _known(profile: Profile | None, ends: tuple[float, float], otherwise: float) -> float:
    value = otherwise if profile is None else profile.mean(*ends, smooth=profile.instants)[0]
    return otherwise if value != value else value


@dataclass(frozen=True)
class Shade:
    """Factors on the power of the plane: `scale`, and by the sector in which the sun stands."""

    scale: float = 1.0
    sectors: Mapping[int, float] = field(default_factory=dict)

    def factor(self, azimuth: float) -> float:
        return self.sectors.get(int(azimuth // SECTOR), self.scale)


def learned_shade(measured: Mapping[int, float], plain: Mapping[int, float], peak_kw: float, place: Place) -> Shade:
    """From quarter hours: what was measured against what the plane alone would have given (kW, by number).

    Ratios of sums, so that full sun counts more than dusk, drawn towards 1 and the scale while little is known.
    """
    both = [q for q, value in plain.items() if value >= LEAST_SHARE * peak_kw and q in measured]
    prior = 4.0 * PRIOR_SCALE_H * peak_kw
    scale = (sum(measured[q] for q in both) + prior) / (sum(plain[q] for q in both) + prior)
    scale = min(MOST_FACTOR, max(0.0, scale))
    sums: dict[int, list[float]] = {}
    for q in both:
        azimuth = sun_at((q + 0.5) * STEP_S, place.latitude, place.longitude).azimuth
        of = sums.setdefault(int(azimuth // SECTOR), [0.0, 0.0])
        of[0] += measured[q]
        of[1] += plain[q]
    prior = 4.0 * PRIOR_SECTOR_H * peak_kw
    return Shade(
        scale,
        {k: min(MOST_FACTOR, max(0.0, (m + prior * scale) / (p + prior))) for k, (m, p) in sums.items()},
    )


def shaded(plain: Profile, shade: Shade, peak_kw: float, place: Place) -> Profile:
    azimuths = (
        sun_at((s + e) / 2, place.latitude, place.longitude).azimuth
        for s, e in zip(plain.starts_s, plain.ends_s, strict=True)
    )
    values = tuple(min(peak_kw, v * shade.factor(a)) for v, a in zip(plain.values, azimuths, strict=True))
    return Profile(plain.starts_s, plain.ends_s, values)
