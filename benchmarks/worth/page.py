"""The table of all regimes as a page: what an owner reads first, what a researcher asks after, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.worth.regimes import (
    CAUSAL,
    CHARGES,
    FLOOR,
    KNOWN,
    LEARNED,
    POLICIES,
    RULE,
    SEARCH,
    SIMPLE,
    TARIFFS,
    design_of,
)
from pages.chart import Bar, Bars, Chart
from pages.drawing import write_picture
from pages.palette import Role
from systems.logs.log import Array
from tuner.evaluate.statistics import Interval, mean_interval


def costs_of(found: Mapping[str, Any]) -> dict[str, Array]:
    """(months,) by policy, the mean of the homes; what not all homes have is left out."""
    costs, homes = found["costs"], len(found["homes"])
    return {policy: np.array(costs[policy]).mean(0) for policy in POLICIES if len(costs.get(policy, ())) == homes}


def best_simple(costs: Mapping[str, Array]) -> str:
    """By the judged months themselves: harder to beat than what anybody could have known."""
    return min((policy for policy in SIMPLE if policy in costs), key=lambda policy: costs[policy].mean())


def regime_table(found: Mapping[str, Any]) -> list[str]:
    """Rows of Markdown: the mean week, and what is saved against the rule and against the best simple controller."""
    costs = costs_of(found)
    best = best_simple(costs)
    lines = [f"| policy | a week | against the rule | against the best simple ({best}) |", "|---|---|---|---|"]
    for policy, cost in costs.items():
        cells = ["" if rival == policy else told(saved(costs, rival, policy)) for rival in (RULE, best)]
        lines.append(f"| {policy} | {cost.mean():.2f} | {cells[0]} | {cells[1]} |")
    return lines


def saved(costs: Mapping[str, Array], rival: str, policy: str) -> Interval:
    """Money a week that the policy costs less than the rival."""
    return mean_interval(costs[rival] - costs[policy])


def told(x: Interval, scale: float = 1.0, digits: int = 2) -> str:
    return " .. ".join((f"{scale * x.mean:+.{digits}f} ({scale * x.low:+.{digits}f}", f"{scale * x.high:+.{digits}f})"))


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """The page, and the picture of the same name beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path.with_suffix(".png"), [picture(document)])
    any_regime = next(iter(document.values()))
    homes, months = len(any_regime["homes"]), len(any_regime["months"])
    details = [
        "\n".join([f"### {in_words(name)}", "", verdict(found), "", *regime_table(found), "", *learned(found)]).rstrip()
        for name, found in document.items()
    ]
    text = TEXT.read_text().format(
        homes=homes, months=months, tries=any_regime["tries"], summary="\n".join(summary(document)),
        verdicts="\n".join(f"- **{in_words(name)}**: {verdict(found)}" for name, found in document.items()),
        details="\n\n".join(details), missing=missing(document),
        kinds=f"{len(document)} kind{'s' * (len(document) > 1)}", picture=path.with_suffix(".png").name,
    )  # fmt: skip
    path.write_text(text)


def missing(document: Mapping[str, Any]) -> str:
    """What the command would add."""
    wanted = [name for pair in product(TARIFFS, CHARGES) if (name := ", ".join(pair)) not in document]
    return f"Not run either: {'; '.join(in_words(name) for name in wanted)}." if wanted else ""


def in_words(name: str) -> str:
    """Of a regime's key."""
    tariff, charge = name.split(", ")
    return f"{TARIFF_WORDS[tariff]}, {CHARGE_WORDS[charge]}"


def summary(document: Mapping[str, Any]) -> list[str]:
    """Rows of Markdown: a regime each, EUR a week, and what learning saves of the bill of three rivals, %."""
    heads = ("regime", "rule", "best simple", "learned", "best causal", "learned against the rule, %",
             "against the best simple, %", "of the gap")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, found in document.items():
        costs = costs_of(found)
        best = best_simple(costs)
        causal = costs.get(CAUSAL)
        learned = LEARNED in costs
        cells = [f"{costs[RULE].mean():.2f}", f"{costs[best].mean():.2f} ({best})"]
        cells.append(f"{costs[LEARNED].mean():.2f}" if learned else "not run")
        cells.append(f"more than {costs[FLOOR].mean():.2f}" if causal is None else f"{causal.mean():.2f}")
        for rival in (RULE, best):
            cells.append(told(saved(costs, rival, LEARNED), 100.0 / abs(costs[rival].mean()), 1) if learned else "")
        cells.append(share_of_gap(costs) if learned else "")
        lines.append(f"| {in_words(name)} | {' | '.join(cells)} |")
    return lines


