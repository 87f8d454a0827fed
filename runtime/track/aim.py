"""From a plan's decision to what it means for the meter: which deviations from the forecast a battery answers.

A decision was made for the mean net load that was foreseen. What it says of prices holds for the load that comes:

    the plan             and then                             so the battery
    charges              buys for it                          charges at least that; more from what would be sold
    charges very little  buys for it                          charges from what would be sold: see `WORTH_WAKING`
    charges              buys nothing                         charges from what would be sold; covers what comes
                                                              unforeseen with what it would give later for no more
    rests                buys                                 charges from what would be sold: kept for dearer hours,
                                                              and so much the less as some are no dearer
    rests                sells                                covers what would be bought
    discharges           buys, at full power or not at all    covers what would be bought
    discharges           buys, at less than full power        covers the house up to the planned power, and what is
                                                              beyond the import that the plan chose
    discharges           buys as much as the month's peak     covers what is beyond that import alone: it raises no
                                                              charge, and what is kept may spare one
    discharges           sells                                gives at least that; more to what would be bought
    rests, or moves and nothing is bought or sold             holds the meter at 0

Of moves that are worth the same to the plan it may have taken any. In real time the early one is the better: what is
given now is not left over when less is drawn later, and what is stored now is not lost when the sun fails. So before
the table is read, what the plan gives later is brought forward to what the house buys now, where it saves no more
later; and what it charges later to what the house sells now, where selling pays no more later. What the plan keeps to
its end, what it gives to dearer hours and what keeps a later import below the month's peak stays.

In each row the meter is held at 0, but where the plan chose an import: there between 0 and that import, since what is
stored is worth what it saves, which is less than buying it anew with losses. The rest is in the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime.track.law import NO_CAPS, Aim, Caps, Powers, Range, shared

STILL_KW = 0.05
"""Less is nothing: an interior-point solution has no zeros."""
WORTH_WAKING = 0.1
"""Of a battery's power: below it an inverter loses a fifth to half of what is bought for the store, and what is missing
is bought later at once. A plan that makes up for standby by the hour would buy such drops all night."""
PUT_OFF, DRAINED = 0.2, 0.05
"""What standby has drained a battery below its limit by less than this is made up for by the sun, and by what is bought
to be used: less than this share of its power is not bought for it."""
SAME = 0.02
"""Of the price of now: a difference below it is none. A forecast misses by more, and an inverter that is awake longer
loses as much."""


@dataclass(frozen=True)
class Stage:
    """What a plan foresees of one of its stages, all of which last as long."""

    grid_kw: float
    batteries_kw: float
    """Of all batteries, positive into them."""
    buy: float
    sell: float


def aim_of(
    grid_kw: float,
    planned_kw: Sequence[float],
    able_kw: Sequence[Range],
    stages: Sequence[Stage] = (),
    caps: Caps = NO_CAPS,
    worth_kw: Sequence[float] | None = None,
) -> Aim:
    """Of a decision that foresees grid_kw at the meter and gives each battery planned_kw.

    stages: of the whole plan, the first that of the decision; empty where they are not known. caps: what it keeps to.
    worth_kw: of each battery, the smallest purchase, see `worth_buying_kw`.
    """
    asked, moved_kw = tuple(planned_kw), brought_forward(stages, able_kw, caps)
    spare_kw = given_later(stages, caps)
    if moved_kw:
        grid_kw += moved_kw
        machines = tuple(able_kw)
        planned_kw = shared(sum(planned_kw) + moved_kw, Aim(0.0, asked, machines, machines))
    buys, sells = grid_kw > STILL_KW, grid_kw < -STILL_KW
    least = [WORTH_WAKING * up for _, up in able_kw] if worth_kw is None else worth_kw
    spared = min(spare_kw / max(-sum(lo for lo, _ in able_kw), 1e-9), 1.0)
    within = tuple(
        _within(p, able, worth, spared, buys, sells) for p, able, worth in zip(planned_kw, able_kw, least, strict=True)
    )
    chosen = buys and any(lo + STILL_KW < p < -STILL_KW for p, (lo, _) in zip(planned_kw, able_kw, strict=True))
    if not chosen:
        return Aim(0.0, asked, within, tuple(able_kw))
    given_kw = 0.0 if grid_kw > caps.import_kw - STILL_KW else max(-sum(planned_kw), 0.0)
    return Aim(grid_kw, asked, within, tuple(able_kw), given_kw)


def worth_buying_kw(soc: float, soc_min: float, most_kw: float) -> float:
    """Less than this is not bought for a battery at this state of charge (NaN where it is not known)."""
    if soc >= soc_min or soc != soc:
        return WORTH_WAKING * most_kw
    return PUT_OFF * most_kw if soc >= soc_min - DRAINED else 0.0


def brought_forward(stages: Sequence[Stage], able_kw: Sequence[Range], caps: Caps) -> float:
    """kW that the batteries take more now, negative to give, because a later stage's are worth no more."""
    if not stages:
        return 0.0
    now = stages[0]
    if now.grid_kw > STILL_KW and now.batteries_kw < STILL_KW:
        room = min(now.grid_kw, now.batteries_kw - sum(lo for lo, _ in able_kw))
        return -max(min(room, given_later(stages, caps)), 0.0)
    if now.grid_kw < -STILL_KW and now.batteries_kw > -STILL_KW:
        room = min(-now.grid_kw, sum(up for _, up in able_kw) - now.batteries_kw)
        return max(min(room, charged_later(stages, caps)), 0.0)
    return 0.0


