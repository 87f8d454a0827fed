"""What a tuning has to gain, said before it starts, and how much of it was had.

The bound is the best causal policy; what it costs less than the best of what needs no learning (the rules, the data
fit, the nameplate) is all that tuning can win. Where a house has no bound the reason is said in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from systems.design import HouseDesign
from systems.model_file import THETA
from systems.plant import HousePlant
from systems.world import Exogenous
from tuner.bound.house import Horizon, why_not
from tuner.bound.reserve import reserve_by_hour
from tuner.evaluate.comparison import CAUSAL, RULE, Contender, Evaluation, bounds, evaluate_house
from tuner.learn.paired import worse
from tuner.loop.workers import Workers

FIT, NAMEPLATE, RESERVED = "data fit", "nameplate", "reserve of the value function"
RESERVE_WEEKS, RESERVE_PRICE = 2, 0.3
"""Held-in weeks whose value function says the reserve by the hour, and what a kWh that is missing to it for an hour
costs, over the usual price."""
WORTH_A_WORD = 0.002
"""Of the bill: a gap below it is none."""


@dataclass(frozen=True)
class Outlook:
    """Mean cost a week of what needs no learning, by name, and of the best causal policy, on the held-in weeks."""

    costs: Mapping[str, float]
    """Empty where there is nothing to compare."""
    causal: float | None
    reason: str
    """Why there is no bound."""
    weeks: int
    currency: str
    reserved: Mapping[str, float] | None = None
    """theta with the reserve that the best causal policy keeps, where it is cheaper by more than noise."""

    @property
    def fit_loses(self) -> bool:
        """Whether the data fit costs more than the nameplate that it was to correct."""
        return NAMEPLATE in self.costs and self.costs[FIT] > self.costs[NAMEPLATE]

    def told(self) -> list[str]:
        """What to say before the work."""
        lines = []
        if self.fit_loses:
            more = self.costs[FIT] - self.costs[NAMEPLATE]
            lines.append(
                f"the data fit costs {more:.3f} {self.currency} a week more than the nameplate on {self.weeks} held-in "
                "weeks: tuning starts at the nameplate, which stays where nothing better is shown"
            )
        if self.causal is None:
            lines.append(f"what there is to gain is not known: {self.reason}")
        else:
            best = min(self.costs, key=lambda name: self.costs[name])
            lines.append(_gap(self.costs[best], self.causal, best, self.currency, f"{self.weeks} held-in weeks"))
        return lines


def outlook(
    design: HouseDesign,
    world: Exogenous,
    weeks: Sequence[int],
    start: Mapping[str, float],
    *,
    seed: int,
    workers: Workers,
) -> Outlook:
    """Raises CodegenError where the program cannot be compiled."""
    policies, causal = _policies(design, start), [policy for policy in bounds(design.house) if policy.name == CAUSAL]
    if not looks(design, start):
        return Outlook({}, None, why_not(design.house), len(weeks), design.house.currency)
    theta = reserved_theta(design, world, weeks[:RESERVE_WEEKS], start) if _has_knots(design) else None
    tried = [] if theta is None else [Contender(RESERVED, tuple(theta[name] for name in start))]
    found = evaluate_house(design, world, weeks, [*policies, *tried, *causal], seed=seed, workers=workers)
    costs = {policy.name: float(found.totals(policy.name).mean()) for policy in policies}
    least = float(found.totals(CAUSAL).mean()) if causal else None
    thetas = [policy.name for policy in policies if policy.theta is not None]
    if tried and not all(worse(found.totals(name), found.totals(RESERVED), tolerance=1.0) for name in thetas):
        theta = None
    return Outlook(costs, least, why_not(design.house), len(weeks), design.house.currency, theta)


def looks(design: HouseDesign, start: Mapping[str, float]) -> int:
    """Policies that an outlook runs through each week; none where there is nothing to compare."""
    policies, causal = _policies(design, start), [policy for policy in bounds(design.house) if policy.name == CAUSAL]
    return len(policies) + _has_knots(design) + len(causal) if causal or len(policies) > 2 else 0


def _policies(design: HouseDesign, start: Mapping[str, float]) -> list[Contender]:
    """Of what needs no learning."""
    policies, nameplate = [Contender(RULE, None), Contender(FIT, tuple(start.values()))], nameplate_theta(design)
    if nameplate != dict(start):
        policies.append(Contender(NAMEPLATE, tuple(nameplate[name] for name in start)))
    return policies


def _has_knots(design: HouseDesign) -> bool:
    """Whether a battery has a reserve by the hour, and a best causal policy to say what it is."""
    return not why_not(design.house) and bool(design.house.only("battery").knots)


def reserved_theta(
    design: HouseDesign, world: Exogenous, weeks: Sequence[int], start: Mapping[str, float]
) -> dict[str, float]:
    """theta with the reserve by the hour that the best causal policy keeps in these weeks, the mean of them."""
    battery, day = design.house.only("battery"), round(86_400.0 / design.house.grid.hold_s)
    horizons = [Horizon(design, world, week, 7 * day) for week in weeks]
    kept = np.mean([reserve_by_hour(h, HousePlant(design.house, world), battery.knots) for h in horizons], axis=0)
    names = [f"{battery.name}_reserve_{24 // battery.knots * i:02d}" for i in range(battery.knots)]
    return {**start, **dict(zip(names, kept.tolist(), strict=True)), f"{battery.name}_reserve_price": RESERVE_PRICE}


def nameplate_theta(design: HouseDesign) -> dict[str, float]:
    """theta without what a log has taught of it; models that are no theta stay."""
    plain = HouseDesign(design.text, {table: text for table, text in design.fits.items() if table != THETA})
    return {p.name: p.default for p in plain.problem.theta}


def had(judged: Evaluation, tuned: str) -> str:
    """How much of what there was to gain was had on the weeks of the verdict; empty where there is no bound."""
    if CAUSAL not in judged.results:
        return ""
    costs = {name: float(judged.totals(name).mean()) for name in judged.results}
    causal, after = costs.pop(CAUSAL), costs.pop(tuned)
    best = min(costs, key=lambda name: costs[name])
    gap = _gap(costs[best], causal, best, judged.currency, f"the {len(judged.weeks)} weeks of the verdict")
    if costs[best] - causal <= WORTH_A_WORD * abs(costs[best]):
        return gap
    return f"{gap}; tuning had {100.0 * (costs[best] - after) / (costs[best] - causal):.0f} % of it"


def _gap(cost: float, causal: float, best: str, currency: str, where: str) -> str:
    left = cost - causal
    if left <= WORTH_A_WORD * abs(cost):
        return f"there is nothing to gain on {where}: the {best} is level with the best causal policy"
    share = 100.0 * left / max(abs(cost), 1e-9)
    return f"there are {left:.2f} {currency} a week ({share:.1f} %) to gain on the {best} on {where}"