def gap_of(costs: Mapping[str, Array]) -> float | None:
    """Money a week that lies between the best simple controller and the best causal policy."""
    return None if CAUSAL not in costs else float((costs[best_simple(costs)] - costs[CAUSAL]).mean())


def share_of_gap(costs: Mapping[str, Array]) -> str:
    gap, best = gap_of(costs), best_simple(costs)
    if gap is None:
        return ""
    if gap <= NOTHING * abs(costs[best].mean()):
        return "no gap"
    return f"{100.0 * saved(costs, best, LEARNED).mean / gap:.0f} %"


def verdict(found: Mapping[str, Any]) -> str:
    """In a sentence or two, from the numbers alone."""
    costs = costs_of(found)
    best, gap = best_simple(costs), gap_of(costs)
    bill = abs(costs[best].mean())
    won = saved(costs, best, LEARNED if LEARNED in costs else best)
    if LEARNED not in costs:
        did = f"the cheapest of what needs no choice is {best}, and nothing was learned"
    elif won.low > 0.0:
        did = f"learning saves {100 * won.mean / bill:.1f} % of the bill of the best simple controller ({best})"
    elif won.high < 0.0:
        did = f"learning costs {-100 * won.mean / bill:.1f} % more than the best simple controller ({best})"
    else:
        did = (
            f"learning is not told apart from the best simple controller ({best}): {100 * won.mean / bill:+.1f} % "
            f"of the bill, {100 * won.low / bill:+.1f} to {100 * won.high / bill:+.1f}"
        )
    if gap is None:
        left = 100 * float((costs[best] - costs[FLOOR]).mean()) / bill
        return f"{did}. No best causal policy is computed; no policy at all can save more than {left:.1f} % on {best}."
    if gap <= NOTHING * bill:
        return f"there is nothing to gain: the best causal policy is level with it or dearer ({best}); {did}."
    return f"the best causal policy costs {100 * gap / bill:.1f} % less than the best simple controller; {did}."


def learned(found: Mapping[str, Any]) -> list[str]:
    """What theta became, by home; what stayed at its default is left out."""
    lines = []
    for home, theta, kept in zip(found["homes"], found["theta"], found["kept"], strict=False):
        if kept != LEARNED:
            lines.append(
                f"For {home} nothing that was learned was shown to be better on the training weeks: {kept} stays."
            )
            continue
        moved = [f"{name.removeprefix('home_')} {value:.3g}" for name, value in theta.items() if _moved(name, value)]
        lines.append(f"Learned for {home}: {', '.join(moved) or 'nothing, the default stays'}.")
    return lines


def _moved(name: str, value: float) -> bool:
    default = DEFAULTS.get(name, 0.0)
    return abs(value - default) > 1e-3 * max(1.0, abs(default)) or (name == "home_keeping" and value > 2 * default)


def picture(document: Mapping[str, Any]) -> Chart:
    panels = []
    for name, found in document.items():
        costs = costs_of(found)
        bill, bars = 100.0 / abs(costs[RULE].mean()), []
        for policy in SHOWN:
            if policy in costs:
                x = saved(costs, RULE, policy).scaled(bill)
                role: Role = "first" if policy == LEARNED else "second" if policy in (CAUSAL, KNOWN, FLOOR) else "quiet"
                bars.append(Bar(policy, x.mean, x.low, x.high, role))
        panels.append(Bars(f"{in_words(name)}: saved against the rule, %", bars, digits=1))
    return Chart("worth", "What each controller saves against the rule in real time, by regime.", panels, columns=2)


TARIFF_WORDS = {"spot": "spot prices", "flat": "flat 0.30 / 0.06 EUR"}
CHARGE_WORDS = {
    "none": "no charge for peaks",
    "peak": "charge for the month's peak",
    "tiers": "tiers, mean of three days",
}
SHOWN = (*(policy for policy in SIMPLE if policy != RULE), SEARCH, LEARNED, CAUSAL, KNOWN, FLOOR)
NOTHING = 0.005
"""Of the bill: a gap below it is none."""
DEFAULTS = {p.name: p.default for p in design_of(CHARGES["peak"]).problem.theta}
TEXT = Path(__file__).with_name("page.md")
