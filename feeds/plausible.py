"""Whether an answer can be true: units, the present, the length of days, a day that comes twice."""

from __future__ import annotations

import statistics
from datetime import date, datetime, timedelta, tzinfo

from feeds.errors import ImplausibleError
from feeds.series import Channels
from runtime.formats.profile import Profile
from runtime.inputs.plausibility import PER_EUR, PRICE_EUR_KWH

HOUR_S = 3600.0
USUAL_PRICE = 1.5
"""EUR/kWh that the median of a day does not exceed."""
RANGES = {
    "outdoor": (-60.0, 55.0, "degC"),
    "sun": (-20.0, 1500.0, "W/m2"),
    "direct": (-20.0, 1500.0, "W/m2"),
    "diffuse": (-20.0, 1500.0, "W/m2"),
}
OLDEST_START_S = 30 * HOUR_S
"""A forecast of the weather begins today, by the calendar of some zone."""
DISTINCT = 12
"""Values of a day that differ: fewer may well come again."""


def checked(
    channels: Channels, now_s: float, *, currency: str, zone: tzinfo, most_kw: float = 100.0, market: bool = True
) -> Channels:
    """The channels, sun below 0 lifted to it. Raises ImplausibleError at the first that cannot be true.

    market: prices that no two days have alike.
    """
    found: dict[str, Profile] = {}
    for name, profile in channels.items():
        if profile.end_s <= now_s:
            ended = datetime.fromtimestamp(profile.end_s, zone)
            raise ImplausibleError(f"{name} ends at {ended:%Y-%m-%d %H:%M}: old data")
        if name in RANGES and profile.start_s < now_s - OLDEST_START_S:
            began = datetime.fromtimestamp(profile.start_s, zone)
            raise ImplausibleError(f"{name} begins at {began:%Y-%m-%d %H:%M}: old data")
        if name == "energy":
            _check_price(profile, currency)
            _check_days(profile, zone, market)
        elif name == "power":
            _check_range(name, profile, -0.05 * most_kw, 1.5 * most_kw, "kW")
        elif name in RANGES:
            _check_range(name, profile, *RANGES[name])
        lifted = name in {"sun", "direct", "diffuse", "power"}
        found[name] = profile.converted(lambda v: max(0.0, v)) if lifted else profile
    return found


def _check_price(profile: Profile, currency: str) -> None:
    scale = PER_EUR.get(currency, 1.0)
    lower, upper = (scale * end for end in PRICE_EUR_KWH)
    odd = next((v for v in profile.values if not lower <= v <= upper), None)
    median = statistics.median(abs(v) for v in profile.values)
    if median > USUAL_PRICE * scale:
        raise ImplausibleError(f"{median:.4g} {currency}/kWh in the middle; per MWh, or in another currency?")
    if odd is not None:
        raise ImplausibleError(f"{odd:.4g} {currency}/kWh: in that unit and currency?")


def _check_range(name: str, profile: Profile, lower: float, upper: float, unit: str) -> None:
    odd = next((v for v in profile.values if not lower <= v <= upper), None)
    if odd is not None:
        raise ImplausibleError(f"{name} of {odd:.4g} {unit}: in that unit?")


def _check_days(profile: Profile, zone: tzinfo, market: bool) -> None:
    """Values that overlap and differ are two days on one, or a 23-hour day filled with 24."""
    if profile.note:
        raise ImplausibleError("two prices for one hour: a day twice, or a day of 23 hours filled with 24")
    days = _days(profile, zone) if market else {}
    for day, row in days.items():
        following = days.get(day + timedelta(days=1))
        if following is not None and len(set(row)) >= DISTINCT and row == following:
            raise ImplausibleError(f"{day + timedelta(days=1)} is the same as {day}, value for value")


def _days(profile: Profile, zone: tzinfo) -> dict[date, list[float]]:
    found: dict[date, list[float]] = {}
    for start, value in zip(profile.starts_s, profile.values, strict=True):
        found.setdefault(datetime.fromtimestamp(start, zone).date(), []).append(value)
    return found