def given_later(stages: Sequence[Stage], caps: Caps) -> float:
    """kW, summed over the stages of the plan that give next, that save no more there than they would now.

    Next is what is given before the battery is charged again after it: what is in store is used there first.
    """
    found, begun = 0.0, False
    for stage in stages[1:]:
        if stage.batteries_kw > STILL_KW and begun:
            break
        saves = stage.buy if stage.grid_kw > -STILL_KW else stage.sell
        begun = begun or stage.batteries_kw < -STILL_KW
        if stage.batteries_kw < -STILL_KW and saves <= stages[0].buy + SAME * abs(stages[0].buy):
            found += min(-stage.batteries_kw, max(caps.import_kw - stage.grid_kw, 0.0))
    return found


def charged_later(stages: Sequence[Stage], caps: Caps) -> float:
    """kW, summed over the stages of the plan that charge before it gives again, that cost no less there than now."""
    found = 0.0
    for stage in stages[1:]:
        if stage.batteries_kw < -STILL_KW:
            break
        costs = stage.sell if stage.grid_kw < STILL_KW else stage.buy
        spilt = stage.grid_kw < STILL_KW - caps.export_kw
        if stage.batteries_kw > STILL_KW and costs >= stages[0].sell - SAME * abs(stages[0].buy) and not spilt:
            found += stage.batteries_kw
    return found


def within_soc(aim: Aim, socs: Sequence[float], limits: Sequence[Range]) -> Aim:
    """A battery at or beyond its limits goes no further, whoever decides. socs: NaN where it is not known."""

    def kept(ranges: Sequence[Range]) -> tuple[Range, ...]:
        found = list[Range]()
        for (lo, up), soc, (lowest, highest) in zip(ranges, socs, limits, strict=True):
            least, most = (max(lo, 0.0) if soc <= lowest else lo), (min(up, 0.0) if soc >= highest else up)
            found.append((least, most) if least <= most else (0.0, 0.0))
        return tuple(found)

    return replace(aim, within_kw=kept(aim.within_kw), able_kw=kept(aim.able_kw))


def self_consumption(able_kw: Sequence[Range]) -> Aim:
    """The rule: nothing is bought or sold that a battery could cover or store."""
    rest: Powers = tuple(min(max(0.0, lo), up) for lo, up in able_kw)
    return Aim(0.0, rest, tuple(able_kw), tuple(able_kw))


def held(planned_kw: Sequence[float], able_kw: Sequence[Range]) -> Aim:
    """Powers that are held whatever the meter shows."""
    kept = tuple(min(max(p, lo), up) for p, (lo, up) in zip(planned_kw, able_kw, strict=True))
    return Aim(0.0, kept, tuple((p, p) for p in kept), tuple(able_kw))


def _within(planned: float, able: Range, worth: float, spared: float, buys: bool, sells: bool) -> Range:
    """spared: share of its power that later stages give for no more than it would save now."""
    least, most = able
    planned = min(max(planned, least), most)
    if planned > STILL_KW:
        return (planned if buys and planned >= worth else spared * least), most
    if planned < -STILL_KW:
        return least, (planned if sells else most)
    return (spared * least if buys else least), (min(0.0, most) if sells else most)
