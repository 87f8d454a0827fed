"""What a tuning has to gain, said before it starts, and how much of it was had.

The bound is the best causal policy; what it costs less than the best of what needs no learning (the rules, the data
fit, the nameplate) is all that tuning can win. Where a house has no bound the reason is said in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from systems.design import HouseDesign
from systems.model_file import THETA
from systems.world import Exogenous
from tuner.bound.house import why_not
from tuner.evaluate.comparison import CAUSAL, RULE, Contender, Evaluation, bounds, evaluate_house
from tuner.loop.workers import Workers

FIT, NAMEPLATE = "data fit", "nameplate"
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
    found = evaluate_house(design, world, weeks, [*policies, *causal], seed=seed, workers=workers)
    costs = {policy.name: float(found.totals(policy.name).mean()) for policy in policies}
    least = float(found.totals(CAUSAL).mean()) if causal else None
    return Outlook(costs, least, why_not(design.house), len(weeks), design.house.currency)


def looks(design: HouseDesign, start: Mapping[str, float]) -> int:
    """Policies that an outlook runs through each week; none where there is nothing to compare."""
    policies, causal = _policies(design, start), [policy for policy in bounds(design.house) if policy.name == CAUSAL]
    return len(policies) + len(causal) if causal or len(policies) > 2 else 0


def _policies(design: HouseDesign, start: Mapping[str, float]) -> list[Contender]:
    """Of what needs no learning."""
    policies, nameplate = [Contender(RULE, None), Contender(FIT, tuple(start.values()))], nameplate_theta(design)
    if nameplate != dict(start):
        policies.append(Contender(NAMEPLATE, tuple(nameplate[name] for name in start)))
    return policies


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
