"""The page of savings: what was saved month by month, in which part of the bill, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import pages.page as kit
from pages.chart import Bar, Bars, Chart
from tuner.evaluate.savings import Saving, Savings, told

HOW = (
    "The log is lived through once more by the rules that the house would have without nisse: same weather, prices, "
    "load and people. What the model did not foresee in the log is kept, so only its answer to other decisions can be "
    "wrong; the interval is how wrong the log shows that answer to be. In store: heat and charge left at the end of "
    "the period more than the rules would have left, at the mean price."
)


def write_page(path: Path, found: Savings) -> None:
    """Whole or not at all."""
    lead, *rest = told(found)
    whole = found.whole
    shown = whole.low is not None and whole.low > 0.0
    lost = whole.high is not None and whole.high < 0.0
    kit.write_page(
        path,
        kit.Page(
            title=f"{found.house}: what nisse saved",
            lead=lead[0].upper() + lead[1:] + ".",
            mood="good" if shown else "bad" if lost else "plain",
            about=f"{found.first[:10]} to {found.last[:10]}, {whole.days:.1f} days that count",
            blocks=[
                *([kit.Items([line[0].upper() + line[1:] + "." for line in rest])] if rest else []),
                _table(found),
                _chart(found),
                kit.quiet(HOW),
            ],
        ),
    )


def _table(found: Savings) -> kit.Table:
    peaks = any(month.capacity for month in (*found.months, found.whole))
    titles = ["energy", *(["peaks"] if peaks else []), "in store", "saved", "95 % interval", "paid", "days"]
    rows = [_row(saving, peaks) for saving in (*found.months, found.week, found.whole)]
    return kit.Table(
        f"Saved against the rules, {found.currency}",
        [kit.Column("period"), *(kit.Column(title, number=True) for title in titles)],
        rows,
        note="Paid: what the house cost with nisse. Days: those of the log that count, of those of the period.",
    )


def _row(saving: Saving, peaks: bool) -> list[kit.Cell | str]:
    mood: kit.Mood = "plain"
    if saving.low is not None and saving.high is not None:
        mood = "good" if saving.low > 0.0 else "bad" if saving.high < 0.0 else "plain"
    ends = "" if saving.low is None else f"{saving.low:.2f} to {saving.high:.2f}"
    return [
        saving.name, f"{saving.energy:.2f}", *([f"{saving.capacity:.2f}"] if peaks else []), f"{saving.stored:.2f}",
        kit.Cell(f"{saving.total:.2f}", mood=mood), ends, f"{saving.paid:.2f}",
        f"{saving.days:.1f} of {saving.days_of_period:.0f}",
    ]  # fmt: skip


def _chart(found: Savings) -> Chart:
    bars = [Bar(month.name, month.total, month.low, month.high, "first") for month in found.months]
    said = "; ".join(f"{month.name} {month.total:.2f}" for month in found.months)
    return Chart("months", f"Saved by month: {said} {found.currency}.", [Bars(f"Saved, {found.currency}", bars)])
