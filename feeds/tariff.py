"""From the market's price to what a kWh costs and earns here: VAT, fees by the clock, tax, the feed-in rule."""

from __future__ import annotations

import math
from datetime import datetime, tzinfo

from runtime.formats.profile import Profile
from runtime.formats.weekly import DAY_MIN
from runtime.site.feeds import FeedIn, PriceSection, SeasonalValue, week_of

QUARTER_S, HOUR_S = 900.0, 3600.0


def seasonal(value: SeasonalValue, time_s: float, zone: tzinfo) -> float:
    """What holds at a Unix time, by the calendar and clock of the zone."""
    local = datetime.fromtimestamp(time_s, zone)
    minute = local.weekday() * DAY_MIN + local.hour * 60 + local.minute
    return week_of(value, local.month).at(minute)


def fixed_price(value: SeasonalValue, start_s: float, end_s: float, zone: tzinfo) -> Profile:
    """A tariff that is known for ever, by quarter hours."""
    count = math.ceil((end_s - start_s) / QUARTER_S)
    middles = (start_s + (k + 0.5) * QUARTER_S for k in range(count))
    return Profile.regular(start_s, QUARTER_S, [seasonal(value, t, zone) for t in middles])


def by_quarters(profile: Profile) -> Profile:
    """Cut at the quarters of the hour, at which fees and days may change."""
    starts: list[float] = []
    ends: list[float] = []
    values: list[float] = []
    for start, end, value in zip(profile.starts_s, profile.ends_s, profile.values, strict=True):
        edge = start
        while edge < end:
            following = min(end, (math.floor(edge / QUARTER_S) + 1) * QUARTER_S)
            starts.append(edge)
            ends.append(following)
            values.append(value)
            edge = following
    return Profile(tuple(starts), tuple(ends), tuple(values), note=profile.note)


def hourly(profile: Profile) -> Profile:
    """Each hour at the mean of what is known of it."""
    first, last = math.floor(profile.start_s / HOUR_S), math.ceil(profile.end_s / HOUR_S)
    means = [profile.mean(k * HOUR_S, (k + 1) * HOUR_S)[0] for k in range(first, last)]
    return Profile.regular(first * HOUR_S, HOUR_S, means)


def buying(section: PriceSection, energy: Profile, gross: bool, zone: tzinfo) -> Profile:
    """Money per kWh, all included. `energy`: the source's price, with VAT in it where `gross`."""
    on_energy = 1.0 if gross else 1.0 + section.vat
    on_fees = 1.0 if section.fees_include_vat else 1.0 + section.vat
    cells = by_quarters(hourly(energy) if section.hourly else energy)

    def cost(start_s: float, price: float) -> float:
        fees = sum(seasonal(value, start_s, zone) for value in (section.markup, section.tax, section.grid_fee))
        return on_energy * price + on_fees * fees

    values = tuple(cost(start, price) for start, price in zip(cells.starts_s, cells.values, strict=True))
    return Profile(cells.starts_s, cells.ends_s, values, note=cells.note)


def selling(rule: FeedIn, energy: Profile, zone: tzinfo, net: float = 1.0) -> Profile:
    """Money per kWh that is fed in. `net`: what takes VAT out of the source's price again."""
    cells = by_quarters(energy)

    def earns(start_s: float, price: float) -> float:
        if rule.nothing_when_negative and price < 0.0:
            return 0.0
        if rule.value is not None:
            return seasonal(rule.value, start_s, zone)
        return rule.factor * price * net + rule.add

    values = tuple(earns(start, price) for start, price in zip(cells.starts_s, cells.values, strict=True))
    return Profile(cells.starts_s, cells.ends_s, values, note=cells.note)
