"""The page of a fleet: who gains, who does not, whose sensors are ill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pages.page as kit
from pages.chart import Bar, Bars, Chart
from tuner.evaluate.comparison import RULE, TUNED, UNBIASED

HOW = (
    "Money a week, means of held-out weeks in simulation. Start: the theta that the house came with, else its data "
    "fit. A house gains where the 95 % interval of tuned against start, paired by week, lies above 0; the others keep "
    "what they had."
)
MOST_BARS = 60


def write_page(path: Path, document: Mapping[str, Any], lead: str) -> None:
    """Whole or not at all."""
    houses = document["houses"]
    fine = [one for one in houses if "problem" not in one]
    blocks: list[kit.Block] = [_table(houses), kit.quiet(HOW)]
    if fine:
        blocks.append(_chart(fine))
    ill = [f"{name}: {line}." for name, lines in document["summary"]["ill"].items() for line in lines]
    wrong = [f"{name}: {text}." for name, text in document["summary"]["problems"].items()]
    if ill:
        blocks += [kit.Heading("Ill"), kit.Items(ill)]
    if wrong:
        blocks += [kit.Heading("Not worked on"), kit.Items(wrong)]
    kit.write_page(
        path,
        kit.Page(
            "The fleet",
            lead[0].upper() + lead[1:] + ".",
            blocks,
            about=f"{len(houses)} house{'' if len(houses) == 1 else 's'}",
        ),
    )


def _table(houses: list[Mapping[str, Any]]) -> kit.Table:
    rows: list[list[kit.Cell | str]] = []
    for one in houses:
        if "problem" in one:
            rows.append([one["name"], kit.Cell("not worked on", mood="bad"), "", "", "", ""])
            continue
        gain, costs = one["tuned_against_start"], one["costs"]
        span = "" if gain is None else f"{gain['mean']:+.2f} ({gain['low']:.2f} to {gain['high']:.2f})"
        mood: kit.Mood = "good" if one["gains"] else "plain"
        state = (
            kit.Cell("ill", mood="bad") if one.get("ill") else kit.Cell("gains" if one["gains"] else "keeps", mood=mood)
        )
        rows.append(
            [one["name"], state, span, *(f"{costs[p]:.2f}" if p in costs else "" for p in (RULE, UNBIASED, TUNED))]
        )
    numbers = ("gain, 95 % interval", "rule", "start", "tuned")
    columns = [kit.Column("house"), kit.Column("verdict"), *(kit.Column(title, number=True) for title in numbers)]
    return kit.Table("The houses", columns, rows)


def _chart(fine: list[Mapping[str, Any]]) -> Chart:
    saved = [(one["name"], one["against_rule"]) for one in fine if one["against_rule"] is not None][:MOST_BARS]
    bars = [Bar(name, ends["mean"], ends["low"], ends["high"], "first") for name, ends in saved]
    said = "; ".join(f"{name} {ends['mean']:.2f}" for name, ends in saved)
    title = "Start against the rules, money a week"
    return Chart("fleet", f"{title}: {said}.", [Bars(title, bars)])
