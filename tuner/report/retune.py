"""The page of a retune: whether the model holds, what was learned, what log and simulation say of it, what is done."""

from __future__ import annotations

from pathlib import Path

import pages.page as kit
from pages.chart import Bar, Bars, Chart
from tuner.evaluate.comparison import RULE, TUNED
from tuner.evaluate.savings import Savings, told
from tuner.evaluate.statistics import Interval
from tuner.retune.study import FIELD, Study

JUDGED = (
    "By its log: the critic that learning uses, fitted to the later part of the log, which taught nothing; the "
    "interval is the jackknife's over stretches. In simulation: held-out weeks, paired. Both have to lie above 0."
)


def write_page(path: Path, house: str, currency: str, found: Study, savings: Savings, decided: str) -> None:
    """Whole or not at all. decided: what is done with the theta, in a sentence."""
    kit.write_page(
        path,
        kit.Page(
            title=f"{house}: tuned again",
            lead=decided[0].upper() + decided[1:] + ".",
            mood="good" if found.better else "plain" if found.tuning is not None else "bad",
            about=f"the log from {savings.first[:10]} to {savings.last[:10]}",
            blocks=[
                kit.Heading("Does the model hold?"),
                _health(found),
                *_judged(found, currency),
                *_changes(found),
                kit.Heading("What the house saved so far"),
                kit.Items([line[0].upper() + line[1:] + "." for line in told(savings)]),
            ],
        ),
    )


def _health(found: Study) -> kit.Block:
    if not found.findings:
        return kit.text("The log is too short to tell.")
    rows: list[list[kit.Cell | str]] = [
        [finding.about, kit.Cell("holds" if finding.holds else "changed", mood="plain" if finding.holds else "bad"),
         finding.said[0].upper() + finding.said[1:] + "."]
        for finding in found.findings
    ]  # fmt: skip
    columns = [kit.Column("what"), kit.Column("verdict"), kit.Column("evidence", wraps=True)]
    return kit.Table("What the log says of the model", columns, rows)


def _judged(found: Study, currency: str) -> list[kit.Block]:
    blocks: list[kit.Block] = [kit.Heading("Is it better?")]
    if found.told:
        blocks.append(kit.Items([line[0].upper() + line[1:] + "." for line in found.told]))
    pairs = [("by its log", found.off_policy), ("in simulation", found.simulated_saving)]
    known = [(name, interval) for name, interval in pairs if interval is not None]
    if not known:
        return blocks if found.told else []
    title = f"Saved against the theta in the field, {currency} a week"
    said = "; ".join(f"{name} {span(interval)}" for name, interval in known)
    blocks.append(
        Chart("judged", f"{title}: {said}.", [Bars(title, [Bar(n, i.mean, i.low, i.high, "first") for n, i in known])])
    )
    blocks.append(kit.quiet(JUDGED))
    if found.simulated is not None:
        totals = [[name, f"{found.simulated.totals(name).mean():.2f}"] for name in (RULE, FIELD, TUNED)]
        blocks.append(
            kit.Table(f"Simulated, {currency} a week", [kit.Column("policy"), kit.Column("total", number=True)], totals)
        )
    if found.promise is not None:
        blocks.append(
            kit.text(
                f"Promised against the rules: {found.promise.mean:.2f} {currency} a week, and no single week below "
                f"{found.promise.low:.2f}."
            )
        )
    return blocks


def _changes(found: Study) -> list[kit.Block]:
    changes = [] if found.tuning is None else found.tuning.changes()
    if not changes:
        return []
    rows: list[list[kit.Cell | str]] = [
        [kit.Cell(p.name, small=p.description), p.unit, f"{a:.4f}", f"{b:.4f}"] for p, a, b in changes
    ]
    columns = [kit.Column("parameter"), kit.Column("unit")]
    columns += [kit.Column("in the field", number=True), kit.Column("learned", number=True)]
    return [kit.Heading("What changed"), kit.Table("Parameters that moved", columns, rows)]


def span(interval: Interval) -> str:
    """In figures."""
    return f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"
