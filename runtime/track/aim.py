"""From a plan's decision to what it means for the meter: which deviations from the forecast a battery answers.

A decision was made for the mean net load that was foreseen. What it says of prices holds for the load that comes:

    the plan             and then                             so the battery
    charges              buys for it                          charges at least that; more from what would be sold
    charges              buys nothing                         charges from what would be sold
    rests                buys                                 charges from what would be sold: kept for dearer hours
    rests                sells                                covers what would be bought
    discharges           buys, at full power or not at all    covers what would be bought
    discharges           buys, at less than full power        covers what is beyond the import that the plan chose;
                                                              charges from what would be sold, and never buys for it
    discharges           sells                                gives at least that; more to what would be bought
    rests, or moves and nothing is bought or sold             holds the meter at 0

In each row the meter is held at 0, but where the plan chose an import: there between 0 and that import, since what is
stored is worth what it saves, which is less than buying it anew with losses. The rest is in the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.track.law import Aim, Powers, Range

STILL_KW = 0.05
"""Less is nothing: an interior-point solution has no zeros."""


def aim_of(grid_kw: float, planned_kw: Sequence[float], able_kw: Sequence[Range]) -> Aim:
    """Of a decision that foresees grid_kw at the meter and gives each battery planned_kw."""
    buys, sells = grid_kw > STILL_KW, grid_kw < -STILL_KW
    within = tuple(_within(p, able, buys, sells) for p, able in zip(planned_kw, able_kw, strict=True))
    chosen = buys and any(lo + STILL_KW < p < -STILL_KW for p, (lo, _) in zip(planned_kw, able_kw, strict=True))
    return Aim(grid_kw if chosen else 0.0, tuple(planned_kw), within, tuple(able_kw))


def self_consumption(able_kw: Sequence[Range]) -> Aim:
    """The rule: nothing is bought or sold that a battery could cover or store."""
    rest: Powers = tuple(min(max(0.0, lo), up) for lo, up in able_kw)
    return Aim(0.0, rest, tuple(able_kw), tuple(able_kw))


def held(planned_kw: Sequence[float], able_kw: Sequence[Range]) -> Aim:
    """Powers that are held whatever the meter shows."""
    kept = tuple(min(max(p, lo), up) for p, (lo, up) in zip(planned_kw, able_kw, strict=True))
    return Aim(0.0, kept, tuple((p, p) for p in kept), tuple(able_kw))


def _within(planned: float, able: Range, buys: bool, sells: bool) -> Range:
    least, most = able
    planned = min(max(planned, least), most)
    if planned > STILL_KW:
        return (planned if buys else 0.0), most
    if planned < -STILL_KW:
        return least, (planned if sells else most)
    return (max(0.0, least) if buys else least), (min(0.0, most) if sells else most)
